"""GRD and RSP: what probes saw of signals, gradients and layer responses (sec. 4.1, 4.2, Figure 7)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, Pool, called
from reports.checks.rules import Check, of_comparisons
from reports.evidence import Above, above, plain
from reports.noise import from_number
from reports.samples import Sample, arm_of, compare, diverged, ended
from reports.verdicts import Answer, Finding, NotEnoughError, NotInStudyError

Probe = Mapping[str, Any]
PLAIN_DEPTHS = {"cifar": (20, 56, 110), "imagenet": (18, 34)}
"""Networks that the claims about signals speak of."""
ELSEWHERE = {
    "cifar": "decided on CIFAR's networks; plain-18 and plain-34 on ImageNet are not in it",
    "imagenet": "decided on ImageNet's networks; plain-20, plain-56 and plain-110 on CIFAR-10 are not in it",
}
HEALTHY = 1e2
SETTLED = 1000
"""Iterations after which gradients are judged; those at initialisation are reported apart."""
BATCHES = 50
"""Over at least so many the rule of GRD-02 averages gradients."""


def _finished(arm: MeasuredArm) -> list[Run]:
    """Raises NotEnoughError where none has."""
    runs = [run for run in ended(arm) if run.outcome is Outcome.FINISHED]
    if not runs:
        raise NotEnoughError(f"all {len(arm.runs)} trials of {arm.label} diverged")
    return runs


def _takes(arm: MeasuredArm) -> str:
    shares = ", ".join(f"{share:g}" for share in _checkpoints(arm))
    return f"recipe.probe_at=[{shares}] takes them"


def _checkpoints(arm: MeasuredArm) -> list[float]:
    """When the rules look: at initialisation, at 10 %, before each drop of the learning rate, and at the end."""
    return sorted({0.0, 0.1, *map(float, arm.arm.recipe.get("drops", ())), 1.0})


@dataclass(frozen=True)
class Plains:
    """The plain networks of a pool that the rules about signals name, and what probes saw of each."""

    pool: Pool

    @cached_property
    def arms(self) -> list[MeasuredArm]:
        """Raises NotInStudyError where there is none."""
        depths = PLAIN_DEPTHS[self.pool.layout]
        found = [arm for depth in depths if (arm := self.pool.find("none", depth))]
        if not found:
            names = ", ".join(called("none", depth) for depth in depths)
            raise NotInStudyError(f"needs {names}, none of which is in this study")
        return found

    @property
    def missing(self) -> list[str]:
        there = {arm.network.depth for arm in self.arms}
        return [called("none", depth) for depth in PLAIN_DEPTHS[self.pool.layout] if depth not in there]

    def over(
        self, value: Callable[[Probe], float], keep: Callable[[Run, Probe], bool] = lambda *_: True
    ) -> dict[str, list[float]]:
        """A value of each probe of each arm. Raises NotEnoughError where one lacks a checkpoint of the rules."""
        return {arm.label: [value(probe) for run, probe in _probes(arm) if keep(run, probe)] for arm in self.arms}

    def found(self, told: str, condition: bool, **numbers: Mapping[str, float]) -> Finding:
        """It fails over any of the networks, and holds over all of them."""
        caveats = tuple(each for arm in self.arms for each in diverged(arm))
        made = Finding(
            answer=Answer.HOLDS if condition else Answer.FAILS,
            statistic=told,
            n=sum(len(arm.finished) for arm in self.arms),
            numbers={name: {label: _finite(value) for label, value in each.items()} for name, each in numbers.items()},
            caveats=(ELSEWHERE[self.pool.layout], *caveats),
            arms=tuple(arm.arm.name for arm in self.arms),
            parts=(plain(condition),),
        )
        if not condition or not self.missing:
            return made
        so_far = ", ".join(arm.label for arm in self.arms)
        reason = f"so it is in {so_far}; needs {' and '.join(self.missing)} too, which this study lacks"
        return replace(made, answer=Answer.UNDECIDED, reason=reason, parts=())


def _probes(arm: MeasuredArm) -> list[tuple[Run, Probe]]:
    """All looks into the arm's runs. Raises NotEnoughError where one lacks a checkpoint of the rules."""
    runs = _finished(arm)
    for run in runs:
        seen = {probe["iteration"] for probe in run.probes}
        lacks = [f"{share:g}" for share in _checkpoints(arm) if round(share * run.iterations) not in seen]
        if lacks:
            raise NotEnoughError(f"{run.name} has no probes at {', '.join(lacks)} of its iterations; {_takes(arm)}")
    return [(run, probe) for run in runs for probe in run.probes]


def _least(values: Sequence[float]) -> float:
    """NaN, which a dead network has, is the least of all."""
    return -math.inf if any(map(math.isnan, values)) else min(values)


def grd_01(pool: Pool) -> Finding:
    """Plain nets: the smallest variance of a channel over layers, of batch-norm outputs and of what the next layer
    gets, > 1e-2 at every checkpoint."""
    nets = Plains(pool)
    least = nets.over(lambda probe: _least([*probe["norm_variance"], *probe["activation_variance"]]))
    lowest = {label: min(values) for label, values in least.items()}
    told = "smallest variance of a channel at any probe: " + ", ".join(
        f"{name} {value:.3g}" for name, value in lowest.items()
    )
    return nets.found(told, min(lowest.values()) > 1e-2, lowest=lowest)


def _ratios(gradient: Sequence[float]) -> tuple[float, float]:
    """First layer over last, and the smallest over the median."""
    if not all(map(math.isfinite, gradient)) or not gradient[-1] or not median(gradient):
        return -math.inf, -math.inf
    return gradient[0] / gradient[-1], min(gradient) / median(gradient)


