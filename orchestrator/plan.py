"""What running a study would do now: new, partial, done, blocked; in which order, and how long it would take.

A trial may begin from the end of another, and then comes after it. What counts for the order is how long a trial and
those that wait for it take together: a short one that a long one waits for is not left for last.
"""

import heapq
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.ledger import Commit, Ledger, LedgerError, TrialFolder
from orchestrator.trial import State, Trial

CPU_MULTIPLY_ADDS_PER_SECOND = 55e9
CPU_SECONDS_PER_LAUNCH = 3.5e-4
GPU_MULTIPLY_ADDS_PER_SECOND = 20e12
GPU_SECONDS_PER_LAUNCH = 7.5e-5
"""First guesses, one core or one GPU; `Plan` corrects them by what the ledger measured."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    trial: Trial
    state: State
    iteration: int
    """Last committed iteration."""
    expected_seconds: float
    """What is left of it, on this machine."""
    reason: str | None = None
    """Why it is blocked."""
    damaged: bool = False
    """Blocked because its record in the ledger is damaged: it is neither read nor run over."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Trials in the order in which they would run: longest expected first, with what waits for it; each after the one
    that it begins from."""

    trials: Sequence[PlannedTrial]

    @property
    def open(self) -> Sequence[PlannedTrial]:
        """What a run would submit."""
        return [each for each in self.trials if each.state in (State.NEW, State.PARTIAL)]

    def by_state(self) -> dict[State, list[PlannedTrial]]:
        """The trials in each state that occurs."""
        groups = {state: [each for each in self.trials if each.state is state] for state in State}
        return {state: group for state, group in groups.items() if group}

    @property
    def work_seconds(self) -> float:
        """Expected seconds of all open trials, one after another."""
        return sum(each.expected_seconds for each in self.open)

    def wall_seconds(self, slots: int) -> float:
        """Expected seconds until the last trial ends, with `slots` trials at a time in this order."""
        places = {each.trial.key: place for place, each in enumerate(self.open)}
        after = [places.get(each.trial.after or "") for each in self.open]
        return finish_times([each.expected_seconds for each in self.open], slots, after)


def plan(trials: Iterable[Trial], ledger: Ledger) -> Plan:
    """The set difference between what is asked and what the ledger holds, priced and ordered."""
    found = [(trial, *_look(ledger.folder(trial.key))) for trial in trials]
    correction = _correction([(trial, head) for trial, head, _ in found])
    planned = {trial.key: _planned(trial, head, damage, correction) for trial, head, damage in found}
    blocked = _blocked_with_parents(planned, ledger)
    return Plan(trials=sorted(blocked.values(), key=_urgency(blocked)))


def finish_times(seconds: Sequence[float], slots: int, after: Sequence[int | None] = ()) -> float:
    """When the last of these ends if the first that may start does so on the slot that is free first.

    `after` holds for each the place of the one that must have ended before, or None.
    """
    free = [0.0] * max(1, min(slots, len(seconds)))
    ends: dict[int, float] = {}
    waiting = list(range(len(seconds)))
    before = after or [None] * len(seconds)
    while waiting:
        now = heapq.heappop(free)
        ready = next((each for each in waiting if _ended(before[each], ends, now)), None)
        if ready is None:  # the slot stands idle until the next of the running ones ends
            heapq.heappush(free, min(end for end in ends.values() if end > now))
            continue
        waiting.remove(ready)
        ends[ready] = now + seconds[ready]
        heapq.heappush(free, ends[ready])
    return max(free)


def _ended(place: int | None, ends: Mapping[int, float], now: float) -> bool:
    return place is None or ends.get(place, float("inf")) <= now


def guess(trial: Trial) -> float:
    """Seconds of a whole trial before anything was measured."""
    if trial.resources.gpus:
        return trial.work / GPU_MULTIPLY_ADDS_PER_SECOND + trial.launches * GPU_SECONDS_PER_LAUNCH
    return trial.work / CPU_MULTIPLY_ADDS_PER_SECOND + trial.launches * CPU_SECONDS_PER_LAUNCH


def _look(folder: TrialFolder) -> tuple[Commit | None, str | None]:
    """The last commit, or what is damaged: the commit itself, or the curves of a trial that is done."""
    try:
        return folder.check(), None
    except (LedgerError, OSError) as error:
        return None, str(error)


def _planned(trial: Trial, head: Commit | None, damage: str | None, correction: float) -> PlannedTrial:
    if head is not None and head.result is not None:
        state, left = State.DONE, 0.0
    else:
        state = State.PARTIAL if head else State.NEW
        left = 1 - head.iteration / trial.iterations if head else 1.0
        if damage or trial.blocked:
            state = State.BLOCKED
    return PlannedTrial(
        trial=trial,
        state=state,
        iteration=head.iteration if head else 0,
        expected_seconds=guess(trial) * correction * left,
        reason=damage or trial.blocked if state is State.BLOCKED else None,
        damaged=damage is not None,
    )


def _blocked_with_parents(planned: Mapping[str, PlannedTrial], ledger: Ledger) -> dict[str, PlannedTrial]:
    """The same trials; those that begin from one that cannot be done are blocked too."""
    found: dict[str, PlannedTrial] = {}
    for key in planned:
        for each in _ancestry(key, planned):
            reason = _parent_problem(each.trial, found, ledger) if each.state in (State.NEW, State.PARTIAL) else None
            found[each.trial.key] = replace(each, state=State.BLOCKED, reason=reason) if reason else each
    return {key: found[key] for key in planned}


def _ancestry(key: str, planned: Mapping[str, PlannedTrial]) -> list[PlannedTrial]:
    """The trial and those that it comes after, the first of them first."""
    line: list[PlannedTrial] = []
    at = planned.get(key)
    while at is not None:
        line.append(at)
        at = planned.get(at.trial.after or "")
    return line[::-1]


def _parent_problem(trial: Trial, found: Mapping[str, PlannedTrial], ledger: Ledger) -> str | None:
    """Why the trial that this one begins from will not be done."""
    if trial.after is None:
        return None
    parent, folder = found.get(trial.after), ledger.folder(trial.after)
    if parent is not None and parent.state is State.BLOCKED:
        return f"it begins from {parent.trial.name}, which is blocked: {parent.reason}"
    head, damage = _look(folder)
    if head is not None and head.result is not None:
        kept = (folder.path / head.checkpoint).exists()
        return None if kept else f"it begins from {folder.path}/{head.checkpoint}, which is gone; remove the folder"
    asked = parent is not None
    return None if asked else damage or f"it begins from trial {trial.after}, which is neither done nor asked for"


def _urgency(planned: Mapping[str, PlannedTrial]) -> Callable[[PlannedTrial], tuple[float, int]]:
    """A sort key: most seconds first, those of what waits for the trial included, and a parent before its child."""
    together = {key: each.expected_seconds for key, each in planned.items()}
    lines = {key: _ancestry(key, planned) for key in planned}
    for line in lines.values():
        behind = 0.0
        for each in reversed(line):
            behind += each.expected_seconds
            together[each.trial.key] = max(together[each.trial.key], behind)
    return lambda each: (-together[each.trial.key], len(lines[each.trial.key]))


def _correction(found: Iterable[tuple[Trial, Commit | None]]) -> float:
    """Median of measured over guessed seconds of the trials that the ledger holds; 1 where it holds none."""
    ratios = [
        head.seconds / (guess(trial) * head.iteration / trial.iterations)
        for trial, head in found
        if head is not None and head.iteration
    ]
    return statistics.median(ratios) if ratios else 1.0
