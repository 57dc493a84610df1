"""How a study stands now: what the ledger holds of its trials, and what the driver of its run makes of them.

Computed as plain values, of which the command line prints what fits.
"""

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

from orchestrator.driver import DriverRecord, Place, Presence, presence
from orchestrator.ledger import Ledger, LedgerError
from orchestrator.runs import Outcome, Run, read_runs
from orchestrator.studies import RecordedArm, RecordedStudy

LATE_SECONDS = 30.0
"""Of a trial that has committed, before it is overdue: its last test and commit take longer than iterations do."""
ENDED = ("finished", "diverged")
STANDINGS = (
    "failed", "running", "starting", "waiting", "partial", "missing", "cancelled", "over budget", *ENDED
)  # fmt: skip
"""What a trial may be, beside `blocked`, in the order in which they matter."""


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """One trial of the study."""

    run: Run
    standing: str
    """One of STANDINGS. `waiting` and `starting` are said of a run at work; `partial` and `missing` where none is."""
    reason: str | None = None
    """Why it failed, who cancelled it."""
    place: Place | None = None
    """Where it runs, as the driver says."""
    killed: int = 0
    """Attempts that ended without a word."""
    resumed: int = 0
    """Attempts that began from a commit."""
    occupies: float = 1.0
    """GPUs, or cores where it has none."""
    on_gpu: bool = False
    ends_in: float | None = None
    """Expected seconds until it is done; None where that is unknown, or nothing is at work on it."""
    overdue: bool = False
    """Whether it should have been done by now, so that its end is unknown."""

    @property
    def cost_seconds(self) -> float:
        """GPU-seconds, or core-seconds, that were committed."""
        return self.run.seconds * self.occupies

    @property
    def share(self) -> float:
        """Of its iterations, 0 to 1; one that diverged is at its end."""
        return 1.0 if self.standing in ENDED else self.run.iteration / max(1, self.run.iterations)


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    study: RecordedStudy
    presence: Presence
    trials: Sequence[TrialStatus]

    def of(self, arm: RecordedArm) -> list[TrialStatus]:
        return [each for each in self.trials if each.run.arm == arm.name]

    def standing(self, word: str) -> list[TrialStatus]:
        return [each for each in self.trials if each.standing == word]

    @property
    def at_once(self) -> int:
        """Trials that the run has at work now."""
        record = self.presence.record
        return len(record.running) if record and self.presence.at_work else 0


def share(trials: Iterable[TrialStatus]) -> float:
    """Of the iterations of all of them, 0 to 1."""
    weights = [(each.share, each.run.iterations) for each in trials]
    return sum(part * whole for part, whole in weights) / max(1, sum(whole for _, whole in weights))


def ends_in(trials: Iterable[TrialStatus]) -> float | None:
    """Expected seconds until the last of those that are part of the run is done; None if one's end is unknown."""
    open_now = [each for each in trials if each.standing in ("running", "starting", "waiting")]
    known = [each.ends_in for each in open_now if each.ends_in is not None]
    return max(known) if known and len(known) == len(open_now) else None


def cost_hours(trials: Iterable[TrialStatus]) -> dict[str, float]:
    """`{"GPU": hours, "core": hours}` of what was committed; of each only where there is some."""
    found = {"GPU": 0.0, "core": 0.0}
    for each in trials:
        found["GPU" if each.on_gpu else "core"] += each.cost_seconds / 3600
    return {kind: hours for kind, hours in found.items() if hours}


def study_status(study: RecordedStudy, results: Path) -> StudyStatus:
    """Reads of each trial what it is, its last commit and its attempts, and no curve."""
    ledger, seen = Ledger(results), presence(results, study.name)
    trials = [_trial(run, ledger, seen) for run in read_runs(study, ledger, measured=False)]
    return StudyStatus(study=study, presence=seen, trials=_with_ends(trials, ledger, seen))


def _trial(run: Run, ledger: Ledger, seen: Presence) -> TrialStatus:
    done = run.outcome in (Outcome.FINISHED, Outcome.DIVERGED)
    alive = not done and ledger.folder(run.key).alive()
    standing, reason = (str(run.outcome), None) if done else _standing(run, alive, seen)
    occupies, on_gpu = _resources(ledger, run.key)
    unended = [each for each in run.attempts if "ended" not in each]
    return TrialStatus(
        run=run,
        standing=standing,
        reason=reason,
        place=seen.record.running.get(run.key) if seen.record and seen.at_work else None,
        killed=len(unended) - bool(alive and run.attempts and "ended" not in run.attempts[-1]),
        resumed=sum(bool(each.get("from_iteration")) for each in run.attempts),
        occupies=occupies,
        on_gpu=on_gpu,
    )