def grd_02(pool: Pool) -> Finding:
    """Plain nets, relative gradient norm of each 3x3 layer, averaged over >= 50 batches: first/last >= 0.1 and no layer
    below 1e-3 of the median, at every checkpoint."""
    nets = Plains(pool)
    for arm in nets.arms:
        if (batches := arm.arm.recipe.get("probe_batches", BATCHES)) < BATCHES:
            raise NotEnoughError(
                f"probes of {arm.label} average gradients over {batches} batches, and the rule over {BATCHES};"
                f" recipe.probe_batches={BATCHES} does"
            )
    begin = 1 if pool.layout == "imagenet" else 0  # after conv1 of 7x7
    firsts = {name: min(each) for name, each in nets.over(lambda look: _ratios(look["gradient"][begin:])[0]).items()}
    leasts = {name: min(each) for name, each in nets.over(lambda look: _ratios(look["gradient"][begin:])[1]).items()}
    told = ", ".join(
        f"{name}: first/last at least {firsts[name]:.3g}, smallest/median {leasts[name]:.3g}" for name in firsts
    )
    good = min(firsts.values()) >= 0.1 and min(leasts.values()) >= 1e-3
    return nets.found(told, good, first_over_last=firsts, smallest_over_median=leasts)


def _widest(probe: Probe) -> float:
    gradient = [float(each) for each in probe["gradient"]]
    least = _least(gradient)
    return max(gradient) / least if least > 0 else math.inf


def grd_03(pool: Pool) -> Finding:
    """Plain nets, relative gradient norm: largest over smallest layer <= 1e2 during training, after the first 1k of
    64k iterations; initialisation is reported apart."""
    nets = Plains(pool)
    late = nets.over(_widest, lambda run, probe: probe["iteration"] > SETTLED / 64_000 * run.iterations)
    first = nets.over(_widest, lambda _, probe: probe["iteration"] == 0)
    told = ", ".join(
        f"{name} {max(values):.3g} (at initialisation {max(first[name]):.3g})" for name, values in late.items()
    )
    return nets.found(
        f"largest over smallest layer in training: {told}",
        max(max(values) for values in late.values()) <= HEALTHY,
        ratios={name: max(values) for name, values in late.items()},
    )


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


# Layer responses


def _at_end(
    pool: Pool, shortcut: Shortcut, depth: int, name: str, statistic: Callable[[Sequence[float]], float]
) -> Sample:
    """What a list of the probe at the end of each run comes down to."""
    arm = arm_of(pool, shortcut, depth)
    ends = {
        run.seed: statistic(probe[name])
        for run in _finished(arm)
        for probe in run.probes
        if probe["iteration"] == run.iterations and probe[name]
    }
    if len(ends) < 2:
        raise NotEnoughError(
            f"needs 2 trials of {arm.label} with a probe at their end, not {len(ends)}; recipe.probe_at=[1] takes it"
        )
    dead = [seed for seed, value in ends.items() if not math.isfinite(value)]
    if dead:
        raise NotEnoughError(f"the {name} of {arm.label} s{dead[0]} is no number at its end: that network is dead")
    return Sample(arm=arm, by_seed=ends)


def _responses(
    pool: Pool, shortcut: Shortcut, depth: int, statistic: Callable[[Sequence[float]], float] = fmean
) -> Sample:
    """Mean over the layers of the standard deviation of their responses."""
    return _at_end(pool, shortcut, depth, "response", statistic)


def rsp_01(pool: Pool) -> Finding:
    """Mean over layers of the responses' std: ResNet < plain at 20 and at 56 layers by > 2 SE over seeds; the median
    over layers is reported."""
    nets: list[tuple[Shortcut, int]] = [(shortcut, depth) for depth in (20, 56) for shortcut in ("none", "A")]
    means = [_responses(pool, *net) for net in nets]
    medians = [_responses(pool, *net, median) for net in nets]
    told = "medians " + ", ".join(map(str, medians)) + "; means"
    return of_comparisons(
        [compare(means[0], means[1]), compare(means[2], means[3])],
        first=told,
        medians={each.arm.arm.name: each.numbers for each in medians},
    )


def rsp_02(pool: Pool) -> Finding:
    """The means of ResNet-20, 56, 110 strictly ordered, each gap > 2 SE."""
    samples = [_responses(pool, "A", depth) for depth in (20, 56, 110)]
    return of_comparisons([compare(shallow, deep) for shallow, deep in pairwise(samples)])


def rsp_03(pool: Pool) -> Finding:
    """Median over blocks of std(F)/std(x) < 1 in ResNet-56 and 110, and falling with depth; each by > 2 SE."""
    samples = [_at_end(pool, "A", depth, "residual_over_input", median) for depth in (20, 56, 110)]
    falls = [compare(shallow, deep) for shallow, deep in pairwise(samples)]
    told = "std(F)/std(x): " + ", ".join(map(str, samples))
    found = of_comparisons(falls, [*map(_below_one, samples[1:]), *map(above, falls)], first=told)
    return replace(found, caveats=("extends the paper, which has no such ratio", *found.caveats))


def _below_one(ratio: Sample) -> Above:
    over = from_number(ratio.values, 1.0)
    return Above(gap=replace(over, value=-over.value), arms=(ratio.arm.arm.name,))


CHECKS: Mapping[str, Check] = {
    "GRD-01": grd_01,
    "GRD-02": grd_02,
    "GRD-03": grd_03,
    "RSP-01": rsp_01,
    "RSP-02": rsp_02,
    "RSP-03": rsp_03,
}
