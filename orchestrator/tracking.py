"""The ledger, shown in MLflow: one run per trial, however many attempts. The only file that knows MLflow.

A view, written by a process of its own: a dead tracking server costs a late view and nothing else. Publishing is
idempotent: a run is found by its trial's key before one is made, and only committed records after the last published
one are sent, with the time at which they were made.
"""

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Commit, Ledger, LedgerError, TrialFolder
from orchestrator.studies import RecordedArm, RecordedStudy, read_study

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

METRICS_PER_CALL = 1000
POLL_SECONDS = 3.0
UNITS = {"train_error": "percent", "test_error": "percent", "train_loss": "nats", "test_loss": "nats"}


class TrackingError(Exception):
    """The tracking server or its database cannot be reached. One line: what, and what to do."""


def default_uri(results: Path) -> str:
    """SQLite beside the ledger."""
    return f"sqlite:///{results.resolve() / 'mlflow.db'}"


def publish(ledger: Ledger, study: RecordedStudy, uri: str) -> int:
    """Copy what the ledger holds of the study's trials and MLflow does not; returns the number of trials touched.

    Raises TrackingError when MLflow cannot be reached.
    """
    view = _View(ledger, study, uri)
    return sum(view.show(arm, seed, key) for arm in study.arms for seed, key in arm.trials)


class _View:
    """MLflow as the ledger's mirror, for one study. Experiments are data sets: a trial has exactly one of these,
    while it may serve several studies, which are tags."""

    def __init__(self, ledger: Ledger, study: RecordedStudy, uri: str) -> None:
        self.ledger, self.study, self._uri = ledger, study, uri
        self._artifacts = (ledger.root / "mlartifacts").resolve().as_uri() if uri.startswith("sqlite:") else None
        self._experiments: dict[str, str] = {}

    @cached_property
    def _client(self) -> "MlflowClient":
        """Made when there is something to show: importing MLflow takes seconds."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self._uri)

    def show(self, arm: RecordedArm, seed: int, key: str) -> bool:
        """Bring one trial's run up to date; False if there was nothing to do."""
        folder = self.ledger.folder(key)
        head = folder.head()
        if head is None:
            return False
        mark = _Mark(self.ledger.root / "published" / f"{key}.json", self._uri)
        standing = {"iteration": head.iteration, "attempt": len(folder.attempts()), "status": _status(folder, head)}
        if mark.standing == standing and self.study.name in mark.studies:
            return False
        from mlflow.exceptions import MlflowException

        try:
            run_id = mark.run_id or self._find(key, arm) or self._create(key, arm, seed, folder)
            self._send(run_id, folder, head, after=mark.standing.get("iteration", 0))
            self._label(run_id, folder, head, standing["status"])
        except MlflowException as error:
            raise TrackingError(
                f"{self._uri}: {' '.join(str(error).split())[:300]}; the ledger has it all: `ablate publish` later"
            ) from error
        mark.write(run_id, standing, self.study.name)
        return True

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            self._experiments[name] = (
                found.experiment_id if found else self._client.create_experiment(name, self._artifacts)
            )
        return self._experiments[name]

    def _find(self, key: str, arm: RecordedArm) -> str | None:
        found = self._client.search_runs(
            [self._experiment(arm.network["data"])], filter_string=f"tags.key = '{key}'", max_results=1
        )
        return found[0].info.run_id if found else None

    def _create(self, key: str, arm: RecordedArm, seed: int, folder: TrialFolder) -> str:
        from mlflow.entities import Param

        about = folder.about() or {}
        run = self._client.create_run(
            self._experiment(arm.network["data"]),
            start_time=_milliseconds(about.get("created")),
            run_name=f"{arm.name}.s{seed}",
            tags={"key": key, "arm": arm.name, "seed": str(seed)},
        )
        params = {f"network.{k}": v for k, v in arm.network.items()} | {f"recipe.{k}": v for k, v in arm.recipe.items()}
        params |= {"seed": seed, "parameters": arm.parameters, "multiply_adds": arm.multiply_adds}
        self._client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in params.items()])
        return run.info.run_id

    def _send(self, run_id: str, folder: TrialFolder, head: Commit, after: int) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(metric_name(name), float(value), int(clock["time"] * 1000), record["iteration"])
            for record, clock in zip(
                folder.records("curves.jsonl", head), folder.records("clock.jsonl", head), strict=True
            )
            if record["iteration"] > after
            for name, value in record.items()
            if name != "iteration"
        ]
        for start in range(0, len(metrics), METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])

    def _label(self, run_id: str, folder: TrialFolder, head: Commit, status: str) -> None:
        """Tags, which may change, and the run's state."""
        from mlflow.entities import RunTag

        attempts = folder.attempts()
        tags = _tags(self.study, folder, head, attempts)
        self._client.log_batch(run_id, tags=[RunTag(name, str(value)[:5000]) for name, value in tags.items()])
        if status == "RUNNING":
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status, end_time=int(head.time * 1000))


