"""One function for each claim of the paper that this version can test; its docstring is the rule of claims.csv."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from models.complexity import multiply_adds, parameters
from models.spec import CIFAR_DEPTHS, IMAGENET_BLOCKS, Layout, Network, Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, Pool
from reports.cells import Metric, measure
from reports.noise import Difference, difference, spearman, spread
from reports.samples import Comparison, Sample, arm_of, compare, compare_paired, ended, sample, samples_used
from reports.verdicts import (
    WITHIN_NOISE,
    Answer,
    Finding,
    NotEnoughError,
    NotInStudyError,
    all_of,
    exceeds,
    whether,
)

TRAIN = Metric.TAIL_TRAIN
TEST = Metric.LAST_TEST
PAIRED_DEPTHS = (20, 32, 44, 56)
RESNET_DEPTHS = (20, 32, 44, 56, 110)

Check = Callable[[Pool], Finding]


def _finding(answer: Answer, statistic: str, used: Sequence[Sample], *, reason: str = "", **numbers: Any) -> Finding:
    return Finding(
        answer=answer,
        statistic=statistic,
        n=sum(each.n for each in used),
        numbers={"samples": {each.arm.arm.name: each.numbers for each in used}, **numbers},
        reason=(reason or WITHIN_NOISE) if answer is Answer.UNDECIDED else "",
        caveats=tuple(dict.fromkeys(caveat for each in used for caveat in each.caveats)),
        arms=tuple(each.arm.arm.name for each in used),
    )


def _of_comparisons(answer: Answer, comparisons: Sequence[Comparison], extra: str = "", **numbers: Any) -> Finding:
    told = [each.short for each in comparisons] if len(comparisons) > 1 else [str(each) for each in comparisons]
    statistic = "; ".join([*([extra] if extra else []), *told])
    differences = {f"{each.high.label} − {each.low.label}": each.numbers for each in comparisons}
    return _finding(answer, statistic, samples_used(comparisons), differences=differences, **numbers)


def _compare(pool: Pool, high: tuple[Shortcut, int], low: tuple[Shortcut, int], metric: Metric) -> Comparison:
    return compare(sample(pool, *high, metric), sample(pool, *low, metric))


# Degradation


def deg_01(pool: Pool) -> Finding:
    """Training error over the last 10k iterations: diff(56 - 20) > 2 SE and > 1 point."""
    pair = _compare(pool, ("none", 56), ("none", 20), TRAIN)
    return _of_comparisons(exceeds(pair.gap, 1.0), [pair])


def deg_02(pool: Pool) -> Finding:
    """Final test error: diff(56 - 20) > 2 SE and > 1 point."""
    pair = _compare(pool, ("none", 56), ("none", 20), TEST)
    return _of_comparisons(exceeds(pair.gap, 1.0), [pair])


def _trend(samples: Sequence[Sample], sign: int, p_below: float | None) -> tuple[Answer, str, dict[str, float]]:
    """Whether sign * rho of depth against error exceeds 0.8 (and p is below its limit)."""
    depths = [each.arm.network.depth for each in samples for _ in each.values]
    found = spearman(depths, [value for each in samples for value in each.values])
    if found is None:
        return Answer.UNDECIDED, "rho is not defined", {}
    numbers = {"rho": found.rho, "p": found.p, "rho_low": found.low, "rho_high": found.high}
    text = f"rho {found.rho:+.2f}".replace("-", "−") + f", p {found.p:.1g}"
    if sign * found.rho > 0.8 and (p_below is None or found.p < p_below):
        return Answer.HOLDS, text, numbers
    best = max(sign * found.low, sign * found.high)
    return Answer.FAILS if best < 0.8 else Answer.UNDECIDED, text, numbers


def deg_03(pool: Pool) -> Finding:
    """rho > 0.8 with p < .01, and 44 > 20 and 56 > 44 each > 2 SE; 32 against 20 is reported, not decided."""
    samples = {depth: sample(pool, "none", depth, TRAIN) for depth in PAIRED_DEPTHS}
    answer, text, numbers = _trend(list(samples.values()), 1, 0.01)
    decided = [compare(samples[44], samples[20]), compare(samples[56], samples[44])]
    reported = compare(samples[32], samples[20])
    verdict = all_of([answer, *[exceeds(each.gap) for each in decided]])
    return _of_comparisons(verdict, [*decided, reported], text, **numbers)


FAILURE = 60.0
"""Percent: Figure 6 says that the error of plain-110 is higher and does not display it."""


def _final(run: Run) -> float:
    """A diverged run has no final error; it counts as above every limit."""
    return float("inf") if run.outcome is Outcome.DIVERGED else _recorded(run, TEST)


def _recorded(run: Run, metric: Metric) -> float:
    if metric.value not in run.result:
        raise NotEnoughError(f"{run.name} recorded no {metric.value}")
    return float(run.result[metric.value])


def _plain_110(arms: Sequence[MeasuredArm], *, warm: bool) -> MeasuredArm | None:
    """The arm nearest to the paper's recipe, with or without warm-up."""
    found = [
        arm for arm in arms if arm.network.shortcut == "none" and arm.network.depth == 110 and arm.warms_up == warm
    ]
    return min(found, key=lambda arm: len(arm.arm.deviations), default=None)


