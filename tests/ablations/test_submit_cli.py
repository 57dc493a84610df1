"""`submit`, `doctor` and `run --address` as a user meets them; the head is a stand-in, and so are the nodes."""

import io
import json
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from heads import Dashboard, serving

from ablations import doctor
from ablations.cli import main
from ablations.cli.clusters import code_digest
from ablations.cli.verbs import clusters, runs
from orchestrator import cluster, drive
from orchestrator.provenance import version
from orchestrator.queue import Standing
from orchestrator.remote import probe
from orchestrator.remote.findings import Finding
from orchestrator.remote.onsite import MARK
from orchestrator.remote.probe import REQUIRED, Reached

STUDY = """
name: tiny
question: Is it submitted?
data: digits
recipe: {name: digits, iterations: 20}
matrix: {shortcut: [none, A], depth: [8]}
"""
GIB = 2**30


def node(host: str = "a", gpus: float = 0.0, **changes: Any) -> dict[str, Any]:
    seen = {
        "python": "3.11.7",
        "packages": {name: version(name) for name in REQUIRED},
        "code": None,
        "drivers": int(gpus),
        "nofile": 65536,
        "shm_bytes": 8 * GIB,
        "storage": {"free_bytes": 500 * GIB, "lock": "held", "answered": True},
    }
    resources = {"CPU": 8.0} | ({"GPU": gpus} if gpus else {})
    return {"NodeID": host, "NodeManagerHostname": host, "NodeManagerAddress": host, "Resources": resources} | {
        "seen": seen | changes
    }


class Cluster(Dashboard):
    """A head that runs the job that looks at the nodes, and keeps every other."""

    def __init__(self) -> None:
        super().__init__("s3cret")
        self.nodes = [node()]
        self.shown = True

    def answer(self, method: str, path: str, body: bytes, bearer: str | None) -> tuple[int, Any]:
        status, answered = super().answer(method, path, body, bearer)
        if method == "POST" and path == "/api/jobs/" and status == 200:
            job = answered["submission_id"]
            if job.startswith("ablate-probe-"):
                here = {"python": "3.11.7", "shown": self.shown, "storage": {"free_bytes": 500 * GIB}}
                self.logs[job] = MARK + json.dumps({"step": "done", "here": here, "nodes": self.nodes})
                self.jobs[job]["status"] = "SUCCEEDED"
        return status, answered

    @property
    def submitted(self) -> list[str]:
        """Ids of jobs that are a study."""
        return [job for job in self.jobs if not job.startswith("ablate-probe-")]


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    with serving(Cluster()) as found:
        yield found


@pytest.fixture
def ablate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls the command line; returns its exit code, what it printed, and its lines on standard error."""

    def call(*words: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["ablate", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, said.out, said.err.splitlines()

    return call


def submitting(head: Cluster, *more: str, study: str = "tiny.yaml") -> list[str]:
    return ["submit", study, "--address", head.address, "--results", str(Path.cwd() / "results"), *more]


def test_a_study_becomes_a_job(head: Cluster, ablate: Any) -> None:
    """Its file travels with our code; its options are those of a run; what can be typed next is printed."""
    options = ["--seeds", "2", "--set", "recipe.lr=0.05", "--only", "digits-plain-8", "--budget", "3", "--no-track"]
    code, out, _ = ablate(*submitting(head, *options))
    assert code == 0
    (job,) = head.submitted
    assert out.splitlines()[0] == f"job {job} on {head.address}"
    assert [line.split(":")[0].strip() for line in out.splitlines()[1:]] == [
        *("follow", "status", "cancel", "stop the job")
    ]
    words = shlex.split(head.jobs[job]["entrypoint"])
    assert words[:5] == ["python", "-m", "ablations.cli", "run", "tiny.yaml"]
    assert {"--seeds=2", "--set=recipe.lr=0.05", "--only=digits-plain-8", "--budget=3.0", "--no-track"} <= set(words)
    results = str(Path.cwd() / "results")
    assert words[-4:] == ["--address", "auto", "--results", results]
    assert f"--data={results}/sources" in words
    (package,) = head.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert archive.read("tiny.yaml").decode() == STUDY
        assert "ablations/cli/app.py" in archive.namelist()
    assert not (Path.cwd() / "results").exists()


def test_every_option_of_a_run_can_be_submitted() -> None:
    """But for where it joins, which the job knows."""
    import inspect

    run, submit = (set(inspect.signature(each).parameters) for each in (runs.run, clusters.submit))
    assert run <= submit
    assert submit - run == {"follow", "as_json"}


def test_a_study_that_ships_is_named(head: Cluster, ablate: Any) -> None:
    assert ablate(*submitting(head, "--json", study="digits-depth"))[0] == 0
    (job,) = head.submitted
    assert " run digits-depth " in head.jobs[job]["entrypoint"]


def test_facts_are_json(head: Cluster, ablate: Any) -> None:
    _, out, _ = ablate(*submitting(head, "--json"))
    told = json.loads(out)
    assert told == {
        "job": head.submitted[0],
        "address": head.address,
        "study": "tiny",
        "results": str(Path.cwd() / "results"),
    }


def test_it_is_followed_to_its_end(head: Cluster, ablate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job's log is printed, and its exit code is the command's."""
    real, end = head._job, {"status": "FAILED", "driver_exit_code": 1}

    def answer(method: str, job: str, verb: str = "") -> tuple[int, Any]:
        if job in head.submitted:
            head.logs[job] = "1 of 2 failed\n"
            head.jobs[job] |= end
        return real(method, job, verb)

    monkeypatch.setattr(head, "_job", answer)
    code, out, _ = ablate(*submitting(head, "--follow"))
    assert (code, out.splitlines()[-1]) == (1, "1 of 2 failed")
    end = {"status": "STOPPED"}
    code, _, (line,) = ablate(*submitting(head, "--follow"))
    assert code == 130
    assert line.startswith(f"error: job {head.submitted[1]} was stopped; what was committed is kept")


