"""The ledger, shown in MLflow: one run per trial, however many attempts. The only file that knows MLflow.

A view, written by a process of its own: a dead tracking server costs a late view and nothing else. Publishing is
idempotent: a run is found by its trial's key before one is made, only committed records are sent, with the time at
which they were made, and MLflow drops a point that it has. A run that was deleted in MLflow is restored.

No request is sent twice by MLflow's client: where a reply is lost the server may have done what was asked, so the next
look begins with what is there. A request that a frozen server answers after its sender has given up can still make a
second run of a trial; then the oldest stays, and the others are marked and deleted.
"""

import argparse
import logging
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from orchestrator.exhibits import Exhibit
from orchestrator.ledger import Ledger, LedgerError
from orchestrator.marks import Busy, Mark, Marks, signature
from orchestrator.studies import RecordedArm, RecordedStudy, read_study
from orchestrator.thinning import Point, Thinning

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
RUNS_PER_CALL = 200
POLL_SECONDS = 3.0
REQUEST_SECONDS = "10"
"""How long one answer is waited for, unless MLFLOW_HTTP_REQUEST_TIMEOUT says otherwise. A frozen server takes two of
these of each look."""
DOUBLE = "double_of"
"""Tag of a trial's second run, which is none of ours any more: the run that stays."""


class TrackingError(Exception):
    """Not everything was published. One line: what stood in the way, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; the ledger has it all: `ablate publish` later")
        self.reason = reason


class _Away(Exception):
    """The server or the database cannot be used at all."""


def default_uri(results: Path) -> str:
    """SQLite beside the ledger."""
    path = str(results.resolve() / "mlflow.db")
    quoted = path.replace("%", "%25").replace("?", "%3F")  # SQLAlchemy takes every other character as it is
    # At an address that begins with sqlite:///, MLflow makes the folder as it is written: quoted, beside ours.
    return f"sqlite:///{path}" if quoted == path else f"sqlite+pysqlite:///{quoted}"


def database(uri: str) -> Path | None:
    """The file of a SQLite address; None for any other."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(unquote(found[1])) if found and found[1] != ":memory:" else None


def with_driver(uri: str) -> str:
    """An address of PostgreSQL names the package that we install: without it SQLAlchemy 2.1 looks for another one."""
    return re.sub(r"^postgresql://", "postgresql+psycopg2://", uri)


def publish(ledger: Ledger, study: RecordedStudy, uri: str) -> int:
    """Copy what the ledger holds of the study's trials and MLflow does not; returns the number of trials touched.

    Raises TrackingError if some could not be published, after all others were.
    """
    return Publisher(ledger, uri).publish(study)


