"""BOT, DEP and SC: what follows from the networks themselves, before anything ran (sec. 3.3, 4.1, Figure 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from models.complexity import depth_of, multiply_adds, multiply_adds_of, parameters, parameters_of, weights
from models.layers import Layer, layers
from models.spec import Network, Shortcut
from models.vgg import vgg
from orchestrator.runs import Run
from reports.arms import MeasuredArm, called, families
from reports.checks.rules import CheckOfAll, caveats, of_comparisons
from reports.evidence import above, plain
from reports.hardware import hardware_of
from reports.samples import Comparison, Sample, compare
from reports.verdicts import Answer, Finding, NotEnoughError, NotInStudyError, Part, all_of


def _network(depth: int, shortcut: Shortcut, **options: Any) -> Network:
    return Network(
        data="imagenet", layout="imagenet", depth=depth, shortcut=shortcut, classes=1000, size=224, width=64, **options
    )


def _found(parts: Sequence[Part], told: str, **numbers: Any) -> Finding:
    """What needs no run."""
    return Finding(
        answer=all_of(part.answer for part in parts), statistic=told, n=0, numbers=numbers, parts=tuple(parts)
    )


# Blocks


def _block(inputs: int, width: int, *, bottleneck: bool, projected: bool = False) -> list[Layer]:
    """A block of Figure 5 on conv2_x's 56 × 56 map; of a bottleneck the outputs are as many as its inputs."""
    if bottleneck:
        sizes = [(inputs, width, 1), (width, width, 3), (width, inputs, 1)]
    else:
        sizes = [(inputs, width, 3), (width, width, 3)]
    found = [
        Layer(name=f"conv{n}", inputs=a, outputs=b, kernel=k, stride=1, size=56, norm="norm")
        for n, (a, b, k) in enumerate(sizes, start=1)
    ]
    if projected:
        found.append(
            Layer(
                name="shortcut", inputs=inputs, outputs=inputs, kernel=1, stride=1, size=56, norm="norm", shortcut=True
            )
        )
    return found


def bot_01(_: Sequence[MeasuredArm]) -> Finding:
    """A projection instead of the identity on the 256-64-64-256 block: ratio of weights, and of multiply-adds, in
    1.9-2.1; whole-net ratios of ResNet-50, 101, 152, C over B, are reported."""
    identity, projected = (_block(256, 64, bottleneck=True, projected=each) for each in (False, True))
    sizes = [sum(map(weights, each)) for each in (identity, projected)]
    of_weights = sizes[1] / sizes[0]
    of_work = multiply_adds_of(projected) / multiply_adds_of(identity)
    whole = {
        depth: (
            parameters(_network(depth, "C")) / parameters(_network(depth, "B")),
            multiply_adds(_network(depth, "C")) / multiply_adds(_network(depth, "B")),
        )
        for depth in (50, 101, 152)
    }
    told = (
        f"block: weights {of_weights:.2f}, multiply-adds {of_work:.2f}; whole networks, parameters and multiply-adds: "
    )
    told += ", ".join(f"{depth} layers {a:.2f} and {b:.2f}" for depth, (a, b) in whole.items())
    parts = [plain(1.9 <= ratio <= 2.1) for ratio in (of_weights, of_work)]
    return _found(
        parts,
        told,
        weights=of_weights,
        multiply_adds=of_work,
        whole={str(depth): each for depth, each in whole.items()},
    )


def bot_02(_: Sequence[MeasuredArm]) -> Finding:
    """The 2-layer 64-d block and the 3-layer 256-d bottleneck block: ratio of weights, and so of multiply-adds, within
    0.8-1.25."""
    bottleneck, basic = _block(256, 64, bottleneck=True), _block(64, 64, bottleneck=False)
    sizes = [sum(map(weights, each)) for each in (bottleneck, basic)]
    ratio = multiply_adds_of(bottleneck) / multiply_adds_of(basic)
    told = f"{sizes[0]:,} against {sizes[1]:,} weights, ratio {sizes[0] / sizes[1]:.3f}"
    return _found([plain(0.8 <= each <= 1.25) for each in (sizes[0] / sizes[1], ratio)], told, ratio=ratio)


