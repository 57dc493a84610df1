"""Networks and recipes that depart from the paper's in one value: what each departure says of the paper's reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from models.complexity import parameters
from models.layers import layers
from models.spec import Network, Shortcut
from orchestrator.runs import Curve
from reports.arms import MeasuredArm, Pool, families
from reports.cells import Metric
from reports.checks.longer import find
from reports.checks.rules import TEST, TRAIN, Check, CheckOfAll, caveats, differ_in_warm_up, of_comparisons
from reports.evidence import Chosen, Plain, above, alike, not_above, plain
from reports.noise import Difference
from reports.samples import Comparison, compare, sample_of
from reports.verdicts import Answer, Finding, NotEnoughError, NotInStudyError, whether


def _arms(arms: Sequence[MeasuredArm], shortcut: Shortcut, depth: int, variant: str = "") -> list[MeasuredArm]:
    wanted = (shortcut, depth, variant)
    return [arm for arm in arms if (arm.network.shortcut, arm.network.depth, arm.network.variant) == wanted]


def _error(arm: MeasuredArm) -> Metric:
    return Metric.LAST_TEN_CROP if arm.network.layout == "imagenet" else TEST


def _departs(arms: Sequence[MeasuredArm], expected: Sequence[str] = ()) -> tuple[str, ...]:
    """Deviations of the arms beyond those that the claim asks for."""
    found = dict.fromkeys(each for arm in arms for each in arm.arm.deviations)
    return caveats([each for each in found if not each.startswith(tuple(expected))])


# Zero-padded channels, and parameters


def sc_08(arms: Sequence[MeasuredArm]) -> Finding:
    """Test error of A-duplicate against A and B: the explanation is supported if A-duplicate closes more than half of
    the gap between A and B. Where there is none, A-average stands for it."""
    for fill in ("duplicate", "average"):
        for pool in families(arms):
            for depth in pool.depths:
                trio = [pool.find("A", depth, ""), pool.find("A", depth, fill), pool.find("B", depth, "")]
                if all(trio):
                    return _closes([arm for arm in trio if arm])
    raise NotInStudyError("needs options A, A with padding: duplicate, and B at one depth, which are not in this study")


def _closes(trio: Sequence[MeasuredArm]) -> Finding:
    zeros, duplicate, projected = (sample_of(arm, _error(arm)) for arm in trio)
    whole, closed = compare(zeros, projected), compare(zeros, duplicate)
    # closed > whole / 2, as one difference of independent means
    half = replace(
        closed.gap,
        value=closed.gap.value - whole.gap.value / 2,
        terms=tuple(
            (factor**2 * variance, n)
            for factor, (variance, n) in zip(
                (0.5, 1.0, 0.5), (closed.gap.terms[0], closed.gap.terms[1], whole.gap.terms[1]), strict=True
            )
        ),
    )
    share = closed.gap.value / whole.gap.value if whole.gap.value > 0 else None
    part = replace(above(closed), gap=half)
    made = of_comparisons([whole, closed], [above(whole), part])
    told = f"{made.statistic}; closes {share:.0%}" if share is not None else made.statistic
    return replace(made, statistic=told, caveats=(*made.caveats, *_departs(trio, ("padding",))))


def sc_09(arms: Sequence[MeasuredArm]) -> Finding:
    """C has 16 projections and B 3 at 34 layers; the explanation is supported if B widened to C's parameters matches C
    within 2 SE."""
    counts = {option: _projections(option) for option in ("B", "C")}
    counted = f"projections at 34 layers: C {counts['C']}, B {counts['B']}"
    structure = plain(counts == {"B": 3, "C": 16})
    for c in (arm for arm in arms if arm.network.shortcut == "C" and not arm.network.variant):
        wider = [
            arm
            for arm in arms
            if arm.network.shortcut == "B"
            and (arm.network.depth, arm.network.data, arm.arm.recipe) == (c.network.depth, c.network.data, c.arm.recipe)
            and arm.network.variant == f"w{arm.network.width}"
            and _apart(arm.network, c.network) <= ALIKE
        ]
        if wider:
            nearest = min(wider, key=lambda arm: _apart(arm.network, c.network))
            pair = compare(sample_of(nearest, _error(c)), sample_of(c, _error(c)))
            matches = [not_above(pair), not_above(compare(pair.low, pair.high))]
            made = of_comparisons([pair], [structure, *matches], first=counted)
            return replace(made, caveats=(*made.caveats, *_departs([c])))
    asked = next((arm.network for arm in arms if arm.network.shortcut == "C" and not arm.network.variant), None)
    wide = _widened(asked) if asked else "an arm of B widened to its parameters (`width`), within 5 %"
    raise NotInStudyError(f"{counted}; needs C and {wide}")


ALIKE = 0.05
"""Two networks whose parameters differ by no more than this share are of one size."""


def _apart(one: Network, other: Network) -> float:
    return abs(parameters(one) / parameters(other) - 1)


def _widened(network: Network) -> str:
    """B of the width at which it is nearest in size to C."""
    widths = [replace(network, shortcut="B", width=network.width + more) for more in range(1, network.width)]
    nearest = min(widths, key=lambda wide: _apart(wide, network))
    if _apart(nearest, network) > ALIKE:
        return f"a data set where B can be widened to C's parameters: no whole width comes within 5 % of {network.name}"
    return f"{nearest.name} (`width: {nearest.width}`), which is not in this study"


def _projections(option: Shortcut) -> int:
    network = Network(data="imagenet", layout="imagenet", depth=34, shortcut=option, classes=1000, size=224, width=64)
    return sum(layer.shortcut for layer in layers(network))


def sc_10(arms: Sequence[MeasuredArm]) -> Finding:
    """Residual blocks of one layer: not better than plain by > 2 SE, or clearly worse than blocks of two; final
    training error decides, test error is reported."""
    for pool in families(arms):
        for depth in pool.depths:
            one = pool.find("A", depth, "one-layer")
            base, two = pool.find("none", depth, ""), pool.find("A", depth, "")
            if one and base and two:
                return _single(base, one, two)
    raise NotInStudyError("needs plain, A, and A with block_layers: 1 at one depth, which are not in this study")


def _single(base: MeasuredArm, one: MeasuredArm, two: MeasuredArm) -> Finding:
    gain = compare(sample_of(base, TRAIN), sample_of(one, TRAIN))
    behind = compare(sample_of(one, TRAIN), sample_of(two, TRAIN))
    tests = [compare(sample_of(base, TEST), sample_of(one, TEST)), compare(sample_of(one, TEST), sample_of(two, TEST))]
    worse = above(behind)
    part = worse if worse.answer is Answer.HOLDS else not_above(gain)
    made = of_comparisons([gain, behind], [part], first="training")
    told = f"{made.statistic}; test {'; '.join(each.short for each in tests)}"
    return replace(made, statistic=told, caveats=(*made.caveats, *_departs([base, two])))


# Regularisation

REGULARISERS = ("dropout", "stochastic_depth", "weight_decay")


def _regularised(arms: Sequence[MeasuredArm], base: MeasuredArm) -> dict[str, MeasuredArm]:
    """Arms of the same network whose recipe is the base's but for one regulariser, by `dropout 0.2`."""
    found = {}
    for arm in arms:
        if arm.network != base.network or arm is base:
            continue
        differs = {name for name in arm.arm.recipe if arm.arm.recipe[name] != base.arm.recipe.get(name)} - {"name"}
        if len(differs) == 1 and (name := differs.pop()) in REGULARISERS:
            found[f"{name} {arm.arm.recipe[name]}"] = arm
    return found


