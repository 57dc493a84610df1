"""MLflow itself, at one address: the runs that are there, and what is sent to them. The only file that knows MLflow.

No request is sent twice by MLflow's client: where a reply is lost the server may have done what was asked, so the next
look begins with what is there. A request that a frozen server answers after its sender has given up can still make a
second run of a trial; then the oldest stays, and the others are marked and deleted.
"""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.studies import RecordedArm, RecordedStudy
from orchestrator.tracking.addresses import database, with_driver
from orchestrator.tracking.exhibits import Exhibit
from orchestrator.tracking.marks import Mark
from orchestrator.tracking.summaries import Summary
from orchestrator.tracking.thinning import Point, Thinning

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
RUNS_PER_CALL = 200
REQUEST_SECONDS = "10"
"""How long one answer is waited for, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise. A frozen server takes two of
these of each look."""
NOTE = "mlflow.note.content"
"""Tag of what MLflow calls a run's description; it is given once, for a person may write another one."""
DOUBLE = "double_of"
"""Tag of a trial's second run, which is none of ours any more: the run that stays."""


class View:
    """MLflow at one address, as it was when this was made. Experiments are data sets: a trial has exactly one of these,
    while it may serve several studies, which are tags."""

    def __init__(
        self,
        uri: str,
        results: Path,
        study: RecordedStudy,
        marks: Mapping[str, Mark],
        doubted: set[str],
    ) -> None:
        """With the mark of every trial that was shown before, by its key."""
        self._uri, self._folder = uri, results / "mlartifacts"
        self._doubted = doubted
        self._client = _client(uri)
        self._experiments = {name: self._experiment(name) for name in {_experiment(each) for each in study.arms}}
        self._iterations: dict[str, int] = {}
        """Of each run that is known to be there, the iteration up to which it has every point."""
        self._verify(study.name, marks)
        self.file = identity(uri)

    def has(self, mark: Mark) -> bool:
        """Whether MLflow holds what the mark says: the database may be another, or an older copy."""
        return self._iterations.get(mark.run_id) == mark.standing["iteration"]

    def is_sole(self, exhibit: Exhibit, mark: Mark) -> bool:
        """Whether the mark's run is the trial's, and there is no other any more."""
        run = self._trials(exhibit)
        return run is not None and run.info.run_id == mark.run_id and run.info.lifecycle_stage == "active"

    def show(self, exhibit: Exhibit, mark: Mark | None) -> str:
        """Send what the mark does not vouch for, to the trial's run; returns the run's id."""
        if mark:
            run_id, after, ended, studies = mark.run_id, mark.sent, mark.ended, set(mark.studies)
        else:
            run = self._run(exhibit)
            run_id, after, ended, studies = run.info.run_id, -1, False, _studies(run)
        thinning = deepcopy(exhibit.thinning) if mark else Thinning(exhibit.arm.recipe["iterations"])
        self._send(run_id, exhibit.points(after, thinning, ended=ended))
        exhibit.thinning = thinning  # only now: what did not arrive is read again
        self._label(run_id, exhibit, {*studies, exhibit.study.name})
        self._iterations[run_id] = exhibit.iteration
        return run_id

    def summarise(self, summary: Summary) -> bool:
        """Bring the study's summary up to date; whether there was anything to do. There is one alone: a reply that is
        lost, or comes late, leaves a run that the next look finds."""
        experiment = self._experiments.get(summary.experiment) or self._experiment(summary.experiment)
        run = self._sole(experiment, summary.key)
        if run is None:
            tags = {"key": summary.key, NOTE: summary.note}
            made = self._client.create_run(experiment, run_name=summary.name, tags=tags)
            run = self._sole(experiment, summary.key) or made
        self._restore(run)
        metrics = {name: value for name, value in summary.metrics.items() if run.data.metrics.get(name) != value}
        digests = summary.digests if self._takes_files else {}
        files = [
            name
            for name in summary.files
            if digests.get(f"file.{name}") not in (None, run.data.tags.get(f"file.{name}"))
        ]
        tags = {name: value for name, value in {**summary.tags, **digests}.items() if run.data.tags.get(name) != value}
        if not (metrics or files or tags) and run.info.status == "FINISHED":
            return False
        self._fill(run.info.run_id, metrics, {name: summary.files[name] for name in files}, tags)
        return True

    def _fill(
        self, run_id: str, metrics: Mapping[str, float], files: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Tags are last, for they say that all before is there."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        self._client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()])
        for name, text in files.items():
            self._client.log_text(run_id, text, name)
        self._client.log_batch(run_id, tags=[RunTag(*each) for each in tags.items()])
        self._client.set_terminated(run_id, "FINISHED")

    @property
    def _takes_files(self) -> bool:
        """Not a database that is no file of this machine: the files of its runs are its server's to receive."""
        return bool(database(self._uri) or re.match(r"https?://", self._uri))

    def _verify(self, study: str, marks: Mapping[str, Mark]) -> None:
        """Look for the study's runs, for those that nobody came to label, and for the rest of those that were marked.

        A trial that has two runs is left out, so that it is looked at again.
        """
        runs: dict[str, dict[str, int]] = {}
        for which in (f"tags.`study.{study}` = 'yes'", "attributes.status = 'RUNNING'"):
            for run in self._active(which):
                _note(run, runs)
        missing = [mark.run_id for key, mark in marks.items() if mark.run_id not in runs.get(key, ())]
        for start in range(0, len(missing), RUNS_PER_CALL):
            ids = ", ".join(f"'{each}'" for each in missing[start : start + RUNS_PER_CALL])
            for run in self._active(f"attributes.run_id IN ({ids})"):
                _note(run, runs)
        for of_key in runs.values():
            if len(of_key) == 1:
                self._iterations |= of_key

    def _active(self, which: str) -> "Iterator[Run]":
        from mlflow.entities import ViewType

        experiments, token = list(self._experiments.values()), None
        while token != "":
            page = self._client.search_runs(
                experiments, which, ViewType.ACTIVE_ONLY, max_results=RUNS_PER_CALL, page_token=token
            )
            yield from page
            token = page.token or ""

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return self._client.create_experiment(name, self._artifacts(name))
            except Exception:
                found = self._client.get_experiment_by_name(name)  # another publisher's, or ours with its reply lost
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _artifacts(self, name: str) -> str | None:
        """Where an experiment's files lie: beside SQLite, or where the server of the database keeps them."""
        if re.match(r"https?://", self._uri):
            return None
        return self._folder.resolve().as_uri() if database(self._uri) else f"mlflow-artifacts:/{name}"

    def _run(self, exhibit: Exhibit) -> "Run":
        """The trial's run, found or made, with every parameter: whoever made it may not have come to them."""
        from mlflow.entities import Param

        run = self._trials(exhibit) or self._made(exhibit)
        self._restore(run)
        params = [Param(*each) for each in exhibit.params().items() if each[0] not in run.data.params]
        for start in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(run.info.run_id, params=params[start : start + PARAMS_PER_CALL])
        return run

    def _restore(self, run: "Run") -> None:
        """Where somebody has deleted it."""
        if run.info.lifecycle_stage != "active":
            self._client.restore_run(run.info.run_id)
            if DOUBLE in run.data.tags:
                self._client.delete_tag(run.info.run_id, DOUBLE)

    def _made(self, exhibit: Exhibit) -> "Run":
        """A new run, unless another publisher, who does not share our lock, made one at the same time."""
        first = exhibit.key not in self._doubted
        self._doubted.add(exhibit.key)
        made = self._client.create_run(
            self._experiments[_experiment(exhibit.arm)],
            start_time=exhibit.started,
            run_name=exhibit.name,
            tags={"key": exhibit.key, "arm": exhibit.arm.name, "seed": str(exhibit.seed), NOTE: exhibit.note},
        )
        if first:
            self._doubted.discard(exhibit.key)
        return self._trials(exhibit) or made

    def _trials(self, exhibit: Exhibit) -> "Run | None":
        return self._sole(self._experiments[_experiment(exhibit.arm)], exhibit.key)

    def _sole(self, experiment: str, key: str) -> "Run | None":
        """The oldest run of this key, and if they are of one age the one whose id comes first, so that every
        publisher keeps the same; one that was deleted only if there is no other. Others are marked, and deleted."""
        from mlflow.entities import ViewType

        found = self._client.search_runs([experiment], f"tags.key = '{key}'", ViewType.ALL, max_results=100)
        oldest, *others = sorted(found, key=_age) or [None]
        for each in others:
            if oldest and each and each.info.lifecycle_stage == "active" and DOUBLE not in each.data.tags:
                self._client.set_tag(each.info.run_id, DOUBLE, oldest.info.run_id)
                self._delete(each.info.run_id)
        return oldest

    def _delete(self, run_id: str) -> None:
        """Where the server lets us; who may only write leaves the run as it is marked."""
        try:
            self._client.delete_run(run_id)
        except Exception as error:
            if getattr(error, "error_code", None) != "PERMISSION_DENIED":
                raise

    def _send(self, run_id: str, points: Iterator[Point]) -> None:
        """Batch by batch, so that no curve is ever held whole."""
        from mlflow.entities import Metric

        while metrics := [Metric(*point) for point in islice(points, METRICS_PER_CALL)]:
            self._client.log_batch(run_id, metrics=metrics)

    def _label(self, run_id: str, exhibit: Exhibit, studies: set[str]) -> None:
        """Tags, which may change, and the run's state: last, for they say that all before is there."""
        from mlflow.entities import RunTag

        tags, status = exhibit.tags() | {"studies": ", ".join(sorted(studies))[:5000]}, exhibit.standing["status"]
        self._client.log_batch(run_id, tags=[RunTag(*each) for each in tags.items()])
        if "reason" not in tags and "reason" in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, "reason")
        if status == "RUNNING":
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status, end_time=exhibit.ended)


