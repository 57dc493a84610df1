"""RES: residual networks gain from depth, and train where plain ones do not (sec. 4.1, 4.2, Table 6, Figure 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

from orchestrator.runs import Outcome, Run
from reports.arms import Pool
from reports.cells import Metric
from reports.checks.rules import (
    PAIRED_DEPTHS,
    RESNET_DEPTHS,
    TEST,
    TRAIN,
    Check,
    compared,
    finding,
    of_comparisons,
    recorded,
)
from reports.evidence import Trend, above, not_above, plain, trend_of
from reports.samples import Sample, arm_of, compare, compare_paired, ended, sample
from reports.verdicts import Finding, NotEnoughError, NotInStudyError, whether


def res_06(pool: Pool) -> Finding:
    """Final test error: rho < -0.8; 20 > 32 and 56 > 110 by > 2 SE; 32 > 44 > 56 is reported."""
    samples = {depth: sample(pool, "A", depth, TEST) for depth in RESNET_DEPTHS}
    trend = Trend(found=trend_of(list(samples.values())), sign=-1)
    decided = [compare(samples[20], samples[32]), compare(samples[56], samples[110])]
    return of_comparisons(
        decided,
        [trend, *map(above, decided)],
        reported=[compare(samples[32], samples[44]), compare(samples[44], samples[56])],
        first=str(trend),
        **trend.numbers,
    )


def res_07(pool: Pool) -> Finding:
    """Training error, mean 54k to 64k: error(next depth) <= error(depth) + 2 SE for every adjacent pair."""
    samples = [sample(pool, "A", depth, TRAIN) for depth in RESNET_DEPTHS]
    steps = [compare(deep, shallow) for shallow, deep in pairwise(samples)]
    return of_comparisons(steps, [not_above(step) for step in steps])


def _plain_above_residual(pool: Pool, depths: Sequence[int], metric: Metric) -> Finding:
    pairs = [compare_paired(sample(pool, "none", depth, metric), sample(pool, "A", depth, metric)) for depth in depths]
    return of_comparisons(pairs)


def res_08(pool: Pool) -> Finding:
    """Training error paired by seed at 20, 32, 44, 56: each diff(plain - residual) > 2 SE."""
    return _plain_above_residual(pool, PAIRED_DEPTHS, TRAIN)


def res_09(pool: Pool) -> Finding:
    """Final test error paired by seed at 20, 32, 44, 56, and 34 on ImageNet: each diff(plain - residual) > 2 SE."""
    found = _plain_above_residual(pool, PAIRED_DEPTHS, TEST)
    missing = "decided on the four CIFAR depths; the 34 layers on ImageNet are not in it"
    return replace(found, caveats=(*found.caveats, missing))


def _last_training_error(run: Run) -> float:
    """Mean over the last 1/64 of the iterations, 1k of the paper's 64k."""
    curve = run.curves.get("train_error")
    start = run.iterations * 63 / 64
    points = [value for at, value in zip(curve.iterations, curve.values, strict=True) if at > start] if curve else []
    if not points:
        raise NotEnoughError(f"{run.name} recorded no training error in the last 1/64 of its iterations")
    return fmean(points)


def res_11(pool: Pool) -> Finding:
    """ResNet-1202, training error: mean of the last 1k iterations < 0.1 % (augmented batches), or clean < 0.1 %."""
    arm = arm_of(pool, "A", 1202)
    runs = [run for run in ended(arm) if run.outcome is Outcome.FINISHED]
    if len(runs) < 2:
        raise NotEnoughError(f"needs 2 finished seeds of {arm.label}, not {len(runs)}")
    used = Sample(arm=arm, by_seed={run.seed: _last_training_error(run) for run in runs})
    clean = [value for run in runs if (value := run.result.get(Metric.LAST_CLEAN_TRAIN.value)) is not None]
    told = f"{arm.label} {used.mean:.3f} on augmented batches, last 1/64 of the iterations"
    if len(clean) < len(runs):
        found = finding([plain(used.mean < 0.1)], f"{told}; limit 0.1", [used], limit=0.1)
        unseen = f"{len(runs) - len(clean)} of {len(runs)} trials of {arm.label} recorded no error on clean images"
        return replace(found, caveats=(*found.caveats, unseen))
    told += f", {fmean(clean):.3f} on clean images"
    return finding([plain(min(used.mean, fmean(clean)) < 0.1)], f"{told}; limit 0.1", [used], limit=0.1)


def res_12(pool: Pool) -> Finding:
    """|training error(1202) - training error(110)| < 0.1 point."""
    pair = compared(pool, ("A", 1202), ("A", 110), TRAIN)
    return of_comparisons([pair], [plain(abs(pair.gap.value) < 0.1)])


def res_13(pool: Pool) -> Finding:
    """Final test error: diff(1202 - 110) > 2 SE."""
    pair = compared(pool, ("A", 1202), ("A", 110), TEST)
    return of_comparisons([pair])


def _converged(run: Run, chance: float) -> bool:
    return run.outcome is Outcome.FINISHED and recorded(run, TRAIN) < chance


def res_15(pool: Pool) -> Finding:
    """Any residual arm: every seed has a finite loss and a training error below the chance level."""
    arms = [arm for arm in pool.arms if arm.network.shortcut != "none"]
    if not arms:
        raise NotInStudyError("needs a residual network, which is not in this study")
    runs = [(run, 100 * (1 - 1 / arm.network.classes)) for arm in arms for run in ended(arm)]
    bad = [run.name for run, chance in runs if not _converged(run, chance)]
    statistic = f"{len(runs) - len(bad)} of {len(runs)} runs of {len(arms)} residual arms converged"
    return Finding(
        answer=whether(not bad),
        statistic=f"{statistic}; not: {', '.join(bad)}" if bad else statistic,
        n=len(runs),
        numbers={"converged": len(runs) - len(bad), "runs": len(runs)},
        arms=tuple(arm.arm.name for arm in arms),
    )


CHECKS: Mapping[str, Check] = {
    "RES-06": res_06,
    "RES-07": res_07,
    "RES-08": res_08,
    "RES-09": res_09,
    "RES-11": res_11,
    "RES-12": res_12,
    "RES-13": res_13,
    "RES-15": res_15,
}