def _standing(run: Run, alive: bool, seen: Presence) -> tuple[str, str | None]:
    """Of a trial without a result: in a word, and why."""
    if alive:
        return "running", None
    record = seen.record
    if record is not None and _told_since(run, record):
        if run.key in record.failed:
            return "failed", record.failed[run.key]
        if run.key in record.cancelled:
            return "cancelled", record.cancelled[run.key]
        if run.key in record.unaffordable:
            return "over budget", None
        if seen.at_work and run.key in record.running:
            return "starting", None
        if seen.at_work and run.key in record.expected_seconds:
            return "waiting", run.reason
    if run.outcome is Outcome.FAILED:
        return "failed", run.reason
    return ("partial" if run.outcome is Outcome.RUNNING else "missing"), None


def _told_since(run: Run, record: DriverRecord) -> bool:
    """Whether what the driver says of the trial is later than the trial's last attempt."""
    try:
        started = [datetime.fromisoformat(each["started"]).timestamp() for each in run.attempts[-1:]]
    except (KeyError, ValueError, TypeError):
        return True
    return all(each <= record.written for each in started)


def _resources(ledger: Ledger, key: str) -> tuple[float, bool]:
    """GPUs that the trial occupies, or cores, and which of the two."""
    try:
        about = ledger.folder(key).about() or {}
        said: Mapping[str, Any] = about.get("resources") or {}
        gpus, cpus = float(said.get("gpus") or 0.0), float(said.get("cpus") or 1.0)
    except (LedgerError, OSError, ValueError, TypeError, AttributeError):
        return 1.0, False
    return (gpus, True) if gpus else (cpus, False)


# When it will end -----------------------------------------------------------------------------------------------------


def _with_ends(trials: Sequence[TrialStatus], ledger: Ledger, seen: Presence) -> list[TrialStatus]:
    """The same, each with its expected end, if the run goes on with as many trials at a time as now."""
    left = _left(trials, seen.record)
    to_go = {
        each.run.key: left[each.run.key] - _since_commit(each, ledger, seen.now)
        for each in trials
        if each.standing in ("running", "starting") and each.run.key in left
    }
    begun = {each.run.key for each in trials if each.run.iteration}
    overdue = {key for key, seconds in to_go.items() if seconds < (-LATE_SECONDS if key in begun else 0.0)}
    ends = {key: max(0.0, seconds) for key, seconds in to_go.items() if key not in overdue}
    if seen.record is not None and seen.at_work:
        ends |= _ends_of_waiting(trials, seen.record, left, ends)
    return [replace(each, ends_in=ends.get(each.run.key), overdue=each.run.key in overdue) for each in trials]


def _ends_of_waiting(
    trials: Sequence[TrialStatus], record: DriverRecord, left: Mapping[str, float], ends: Mapping[str, float]
) -> dict[str, float]:
    """Those that wait take, in their order, the places of those that run; unknown behind one whose end is unknown."""
    waiting = {each.run.key for each in trials if each.standing == "waiting"}
    free = [ends.get(key, inf) for key in record.running]
    heapq.heapify(free)
    found = {}
    for key in record.expected_seconds:
        if key in waiting and free:
            end = heapq.heappop(free) + left.get(key, inf)
            heapq.heappush(free, end)
            found[key] = end
    return {key: end for key, end in found.items() if end < inf}


def _left(trials: Sequence[TrialStatus], record: DriverRecord | None) -> dict[str, float]:
    """Seconds of training that each has before it: by its own pace, or its arm's, or as the plan expected."""
    paces: dict[str, list[float]] = {}
    for each in trials:
        if each.run.iteration and each.run.seconds:
            paces.setdefault(each.run.arm, []).append(each.run.seconds / each.run.iteration)
    found = {}
    for each in trials:
        run = each.run
        to_go = run.iterations - run.iteration
        if run.iteration and run.seconds:
            found[run.key] = to_go * run.seconds / run.iteration
        elif run.arm in paces:
            found[run.key] = to_go * statistics.median(paces[run.arm])
        elif record is not None and run.key in record.expected_seconds:
            found[run.key] = record.expected_seconds[run.key]
    return found


def _since_commit(trial: TrialStatus, ledger: Ledger, now: float) -> float:
    """Seconds for which the attempt has trained since its last commit, or since it was begun."""
    try:
        head = ledger.folder(trial.run.key).head()
    except (LedgerError, OSError):
        head = None
    since = [each for each in (trial.place and trial.place.started, head and head.time) if each]
    return max(0.0, now - max(since)) if since else 0.0
