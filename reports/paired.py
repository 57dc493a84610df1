"""Two arms compared by errors on the same images: over seeds where there are several, else over the images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from models.spec import Shortcut
from orchestrator.ledger import LedgerError
from orchestrator.runs import MULTI_SCALE, TEN_CROP, Outcome, Run
from reports.arms import MeasuredArm, Pool
from reports.cells import Metric, why_absent
from reports.evidence import Alike, Beyond, Gap
from reports.noise import difference
from reports.samples import arm_of
from reports.verdicts import NotEnoughError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEEDS = 3
"""So many seeds of both arms tell of the noise by themselves: claims.csv, "3 seeds or paired bootstrap with 1"."""
FILES: Mapping[Metric, tuple[str, int]] = {
    Metric.LAST_TEN_CROP: (TEN_CROP, 1),
    Metric.LAST_TEN_CROP_TOP5: (TEN_CROP, 5),
    Metric.LAST_MULTI_SCALE: (MULTI_SCALE, 1),
    Metric.LAST_MULTI_SCALE_TOP5: (MULTI_SCALE, 5),
}
"""Which predictions an error was counted over, and among how many of the likeliest classes."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """An arm's error by one metric, in percent."""

    arm: MeasuredArm
    runs: tuple[Run, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def numbers(self) -> dict[str, Any]:
        return {"mean": self.mean, "n": len(self.values)}

    def __str__(self) -> str:
        return f"{self.arm.label} {self.mean:.2f}"


def side(pool: Pool, shortcut: Shortcut, depth: int, metric: Metric) -> Side:
    """All trials of the arm, one at least, with what they recorded of the metric.

    Raises NotInStudyError where there is no such arm, NotEnoughError while a trial is to come.
    """
    arm = arm_of(pool, shortcut, depth)
    if arm.arm.blocked and all(run.outcome is Outcome.MISSING for run in arm.runs):
        raise NotEnoughError(f"{arm.label} is blocked: {arm.arm.blocked}")
    waiting = [run for run in arm.runs if run.outcome not in (Outcome.FINISHED, Outcome.DIVERGED)]
    if waiting:
        done = len(arm.runs) - len(waiting)
        raise NotEnoughError(
            f"{done} of {len(arm.runs)} trials of {arm.label} are done; s{waiting[0].seed}: {why_absent(waiting[0])}"
        )
    runs = tuple(run for run in arm.finished if metric.value in run.result)
    if not runs:
        raise NotEnoughError(f"no trial of {arm.label} recorded {metric.value}; a recipe's `views` ask for it")
    return Side(arm=arm, runs=runs, values=tuple(float(run.result[metric.value]) for run in runs))


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Two arms and the gap between their errors, the one that should be higher first."""

    high: Side
    low: Side
    gap: Gap
    over: str
    """What the noise is of: `3 and 3 seeds`, `50,000 images`."""
    wanted: Mapping[str, int] | None = field(default=None)
    """Seeds more of each arm after which seeds decide; None where they do."""

    @property
    def arms(self) -> tuple[str, ...]:
        return self.high.arm.arm.name, self.low.arm.arm.name

    def beyond(self, margin: float = 0.0) -> Beyond:
        return Beyond(gap=self.gap, arms=self.arms, margin=margin, wanted=self.wanted)

    def alike(self, margin: float) -> Alike:
        return Alike(gap=self.gap, arms=self.arms, margin=margin, wanted=self.wanted)

    @property
    def numbers(self) -> dict[str, Any]:
        low, high = self.gap.interval()
        return {"difference": self.gap.value, "low": low, "high": high, "over": self.over}

    @property
    def caveats(self) -> tuple[str, ...]:
        if self.wanted is None:
            return ()
        return (
            f"{self.high.arm.label} against {self.low.arm.label}: the interval tells of the images, not of other seeds",
        )

    def __str__(self) -> str:
        low, high = self.gap.interval()
        interval = f"{self.gap.value:+z.2f} ({low:+z.2f} to {high:+z.2f})".replace("-", "−")
        return f"{self.high} − {self.low} = {interval} over {self.over}"


def versus(high: Side, low: Side, metric: Metric) -> Versus:
    """Over seeds (Welch) where both arms have three; else over the images that both predicted, of all their seeds.

    Raises NotEnoughError where there are neither.
    """
    if min(len(high.values), len(low.values)) >= SEEDS:
        over = f"{len(high.values)} and {len(low.values)} seeds"
        return Versus(high=high, low=low, gap=difference(high.values, low.values), over=over)
    from reports.ensembles import bootstrap

    (file, top), sides = FILES[metric], (high, low)
    wanted = {each.arm.arm.name: max(0, SEEDS - len(each.arm.runs)) for each in sides}
    try:
        one, other = (_mistakes(each, file, top) for each in sides)
        gap = bootstrap(one, other)
    except (LedgerError, ValueError) as error:
        raise NotEnoughError(
            f"needs {SEEDS} seeds of {high.arm.label} and {low.arm.label}, or what they predicted for each image:"
            f" {error}",
            {arm: seeds for arm, seeds in wanted.items() if seeds},
        ) from None
    return Versus(high=high, low=low, gap=gap, over=f"{len(one):,} images", wanted=wanted)


def _mistakes(of: Side, file: str, top: int) -> "NDArray[np.bool_] | NDArray[np.float64]":
    """(N,): on each image whether the run was mistaken, or what share of the runs. Raises LedgerError, ValueError."""
    import numpy as np

    from orchestrator.predictions import read

    kept = [read(run, file) for run in of.runs]
    if any(not np.array_equal(each.labels, kept[0].labels) for each in kept):
        raise ValueError(f"the runs of {of.arm.label} predicted other images")
    wrong = [each.wrong(top) for each in kept]
    return wrong[0] if len(wrong) == 1 else np.mean(wrong, axis=0)
