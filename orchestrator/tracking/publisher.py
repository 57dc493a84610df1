"""The ledger, copied to MLflow: one run per trial, however many attempts.

A view, written by a process of its own: a dead tracking server costs a late view and nothing else. Publishing is
idempotent: a run is found by its trial's key before one is made, only committed records are sent, with the time at
which they were made, and MLflow drops a point that it has. A run that was deleted in MLflow is restored.
"""

import re
from collections.abc import Sequence
from typing import Any

from orchestrator.ledger import Ledger, LedgerError
from orchestrator.studies import RecordedStudy
from orchestrator.tracking.addresses import without_password
from orchestrator.tracking.exhibits import Exhibit
from orchestrator.tracking.marks import Busy, Mark, Marks, signature
from orchestrator.tracking.summaries import Summary
from orchestrator.tracking.thinning import Thinning
from orchestrator.tracking.view import View, identity


class TrackingError(Exception):
    """Not everything was published. One line: what stood in the way, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; the ledger has it all: `ablate publish` later")
        self.reason = reason


class _Away(Exception):
    """The server or the database cannot be used at all."""


def publish(ledger: Ledger, study: RecordedStudy, uri: str) -> int:
    """Copy what the ledger holds of the study's trials and MLflow does not; returns the number of trials touched.

    Raises TrackingError if some could not be published, after all others were.
    """
    return Publisher(ledger, uri).publish(study)


def summarise(ledger: Ledger, summary: Summary, uri: str) -> bool:
    """Show a study's summary, in one run however often this is called; whether MLflow lacked any of it.

    Raises TrackingError.
    """
    marks = Marks(ledger.root / "published", uri)
    try:
        with marks.held():
            return View(uri, ledger.root, summary.study, {}, set()).summarise(summary)
    except Exception as error:
        raise TrackingError(f"{without_password(uri)}: {one_line(error)}") from error


class Publisher:
    """Publishes a study as often as asked, and does not look twice at a trial that has not changed."""

    def __init__(self, ledger: Ledger, uri: str) -> None:
        self._ledger, self._uri = ledger, uri
        self._marks = Marks(ledger.root / "published", uri)
        self._view: View | None = None
        self._study = ""
        self._doubted: set[str] = set()
        """Trials whose run was asked for in vain: the server may make it yet, beside the one that was made later."""
        self._thinnings: dict[str, Thinning] = {}
        """What was seen of the curves of trials that go on."""
        self._seen: dict[str, tuple[Any, ...]] = {}
        """Of the study's trials, what they looked like: the signature of commit.json alone once they are finished."""

    def publish(self, study: RecordedStudy) -> int:
        """As the function of this name."""
        if study.name != self._study or (self._view and self._view.file != identity(self._uri)):
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
                failures.append(one_line(error))
                break
            except Exception as error:  # noqa: BLE001 - one trial's trouble, whatever it is, is not the others'
                failures.append(f"{exhibit.name}: {one_line(error)}")
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

    def _connected(self, study: RecordedStudy) -> View:
        """Made when there is something to show: importing MLflow takes seconds. Raises _Away."""
        if self._view is None:
            keys = [key for arm in study.arms for _, key in arm.trials]
            marks = {key: mark for key in keys if (mark := self._marks.read(key))}
            try:
                self._view = View(self._uri, self._ledger.root, study, marks, self._doubted)
            except Exception as error:
                raise _Away(f"{self._uri}: {one_line(error)}") from error
        return self._view

    def _look_afresh(self) -> None:
        self._view, self._seen = None, {}


def one_line(error: Exception) -> str:
    """What went wrong, of readable length and without anybody's password."""
    text = " ".join(str(error).split())
    return without_password(_cause(text) or text or type(error).__name__)[:400]


def _cause(text: str) -> str | None:
    """What MLflow's client wraps in the words of its libraries, or in a page; None for every other text."""
    if "Max retries exceeded" in text or "Connection aborted" in text:
        if named := re.search(r"Failed to resolve '([^']+)'", text):
            return f"no machine is called {named[1]}"
        if "timed out" in text:
            return "no answer in time"
        if found := re.search(r"\[Errno \d+\] ([\w ]+)", text):
            return found[1].lower()
    answered = re.search(r"failed with error code (\d+) != 200\. Response body: (.*)", text)
    if answered and re.match(r"'?\s*<", answered[2]):
        return f"answers {answered[1]} and a page, as no MLflow server does; see the address"
    return None
