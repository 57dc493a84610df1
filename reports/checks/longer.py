"""What becomes of degradation when a network starts elsewhere, is deeper still, or trains longer (sec. 1, 3.1, 4.1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from models.spec import Network, Shortcut
from orchestrator.runs import Curve, Outcome, Run
from reports.arms import MeasuredArm, Pool, called
from reports.cells import measure
from reports.checks.rules import RESNET_DEPTHS, TEST, TRAIN, Check, CheckOfAll, caveats, of_comparisons
from reports.evidence import Chosen, Plain, above, not_above, plain
from reports.noise import fit, mean_of
from reports.samples import Sample, compare, ended, sample, sample_of
from reports.verdicts import Answer, Finding, NotEnoughError, NotInStudyError, all_of

MODERATE = (8, 14, 20, 32, 44, 56)
"""n = 1, 2, 3, 5, 7, 9 of 6n + 2."""


def deg_08(pool: Pool) -> Finding:
    """Final test error of plain nets of 8, 14, 20, 32, 44, 56 layers: argmin strictly inside the range and both ends
    worse by > 2 SE.

    So both ends are compared with the lowest between them, and where an end is lower by > 2 SE it fails. That one was
    chosen by the same errors, so evidence for the claim counts once for each that it could have been.
    """
    missing = [called("none", depth) for depth in MODERATE if pool.find("none", depth) is None]
    if missing:
        raise NotInStudyError(
            f"needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not in this study"
        )
    first, *between, last = (sample(pool, "none", depth, TEST) for depth in MODERATE)
    inside = min(between, key=_mean)
    lowest = min((first, inside, last), key=_mean)
    ends = [compare(first, inside), compare(last, inside)]
    parts = [Chosen(part=above(end), of=len(between)) for end in ends]
    return of_comparisons(ends, parts, first=f"lowest at {lowest.arm.network.depth} layers")


def _mean(of: Sample) -> float:
    return of.mean


# The constructed solution


def _grown(arms: Sequence[MeasuredArm]) -> MeasuredArm:
    found = [arm for arm in arms if arm.network.grown_from == 20 and _is(arm, "none", 56)]
    if not found:
        raise NotInStudyError("needs plain-56 grown from plain-20 (network.grown_from: 20), which is not in this study")
    return min(found, key=lambda arm: len(arm.arm.deviations))


def _is(arm: MeasuredArm, shortcut: Shortcut, depth: int) -> bool:
    return (arm.network.shortcut, arm.network.depth) == (shortcut, depth)


def deg_09(arms: Sequence[MeasuredArm]) -> Finding:
    """plain-56 made of a trained plain-20 by inserting identity layers: largest logit difference <= 1e-5, and equal
    training error before any step."""
    arm = _grown(arms)
    told = [run.result["growth"] for run in ended(arm, fewest=1) if run.result.get("growth")]
    if not told:
        raise NotEnoughError(
            f"no trial of {arm.label} recorded how it began; trials of this version do, at their beginning"
        )
    furthest = max(float(each["logit_difference"]) for each in told)
    unequal = [each for each in told if each["train_error"] != each["parent_train_error"]]
    parts = [plain(furthest <= 1e-5), plain(not unequal)]
    errors = f"training error equal in {len(told) - len(unequal)} of {len(told)} trials"
    return Finding(
        answer=all_of(part.answer for part in parts),
        statistic=f"{arm.label}: largest logit difference {furthest:.2g} on {told[0]['images']:,} images; {errors}",
        n=len(told),
        numbers={"logit_difference": furthest if math.isfinite(furthest) else None, "unequal": len(unequal)},
        caveats=caveats([each for each in arm.arm.deviations if not each.startswith("grown")]),
        arms=(arm.arm.name,),
        parts=tuple(parts),
    )


def find(arms: Sequence[MeasuredArm], network: Network, like: MeasuredArm) -> MeasuredArm | None:
    """The arm of a network under the recipe of another arm."""
    return next((arm for arm in arms if arm.network == network and arm.arm.recipe == like.arm.recipe), None)


def _beside(arms: Sequence[MeasuredArm], grown: MeasuredArm, depth: int) -> MeasuredArm:
    """The network of this depth on the same data and under the same recipe, from random weights."""
    found = find(arms, replace(grown.network, depth=depth, grown_from=None), grown)
    if found is None:
        raise NotInStudyError(
            f"needs {called('none', depth)} under the recipe of {grown.label}, which is not in this study"
        )
    return found


def deg_10(arms: Sequence[MeasuredArm]) -> Finding:
    """Final training error: random-init plain-56 > plain-20 + 2 SE while identity-initialised plain-56 <= plain-20 +
    2 SE."""
    grown = _grown(arms)
    shallow, deep, made = (sample_of(arm, TRAIN) for arm in (_beside(arms, grown, 20), _beside(arms, grown, 56), grown))
    random, constructed = compare(deep, shallow), compare(made, shallow)
    found = of_comparisons([random, constructed], [above(random), not_above(constructed)])
    return replace(found, caveats=(*found.caveats, *caveats(shallow.arm.arm.deviations)))


# Longer training

LONGER = 3
RECORDING = ("iterations", "record_every", "evaluate_every")
"""Values of a recipe in which a longer schedule may differ; its drops are shares of the iterations."""


def _pairs(arms: Sequence[MeasuredArm]) -> list[tuple[Sequence[MeasuredArm], Sequence[MeasuredArm]]]:
    """Plain pairs, shallow and deep, once as they are and once under a schedule three times as long: under the paper's
    recipe first, and there and elsewhere photographs first."""
    found = []
    for shallow, deep in ((18, 34), (20, 56)):
        pairs = [
            (arm, other)
            for arm in arms
            if _is(arm, "none", shallow) and not arm.network.variant
            if (other := find(arms, replace(arm.network, depth=deep), arm))
        ]
        found += [(once, long) for once in pairs for long in pairs if _is_longer(long[0], once[0])]
    return sorted(found, key=lambda each: not each[0][0].paper)


def _is_longer(long: MeasuredArm, once: MeasuredArm) -> bool:
    """Whether an arm is another one with three times the iterations, and nothing else that decides the result."""
    recipes = [{name: value for name, value in arm.arm.recipe.items() if name not in RECORDING} for arm in (long, once)]
    return long.network == once.network and long.iterations == LONGER * once.iterations and recipes[0] == recipes[1]


def deg_11(arms: Sequence[MeasuredArm]) -> Finding:
    """Plain nets with a schedule 3 times as long: the gap deep - shallow at 3x still > 2 SE above 0, in test and in
    training; whether the deep one at 3x beats the shallow one at 1x is stated."""
    pairs = _pairs(arms)
    if not pairs:
        raise NotInStudyError(
            "needs plain-20 and plain-56 (18 and 34 on ImageNet), once and under recipe.schedule_multiplier: 3"
        )
    (once, long), *_ = pairs
    gaps = [compare(sample_of(long[1], metric), sample_of(long[0], metric)) for metric in (TEST, TRAIN)]
    first, last = measure(once[0], TEST), measure(long[1], TEST)
    beats = first.mean is not None and last.mean is not None and last.mean < first.mean
    stated = f"{long[1].label} at {LONGER}x ends at {last.text()}, {once[0].label} at 1x at {first.text()}"
    made = of_comparisons(gaps, first=f"at {LONGER}x, test and training")
    return replace(
        made,
        statistic=f"{made.statistic}; {stated}",
        numbers={**made.numbers, "deep_at_3x_beats_shallow_at_1x": beats},
        caveats=(*made.caveats, *caveats(once[0].arm.deviations)),
    )


# How fast networks converge

REACHED = 20.0
"""Percent of training error."""


def first_below(curve: Curve, limit: float) -> float | None:
    """Iterations until a curve is below a limit, between its points on a straight line; None if it never is."""
    before: tuple[float, float] | None = None
    for at, value in zip(curve.iterations, curve.values, strict=True):
        if value < limit:
            if before is None:
                return float(at)
            then, above_it = before
            return then + (above_it - limit) / (above_it - value) * (at - then)
        before = (at, value)
    return None


_FAMILIES: Mapping[Shortcut, str] = {"none": "plain", "A": "ResNet"}


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """ln T against depth, over the runs of a family."""

    among: frozenset[int]
    """Depths of the family's arms."""
    depths: tuple[int, ...]
    logs: tuple[float, ...]
    missed: int
    """Runs that never came so far."""
    arms: tuple[str, ...]