def _unregularised(arms: Sequence[MeasuredArm]) -> MeasuredArm:
    """The arm of 1202 layers with the least of every regulariser."""
    found = _arms(arms, "A", 1202)
    if not found:
        raise NotInStudyError("needs ResNet-1202 A with and without stronger regularisation")
    return min(found, key=lambda arm: [arm.arm.recipe.get(name, 0.0) for name in REGULARISERS])


def res_14(arms: Sequence[MeasuredArm]) -> Finding:
    """Under stronger regularisation (dropout, stochastic depth, weight decay) the test error of 1202 layers falls by
    > 2 SE, and by more than that of 110 does."""
    deep = _unregularised(arms)
    shallow = find(arms, replace(deep.network, depth=110), deep)
    if shallow is None:
        raise NotInStudyError("needs ResNet-110 A under the recipe of ResNet-1202 A, which is not in this study")
    ways, others = _regularised(arms, deep), _regularised(arms, shallow)
    shared = [way for way in ways if way in others]
    if not shared:
        raise NotInStudyError(
            "needs ResNet-1202 A and ResNet-110 A under one more regulariser, recipe.dropout, stochastic_depth or"
            " weight_decay"
        )
    falls = {
        way: (
            compare(sample_of(deep, TEST), sample_of(ways[way], TEST)),
            compare(sample_of(shallow, TEST), sample_of(others[way], TEST)),
        )
        for way in shared
    }
    best = max(falls, key=lambda way: (_more(*falls[way]).value > 0, falls[way][0].gap.value))
    big, small = falls[best]
    more = _more(big, small)
    more_than_110 = Plain(answer=whether(more.value > 0), p_against=more.p_below())
    parts = [Chosen(part=above(big), of=len(shared)), more_than_110]
    told = "; ".join(f"{way}: 1202 layers {deep.gap}, 110 layers {other.gap}" for way, (deep, other) in falls.items())
    made = of_comparisons([big, small], parts, first=f"fall of the test error, {told}; most with {best}")
    return replace(made, caveats=(*made.caveats, *_departs([deep, shallow], REGULARISERS)))


