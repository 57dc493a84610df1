"""MLflow as a view of the ledger: one run per trial, every committed point once, whatever happens in between."""

import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from orchestrator.ledger import Ledger, TrialFolder
from orchestrator.runs import probe_summary
from orchestrator.studies import write_study
from orchestrator.tracking import addresses
from orchestrator.tracking import forwarder as forwarding
from orchestrator.tracking import publisher as publishing
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.exhibits import metric_name
from orchestrator.tracking.publisher import Publisher, TrackingError, one_line, publish, summarise
from orchestrator.tracking.summaries import Summary

pytest.importorskip("mlflow")
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient


def attempted(
    ledger: Ledger, number: int = 0, *, until: int | None = None, iterations: int = 10, **params: Any
) -> None:
    """Run the toy, whole or up to an iteration, committing after every record."""
    trial = toy.trial(number, iterations=iterations, **params)
    try:
        with ledger.attempt(trial, provenance={"host": "here", "commit": "abc"}, commit_seconds=0.0) as attempt:
            toy.run({**trial.params, "raise_at": until}, attempt)
    except RuntimeError:
        assert until is not None


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: making them takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowClient(tracking_uri=default_uri(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def ledger(tmp_path: Path, database: Path) -> Ledger:
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    return Ledger(tmp_path)


def published(ledger: Ledger) -> list[MlflowRun]:
    client = MlflowClient(tracking_uri=default_uri(ledger.root))
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def points(ledger: Ledger, run: MlflowRun, metric: str = "train_error_percent") -> list[tuple[int, float]]:
    client = MlflowClient(tracking_uri=default_uri(ledger.root))
    return [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, metric)]


def committed(ledger: Ledger, number: int = 0) -> list[tuple[int, float]]:
    folder = ledger.folder(toy.trial(number).key)
    head = folder.head()
    assert head is not None
    return [(each["iteration"], each["train_error"]) for each in folder.records("curves.jsonl", head)]


def test_a_finished_trial_is_one_finished_run_with_every_point(ledger: Ledger) -> None:
    """Named as the trial, tagged to be filtered by, its curves whole, its start and end those of the trial."""
    attempted(ledger)
    assert publish(ledger, toy.study(toy.trial()), default_uri(ledger.root)) == 1
    (run,) = published(ledger)
    assert run.info.run_name == "toy-0.s0"
    assert run.info.status == "FINISHED"
    assert (run.info.end_time or 0) >= (run.info.start_time or 0) > 0
    assert points(ledger, run) == committed(ledger)
    tags = run.data.tags
    expected = {"key": toy.trial().key, "arm": "toy-0", "seed": "0", "study.toys": "yes", "outcome": "finished",
                "attempts": "1", "commit": "abc", "host": "here"}  # fmt: skip
    assert {name: tags[name] for name in expected} == expected
    assert run.data.params["recipe.iterations"] == "10"


def test_kept_files_are_named_and_stay_where_they_are(ledger: Ledger) -> None:
    """A tag for each, with its checksum; nothing of 100 MB is sent."""
    attempted(ledger, keeps=2)
    publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    (run,) = published(ledger)
    head = ledger.folder(toy.trial().key).head()
    assert head is not None
    assert head.result is not None
    kept = {name.removeprefix("kept."): value for name, value in run.data.tags.items() if name.startswith("kept.")}
    assert kept == head.result["kept"]
    assert list(kept) == ["predictions-0.npz", "predictions-1.npz"]
    assert MlflowClient(tracking_uri=default_uri(ledger.root)).list_artifacts(run.info.run_id) == []


def test_publishing_again_changes_nothing(ledger: Ledger) -> None:
    """Idempotent, with and without the memory of what was published."""
    attempted(ledger)
    study = toy.study(toy.trial())
    publish(ledger, study, default_uri(ledger.root))
    assert publish(ledger, study, default_uri(ledger.root)) == 0
    for mark in (ledger.root / "published").iterdir():
        mark.unlink()
    assert publish(ledger, study, default_uri(ledger.root)) == 1
    (run,) = published(ledger)
    assert points(ledger, run) == committed(ledger)


def test_however_many_attempts_one_run(ledger: Ledger) -> None:
    """Published between attempts, it grows; no point is missing and none is there twice."""
    study, seen = toy.study(toy.trial(iterations=30)), []
    for until in (5, 12, 13, None):
        attempted(ledger, until=until, iterations=30)
        publish(ledger, study, default_uri(ledger.root))
        (run,) = published(ledger)
        seen.append(run.info.status)
        assert points(ledger, run) == committed(ledger)
    assert seen == ["FAILED", "FAILED", "FAILED", "FINISHED"]
    assert run.data.tags["attempts"] == "4"


def test_a_running_trial_is_running_and_a_killed_one_killed(ledger: Ledger) -> None:
    """The lock of the folder tells the living from the dead."""
    study, trial = toy.study(toy.trial()), toy.trial()
    with ledger.attempt(trial, provenance={}, commit_seconds=0.0) as attempt:
        attempt.log(1, {"train_error": 50.0})
        attempt.commit(1, b"1,1")
        publish(ledger, study, default_uri(ledger.root))
        assert [run.info.status for run in published(ledger)] == ["RUNNING"]
    publish(ledger, study, default_uri(ledger.root))
    assert [run.info.status for run in published(ledger)] == ["KILLED"]


def test_a_trial_of_two_studies_is_one_run(ledger: Ledger) -> None:
    """It carries both studies' tags."""
    attempted(ledger)
    for name in ("toys", "games"):
        publish(ledger, toy.study(toy.trial(), name=name), default_uri(ledger.root))
    (run,) = published(ledger)
    assert {"study.toys", "study.games"} <= set(run.data.tags)


def test_what_never_ran_is_not_in_mlflow(ledger: Ledger) -> None:
    """A view shows what is there."""
    assert publish(ledger, toy.study(toy.trial()), default_uri(ledger.root)) == 0
    assert published(ledger) == []


def test_undefined_values_arrive(ledger: Ledger) -> None:
    """A diverged trial's NaN is a NaN in MLflow, and the run is finished: divergence is a result."""
    with ledger.attempt(toy.trial(), provenance={}, commit_seconds=0.0) as attempt:
        attempt.log(1, {"train_loss": float("nan")})
        attempt.finish(1, b"", {"outcome": "diverged", "diverged_at": 1})
    publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    (run,) = published(ledger)
    ((_, value),) = points(ledger, run, "train_loss_nats")
    assert math.isnan(value)
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", "diverged")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "API request to http://h:9/x failed with exception HTTPConnectionPool(host='h', port=9): Max retries"
            " exceeded with url: /x (Caused by NewConnectionError(\"HTTPConnection(host='h', port=9): Failed to"
            ' establish a new connection: [Errno 111] Connection refused"))',
            "connection refused",
        ),
        (
            "Max retries exceeded with url: /x (Caused by NameResolutionError(\"HTTPConnection(host='no.invalid'):"
            " Failed to resolve 'no.invalid' ([Errno -2] Name or service not known)\"))",
            "no machine is called no.invalid",
        ),
        ("Max retries exceeded with url: /x (Caused by ReadTimeoutError('Read timed out.'))", "no answer in time"),
        (
            "API request to endpoint /x failed with error code 404 != 200. Response body: '<!DOCTYPE HTML>\n<html>'",
            "answers 404 and a page, as no MLflow server does; see the address",
        ),
        (
            "API request to endpoint /x failed with error code 401 != 200. Response body: 'not authenticated'",
            "API request to endpoint /x failed with error code 401 != 200. Response body: 'not authenticated'",
        ),
    ],
)
def test_what_libraries_wrap_is_unwrapped(said: str, cause: str) -> None:
    """A user is told the cause; what a server says for itself is told as it is."""
    assert one_line(Exception(said)) == cause


