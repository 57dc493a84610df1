"""The runs that a check rests on: complete samples of an arm, or the reason why there is none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, Pool, called
from reports.cells import Metric, measure, why_absent
from reports.noise import Difference, difference, paired, spread
from reports.verdicts import NotEnoughError, NotInStudyError

Value = Callable[[Run], float]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value per finished run of an arm, by seed."""

    arm: MeasuredArm
    by_seed: Mapping[int, float]
    metric: Metric | None = None
    """What was read; None of what a check worked out itself."""

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def label(self) -> str:
        return self.arm.label

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def n(self) -> int:
        return len(self.by_seed)

    @property
    def numbers(self) -> dict[str, Any]:
        return {"mean": self.mean, "sd": spread(self.values), "n": self.n}

    @property
    def caveats(self) -> tuple[str, ...]:
        return diverged(self.arm)

    def __str__(self) -> str:
        return f"{self.label} {self.mean:.2f}"


def diverged(arm: MeasuredArm) -> tuple[str, ...]:
    """A caveat where some seeds did."""
    lost = sum(run.outcome is Outcome.DIVERGED for run in arm.runs)
    return (f"{lost} of {len(arm.runs)} seeds of {arm.label} diverged and are in no mean",) if lost else ()


def arm_of(pool: Pool, shortcut: Shortcut, depth: int, variant: str | None = None) -> MeasuredArm:
    """The arm with this network. Raises NotInStudyError where there is none."""
    arm = pool.find(shortcut, depth, variant)
    if arm is None:
        name = called(shortcut, depth, (variant,) if variant else ())
        raise NotInStudyError(f"needs {name}, which is not in this study")
    return arm


def ended(arm: MeasuredArm, *, fewest: int = 2) -> tuple[Run, ...]:
    """The arm's runs, all finished or diverged. Raises NotEnoughError while some are not, or below `fewest`."""
    if arm.arm.blocked and all(run.outcome is Outcome.MISSING for run in arm.runs):
        raise NotEnoughError(f"{arm.label} is blocked: {arm.arm.blocked}")
    over = (Outcome.FINISHED, Outcome.DIVERGED)
    waiting = [run for run in arm.runs if run.outcome not in over]
    if waiting:
        done = len(arm.runs) - len(waiting)
        raise NotEnoughError(
            f"{done} of {len(arm.runs)} trials of {arm.label} are done; s{waiting[0].seed}: {why_absent(waiting[0])}"
        )
    if len(arm.runs) < fewest:
        raise NotEnoughError(
            f"needs at least {fewest} seeds of {arm.label} to know the noise, not {len(arm.runs)}",
            {arm.arm.name: fewest - len(arm.runs)},
        )
    return arm.runs


def sample(
    pool: Pool, shortcut: Shortcut, depth: int, metric: Metric, variant: str | None = None, *, fewest: int = 2
) -> Sample:
    """Of the arm with this network."""
    return sample_of(arm_of(pool, shortcut, depth, variant), metric, fewest=fewest)


def sample_of(arm: MeasuredArm, metric: Metric, *, fewest: int = 2) -> Sample:
    """A complete sample of at least so many values; below two the noise over seeds is not known.

    Raises NotEnoughError for less.
    """
    runs = ended(arm, fewest=fewest)
    cell = measure(arm, metric)
    if cell.n < fewest:
        views = "; the recipe's `views` ask for it" if metric.startswith(("last_ten_crop", "last_multi_scale")) else ""
        raise NotEnoughError(f"{arm.label} has {cell.n} values of {metric}; {'; '.join(cell.absent)}{views}")
    seeds = {run.key: run.seed for run in runs}
    by_seed = {seeds[key]: value for key, value in zip(cell.keys, cell.values, strict=True)}
    return Sample(arm=arm, by_seed=by_seed, metric=metric)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two samples and the gap between their means, the one that should be higher first."""

    high: Sample
    low: Sample
    gap: Difference

    @property
    def numbers(self) -> dict[str, Any]:
        return {"difference": self.gap.value, "two_standard_errors": self.gap.noise}

    @property
    def short(self) -> str:
        return f"{self.high.label} − {self.low.label} = {self.gap}"

    def __str__(self) -> str:
        return f"{self.high} − {self.low} = {self.gap}"


def compare(high: Sample, low: Sample) -> Comparison:
    """Of independent runs (Welch)."""
    return Comparison(high=high, low=low, gap=difference(high.values, low.values))


def compare_paired(high: Sample, low: Sample) -> Comparison:
    """Over the seeds that both arms have."""
    shared = sorted(high.by_seed.keys() & low.by_seed.keys())
    if len(shared) < 2:
        raise NotEnoughError(f"needs 2 seeds that {high.label} and {low.label} share, not {len(shared)}")
    gap = paired([high.by_seed[seed] for seed in shared], [low.by_seed[seed] for seed in shared])
    return Comparison(high=high, low=low, gap=gap)


def samples_used(comparisons: Sequence[Comparison]) -> tuple[Sample, ...]:
    """Each sample once, in order of appearance."""
    found = {each.arm.arm.name: each for one in comparisons for each in (one.high, one.low)}
    return tuple(found.values())