def deg_04(arms: Sequence[MeasuredArm]) -> Finding:
    """Median final test error of plain-110 > 60 without warm-up; the warm-up variant is reported beside it."""
    cold, warm = _plain_110(arms, warm=False), _plain_110(arms, warm=True)
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


def caveats(deviations: Sequence[str]) -> tuple[str, ...]:
    """A claim of the paper that was tested on other arms than the paper's says so."""
    return (f"not the paper's recipe: {'; '.join(deviations)}",) if deviations else ()


def _gap(pool: Pool, depth: int) -> list[float]:
    """Generalisation gap of each seed: final test error minus training error."""
    test, train = sample(pool, "none", depth, TEST), sample(pool, "none", depth, TRAIN)
    return [test.by_seed[seed] - train.by_seed[seed] for seed in test.by_seed if seed in train.by_seed]


def deg_05(pool: Pool) -> Finding:
    """Both diffs(56 - 20), training and test, > 2 SE, and gap(56) - gap(20) < 2 SE or negative."""
    train = _compare(pool, ("none", 56), ("none", 20), TRAIN)
    test = _compare(pool, ("none", 56), ("none", 20), TEST)
    gap = difference(_gap(pool, 56), _gap(pool, 20))
    answer = all_of([exceeds(train.gap), exceeds(test.gap), whether(gap.value < max(gap.noise, 0.0) or gap.value < 0)])
    statistic = f"training {train}; test {test}; gap of the gaps {gap}"
    used = samples_used([train])
    differences = {"train": train.numbers, "test": test.numbers}
    return _finding(answer, statistic, used, differences=differences, gap_difference=_numbers(gap))


def _numbers(gap: Difference) -> dict[str, float]:
    return {"difference": gap.value, "two_standard_errors": gap.noise}


# Residual networks


def res_06(pool: Pool) -> Finding:
    """Final test error: rho < -0.8; 20 > 32 and 56 > 110 by > 2 SE; 32 > 44 > 56 is reported."""
    samples = {depth: sample(pool, "A", depth, TEST) for depth in RESNET_DEPTHS}
    answer, text, numbers = _trend(list(samples.values()), -1, None)
    decided = [compare(samples[20], samples[32]), compare(samples[56], samples[110])]
    reported = [compare(samples[32], samples[44]), compare(samples[44], samples[56])]
    verdict = all_of([answer, *[exceeds(each.gap) for each in decided]])
    return _of_comparisons(verdict, [*decided, *reported], text, **numbers)


