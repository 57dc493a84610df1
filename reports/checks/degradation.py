"""DEG: plain networks get worse with depth, and not by overfitting (sec. 1, 4.1, Figures 1, 4 and 6)."""

from collections.abc import Mapping, Sequence
from statistics import median

from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, Pool
from reports.cells import measure
from reports.checks.rules import (
    PAIRED_DEPTHS,
    TEST,
    TRAIN,
    Check,
    CheckOfAll,
    caveats,
    compared,
    differ_in_warm_up,
    finding,
    numbers_of,
    of_comparisons,
    recorded,
)
from reports.evidence import NotAbove, Trend, above, trend_of
from reports.noise import difference
from reports.samples import compare, ended, sample, samples_used
from reports.verdicts import Finding, NotInStudyError, whether


def deg_01(pool: Pool) -> Finding:
    """Training error over the last 10k iterations: diff(56 - 20) > 2 SE and > 1 point."""
    pair = compared(pool, ("none", 56), ("none", 20), TRAIN)
    return of_comparisons([pair], [above(pair, 1.0)])


def deg_02(pool: Pool) -> Finding:
    """Final test error: diff(56 - 20) > 2 SE and > 1 point."""
    pair = compared(pool, ("none", 56), ("none", 20), TEST)
    return of_comparisons([pair], [above(pair, 1.0)])


def deg_03(pool: Pool) -> Finding:
    """rho > 0.8 with p < .01, and 44 > 20 and 56 > 44 each > 2 SE; 32 against 20 is reported, not decided."""
    samples = {depth: sample(pool, "none", depth, TRAIN) for depth in PAIRED_DEPTHS}
    trend = Trend(found=trend_of(list(samples.values())), sign=1, p_below=0.01)
    decided = [compare(samples[44], samples[20]), compare(samples[56], samples[44])]
    return of_comparisons(
        decided,
        [trend, *map(above, decided)],
        reported=[compare(samples[32], samples[20])],
        first=str(trend),
        **trend.numbers,
    )


FAILURE = 60.0
"""Percent: Figure 6 says that the error of plain-110 is higher and does not display it."""


def _final(run: Run) -> float:
    """A diverged run has no final error; it counts as above every limit."""
    return float("inf") if run.outcome is Outcome.DIVERGED else recorded(run, TEST)


def _nearest(arms: Sequence[MeasuredArm], *, warm: bool) -> MeasuredArm | None:
    """The plain-110 nearest to the paper's recipe, with or without warm-up."""
    found = [
        arm for arm in arms if arm.network.shortcut == "none" and arm.network.depth == 110 and arm.warms_up == warm
    ]
    return min(found, key=lambda arm: len(arm.arm.deviations), default=None)


def deg_04(arms: Sequence[MeasuredArm]) -> Finding:
    """Median final test error of plain-110 > 60 without warm-up; the warm-up variant is reported beside it."""
    cold = _nearest(arms, warm=False)
    warm = _nearest([arm for arm in arms if cold is None or differ_in_warm_up(arm, cold)], warm=True)
    beside = f"; with warm-up {measure(warm, TEST).text()}" if warm else ""
    if cold is None:
        raise NotInStudyError(f"needs plain-110 without warm-up (recipe.warmup_from_depth: null){beside}")
    runs = ended(cold)
    middle = median(_final(run) for run in runs)
    diverged = sum(run.outcome is Outcome.DIVERGED for run in runs)
    infinite = middle == float("inf")
    text = f"above every limit ({diverged} of {len(runs)} diverged)" if infinite else f"{middle:.2f}"
    return Finding(
        answer=whether(middle > FAILURE),
        statistic=f"plain-110 without warm-up: median {text}; limit 60{beside}",
        n=len(runs),
        numbers={"median": None if infinite else middle, "diverged": diverged, "limit": FAILURE},
        caveats=caveats(cold.arm.deviations),
        measured="" if cold.paper else Pool(arms=(cold,)).title,
        arms=(cold.arm.name,),
    )


def _gap(pool: Pool, depth: int) -> list[float]:
    """Generalisation gap of each seed: final test error minus training error."""
    test, train = sample(pool, "none", depth, TEST), sample(pool, "none", depth, TRAIN)
    return [test.by_seed[seed] - train.by_seed[seed] for seed in test.by_seed if seed in train.by_seed]


def deg_05(pool: Pool) -> Finding:
    """Both diffs(56 - 20), training and test, > 2 SE, and gap(56) - gap(20) < 2 SE or negative."""
    train = compared(pool, ("none", 56), ("none", 20), TRAIN)
    test = compared(pool, ("none", 56), ("none", 20), TEST)
    gap = difference(_gap(pool, 56), _gap(pool, 20))
    return finding(
        [above(train), above(test), NotAbove(gap=gap, arms=tuple(each.arm.arm.name for each in samples_used([train])))],
        f"training {train}; test {test}; gap of the gaps {gap}",
        samples_used([train]),
        differences={"train": train.numbers, "test": test.numbers},
        gap_difference=numbers_of(gap),
    )


CHECKS: Mapping[str, Check] = {
    "DEG-01": deg_01,
    "DEG-02": deg_02,
    "DEG-03": deg_03,
    "DEG-05": deg_05,
}
CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {"DEG-04": deg_04}