def _pace(pool: Pool, shortcut: Shortcut) -> _Pace:
    arms = [arm for arm in pool.arms if arm.network.shortcut == shortcut]
    if len(arms) < 3:
        raise NotInStudyError(f"needs {_FAMILIES[shortcut]} networks of 3 depths, which are not in this study")
    runs = [(arm, run) for arm in arms for run in ended(arm)]
    reached = [(arm.network.depth, _reached(run)) for arm, run in runs]
    known = [(depth, math.log(at)) for depth, at in reached if at]
    return _Pace(
        among=frozenset(arm.network.depth for arm in arms),
        depths=tuple(depth for depth, _ in known),
        logs=tuple(value for _, value in known),
        missed=len(reached) - len(known),
        arms=tuple(arm.arm.name for arm in arms),
    )


def _reached(run: Run) -> float | None:
    curve = run.curves.get("train_error")
    return first_below(curve, REACHED) if curve and run.outcome is Outcome.FINISHED else None


def deg_13(pool: Pool) -> Finding:
    """Iterations T to reach 20 % training error; fit log T = a + b * depth: b with CI for plain and ResNet; supported
    if b_plain > 0 and > b_resnet by 2 SE. A conjecture: reported, neither passed nor failed."""
    paces = {name: _pace(pool, shortcut) for shortcut, name in _FAMILIES.items()}
    for name, pace in paces.items():
        if len(set(pace.depths)) < 3:
            raise NotEnoughError(
                f"needs {name} networks of 3 depths that reach {REACHED:g} % training error, not"
                f" {len(set(pace.depths))}"
            )
    slopes = {name: fit(pace.depths, pace.logs) for name, pace in paces.items()}
    apart = slopes["plain"].slope - slopes["ResNet"].slope
    noise = 2 * math.hypot(slopes["plain"].error, slopes["ResNet"].error)
    supported = slopes["plain"].slope > 0 and apart > noise
    told = "; ".join(
        f"{name}: b {each.slope:+.4f} ({each.low:+.4f} to {each.high:+.4f}) per layer".replace("-0", "−0")
        + (f", {paces[name].missed} runs never below {REACHED:g} %" if paces[name].missed else "")
        for name, each in slopes.items()
    )
    return Finding(
        answer=Answer.UNDECIDED,
        statistic=told,
        n=sum(len(pace.depths) + pace.missed for pace in paces.values()),
        numbers={name: vars(each) for name, each in slopes.items()},
        reason="a conjecture, which the rule reports and does not decide; here it is "
        + ("supported" if supported else "not supported"),
        caveats=_lacking(paces),
        arms=tuple(arm for pace in paces.values() for arm in pace.arms),
        parts=(Plain(answer=Answer.UNDECIDED),),
    )


