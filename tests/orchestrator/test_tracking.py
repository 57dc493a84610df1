"""MLflow as a view of the ledger: one run per trial, every committed point once, whatever happens in between."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import toy

from orchestrator.ledger import Ledger
from orchestrator.studies import write_study
from orchestrator.tracking import TrackingError, default_uri, metric_name, publish

pytest.importorskip("mlflow")
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient


class Stopped(Exception): ...


def attempted(ledger: Ledger, number: int = 0, *, until: int | None = None, iterations: int = 10) -> None:
    """Run the toy, whole or up to an iteration, committing after every record."""
    trial = toy.trial(number, iterations=iterations)
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


def test_an_unreachable_server_is_one_line(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the ledger has everything, and what to do."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    attempted(ledger)
    with pytest.raises(TrackingError, match="the ledger has it all: `ablate publish` later") as caught:
        publish(ledger, toy.study(toy.trial()), "http://127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert not (ledger.root / "published").exists()


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


def test_metrics_carry_their_unit() -> None:
    """Errors are percentages, losses nats, the learning rate has none."""
    assert [metric_name(each) for each in ("test_error", "train_loss", "lr")] == [
        "test_error_percent", "train_loss_nats", "lr",
    ]  # fmt: skip