# What was measured beside

Net = tuple[Shortcut, str]
"""Shortcut and variant, at a depth that is given beside it."""


def _on_like_hardware(fast: MeasuredArm, slow: MeasuredArm) -> tuple[Comparison, str] | None:
    """Images per second over trials of hardware that both had; None where fewer than two of each did."""
    paces = [_paces(arm) for arm in (fast, slow)]
    for machine, first in paces[0].items():
        second = paces[1].get(machine, [])
        if len(first) > 1 and len(second) > 1:
            return compare(_pace(fast, first), _pace(slow, second)), f"images/s on {machine}" + _memory(first, second)
    return None


def _paces(arm: MeasuredArm) -> dict[str, list[Run]]:
    """Finished runs that told their throughput, by their hardware."""
    found: dict[str, list[Run]] = {}
    for run in arm.finished:
        if "images_per_second" in run.costs:
            found.setdefault(hardware_of(run), []).append(run)
    return found


def _pace(arm: MeasuredArm, runs: Sequence[Run]) -> Sample:
    return Sample(arm=arm, by_seed={run.seed: run.costs["images_per_second"] for run in runs})


def _memory(*sides: Sequence[Run]) -> str:
    peaks = [[run.costs["peak_memory_mib"] for run in runs if "peak_memory_mib" in run.costs] for runs in sides]
    return f", peak memory {max(peaks[0]):,.0f} and {max(peaks[1]):,.0f} MiB" if all(peaks) else ""


def _race(arms: Sequence[MeasuredArm], depth: int, fast: Net, slow: Net) -> tuple[Comparison, str]:
    """Two networks of photographs under one recipe. Raises NotInStudyError or NotEnoughError where none can be
    compared."""
    names = " and ".join(called(shortcut, depth, (variant,) if variant else ()) for shortcut, variant in (fast, slow))
    pairs = [
        (one, other)
        for pool in families(arms)
        if pool.layout == "imagenet"
        if (one := pool.find(fast[0], depth, fast[1])) and (other := pool.find(slow[0], depth, slow[1]))
    ]
    if not pairs:
        raise NotInStudyError(f"needs the throughput of {names} under one recipe, which are not in this study")
    for one, other in pairs:
        if found := _on_like_hardware(one, other):
            return found
    few = {arm.arm.name: 2 - len(arm.runs) for arm in pairs[0] if len(arm.runs) < 2}
    raise NotEnoughError(f"needs the throughput of 2 trials each of {names} on like hardware", few)


def _raced(
    arms: Sequence[MeasuredArm], depths: Sequence[int], fast: Net, slow: Net, condition: bool, told: str
) -> Finding:
    """Whether the networks are as the rule says, and the fast ones faster wherever it was measured."""
    races, lacking, wanted = [], [], {}
    for depth in depths:
        try:
            races.append(_race(arms, depth, fast, slow))
        except (NotInStudyError, NotEnoughError) as error:
            lacking.append(str(error))
            wanted |= getattr(error, "wanted", {})
    if not condition:
        return _found([plain(condition)], told)
    if not races:
        answer, reason = Answer.UNDECIDED, f"the networks are so; {'; '.join(lacking)}"
        return Finding(answer=answer, statistic=told, n=0, reason=reason, wanted=wanted)
    found = of_comparisons([pair for pair, _ in races], [plain(condition), *(above(pair) for pair, _ in races)])
    raced = "; ".join(f"{pair} {words}" for pair, words in races)
    used = [each.arm for pair, _ in races for each in (pair.high, pair.low)]
    other = [each for arm in used for each in arm.arm.deviations if not each.startswith("bottlenecks ")]
    left = tuple(f"not in it: {each}" for each in lacking)
    return replace(
        found,
        statistic=f"{told}; {raced}",
        caveats=(*caveats(list(dict.fromkeys(other))), *left, *found.caveats),
    )