def _more(big: Comparison, small: Comparison) -> Difference:
    """How much more one gap is than another, of four independent means."""
    return Difference(value=big.gap.value - small.gap.value, terms=(*big.gap.terms, *small.gap.terms))


# Warm-up


def _epochs_to(arm: MeasuredArm, limit: float) -> float:
    """Mean over runs of the epochs until a recorded training error is below the limit; one that never is counts as
    the whole of its training."""
    images = TRAINING_IMAGES.get(arm.network.data)
    if images is None:
        raise NotEnoughError(f"the length of an epoch of {arm.network.data} is not known here")
    per_epoch = images / int(arm.arm.recipe["batch"])
    found = []
    for run in arm.finished:
        curve = run.curves.get("train_error")
        if curve is None:
            raise NotEnoughError(f"{run.name} recorded no training error")
        found.append((_first(curve, limit) or run.iterations) / per_epoch)
    return fmean(found)


TRAINING_IMAGES: Mapping[str, int] = {"cifar10": 50_000, "cifar10-jpeg": 50_000, "digits": 1437}
"""Of the data sets that are built in."""


def _first(curve: Curve, limit: float) -> int | None:
    return next((at for at, value in zip(curve.iterations, curve.values, strict=True) if value < limit), None)


def pap_01(arms: Sequence[MeasuredArm]) -> Finding:
    """ResNet-110 with and without warm-up: without, training error is first below 90 % at least 1 epoch later; final
    test errors differ by less than 0.5 point: their 95 % interval lies within it (two one-sided tests)."""
    warm, cold = _starts(arms)
    pair = compare(sample_of(cold, TEST), sample_of(warm, TEST))
    late = _epochs_to(cold, 90.0) - _epochs_to(warm, 90.0)
    first = f"without warm-up below 90 % {abs(late):.1f} epochs {'later' if late >= 0 else 'sooner'}"
    made = of_comparisons([pair], [plain(late >= 1.0), alike(pair, 0.5)], first=first, later=late)
    return replace(made, caveats=(*made.caveats, *_departs([warm, cold], ("warmup", "warm-up"))))


def _starts(arms: Sequence[MeasuredArm]) -> tuple[MeasuredArm, MeasuredArm]:
    """ResNet-110 with and without warm-up that differ in nothing else, nearest to the paper's recipe."""
    both = [
        (warm, cold)
        for warm in _arms(arms, "A", 110)
        for cold in _arms(arms, "A", 110)
        if warm.warms_up and differ_in_warm_up(warm, cold)
    ]
    if not both:
        raise NotInStudyError("needs ResNet-110 A with warm-up and without (recipe.warmup_from_depth: null)")
    return min(both, key=lambda pair: len(pair[0].arm.deviations))


# Bottlenecks without shortcuts


def pap_03(pool: Pool) -> Finding:
    """Plain networks of bottlenecks, training error: the deeper one worse than that of half its depth by > 2 SE."""
    found = of_comparisons([_half_as_deep(pool)])
    other = "the claim names plain-50 and plain-26; there is no network of 26 layers here, so these are twice as deep"
    return replace(found, caveats=(*found.caveats, other))


def _half_as_deep(pool: Pool) -> Comparison:
    deep, shallow = pool.find("none", 101), pool.find("none", 50)
    if not (deep and shallow):
        raise NotInStudyError("needs plain-50 and plain-101 with bottlenecks, which are not in this study")
    return compare(sample_of(deep, TRAIN), sample_of(shallow, TRAIN))


CHECKS: Mapping[str, Check] = {"PAP-03": pap_03}
CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {
    "SC-08": sc_08,
    "SC-09": sc_09,
    "SC-10": sc_10,
    "RES-14": res_14,
    "PAP-01": pap_01,
}