def _lacking(paces: Mapping[str, _Pace]) -> tuple[str, ...]:
    lacking = [f"{name}-{depth}" for name, pace in paces.items() for depth in RESNET_DEPTHS if depth not in pace.among]
    return (f"the claim asks for {', '.join(lacking)} too",) if lacking else ()


# ImageNet's training curves

EPOCHS = 600_000 / (1_281_167 / 256)
"""Of the paper's schedule; another one is divided alike."""


def _epoch(run: Run) -> float:
    return run.iterations / EPOCHS


def _last_epochs(arm: MeasuredArm, epochs: int = 5) -> Sample:
    """Mean training error over the last epochs of each run."""
    found = {}
    for run in ended(arm):
        curve = run.curves.get("train_error")
        start = run.iterations - epochs * _epoch(run)
        points = (
            [value for at, value in zip(curve.iterations, curve.values, strict=True) if at > start] if curve else []
        )
        if run.outcome is Outcome.FINISHED and points:
            found[run.seed] = fmean(points)
    if len(found) < 2:
        raise NotEnoughError(f"needs 2 trials of {arm.label} with a training error in their last {epochs} epochs")
    return Sample(arm=arm, by_seed=found)


def _arm(pool: Pool, shortcut: Shortcut, depth: int) -> MeasuredArm:
    arm = pool.find(shortcut, depth)
    if arm is None:
        raise NotInStudyError(f"needs {called(shortcut, depth)}, which is not in this study")
    return arm