def res_07(pool: Pool) -> Finding:
    """Training error, mean 54k to 64k: error(next depth) <= error(depth) + 2 SE for every adjacent pair."""
    samples = [sample(pool, "A", depth, TRAIN) for depth in RESNET_DEPTHS]
    steps = [compare(deep, shallow) for shallow, deep in pairwise(samples)]
    return _of_comparisons(all_of(whether(step.gap.value <= step.gap.noise) for step in steps), steps)


def _plain_above_residual(pool: Pool, depths: Sequence[int], metric: Metric) -> Finding:
    pairs = [compare_paired(sample(pool, "none", depth, metric), sample(pool, "A", depth, metric)) for depth in depths]
    return _of_comparisons(all_of(exceeds(each.gap) for each in pairs), pairs)


def res_08(pool: Pool) -> Finding:
    """Training error paired by seed at 20, 32, 44, 56: each diff(plain - residual) > 2 SE."""
    return _plain_above_residual(pool, PAIRED_DEPTHS, TRAIN)


def res_09(pool: Pool) -> Finding:
    """Final test error paired by seed at 20, 32, 44, 56, and 34 on ImageNet: each diff(plain - residual) > 2 SE."""
    found = _plain_above_residual(pool, PAIRED_DEPTHS, TEST)
    missing = "decided on the four CIFAR depths; the 34 layers on ImageNet are not in it"
    return Finding(**{**vars(found), "caveats": (*found.caveats, missing)})


def _last_training_error(run: Run) -> float:
    """Mean over the last 1/64 of the iterations, 1k of the paper's 64k."""
    curve = run.curves.get("train_error")
    start = run.iterations * 63 / 64
    points = [value for at, value in zip(curve.iterations, curve.values, strict=True) if at > start] if curve else []
    if not points:
        raise NotEnoughError(f"{run.name} recorded no training error in the last 1/64 of its iterations")
    return fmean(points)


def res_11(pool: Pool) -> Finding:
    """ResNet-1202: mean training error of the last 1k iterations < 0.1 % (augmented batches)."""
    arm = arm_of(pool, "A", 1202)
    runs = [run for run in ended(arm) if run.outcome is Outcome.FINISHED]
    if len(runs) < 2:
        raise NotEnoughError(f"needs 2 finished seeds of {arm.label}, not {len(runs)}")
    used = Sample(arm=arm, by_seed={run.seed: _last_training_error(run) for run in runs})
    statistic = f"{arm.label} {used.mean:.3f} on augmented batches, last 1/64 of the iterations; limit 0.1"
    return _finding(whether(used.mean < 0.1), statistic, [used], limit=0.1)


def res_12(pool: Pool) -> Finding:
    """|training error(1202) - training error(110)| < 0.1 point."""
    pair = _compare(pool, ("A", 1202), ("A", 110), TRAIN)
    return _of_comparisons(whether(abs(pair.gap.value) < 0.1), [pair])


def res_13(pool: Pool) -> Finding:
    """Final test error: diff(1202 - 110) > 2 SE."""
    pair = _compare(pool, ("A", 1202), ("A", 110), TEST)
    return _of_comparisons(exceeds(pair.gap), [pair])


def _converged(run: Run, chance: float) -> bool:
    return run.outcome is Outcome.FINISHED and _recorded(run, TRAIN) < chance


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


# Shortcuts


def _options(pool: Pool, depth: int) -> list[Sample]:
    return [sample(pool, shortcut, depth, TEST) for shortcut in ("A", "B", "C")]


def sc_05(pool: Pool) -> Finding:
    """Final test error of A, B and C: reported; a spread below 0.5 point is expected."""
    depths = [depth for depth in pool.depths if all(pool.find(each, depth) for each in ("A", "B", "C"))]
    if not depths:
        raise NotInStudyError("needs options A, B and C at one depth, which are not in this study")
    groups = [_options(pool, depth) for depth in depths]
    spreads = [max(each.mean for each in group) - min(each.mean for each in group) for group in groups]
    parts = [f"{', '.join(map(str, group))}: spread {wide:.2f}" for group, wide in zip(groups, spreads, strict=True)]
    return _finding(
        Answer.UNDECIDED,
        "; ".join(parts),
        [each for group in groups for each in group],
        reason="the rule reports the order and decides nothing; the paper has no number",
        spreads=dict(zip(map(str, depths), spreads, strict=True)),
    )


