"""A study as a job: its name, its command, what it is told, and what its end means."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from heads import Dashboard, serving

from orchestrator.remote import submit as module
from orchestrator.remote.jobs import Head, HeadError
from orchestrator.remote.package import Package
from orchestrator.remote.submit import Submission, follow, next_job, submit, ways
from orchestrator.studies import StudyInUse

ASKED = Submission(study="mine", sha256="ab", results=Path("/shared/my results"), arguments=["mine", "--seeds=2"])
CODE = Package("_ray_pkg_1.zip", b"zip")


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with serving(Dashboard()) as found:
        yield found


@pytest.fixture
def head(dashboard: Dashboard) -> Head:
    found = Head(dashboard.address)
    found.admit(None, allow_open=True)
    return found


def submitted(head: Head, asked: Submission = ASKED) -> str:
    job = next_job(head, asked)
    submit(head, asked, job, CODE)
    return job


def test_a_job_is_named_for_what_it_does(head: Head, dashboard: Dashboard) -> None:
    """It runs `ablate run` with our code, ends as Ctrl-C does, and knows its own name."""
    job = submitted(head)
    assert job == f"{ASKED.stem}-1"
    asked = dashboard.jobs[job]
    words = shlex.split(asked["entrypoint"])
    assert words[:5] == ["python", "-m", "ablations.cli", "run", "mine"]
    assert words[5:] == ["--seeds=2", "--address", "auto", "--results", "/shared/my results", "--allow-open-cluster"]
    assert asked["runtime_env"]["working_dir"] == "gcs://_ray_pkg_1.zip"
    variables = asked["runtime_env"]["env_vars"]
    assert variables == {"ABLATE_JOB": job, "RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "180"}
    assert dashboard.packages == {CODE.name: CODE.content}


def test_a_study_that_runs_is_not_submitted_again(head: Head) -> None:
    """Not even with other options: two runs of one study into one directory are one too many."""
    job = submitted(head)
    for asked in (ASKED, Submission(study="mine", sha256="cd", results=ASKED.results, arguments=["mine"])):
        with pytest.raises(StudyInUse, match=rf"run by job {job}; follow it: `ray job logs --follow"):
            next_job(head, asked)
    elsewhere = Submission(study="mine", sha256="ab", results=Path("/other"), arguments=["mine"])
    assert next_job(head, elsewhere) == f"{elsewhere.stem}-1"


def test_after_its_end_it_is_submitted_again(head: Head, dashboard: Dashboard) -> None:
    """Under the next number, whatever became of the one before."""
    for number, status in enumerate(("FAILED", "STOPPED", "SUCCEEDED"), 1):
        job = submitted(head)
        assert job == f"{ASKED.stem}-{number}"
        dashboard.jobs[job]["status"] = status


def test_of_two_who_submit_at_once_one_is_refused(head: Head) -> None:
    """Both saw nothing running; Ray takes a name once."""
    job = next_job(head, ASKED)
    submit(head, ASKED, job, CODE)
    with pytest.raises(StudyInUse, match="is being run by job"):
        submit(head, ASKED, job, CODE)


def test_equal_work_has_an_equal_name() -> None:
    """And other work another."""
    same = Submission(study="mine", sha256="ab", results=Path("/shared/my results"), arguments=["mine", "--seeds=2"])
    assert same.stem == ASKED.stem
    assert Submission(study="mine", sha256="ab", results=ASKED.results, arguments=["mine"]).stem != ASKED.stem


def test_what_can_be_typed_about_it(head: Head) -> None:
    """Quoted as a shell wants it."""
    told = ways(head, ASKED, "job-1")
    assert told["follow"] == f"ray job logs --follow --address {head.address} job-1"
    assert told["status"] == "ablate status mine --results '/shared/my results'"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0),
        ({"status": "FAILED", "driver_exit_code": 1}, 1),
        ({"status": "FAILED", "driver_exit_code": 5}, 5),
        ({"status": "FAILED", "driver_exit_code": 130}, 130),
        ({"status": "STOPPED", "driver_exit_code": None}, 130),
    ],
)
def test_the_end_of_a_job_is_the_end_of_the_command(
    head: Head, dashboard: Dashboard, end: dict[str, Any], code: int
) -> None:
    """Our exit codes come through, and every letter of the log once."""
    job = submitted(head)
    heard: list[str] = []

    def hear(text: str) -> None:
        heard.append(text)
        dashboard.logs[job] += "more\n"
        dashboard.jobs[job] |= end

    dashboard.logs[job] = "begun\n"
    assert follow(head, job, hear) == code
    assert "".join(heard).startswith("begun\nmore\n")


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"driver_exit_code": -9}, "signal 9"),
        ({"driver_exit_code": 137}, "signal 9"),
        ({"driver_exit_code": None, "message": "Job supervisor actor died\nand more"}, "Job supervisor actor died"),
        ({"driver_exit_code": None, "message": None}, "Ray does not say why"),
    ],
)
def test_a_job_that_was_killed_is_told_as_that(head: Head, dashboard: Dashboard, end: dict[str, Any], why: str) -> None:
    job = submitted(head)
    dashboard.jobs[job] |= {"status": "FAILED"} | end
    with pytest.raises(HeadError, match=rf"did not end by itself \({why}\); submit again"):
        follow(head, job, print)


def test_a_head_that_falls_silent_is_waited_for(
    head: Head, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a minute; then it is said that the job may go on."""
    job = submitted(head)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    dashboard.replies[f"/api/jobs/{job}"] = (500, b"no")
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.2)
    with pytest.raises(HeadError, match="the job may go on"):
        follow(head, job, print)
    assert dashboard.asked.count(("GET", f"/api/jobs/{job}")) > 2