class _Mark:
    """What of a trial was already published where: a saving, never a truth. Losing it only costs a second look."""

    def __init__(self, path: Path, uri: str) -> None:
        self._path, self._uri = path, uri
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            data = {}
        if data.get("uri") != uri:
            data = {}
        self.run_id: str | None = data.get("run_id")
        self.standing: Mapping[str, Any] = data.get("standing", {})
        self.studies: Sequence[str] = data.get("studies", ())

    def write(self, run_id: str, standing: Mapping[str, Any], study: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        record = {
            "uri": self._uri,
            "run_id": run_id,
            "standing": standing,
            "studies": sorted({*self.studies, study}),
        }
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(self._path)


def metric_name(metric: str) -> str:
    """`train_error_percent`: names in MLflow carry their unit."""
    return f"{metric}_{UNITS[metric]}" if metric in UNITS else metric


def _status(folder: TrialFolder, head: Commit) -> str:
    """MLflow's word for how a trial stands. Diverged is a result, so it is FINISHED; the tag `outcome` tells."""
    if head.result is not None:
        return "FINISHED"
    if folder.alive():
        return "RUNNING"
    return "FAILED" if any(each.get("cause") == "error" for each in folder.attempts()[-1:]) else "KILLED"


def _tags(
    study: RecordedStudy, folder: TrialFolder, head: Commit, attempts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    params = (folder.about() or {}).get("params", {})
    network = params.get("network", {})
    last = attempts[-1] if attempts else {}
    tags: dict[str, Any] = {
        f"study.{study.name}": "yes",
        "depth": network.get("depth"),
        "shortcut": network.get("shortcut"),
        "family": "plain" if network.get("shortcut") == "none" else "resnet",
        "data": params.get("data", {}).get("name"),
        "data.fingerprint": params.get("data", {}).get("fingerprint"),
        "attempts": len(attempts),
        "iteration": head.iteration,
        "train_seconds": head.seconds,
        "outcome": (head.result or {}).get("outcome", "running"),
        "commit": last.get("commit"),
        "dirty": last.get("dirty"),
        "host": last.get("host"),
    }
    tags |= {f"hardware.{name}": value for name, value in last.get("hardware", {}).items()}
    tags |= {f"version.{name}": value for name, value in last.get("versions", {}).items() if value}
    if weights := (head.result or {}).get("weights_sha256"):
        tags["weights_sha256"] = weights
    return tags


def _milliseconds(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else None


def follow(results: Path, study: str, uri: str) -> None:
    """Publish again and again until standard input is closed, which is when the driver has ended; then once more."""
    ledger = Ledger(results)
    while True:
        over = bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0]) and not os.read(sys.stdin.fileno(), 1)
        started = time.monotonic()
        try:
            publish(ledger, read_study(results, study), uri)
        except (TrackingError, LedgerError) as error:
            print(f"mlflow: {error}", file=sys.stderr, flush=True)  # noqa: T201
        if over:
            return
        time.sleep(min(10.0, time.monotonic() - started))


def _main() -> None:
    parser = argparse.ArgumentParser(description="Copy committed records of a study to MLflow while it runs.")
    parser.add_argument("results", type=Path)
    parser.add_argument("study")
    parser.add_argument("uri")
    given = parser.parse_args()
    follow(given.results, given.study, given.uri)


if __name__ == "__main__":
    _main()