class Publisher:
    """Publishes a study as often as asked, and does not look twice at a trial that has not changed."""

    def __init__(self, ledger: Ledger, uri: str) -> None:
        self._ledger, self._uri = ledger, uri
        self._marks = Marks(ledger.root / "published", uri)
        self._view: _View | None = None
        self._study = ""
        self._doubted: set[str] = set()
        """Trials whose run was asked for in vain: the server may make it yet, beside the one that was made later."""
        self._thinnings: dict[str, Thinning] = {}
        """What was seen of the curves of trials that go on."""
        self._seen: dict[str, tuple[Any, ...]] = {}
        """Of the study's trials, what they looked like: the signature of commit.json alone once they are finished."""

    def publish(self, study: RecordedStudy) -> int:
        """As the function of this name."""
        if study.name != self._study or (self._view and self._view.file != _identity(self._uri)):
            self._look_afresh()
        self._study = study.name
        trials = [(arm, seed, key) for arm in study.arms for seed, key in arm.trials]
        keys = {key for _, _, key in trials}
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
        touched, failures = 0, list[str]()
        for arm, seed, key in trials:
            exhibit = Exhibit(study, arm, seed, key, self._ledger.folder(key), self._thinnings.get(key))
            try:
                touched += self._look(exhibit)
            except (_Away, Busy) as error:
                failures.append(_one_line(error))
                break
            except Exception as error:  # noqa: BLE001 - one trial's trouble, whatever it is, is not the others'
                failures.append(f"{exhibit.name}: {_one_line(error)}")
        if failures:
            raise TrackingError(failures[0] + (f" (and {len(failures) - 1} more)" if failures[1:] else ""))
        return touched

    def _look(self, exhibit: Exhibit) -> bool:
        """Publish a trial that has changed since the last look; False if MLflow had everything."""
        folder, seen = exhibit.folder, self._seen.get(exhibit.key)
        commit = signature(folder.path / "commit.json")
        if seen == (commit,):
            return False
        now = (commit, signature(folder.path / "attempts"), folder.alive())
        if seen == now or not any(now):
            return False
        try:
            mark, changed = self._show(exhibit, commit)
        except (_Away, Busy, LedgerError):
            raise
        except Exception:  # noqa: BLE001 - MLflow is not what it was: a run or the file is gone, or the server
            self._look_afresh()
            mark, changed = self._show(exhibit, commit)
        settled = mark is not None and mark.settles(commit, self._study)
        if exhibit.key not in self._doubted:
            self._seen[exhibit.key] = (commit,) if settled else now
        if settled:
            self._thinnings.pop(exhibit.key, None)
        else:
            self._thinnings[exhibit.key] = exhibit.thinning
        return changed

    def _show(self, exhibit: Exhibit, commit: Sequence[int] | None) -> tuple[Mark | None, bool]:
        """Bring one trial's run up to date: its mark, and whether there was anything to do."""
        with self._marks.held():
            view = self._connected(exhibit.study)
            mark = self._marks.read(exhibit.key)
            if mark is not None and not view.has(mark):
                mark = None
            if mark is not None and exhibit.key in self._doubted and not view.is_sole(exhibit, mark):
                mark = None
            if mark is not None and mark.settles(commit, self._study):
                return mark, False
            if mark is None and not exhibit.begun:
                return None, False
            if mark is not None and mark.standing == exhibit.standing and self._study in mark.studies:
                return mark, False
            run_id = view.show(exhibit, mark)
            mark = Mark(
                uri=self._uri,
                run_id=run_id,
                standing=exhibit.standing,
                sent=max(mark.sent if mark else -1, exhibit.shown),
                commit=commit,
                studies=sorted({*(mark.studies if mark else ()), self._study}),
                ended=(mark is not None and mark.ended) or exhibit.standing["status"] == "FINISHED",
            )
            self._marks.write(exhibit.key, mark)
            return mark, True

    def _connected(self, study: RecordedStudy) -> "_View":
        """Made when there is something to show: importing MLflow takes seconds. Raises _Away."""
        if self._view is None:
            keys = [key for arm in study.arms for _, key in arm.trials]
            marks = {key: mark for key in keys if (mark := self._marks.read(key))}
            try:
                self._view = _View(self._uri, self._ledger.root, study, marks, self._doubted)
            except Exception as error:
                raise _Away(f"{self._uri}: {_one_line(error)}") from error
        return self._view

    def _look_afresh(self) -> None:
        self._view, self._seen = None, {}