def sc_07(arms: Sequence[MeasuredArm]) -> Finding:
    """ResNet-34 and ResNet-50, options A, B, C: parameters and multiply-adds strictly increase A < B < C; measured
    throughput C < B, by > 2 SE over trials."""
    costs = {
        depth: [
            (parameters(each), multiply_adds(each)) for each in (_network(depth, option) for option in ("A", "B", "C"))
        ]
        for depth in (34, 50)
    }
    rising = all(
        a < b for each in costs.values() for low, high in pairwise(each) for a, b in zip(low, high, strict=True)
    )
    told = "; ".join(
        f"{depth} layers: {' / '.join(f'{p / 1e6:.2f}' for p, _ in each)} M,"
        f" {' / '.join(f'{m / 1e9:.3f}' for _, m in each)} G"
        for depth, each in costs.items()
    )
    return _raced(arms, (34, 50), ("B", ""), ("C", ""), rising, told)


def bot_03(arms: Sequence[MeasuredArm]) -> Finding:
    """ResNet-50 against 50 layers in two-layer blocks (4, 5, 9, 6): fewer multiply-adds per weighted layer, and higher
    measured throughput, by > 2 SE over trials."""
    bottleneck, basic = _network(50, "B"), _network(50, "B", bottlenecks=False)
    each = [multiply_adds(net) / depth_of(list(layers(net))) for net in (bottleneck, basic)]
    told = f"{each[0] / 1e6:.1f} M multiply-adds a weighted layer against {each[1] / 1e6:.1f} M"
    return _raced(arms, (50,), ("B", ""), ("B", "basic"), each[0] < each[1], told)


# Depth


def dep_03(_: Sequence[MeasuredArm]) -> Finding:
    """Multiply-adds at 224 pixels: ResNet-152 below VGG-16 and below VGG-19."""
    ours = multiply_adds(_network(152, "B"))
    theirs = {name: multiply_adds_of(vgg(depth)) for name, depth in (("VGG-16", 16), ("VGG-19", 19))}
    told = f"ResNet-152 {ours / 1e9:.2f} G against " + ", ".join(
        f"{name} {each / 1e9:.2f} G" for name, each in theirs.items()
    )
    return _found([plain(ours < each) for each in theirs.values()], told, multiply_adds={"ResNet-152": ours, **theirs})


def dep_04(_: Sequence[MeasuredArm]) -> Finding:
    """34 layers, plain and residual, against VGG-19: fewer parameters, and 0.18-0.19 of its multiply-adds."""
    nets = [_network(34, "none"), _network(34, "A")]
    large = vgg(19)
    sizes, work = [parameters(net) for net in nets], [multiply_adds(net) for net in nets]
    shares = [each / multiply_adds_of(large) for each in work]
    told = f"{sizes[0] / 1e6:.1f} M parameters against {parameters_of(large) / 1e6:.1f} M"
    told += f"; {shares[0]:.3f} of the multiply-adds"
    parts = [plain(each < parameters_of(large)) for each in sizes] + [plain(0.18 <= share <= 0.19) for share in shares]
    return _found(parts, told, parameters=sizes, shares=shares)


def dep_05(_: Sequence[MeasuredArm]) -> Finding:
    """Weighted layers: 152 over those of VGG-19 = 8.0."""
    deep, shallow = depth_of(list(layers(_network(152, "B")))), depth_of(vgg(19))
    return _found([plain(deep / shallow == 8.0)], f"{deep} over {shallow} weighted layers = {deep / shallow:.1f}")


def dep_06(_: Sequence[MeasuredArm]) -> Finding:
    """Every 3x3 layer of the nets of 18 and 34 layers that does not change the map's size costs the same
    multiply-adds."""
    costs = set()
    for depth in (18, 34):
        for layer in layers(_network(depth, "A")):
            if layer.kernel == 3 and layer.stride == 1:
                costs.add(weights(layer) * layer.size**2)
    told = f"{', '.join(f'{each / 1e6:.1f} M' for each in sorted(costs))} for each 3×3 layer without a stride"
    return _found([plain(len(costs) == 1)], told, costs=sorted(costs))


CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {
    "SC-07": sc_07,
    "BOT-01": bot_01,
    "BOT-02": bot_02,
    "BOT-03": bot_03,
    "DEP-03": dep_03,
    "DEP-04": dep_04,
    "DEP-05": dep_05,
    "DEP-06": dep_06,
}
