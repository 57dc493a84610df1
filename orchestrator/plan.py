"""What running a study would do now: new, partial, done, blocked; in which order, and how long it would take."""

import heapq
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.ledger import STREAMS, Commit, Ledger, LedgerError, TrialFolder
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
    """Trials in the order in which they would run: longest expected first."""

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
        return finish_times([each.expected_seconds for each in self.open], slots)


def plan(trials: Iterable[Trial], ledger: Ledger) -> Plan:
    """The set difference between what is asked and what the ledger holds, priced and ordered."""
    found = [(trial, *_look(ledger.folder(trial.key))) for trial in trials]
    correction = _correction([(trial, head) for trial, head, _ in found])
    planned = [_planned(trial, head, damage, correction) for trial, head, damage in found]
    return Plan(trials=sorted(planned, key=lambda each: -each.expected_seconds))


def finish_times(seconds: Sequence[float], slots: int) -> float:
    """When the last of these ends if each starts, in this order, on the slot that is free first."""
    free = [0.0] * max(1, min(slots, len(seconds)))
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def guess(trial: Trial) -> float:
    """Seconds of a whole trial before anything was measured."""
    if trial.resources.gpus:
        return trial.work / GPU_MULTIPLY_ADDS_PER_SECOND + trial.launches * GPU_SECONDS_PER_LAUNCH
    return trial.work / CPU_MULTIPLY_ADDS_PER_SECOND + trial.launches * CPU_SECONDS_PER_LAUNCH


def _look(folder: TrialFolder) -> tuple[Commit | None, str | None]:
    """The last commit, or what is damaged: the commit itself, or the curves of a trial that is done."""
    try:
        head = folder.head()
        if head is not None and head.result is not None:
            for stream in STREAMS:
                folder.valid(stream, head)
    except (LedgerError, OSError) as error:
        return None, str(error)
    return head, None


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


def _correction(found: Iterable[tuple[Trial, Commit | None]]) -> float:
    """Median of measured over guessed seconds of the trials that the ledger holds; 1 where it holds none."""
    ratios = [
        head.seconds / (guess(trial) * head.iteration / trial.iterations)
        for trial, head in found
        if head is not None and head.iteration
    ]
    return statistics.median(ratios) if ratios else 1.0