class _View:
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
        self.file = _identity(uri)

    def has(self, mark: Mark) -> bool:
        """Whether MLflow holds what the mark says: the database may be another, or an older copy."""
        return self._iterations.get(mark.run_id) == mark.standing["iteration"]

    def is_sole(self, exhibit: Exhibit, mark: Mark) -> bool:
        """Whether the mark's run is the trial's, and there is no other any more."""
        run = self._sole(exhibit)
        return run is not None and run.info.run_id == mark.run_id and run.info.lifecycle_stage == "active"

    def show(self, exhibit: Exhibit, mark: Mark | None) -> str:
        """Send what the mark does not vouch for, to the trial's run; returns the run's id."""
        run_id, after, ended = (mark.run_id, mark.sent, mark.ended) if mark else (self._run(exhibit), -1, False)
        thinning = deepcopy(exhibit.thinning) if mark else Thinning(exhibit.arm.recipe["iterations"])
        self._send(run_id, exhibit.points(after, thinning, ended=ended))
        exhibit.thinning = thinning  # only now: what did not arrive is read again
        self._label(run_id, exhibit)
        self._iterations[run_id] = exhibit.iteration
        return run_id

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

    def _run(self, exhibit: Exhibit) -> str:
        """The trial's run, found or made, with every parameter: whoever made it may not have come to them."""
        from mlflow.entities import Param

        run = self._sole(exhibit) or self._made(exhibit)
        if run.info.lifecycle_stage != "active":
            self._client.restore_run(run.info.run_id)
            if DOUBLE in run.data.tags:
                self._client.delete_tag(run.info.run_id, DOUBLE)
        params = [Param(*each) for each in exhibit.params().items() if each[0] not in run.data.params]
        for start in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(run.info.run_id, params=params[start : start + PARAMS_PER_CALL])
        return run.info.run_id

    def _made(self, exhibit: Exhibit) -> "Run":
        """A new run, unless another publisher, who does not share our lock, made one at the same time."""
        first = exhibit.key not in self._doubted
        self._doubted.add(exhibit.key)
        made = self._client.create_run(
            self._experiments[_experiment(exhibit.arm)],
            start_time=exhibit.started,
            run_name=exhibit.name,
            tags={"key": exhibit.key, "arm": exhibit.arm.name, "seed": str(exhibit.seed)},
        )
        if first:
            self._doubted.discard(exhibit.key)
        return self._sole(exhibit) or made

    def _sole(self, exhibit: Exhibit) -> "Run | None":
        """The oldest run of the trial's key, and if they are of one age the one whose id comes first, so that every
        publisher keeps the same; one that was deleted only if there is no other. Others are marked, and deleted."""
        from mlflow.entities import ViewType

        found = self._client.search_runs(
            [self._experiments[_experiment(exhibit.arm)]], f"tags.key = '{exhibit.key}'", ViewType.ALL, max_results=100
        )
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

    def _label(self, run_id: str, exhibit: Exhibit) -> None:
        """Tags, which may change, and the run's state: last, for they say that all before is there."""
        from mlflow.entities import RunTag

        tags, status = exhibit.tags(), exhibit.standing["status"]
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


def _identity(uri: str) -> tuple[int, int] | None:
    """Which file the database is; None if there is none, or if it is no file."""
    path = database(uri)
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def without_password(text: str) -> str:
    """An address, or a message that names one, such that it can be shown to anybody."""
    text = re.sub(r"(\w://)(?!/)[^\s'\"]*@", r"\1", text)
    return re.sub(r"(?i)(password=)[^&\s'\"]+", r"\1***", text)


def _one_line(error: Exception) -> str:
    """What went wrong, of readable length and without anybody's password."""
    return without_password(" ".join(str(error).split()) or type(error).__name__)[:400]


def follow(results: Path, study: str, uri: str) -> int:
    """Publish again and again until standard input is closed, which is when the driver has ended; then once more.

    Returns 0 if this last time everything was published, else 1, and the last line on standard error says why.
    """
    publisher, said, took = Publisher(Ledger(results), uri), "", 0.0
    while True:
        over = _closed(POLL_SECONDS + took)
        started, failed = time.monotonic(), ""
        try:
            publisher.publish(read_study(results, study))
        except TrackingError as error:
            failed = error.reason
        except Exception as error:  # noqa: BLE001 - nothing ends the forwarder but its driver
            failed = _one_line(error)
        if failed and (over or failed != said):
            print(failed, file=sys.stderr, flush=True)  # noqa: T201
        if over:
            return 1 if failed else 0
        said, took = failed, min(10.0, time.monotonic() - started)


def _closed(seconds: float) -> bool:
    """Wait, at most until standard input is closed; whether it is."""
    return bool(select.select([sys.stdin], [], [], seconds)[0]) and not os.read(sys.stdin.fileno(), 1)


def _main() -> int:
    parser = argparse.ArgumentParser(description="Copy committed records of a study to MLflow while it runs.")
    parser.add_argument("results", type=Path)
    parser.add_argument("study")
    parser.add_argument("uri", nargs="?", help="by default MLFLOW_TRACKING_URI, where no other user reads a password")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for its driver, after whose end it has a last look
    return follow(given.results, given.study, given.uri or os.environ["MLFLOW_TRACKING_URI"])


if __name__ == "__main__":
    sys.exit(_main())