def _pair(layout: Layout, depth: int) -> tuple[Network, Network]:
    """The plain network of the paper and its residual twin with option A."""
    if layout == "cifar":
        return Network(depth=depth), Network(depth=depth, shortcut="A")
    plain = Network(data="imagenet", layout="imagenet", classes=1000, size=224, depth=depth)
    twin = Network(data="imagenet", layout="imagenet", classes=1000, size=224, depth=depth, shortcut="A")
    return plain, twin


def sc_06(arms: Sequence[MeasuredArm]) -> Finding:
    """All plain / A pairs, of the paper and of this study: parameters and multiply-adds exactly equal."""
    pairs = [_pair("cifar", depth) for depth in CIFAR_DEPTHS] + [_pair("imagenet", depth) for depth in IMAGENET_BLOCKS]
    for arm in arms:
        twin = _with_shortcut(arm.network, "A" if arm.network.shortcut == "none" else "none")
        if arm.network.shortcut in ("none", "A"):
            pairs.append((arm.network, twin))
    costs = [[(parameters(each), multiply_adds(each)) for each in pair] for pair in dict.fromkeys(pairs)]
    unequal = sum(plain != twin for plain, twin in costs)
    return Finding(
        answer=whether(unequal == 0),
        statistic=f"{len(costs) - unequal} of {len(costs)} pairs have equal parameters and multiply-adds",
        n=0,
        numbers={"pairs": len(costs), "unequal": unequal},
    )


def _with_shortcut(network: Network, shortcut: Shortcut) -> Network:
    return Network(**{**vars(network), "shortcut": shortcut})


# The paper's own numbers


def _paper_only(pool: Pool) -> None:
    if not pool.paper:
        raise NotEnoughError(f"compares with an error that the paper printed, and this was {pool.title}")


def pap_02(pool: Pool) -> Finding:
    """1,727,962 < 2.3 M parameters, and error < 7.54."""
    used = sample(pool, "A", 110, TEST)
    _paper_only(pool)
    count = parameters(used.arm.network)
    statistic = f"{count:,} parameters against 2.3 M; test error {used.mean:.2f} against 7.54"
    return _finding(whether(count < 2_300_000 and used.mean < 7.54), statistic, [used], parameters=count)


def pap_04(pool: Pool) -> Finding:
    """Mean within 6.61 ± 0.3; sample standard deviation < 0.35."""
    used = sample(pool, "A", 110, TEST)
    _paper_only(pool)
    deviation = spread(used.values) or 0.0
    best = min(used.values)
    answer = whether(abs(used.mean - 6.61) <= 0.3 and deviation < 0.35)
    statistic = f"ResNet-110: {used.mean:.2f} ± {deviation:.2f} over {used.n} seeds, best {best:.2f}"
    return _finding(answer, f"{statistic}; the paper 6.61 ± 0.16, best 6.43", [used], best=best)


CHECKS: Mapping[str, Check] = {
    "DEG-01": deg_01,
    "DEG-02": deg_02,
    "DEG-03": deg_03,
    "DEG-05": deg_05,
    "RES-06": res_06,
    "RES-07": res_07,
    "RES-08": res_08,
    "RES-09": res_09,
    "RES-11": res_11,
    "RES-12": res_12,
    "RES-13": res_13,
    "RES-15": res_15,
    "SC-05": sc_05,
    "PAP-02": pap_02,
    "PAP-04": pap_04,
}
"""Over runs of arms that may be compared."""
CHECKS_OF_ALL: Mapping[str, Callable[[Sequence[MeasuredArm]], Finding]] = {"DEG-04": deg_04, "SC-06": sc_06}
"""Over every arm of the study: they compare across recipes, or look at networks alone."""
