"""GRD and RSP: what probes saw of signals, gradients and layer responses (sec. 4.1, 4.2, Figure 7)."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, Pool, called
from reports.checks.rules import Check, finding, of_comparisons
from reports.evidence import plain
from reports.samples import Sample, arm_of, compare, ended
from reports.verdicts import Finding, NotEnoughError, NotInStudyError

Probe = Mapping[str, Any]
PLAIN_DEPTHS = {"cifar": (20, 56, 110), "imagenet": (18, 34)}
"""Networks that the claims about signals speak of."""
HEALTHY = 1e2
SETTLED = 1000
"""Iterations after which gradients are judged; those at initialisation are reported apart."""


def _plains(pool: Pool) -> list[MeasuredArm]:
    found = [arm for depth in PLAIN_DEPTHS[pool.layout] if (arm := pool.find("none", depth))]
    if not found:
        names = ", ".join(called("none", depth) for depth in PLAIN_DEPTHS[pool.layout])
        raise NotInStudyError(f"needs one of {names}, none of which is in this study")
    return found


def _probes(arm: MeasuredArm) -> list[tuple[Run, Probe]]:
    """All looks into the arm's runs. Raises NotEnoughError where a run has none."""
    runs = [run for run in ended(arm) if run.outcome is Outcome.FINISHED]
    silent = [run.name for run in runs if not run.probes]
    if silent or not runs:
        raise NotEnoughError(
            f"{silent[0] if silent else arm.label} has no probes; recipe.probe_at=[0, 0.1, 0.5, 0.75, 1] takes them"
        )
    return [(run, probe) for run in runs for probe in run.probes]


def _over(
    arms: Sequence[MeasuredArm], value: Callable[[Probe], float], keep: Callable[[Run, Probe], bool]
) -> dict[str, list[float]]:
    return {arm.label: [value(probe) for run, probe in _probes(arm) if keep(run, probe)] for arm in arms}


def _found(arms: Sequence[MeasuredArm], told: str, condition: bool, **numbers: Mapping[str, float]) -> Finding:
    parts = (plain(condition),)
    return Finding(
        answer=parts[0].answer,
        statistic=told,
        n=sum(len(arm.finished) for arm in arms),
        numbers={name: {label: _finite(value) for label, value in each.items()} for name, each in numbers.items()},
        arms=tuple(arm.arm.name for arm in arms),
        parts=parts,
    )


def _least(values: Sequence[float]) -> float:
    """NaN, which a dead network has, is the least of all."""
    return -math.inf if any(map(math.isnan, values)) else min(values)


def grd_01(pool: Pool) -> Finding:
    """Plain nets: the smallest variance over layers, of batch-norm outputs and of what the next layer gets, > 1e-2 at
    every checkpoint."""
    arms = _plains(pool)
    least = _over(arms, lambda probe: _least([*probe["norm_variance"], *probe["activation_variance"]]), lambda *_: True)
    lowest = {label: min(values) for label, values in least.items()}
    told = "smallest variance of a layer at any probe: " + ", ".join(
        f"{name} {value:.3g}" for name, value in lowest.items()
    )
    return _found(arms, told, min(lowest.values()) > 1e-2, lowest=lowest)


def _ratios(probe: Probe) -> tuple[float, float]:
    """First layer over last, and the smallest over the median."""
    gradient = [float(each) for each in probe["gradient"]]
    if any(map(math.isnan, gradient)) or not gradient[-1] or not median(gradient):
        return -math.inf, -math.inf
    return gradient[0] / gradient[-1], min(gradient) / median(gradient)


def grd_02(pool: Pool) -> Finding:
    """Plain nets, relative gradient norm by layer: first/last >= 0.1 and no layer below 1e-3 of the median, at every
    checkpoint."""
    arms = _plains(pool)
    firsts = {
        name: min(values) for name, values in _over(arms, lambda probe: _ratios(probe)[0], lambda *_: True).items()
    }
    leasts = {
        name: min(values) for name, values in _over(arms, lambda probe: _ratios(probe)[1], lambda *_: True).items()
    }
    told = ", ".join(
        f"{name}: first/last at least {firsts[name]:.3g}, smallest/median {leasts[name]:.3g}" for name in firsts
    )
    good = min(firsts.values()) >= 0.1 and min(leasts.values()) >= 1e-3
    return _found(arms, told, good, first_over_last=firsts, smallest_over_median=leasts)