def deg_07(pool: Pool) -> Finding:
    """Share of epochs (after epoch 2) where train error(34) > train error(18): share >= 0.95, and the mean difference
    of the last 5 epochs > 2 SE. An epoch's error is the mean over its records and over seeds."""
    deep, shallow = _arm(pool, "none", 34), _arm(pool, "none", 18)
    pair = compare(_last_epochs(deep), _last_epochs(shallow))
    above_it, below_it = _by_epoch(deep), _by_epoch(shallow)
    shared = [epoch for epoch in above_it if epoch in below_it and epoch > 2]
    if not shared:
        raise NotEnoughError(f"{deep.label} and {shallow.label} have no epoch after 2 in which all trials recorded")
    share = fmean(above_it[epoch] > below_it[epoch] for epoch in shared)
    return of_comparisons(
        [pair], [plain(share >= 0.95), above(pair)], first=f"higher in {share:.1%} of {len(shared)} epochs", share=share
    )


def _by_epoch(arm: MeasuredArm) -> dict[int, float]:
    """Mean training error over runs in each epoch, counted from 1; of runs that have a curve, which some have."""
    runs = [run for run in arm.finished if "train_error" in run.curves]
    epochs: dict[int, list[float]] = {}
    for at, value in mean_of([run.curves["train_error"] for run in runs]).items():
        epochs.setdefault(math.ceil(at / _epoch(runs[0])), []).append(value)
    return {epoch: fmean(values) for epoch, values in epochs.items()}


def res_02(pool: Pool) -> Finding:
    """Training error, mean of the last 5 epochs, ResNet-18 - ResNet-34: diff > 2 SE and > 2 points."""
    pair = compare(_last_epochs(_arm(pool, "A", 18)), _last_epochs(_arm(pool, "A", 34)))
    return of_comparisons([pair], [above(pair, 2.0)])


THRESHOLDS = (55.0, 52.0, 50.0)


def _mean_reached(arm: MeasuredArm, limit: float) -> float | None:
    """Over runs; None where one is never below. Raises NotEnoughError where one has no curve."""
    silent = [run.name for run in arm.finished if "test_error" not in run.curves]
    if silent:
        raise NotEnoughError(f"{silent[0]} recorded no validation error while it trained")
    found = [first_below(run.curves["test_error"], limit) for run in arm.finished]
    known = [each for each in found if each is not None]
    return fmean(known) if known and len(known) == len(found) else None


def _area(arm: MeasuredArm) -> Sample:
    """Mean training error up to the first drop of the learning rate: the area under its curve over that time."""
    found = {}
    for run in ended(arm):
        first = min(arm.arm.recipe.get("drops") or [1.0]) * run.iterations
        curve = run.curves.get("train_error")
        points = (
            [value for at, value in zip(curve.iterations, curve.values, strict=True) if at <= first] if curve else []
        )
        if run.outcome is Outcome.FINISHED and points:
            found[run.seed] = fmean(points)
    if len(found) < 2:
        raise NotEnoughError(f"needs 2 trials of {arm.label} with a training curve up to the first drop")
    return Sample(arm=arm, by_seed=found)


def res_05(pool: Pool) -> Finding:
    """ResNet-18 needs fewer iterations than plain-18 to 55, 52 and 50 % validation error within the first phase; the
    area under the training-error curve up to the first drop: diff > 2 SE."""
    base, residual = _arm(pool, "none", 18), _arm(pool, "A", 18)
    pair = compare(_area(base), _area(residual))
    if not pool.paper:
        raise NotEnoughError(
            f"its thresholds are those of ImageNet under the paper's recipe, and this was {pool.title}"
        )
    reached = [(limit, _mean_reached(residual, limit), _mean_reached(base, limit)) for limit in THRESHOLDS]
    first = min(residual.arm.recipe.get("drops") or [1.0]) * residual.iterations
    sooner = all(
        ours is not None and ours <= first and (theirs is None or ours < theirs) for _, ours, theirs in reached
    )
    told = ", ".join(f"{limit:g} %: {_count(ours)} against {_count(theirs)}" for limit, ours, theirs in reached)
    return of_comparisons(
        [pair], [plain(sooner), above(pair)], first=f"iterations to {told}; area under training error"
    )


def _count(iterations: float | None) -> str:
    return "never" if iterations is None else f"{iterations:,.0f}"


CHECKS: Mapping[str, Check] = {
    "DEG-07": deg_07,
    "DEG-08": deg_08,
    "DEG-13": deg_13,
    "RES-02": res_02,
    "RES-05": res_05,
}
CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {"DEG-09": deg_09, "DEG-10": deg_10, "DEG-11": deg_11}