def test_who_stops_following_stops_nothing(head: Cluster, ablate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.remote.submit.follow", interrupted)
    code, _, (line,) = ablate(*submitting(head, "--follow"))
    assert (code, line) == (130, f"error: not followed any more; job {head.submitted[0]} goes on")


def test_a_study_that_runs_is_refused_before_anything(head: Cluster, ablate: Any) -> None:
    ablate(*submitting(head))
    head.asked.clear()
    code, _, (line,) = ablate(*submitting(head))
    assert code == 4
    assert f"is being run by job {head.submitted[0]}" in line
    assert {method for method, _ in head.asked} == {"GET"}


def test_a_cluster_with_faults_gets_no_job(head: Cluster, ablate: Any) -> None:
    """Every fault is a line, and nothing is sent."""
    head.nodes = [node("a", packages={"ray": version("ray"), "torch": None}), node("b", python="3.12.1")]
    head.nodes[1]["seen"]["storage"] = {"error": "No such file or directory"}
    code, _, lines = ablate(*submitting(head))
    assert code == 4
    assert [line.split(": ")[1] for line in lines] == ["versions", "packages", "shared storage"]
    assert all(line.startswith("error: ") for line in lines)
    assert not head.submitted
    assert not head.packages


def test_what_is_only_to_be_looked_at_is_a_warning(head: Cluster, ablate: Any) -> None:
    head.shown = False
    code, _, (line,) = ablate(*submitting(head))
    assert code == 0
    assert line.startswith("warning: results: this machine does not see the cluster's")


def test_trials_go_where_the_cluster_has_gpus(head: Cluster, ablate: Any) -> None:
    """`auto` asks the cluster, not the machine that submits; what does not fit is refused."""
    head.nodes = [node("a", gpus=2.0)]
    assert ablate(*submitting(head, "--per-gpu", "4"))[0] == 0
    head.jobs.clear()
    head.nodes = [node("a")]
    code, _, (line,) = ablate(*submitting(head, "--device", "cuda"))
    assert (code, line) == (4, "error: --device cuda: no node of the cluster has a GPU; use --device cpu")
    head.nodes[0]["Resources"] = {"CPU": 0.0}
    code, _, (line,) = ablate(*submitting(head))
    assert code == 4
    assert "needs 1 core on one node; the largest, a, has 0 cores" in line


WRONG = {
    "a relative results directory": (["--results", "results"], "--results: on a cluster, the absolute path"),
    "a relative data folder": (["--data", "data"], "--data: on a cluster, the absolute path"),
    "an address of another kind": (["--address", "10.0.0.1:6379"], "as http://HOST:8265"),
    "an arm that is not there": (["--only", "digits-plain-9"], "has no arm or trial"),
    "a value that is not allowed": (["--set", "recipe.lr=-1"], "lr"),
    "a share that is none": (["--per-gpu", "x"], "--per-gpu: is auto or a whole number"),
    "a device that is none": (["--device", "tpu"], "is auto, cpu or cuda, not 'tpu'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(head: Cluster, ablate: Any, case: str) -> None:
    """With exit code 2, and no job."""
    options, said = WRONG[case]
    code, _, (line,) = ablate(*submitting(head, *options))
    assert code == 2
    assert said in line
    assert not head.submitted


def test_code_that_is_too_large_is_not_sent(head: Cluster, ablate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.remote.package.pack.__defaults__", (None, 1000))
    code, _, (line,) = ablate(*submitting(head))
    assert code == 2
    assert "move away what is largest" in line
    assert not head.asked


def test_a_token_file_that_is_not_there(head: Cluster, ablate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/not/there")
    code, _, (line,) = ablate(*submitting(head))
    assert code == 2
    assert "no token can be read from /not/there" in line


def test_a_token_that_is_wrong(head: Cluster, ablate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0ther")
    code, _, (line,) = ablate(*submitting(head))
    assert code == 4
    assert "does not take the token in RAY_AUTH_TOKEN" in line


# A run from inside ---------------------------------------------------------------------------------------------------


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster that this machine is a node of; what a run on it is given."""
    code = {"root": "/r", "digest": code_digest()}
    known: dict[str, Any] = {"nodes": [node("a", code=code), node("b", gpus=2.0, code=code)]}
    found = Reached("10.0.0.1:6379", None, "2.60.0", "3.11.7")
    monkeypatch.setattr(probe, "reach", lambda *_, **__: found)
    here = {"python": "3.11.7", "storage": {"free_bytes": 500 * GIB}}
    monkeypatch.setattr(probe, "survey", lambda *_: {"here": here, "nodes": known["nodes"]})
    monkeypatch.setattr(cluster, "joined", lambda *asked: known.update(joined=asked))

    def run(study: Any, planner: Any, setting: Any, join: Any, limits: Any, **_: Any) -> Standing:
        known.update(setting=setting, trials=planner().trials)
        join()
        return Standing(total=0)

    monkeypatch.setattr(drive, "run", run)
    return known


def test_a_run_takes_nodes_and_device_from_the_cluster(head: Cluster, ablate: Any, inside: dict[str, Any]) -> None:
    """`auto` is cuda where the cluster has GPUs, though this machine has none."""
    code, _, lines = ablate("run", "tiny.yaml", "--address", "auto", "--results", "results", "--per-gpu", "2")
    assert code == 0, lines
    assert inside["setting"].site["device"] == "cuda"
    assert {each.trial.resources.gpus for each in inside["trials"]} == {0.5}
    assert inside["joined"][0] == "10.0.0.1:6379"


def test_a_run_is_refused_where_nodes_have_other_code(head: Cluster, ablate: Any, inside: dict[str, Any]) -> None:
    """Before anything is read or written."""
    inside["nodes"][0]["seen"]["code"] = None
    code, _, (line,) = ablate("run", "tiny.yaml", "--address", "auto", "--results", "results")
    assert code == 4
    assert line.startswith("error: code: a cannot import Ablate")
    assert not (Path.cwd() / "results").exists()


def test_a_run_does_not_go_through_the_dashboard(head: Cluster, ablate: Any) -> None:
    code, _, (line,) = ablate("run", "tiny.yaml", "--address", head.address)
    assert code == 2
    assert "`ablate submit` goes to http://" in line


# The doctor ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "machine_findings", lambda: [Finding(about="Python", level="ok", says="3.11")])
    monkeypatch.setattr("orchestrator.remote.checkup.exposed", list)


def test_a_doctor_says_what_is_wrong(head: Cluster, ablate: Any, healthy: None) -> None:
    """One line for each thing, with what to do; 4 where one is bad, else 0."""
    results = ["--results", str(Path.cwd() / "results")]
    code, out, _ = ablate("doctor", *results)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "ok", "ok", "ok"]
    head.nodes = [node("a", packages={"ray": version("ray"), "torch": None})]
    code, out, _ = ablate("doctor", *results, "--address", head.address)
    assert code == 4
    (line,) = [line for line in out.splitlines() if line.startswith("bad")]
    assert line.startswith("bad   packages: a lacks torch; install")
    assert not (Path.cwd() / "results").exists()


def test_a_doctor_speaks_json(head: Cluster, ablate: Any, healthy: None) -> None:
    code, out, _ = ablate("doctor", "--json", "--results", str(Path.cwd() / "results"))
    assert code == 0
    assert json.loads(out)[0] == {"about": "Python", "level": "ok", "says": "3.11", "do": ""}
