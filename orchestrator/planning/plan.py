"""What running a study would do now: new, partial, done, blocked; in which order, and how long it would take.

A trial may begin from the end of another, and then comes after it. What counts for the order is how long a trial and
those that wait for it take together: a short one that a long one waits for is not left for last.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from orchestrator.ledger import Commit, Ledger, LedgerError, TrialFolder
from orchestrator.planning.cost import Costs, Measured, Origin, measured, measured_beside, most_measured_gpu
from orchestrator.trial import State, Trial

Seen = tuple[Trial, Commit | None, str | None]
"""A trial, its last commit, and what of its record is damaged."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    trial: Trial
    state: State
    iteration: int
    """Last committed iteration."""
    expected_seconds: float
    """What is left of it, under its resources."""
    origin: Origin = Origin.GUESSED
    """Where the expected time comes from."""
    replicas: int | None = None
    """With how many it began; it goes on with as many, since its bits depend on them."""
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


def plan(trials: Iterable[Trial], ledger: Ledger, hardware: str = "") -> Plan:
    """The set difference between what is asked and what the ledger holds, priced and ordered.

    `hardware` is the model of GPU or processor on which it is to run; see `survey`.
    """
    planned, _ = survey(trials, ledger, hardware)
    return Plan(trials=ordered(planned))


def survey(trials: Iterable[Trial], ledger: Ledger, hardware: str = "") -> tuple[list[PlannedTrial], Costs]:
    """The trials as they stand, in the order given, priced under their resources; and what anything would cost.

    Without a `hardware`, trials on GPUs are priced on the GPU that the ledger measured most. Each folder of the ledger
    is read once.
    """
    seen = [(trial, *_look(ledger.folder(trial.key))) for trial in trials]
    found = list(_measurements(seen, ledger))
    costs = Costs(found, hardware or most_measured_gpu(found))
    planned = {trial.key: _planned(trial, head, damage, costs, ledger) for trial, head, damage in seen}
    return list(_blocked_with_parents(planned, ledger).values()), costs


def _measurements(seen: Sequence[Seen], ledger: Ledger) -> Iterator[Measured]:
    """Of the trials asked for; of all others of the ledger too, if anything is left to be priced."""
    for trial, head, _ in seen:
        if head is not None:
            with suppress(LedgerError, OSError, KeyError, TypeError, ValueError):  # what it cost is no part of a result
                if (one := measured(ledger.folder(trial.key), head, asdict(trial))) is not None:
                    yield one
    if not all(head is not None and head.result is not None for _, head, _ in seen):
        yield from measured_beside(ledger, {trial.key for trial, _, _ in seen})


def ordered(
    planned: Iterable[PlannedTrial], before: Callable[[PlannedTrial], float] = lambda _: 0.0
) -> list[PlannedTrial]:
    """Those first for which `before` is least; of equal ones the longest, with what waits for it; then as given.

    A parent stands before its child, unless `before` says otherwise.
    """
    by_key = {each.trial.key: each for each in planned}
    together = _urgency(by_key)
    return sorted(by_key.values(), key=lambda each: (before(each), *together(each)))


def _look(folder: TrialFolder) -> tuple[Commit | None, str | None]:
    """The last commit, or what is damaged: the commit itself, or the curves of a trial that is done."""
    try:
        return folder.check(), None
    except (LedgerError, OSError) as error:
        return None, str(error)


def _planned(trial: Trial, head: Commit | None, damage: str | None, costs: Costs, ledger: Ledger) -> PlannedTrial:
    iteration = head.iteration if head else 0
    if head is not None and head.result is not None:
        state = State.DONE
    else:
        state = State.PARTIAL if head else State.NEW
        if damage or trial.blocked:
            state = State.BLOCKED
    seconds, origin = costs.iteration(trial, trial.resources)
    return PlannedTrial(
        trial=trial,
        state=state,
        iteration=iteration,
        expected_seconds=0.0 if state is State.DONE else seconds * (trial.iterations - iteration),
        origin=origin,
        replicas=ledger.folder(trial.key).replicas() if iteration and state is not State.DONE else None,
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