def _widest(probe: Probe) -> float:
    gradient = [float(each) for each in probe["gradient"]]
    least = _least(gradient)
    return max(gradient) / least if least > 0 else math.inf


def grd_03(pool: Pool) -> Finding:
    """Plain nets, relative gradient norm: largest over smallest layer <= 1e2 during training, after the first 1k of
    64k iterations; initialisation is reported apart."""
    arms = _plains(pool)
    late = _over(arms, _widest, lambda run, probe: probe["iteration"] > SETTLED / 64_000 * run.iterations)
    first = _over(arms, _widest, lambda _, probe: probe["iteration"] == 0)
    if not all(late.values()):
        raise NotEnoughError(
            "needs probes after the start of training; recipe.probe_at=[0, 0.1, 0.5, 0.75, 1] takes them"
        )
    told = ", ".join(
        f"{name} {max(values):.3g}" + (f" (at initialisation {max(first[name]):.3g})" if first[name] else "")
        for name, values in late.items()
    )
    return _found(
        arms,
        f"largest over smallest layer in training: {told}",
        max(max(values) for values in late.values()) <= HEALTHY,
        ratios={name: max(values) for name, values in late.items()},
    )


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


# Layer responses


def _responses(pool: Pool, shortcut: Shortcut, depth: int) -> Sample:
    """Mean over the layers of the standard deviation of their responses, at the end of each run."""
    arm = arm_of(pool, shortcut, depth)
    last = {run.seed: _last(run, probe, "response") for run, probe in _probes(arm)}
    known = {seed: fmean(values) for seed, values in last.items() if values}
    if len(known) < 2:
        raise NotEnoughError(
            f"needs 2 trials of {arm.label} with a probe at their end, not {len(known)}; recipe.probe_at=[1] takes it"
        )
    return Sample(arm=arm, by_seed=known)


def _last(run: Run, _: Probe, name: str) -> Sequence[float]:
    """Of the probe at the end of the run; empty where it has none."""
    end = next((each for each in run.probes if each["iteration"] == run.iterations), None)
    return end[name] if end else ()


def rsp_01(pool: Pool) -> Finding:
    """Mean over layers of the responses' std: ResNet < plain at 20 and at 56 layers by > 2 SE over seeds."""
    pairs = [compare(_responses(pool, "none", depth), _responses(pool, "A", depth)) for depth in (20, 56)]
    return of_comparisons(pairs)


def rsp_02(pool: Pool) -> Finding:
    """The means of ResNet-20, 56, 110 strictly ordered, each gap > 2 SE."""
    samples = [_responses(pool, "A", depth) for depth in (20, 56, 110)]
    return of_comparisons([compare(shallow, deep) for shallow, deep in pairwise(samples)])


def _block_ratio(pool: Pool, depth: int) -> Sample:
    arm = arm_of(pool, "A", depth)
    last = {run.seed: _last(run, probe, "residual_over_input") for run, probe in _probes(arm)}
    known = {seed: median(values) for seed, values in last.items() if values}
    if len(known) < 2:
        raise NotEnoughError(
            f"needs 2 trials of {arm.label} with a probe at their end, not {len(known)}; recipe.probe_at=[1] takes it"
        )
    return Sample(arm=arm, by_seed=known)


def rsp_03(pool: Pool) -> Finding:
    """Median over blocks of std(F)/std(x) < 1 in ResNet-56 and 110, and falling with depth."""
    samples = [_block_ratio(pool, depth) for depth in (20, 56, 110)]
    means = [each.mean for each in samples]
    small, falls = max(means[1:]) < 1.0, all(deep < shallow for shallow, deep in pairwise(means))
    told = "std(F)/std(x): " + ", ".join(f"{each.label} {each.mean:.2f}" for each in samples)
    return finding([plain(small), plain(falls)], told, samples)


CHECKS: Mapping[str, Check] = {
    "GRD-01": grd_01,
    "GRD-02": grd_02,
    "GRD-03": grd_03,
    "RSP-01": rsp_01,
    "RSP-02": rsp_02,
    "RSP-03": rsp_03,
}
