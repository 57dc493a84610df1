"""What the page says before any table: how far the study is, what is missing, what the claims came to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, pools
from reports.cells import why_absent
from reports.names import anchor, clean
from reports.verdicts import Answer, Verdict


@dataclass(frozen=True, kw_only=True)
class Count:
    name: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A trial without a final number."""

    name: str
    key: str
    anchor: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Arms that are not the paper's, and why."""

    title: str
    arms: int
    deviations: tuple[str, ...]


def _blocked(arm: MeasuredArm, run: Run) -> bool:
    return arm.arm.blocked is not None and run.outcome is Outcome.MISSING


def trials(arms: Sequence[MeasuredArm]) -> tuple[Count, ...]:
    """Trials by outcome; finished is always said, the others where there are any."""
    names = Counter("blocked" if _blocked(arm, run) else run.outcome.value for arm in arms for run in arm.runs)
    shown = ("finished", "diverged", "failed", "running", "missing", "blocked")
    return tuple(Count(name=name, count=names[name]) for name in shown if names[name] or name == "finished")


def answers(verdicts: Sequence[Verdict]) -> tuple[Count, ...]:
    counts = Counter(each.verdict for each in verdicts)
    return tuple(Count(name=each.value, count=counts[each]) for each in Answer)


def gaps(arms: Sequence[MeasuredArm]) -> tuple[Gap, ...]:
    """Every trial that did not finish, with the reason."""
    return tuple(
        Gap(
            name=clean(run.name),
            key=run.key,
            anchor=anchor("run", run.key),
            reason=clean(f"blocked: {arm.arm.blocked}" if _blocked(arm, run) else why_absent(run)),
        )
        for arm in arms
        for run in arm.runs
        if run.outcome is not Outcome.FINISHED
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What arms have in common: how they depart from the paper."""

    arms: tuple[str, ...]
    deviations: tuple[str, ...]
    """None: the paper's network, data and recipe."""


def recipes(arms: Sequence[MeasuredArm]) -> tuple[Recipe, ...]:
    """Every arm, with all that departs from the paper's preset for its network; arms that depart alike together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for arm in arms:
        found.setdefault(tuple(arm.arm.deviations), []).append(clean(arm.arm.name))
    return tuple(Recipe(arms=tuple(names), deviations=deviations) for deviations, names in found.items())


def departures(arms: Sequence[MeasuredArm]) -> tuple[Departure, ...]:
    return tuple(
        Departure(title=pool.title, arms=len(pool.arms), deviations=pool.deviations)
        for pool in pools(arms)
        if not pool.paper
    )


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def opening(arms: Sequence[MeasuredArm], verdicts: Sequence[Verdict]) -> str:
    """The first sentence under the question."""
    runs = [run for arm in arms for run in arm.runs]
    done = sum(run.outcome is Outcome.FINISHED for run in runs)
    counts = Counter(each.verdict for each in verdicts)
    words = [
        _plural(counts[Answer.HOLDS], "holds", "hold") if counts[Answer.HOLDS] else "",
        _plural(counts[Answer.FAILS], "fails", "fail") if counts[Answer.FAILS] else "",
        _plural(counts[Answer.UNDECIDED], "is undecided", "are undecided") if counts[Answer.UNDECIDED] else "",
    ]
    said = [word for word in words if word]
    trained = f"{done} of {_plural(len(runs), 'trial', 'trials')} finished"
    if not verdicts:
        return f"{trained}. The study makes no claim."
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{trained}. Of {_plural(len(verdicts), 'claim', 'claims')}, {listed}{_elsewhere(verdicts)}."


def _elsewhere(verdicts: Sequence[Verdict]) -> str:
    """Says of how many claims of the paper that they were not tested under its recipe."""
    count = sum(bool(each.measured) for each in verdicts)
    return f"; {_plural(count, 'was', 'were')} tested on other arms than the paper's" if count else ""