def _client(uri: str) -> "MlflowClient":
    """A client that has nothing open: MLflow keeps its stores and their connections for the life of the process, also
    those to a file that is gone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # or it would ask for a run twice, where the reply was lost
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_SECONDS)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for every run that ends
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised, and said in one line
    if database(uri):
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from mlflow.tracking._tracking_service.utils import _tracking_store_registry

        _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
        if engine := getattr(SqlAlchemyStore, "_engine_map", {}).pop(uri, None):
            engine.dispose()
    return MlflowClient(tracking_uri=with_driver(uri))


def _experiment(arm: RecordedArm) -> str:
    return str(arm.network["data"])


def _studies(run: "Run") -> set[str]:
    """Whose tag it carries."""
    return {name.removeprefix("study.") for name in run.data.tags if name.startswith("study.")}


def _age(run: "Run") -> tuple[bool, bool, int, str]:
    """By which runs of one trial are ordered: the first is the trial's."""
    info = run.info
    return (DOUBLE in run.data.tags, info.lifecycle_stage != "active", info.start_time or 0, info.run_id)


def _note(run: "Run", runs: dict[str, dict[str, int]]) -> None:
    """Put a run under its key, with the iteration up to which it has every point: -1 if that is not known."""
    if DOUBLE in run.data.tags:
        return
    iteration = run.data.tags.get("iteration", "")
    runs.setdefault(run.data.tags.get("key", ""), {})[run.info.run_id] = int(iteration) if iteration.isdecimal() else -1


def identity(uri: str) -> tuple[int, int] | None:
    """Which file the database is; None if there is none, or if it is no file."""
    path = database(uri)
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None