def test_an_unreachable_server_is_one_line(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the ledger has everything, and what to do."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    attempted(ledger)
    with pytest.raises(TrackingError, match="the ledger has it all: `ablate publish` later") as caught:
        publish(ledger, toy.study(toy.trial()), "http://127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert not list((ledger.root / "published").glob("*.json"))


def test_the_forwarder_ends_with_its_driver_and_misses_nothing(ledger: Ledger) -> None:
    """It is a process of its own; when the driver's end of the pipe closes, it publishes once more and ends."""
    study = toy.study(toy.trial())
    write_study(ledger.root, study)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.tracking", str(ledger.root), study.name, default_uri(ledger.root)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    attempted(ledger)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (run,) = published(ledger)
    assert points(ledger, run) == committed(ledger)


def client(ledger: Ledger) -> MlflowClient:
    return MlflowClient(tracking_uri=default_uri(ledger.root))


def forwarder(ledger: Ledger, study: str = "toys") -> "subprocess.Popen[str]":
    """One whose driver has ended already: it publishes once."""
    command = [sys.executable, "-m", "orchestrator.tracking", str(ledger.root), study, default_uri(ledger.root)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_removed_database_is_filled_again(ledger: Ledger) -> None:
    """The marks speak of a database that is gone, and are not believed."""
    attempted(ledger)
    study, uri = toy.study(toy.trial()), default_uri(ledger.root)
    publish(ledger, study, uri)
    (ledger.root / "mlflow.db").unlink()
    assert publish(ledger, study, uri) == 1
    (run,) = published(ledger)
    assert points(ledger, run) == committed(ledger)
    assert publish(ledger, study, uri) == 0


def test_a_database_replaced_while_publishing_is_noticed(ledger: Ledger, database: Path) -> None:
    """By a publisher that has the old one open, for trials that have ended and for those that go on."""
    attempted(ledger)
    attempted(ledger, 1, until=3)
    publisher, study = Publisher(ledger, default_uri(ledger.root)), toy.study(toy.trial(), toy.trial(1))
    assert (publisher.publish(study), publisher.publish(study)) == (2, 0)
    (ledger.root / "mlflow.db").unlink()
    (ledger.root / "mlflow.db").write_bytes(database.read_bytes())
    attempted(ledger, 1)
    assert publisher.publish(study) == 2
    assert sorted(points(ledger, run) for run in published(ledger)) == sorted([committed(ledger), committed(ledger, 1)])


def test_an_older_copy_of_the_database_gets_what_it_lacks(ledger: Ledger) -> None:
    """The run is there, not all of its points are."""
    study, uri, path = toy.study(toy.trial()), default_uri(ledger.root), ledger.root / "mlflow.db"
    attempted(ledger, until=4)
    publish(ledger, study, uri)
    older = path.read_bytes()
    attempted(ledger)
    publish(ledger, study, uri)
    path.unlink()
    path.write_bytes(older)
    assert publish(ledger, study, uri) == 1
    (run,) = published(ledger)
    assert points(ledger, run) == committed(ledger)


def test_a_deleted_run_is_restored(ledger: Ledger) -> None:
    """Also while its trial goes on; the other trials do not notice."""
    attempted(ledger, until=3)
    attempted(ledger, 1, until=3)
    publisher, study = Publisher(ledger, default_uri(ledger.root)), toy.study(toy.trial(), toy.trial(1))
    publisher.publish(study)
    for run in published(ledger):
        if run.data.tags["arm"] == "toy-0":
            client(ledger).delete_run(run.info.run_id)
    attempted(ledger)
    attempted(ledger, 1)
    assert publisher.publish(study) == 2
    assert {run.info.status for run in published(ledger)} == {"FINISHED"}
    assert sorted(points(ledger, run) for run in published(ledger)) == sorted([committed(ledger), committed(ledger, 1)])


def test_one_trials_damage_does_not_stop_the_others(ledger: Ledger) -> None:
    """They are published, then it is said; a damaged mark is none."""
    for number in range(3):
        attempted(ledger, number)
    study, uri = toy.study(*map(toy.trial, range(3))), default_uri(ledger.root)
    publish(ledger, toy.study(toy.trial(2)), uri)
    (ledger.folder(toy.trial(0).key).path / "commit.json").write_text("{")
    (ledger.root / "published" / f"{toy.trial(2).key}.json").write_text("[]")
    with pytest.raises(TrackingError, match=r"^toy-0\.s0: .*damaged") as caught:
        publish(ledger, study, uri)
    assert "\n" not in str(caught.value)
    assert sorted(run.data.tags["arm"] for run in published(ledger)) == ["toy-1", "toy-2"]


def test_several_failures_are_counted(ledger: Ledger) -> None:
    """The first is told."""
    for number in range(2):
        attempted(ledger, number)
        (ledger.folder(toy.trial(number).key).path / "commit.json").write_text("{")
    with pytest.raises(TrackingError, match=r"^toy-0\.s0: .*\(and 1 more\)"):
        publish(ledger, toy.study(toy.trial(), toy.trial(1)), default_uri(ledger.root))


def test_a_damaged_database_is_one_line(ledger: Ledger) -> None:
    """It is not MLflow's own exception that is raised there."""
    attempted(ledger)
    (ledger.root / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(TrackingError, match="not a database") as caught:
        publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    assert "\n" not in str(caught.value)


def test_two_publishers_at_once_make_one_database_and_one_run_per_trial(tmp_path: Path) -> None:
    """They take turns."""
    ledger, trials = Ledger(tmp_path), [toy.trial(number) for number in range(4)]
    write_study(tmp_path, toy.study(*trials))
    for number in range(4):
        attempted(ledger, number)
    processes = [forwarder(ledger), forwarder(ledger)]
    errors = [each.communicate(timeout=120)[1] for each in processes]
    assert [each.returncode for each in processes] == [0, 0], errors
    assert sorted(run.data.tags["arm"] for run in published(ledger)) == ["toy-0", "toy-1", "toy-2", "toy-3"]
    assert sorted(points(ledger, run) for run in published(ledger)) == sorted(committed(ledger, i) for i in range(4))


def test_of_two_runs_the_oldest_is_the_trials(ledger: Ledger) -> None:
    """However the second came to be."""
    attempted(ledger)
    experiment = client(ledger).create_experiment("toy")
    for start in (2000, 1000, 3000):
        client(ledger).create_run(experiment, start_time=start, tags={"key": toy.trial().key})
    publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    assert {run.info.start_time for run in published(ledger) if run.data.metrics} == {1000}


def test_parameters_are_there_after_a_kill_before_them(ledger: Ledger) -> None:
    """The run was made, and nothing more."""
    attempted(ledger)
    client(ledger).create_run(client(ledger).create_experiment("toy"), tags={"key": toy.trial().key})
    publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    (run,) = published(ledger)
    assert run.data.params["recipe.iterations"] == "10"
    assert points(ledger, run) == committed(ledger)


def test_a_failure_before_the_first_commit_is_shown_with_its_reason(ledger: Ledger) -> None:
    """The same run finishes when the trial does, and has no reason any more."""
    attempted(ledger, until=1)
    publisher, study = Publisher(ledger, default_uri(ledger.root)), toy.study(toy.trial())
    assert publisher.publish(study) == 1
    (failed,) = published(ledger)
    assert (failed.info.status, failed.data.metrics) == ("FAILED", {})
    assert failed.data.tags["reason"] == "RuntimeError: iteration 1 cannot be done"
    attempted(ledger)
    assert publisher.publish(study) == 1
    (run,) = published(ledger)
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "FINISHED")
    assert "reason" not in run.data.tags
    assert points(ledger, run) == committed(ledger)


def test_what_has_not_changed_is_not_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished trial costs one look at commit.json, in a new process one at its mark too."""
    attempted(ledger)
    attempted(ledger, 1, until=3)
    finished, both, uri = toy.study(toy.trial()), toy.study(toy.trial(), toy.trial(1)), default_uri(ledger.root)
    publisher = Publisher(ledger, uri)
    publisher.publish(both)
    for name in ("commits", "about", "records", "attempts"):
        monkeypatch.setattr(TrialFolder, name, None)
    assert publisher.publish(both) == 0
    fresh = Publisher(ledger, uri)
    assert fresh.publish(finished) == 0
    looks, look = list[Path](), publishing.signature
    monkeypatch.setattr(publishing, "signature", lambda path: looks.append(path) or look(path))
    monkeypatch.setattr(TrialFolder, "alive", None)
    assert fresh.publish(finished) == 0
    assert looks == [ledger.folder(toy.trial().key).path / "commit.json"]


def test_a_trial_begun_anew_is_not_drawn_twice(ledger: Ledger) -> None:
    """Its folder was removed; the points come again, at another time, and are known."""
    attempted(ledger)
    study, uri = toy.study(toy.trial()), default_uri(ledger.root)
    publish(ledger, study, uri)
    for path in sorted(ledger.folder(toy.trial().key).path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for until in (4, None):
        attempted(ledger, until=until)
        assert publish(ledger, study, uri) == 1
        (run,) = published(ledger)
        assert len(points(ledger, run)) == 10
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("name", ["a b", "100%", "%3F", "why?", "no#1", "Größe", "a+b&c=d;e"])
def test_an_address_names_its_file(tmp_path: Path, name: str) -> None:
    """As SQLAlchemy reads it, and back."""
    from sqlalchemy.engine import make_url

    expected = tmp_path / name / "mlflow.db"
    assert make_url(default_uri(tmp_path / name)).database == str(expected)
    assert addresses.database(default_uri(tmp_path / name)) == expected
    assert addresses.database("http://127.0.0.1:5000") is None
    assert addresses.database("sqlite:///mlflow.db") == Path("mlflow.db")


def test_results_of_any_name_have_their_database_and_artifacts_inside(tmp_path: Path) -> None:
    """What a shell lets one type."""
    ledger = Ledger(tmp_path / "100% of a#b, why?")
    attempted(ledger)
    publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    assert (ledger.root / "mlflow.db").is_file()
    (run,) = published(ledger)
    client(ledger).log_text(run.info.run_id, "text", "note.txt")
    assert [path.read_text() for path in (ledger.root / "mlartifacts").rglob("note.txt")] == ["text"]
    assert list(tmp_path.iterdir()) == [ledger.root]


def test_the_forwarder_survives_and_says_how_its_last_publication_went(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever is raised it tries again; a reason is said once, and at the end; 0 if all was published then."""
    polls = iter([False, False, False, True, True])
    monkeypatch.setattr(forwarding, "_closed", lambda _: next(polls))
    assert forwarding.follow(ledger.root, "toys", default_uri(ledger.root)) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "study.json" in lines[-1]
    attempted(ledger)
    write_study(ledger.root, toy.study(toy.trial()))
    assert forwarding.follow(ledger.root, "toys", default_uri(ledger.root)) == 0


def test_metrics_carry_their_unit() -> None:
    """Errors are percentages, losses nats, the learning rate has none; costs are named with theirs."""
    assert [metric_name(each) for each in ("test_error", "train_loss", "lr", "peak_memory_mib")] == [
        "test_error_percent", "train_loss_nats", "lr", "peak_memory_mib",
    ]  # fmt: skip
    views = ("test_top5_error", "ten_crop_error", "ten_crop_top5_error", "multi_scale_error", "multi_scale_top5_error")
    assert [metric_name(each) for each in views] == [f"{each}_percent" for each in views]
    kinds = ("validation", "clean_train", "precise_test")
    assert [metric_name(f"{kind}_{what}") for kind in kinds for what in ("error", "loss")] == [
        f"{kind}_{what}" for kind in kinds for what in ("error_percent", "loss_nats")
    ]


PROBED = tuple(f"probe.{name}" for name in probe_summary(toy.seen(2)))


def expected_probes(metric: str, iterations: Iterable[int]) -> list[tuple[int, float]]:
    """What each probe of the toy comes down to."""
    found = [(at, probe_summary(toy.seen(at))) for at in iterations]
    name = metric.removeprefix("probe.")
    return [(at, each[name]) for at, each in found if name in each]


@pytest.mark.parametrize("forget", [False, True], ids=["remembering", "forgetting"])
@pytest.mark.parametrize("steps", [(None,), (1, 2, None), (3, 5, 8, None)], ids=str)
def test_costs_and_probes_arrive_once(ledger: Ledger, steps: tuple[int | None, ...], forget: bool) -> None:
    """However many commits lie between two publications, and whether or not what was published is remembered: that at
    the initialisation too, which lies before the first curve record."""
    study = toy.study(toy.trial())
    for until in steps:
        attempted(ledger, until=until, probe_every=2)
        publish(ledger, study, default_uri(ledger.root))
        for mark in (ledger.root / "published").glob("*.json") if forget else ():
            mark.unlink()
    (run,) = published(ledger)
    assert points(ledger, run, "system/images_per_second") == [(at, float(at)) for at in range(1, 11)]
    for metric in PROBED:
        assert points(ledger, run, metric) == expected_probes(metric, range(0, 11, 2)), metric


def test_a_probe_between_two_curve_records_is_neither_lost_nor_doubled(ledger: Ledger) -> None:
    """A commit may hold probes without a curve record after them, one at iteration 0 no curve record at all; MLflow is
    an older copy, or nobody remembers, and all is sent again."""
    study, uri = toy.study(toy.trial()), default_uri(ledger.root)
    with ledger.attempt(toy.trial(), provenance={}, commit_seconds=0.0) as attempt:
        for iteration in (0, 3, 6, 7):
            attempt.probe(toy.seen(iteration))
            if iteration == 6:
                attempt.log(6, {"train_error": 1.0})
            attempt.commit(iteration, b"%d,1" % iteration)
            for _ in range(2):
                publish(ledger, study, uri)
                for mark in (ledger.root / "published").glob("*.json"):
                    mark.unlink()
    publish(ledger, study, uri)
    (run,) = published(ledger)
    for metric in PROBED:
        assert points(ledger, run, metric) == expected_probes(metric, (0, 3, 6, 7)), metric


def test_a_probe_of_a_dead_network_stops_nothing(ledger: Ledger) -> None:
    """Where no gradient arrives, a ratio is undefined or infinite; MLflow has NaN, and its largest number."""
    with ledger.attempt(toy.trial(), provenance={}, commit_seconds=0.0) as attempt:
        attempt.probe(toy.seen(1) | {"gradient": [1.0, 0.0], "norm_variance": [float("nan"), 1.0]})
        attempt.log(1, {"train_error": 90.0, "validation_error": 80.0})
        attempt.finish(1, b"", {"outcome": "finished"})
    publish(ledger, toy.study(toy.trial()), default_uri(ledger.root))
    (run,) = published(ledger)
    ((_, ratio),), ((_, variance),) = (
        points(ledger, run, f"probe.{name}") for name in ("gradient_first_over_last", "norm_variance_min")
    )
    assert ratio > 1e300
    assert math.isnan(variance)
    assert points(ledger, run, "validation_error_percent") == [(1, 80.0)]


# A study's summary


def summary_of(finished: int, page: str) -> Summary:
    return Summary(
        study=toy.study(toy.trial(0)),
        metrics={"trials_finished": finished},
        files={"report.html": page, "report.csv": "a,b"},
    )


def summaries(ledger: Ledger) -> list[MlflowRun]:
    return [run for run in published(ledger) if run.data.tags.get("kind") == "summary"]


def kept_file(ledger: Ledger, run: MlflowRun, name: str, folder: Path) -> str:
    client = MlflowClient(tracking_uri=default_uri(ledger.root))
    return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_text()


def test_a_study_has_one_summary_with_its_page_and_tables(ledger: Ledger, tmp_path: Path) -> None:
    """However often it is shown: the newest numbers and files, and the tags that a list is filtered by."""
    uri = default_uri(ledger.root)
    attempted(ledger)
    publish(ledger, toy.study(toy.trial(0)), uri)
    assert summarise(ledger, summary_of(0, "<p>old</p>"), uri)
    assert summarise(ledger, summary_of(1, "<p>new</p>"), uri)
    (run,) = summaries(ledger)
    assert (run.info.run_name, run.info.status) == ("toys (summary)", "FINISHED")
    assert run.data.metrics == {"trials_finished": 1.0}
    expected = {"study.toys": "yes", "studies": "toys", "arms": "1", "trials": "1"}
    assert {name: run.data.tags[name] for name in expected} == expected
    client = MlflowClient(tracking_uri=uri)
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"report.html", "report.csv"}
    assert kept_file(ledger, run, "report.html", tmp_path) == "<p>new</p>"


def test_what_a_summarys_note_filters_by_are_the_trials(ledger: Ledger) -> None:
    uri = default_uri(ledger.root)
    attempted(ledger)
    publish(ledger, toy.study(toy.trial(0)), uri)
    summarise(ledger, summary_of(1, "a"), uri)
    (summary,) = summaries(ledger)
    *_, which, _ = summary.data.tags["mlflow.note.content"].split("`")
    found = MlflowClient(tracking_uri=uri).search_runs([summary.info.experiment_id], which)
    assert [run.info.run_name for run in found] == ["toy-0.s0"]


def test_a_summary_that_has_not_changed_is_left_as_it_is(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, no file is sent again; of two files the one that changed is."""
    uri = default_uri(ledger.root)
    summarise(ledger, summary_of(1, "a"), uri)
    (before,) = summaries(ledger)
    sent: list[str] = []
    log_text = MlflowClient.log_text
    monkeypatch.setattr(MlflowClient, "log_text", lambda *given: sent.append(given[3]) or log_text(*given))
    assert not summarise(ledger, summary_of(1, "a"), uri)
    (after,) = summaries(ledger)
    assert (sent, after.to_dictionary()) == ([], before.to_dictionary())
    assert summarise(ledger, summary_of(1, "b"), uri)
    assert sent == ["report.html"]
    history = MlflowClient(tracking_uri=uri).get_metric_history(after.info.run_id, "trials_finished")
    assert [each.value for each in history] == [1.0]


def test_a_second_summary_that_a_lost_reply_left_is_deleted(ledger: Ledger) -> None:
    uri, client = default_uri(ledger.root), MlflowClient(tracking_uri=default_uri(ledger.root))
    summarise(ledger, summary_of(1, "a"), uri)
    (first,) = summaries(ledger)
    client.create_run(first.info.experiment_id, tags={"key": summary_of(1, "a").key, "kind": "summary"})
    assert len(summaries(ledger)) == 2
    for page in "bc":
        summarise(ledger, summary_of(1, page), uri)
        assert [run.info.run_id for run in summaries(ledger)] == [first.info.run_id]


def test_a_deleted_summary_is_restored(ledger: Ledger) -> None:
    uri, client = default_uri(ledger.root), MlflowClient(tracking_uri=default_uri(ledger.root))
    summarise(ledger, summary_of(1, "a"), uri)
    (first,) = summaries(ledger)
    client.delete_run(first.info.run_id)
    summarise(ledger, summary_of(1, "a"), uri)
    assert [run.info.run_id for run in summaries(ledger)] == [first.info.run_id]


def test_a_file_that_did_not_arrive_is_sent_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says that it is there is written after it."""
    uri = default_uri(ledger.root)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_text", full)
        with pytest.raises(TrackingError, match="No space left on device; the ledger has"):
            summarise(ledger, summary_of(1, "a"), uri)
    assert summarise(ledger, summary_of(1, "a"), uri)
    (run,) = summaries(ledger)
    files = MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id)
    assert (run.info.status, len(files)) == ("FINISHED", 2)


def test_a_summary_is_no_trial(ledger: Ledger) -> None:
    """Publishing after it finds the trials as they are."""
    uri = default_uri(ledger.root)
    summarise(ledger, summary_of(0, "a"), uri)
    attempted(ledger)
    assert publish(ledger, toy.study(toy.trial(0)), uri) == 1
    assert publish(ledger, toy.study(toy.trial(0)), uri) == 0
    assert len(published(ledger)) == 2


def test_a_summary_that_cannot_be_shown_is_one_line(ledger: Ledger) -> None:
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9: "):
        summarise(ledger, summary_of(0, "a"), "http://127.0.0.1:9")


# How runs read


def test_a_run_reads_well_by_itself(ledger: Ledger) -> None:
    """Tags to filter by, a note that says what it is and where all of it stands, costs as facts of the machine."""
    attempted(ledger)
    publish(ledger, toy.study(toy.trial(0)), default_uri(ledger.root))
    (run,) = published(ledger)
    tags = run.data.tags
    assert (tags["kind"], tags["paper"], tags["studies"]) == ("trial", "yes", "toys")
    assert tags["arm"] in tags["mlflow.note.content"]
    assert "`ablate show" in tags["mlflow.note.content"]
    system = {name for name in run.data.metrics if name.startswith("system/")}
    assert system == {"system/images_per_second"}


def test_a_description_that_somebody_wrote_stays(ledger: Ledger) -> None:
    """Of a trial that goes on, of one that is published anew, and of a summary."""
    uri, of = default_uri(ledger.root), toy.study(toy.trial(0))
    client = MlflowClient(tracking_uri=uri)
    attempted(ledger, until=4)
    publish(ledger, of, uri)
    summarise(ledger, summary_of(0, "a"), uri)
    for run in published(ledger):
        client.set_tag(run.info.run_id, "mlflow.note.content", "mine")
    attempted(ledger)
    publish(ledger, of, uri)
    for mark in (ledger.root / "published").glob("*.json"):
        mark.unlink()
    publish(ledger, of, uri)
    summarise(ledger, summary_of(1, "b"), uri)
    assert [run.data.tags["mlflow.note.content"] for run in published(ledger)] == ["mine", "mine"]


@pytest.mark.parametrize("forget", [False, True], ids=["remembering", "forgetting"])
def test_a_run_lists_the_studies_that_ask_for_it(ledger: Ledger, forget: bool) -> None:
    uri = default_uri(ledger.root)
    attempted(ledger)
    for name in ("toys", "more", "toys"):
        publish(ledger, replace(toy.study(toy.trial(0)), name=name), uri)
        for mark in (ledger.root / "published").glob("*.json") if forget else ():
            mark.unlink()
    (run,) = published(ledger)
    assert run.data.tags["studies"] == "more, toys"
