"""Claims about networks and recipes that depart from the paper's, about what probes see, and about other claims."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from synthetic import (
    CIFAR_RECIPE,
    DIGITS_DEVIATIONS,
    DIGITS_RECIPE,
    IMAGENET_RECIPE,
    digits,
    imagenet,
    make_arm,
    make_runs,
    make_study,
    paper_like,
)

from models.spec import Network
from orchestrator.runs import Curve, Outcome, Run
from orchestrator.studies import RecordedArm
from reports.checks.longer import first_below
from reports.claims import PAPER_CLAIMS, Verdict, judge
from reports.noise import fit, mean_of
from reports.verdicts import Answer

HOLDS, FAILS, UNDECIDED = Answer.HOLDS, Answer.FAILS, Answer.UNDECIDED
Measured = tuple[RecordedArm, Sequence[Run]]


def judged(claim: str, *measured: Measured) -> Verdict:
    study = make_study([arm for arm, _ in measured], claims=[claim])
    return judge(study, [run for _, runs in measured for run in runs])[0]


def arm(network: Network, test: float, train: float, seeds: int = 5, **recipe: Any) -> Measured:
    """Test errors with a deviation of 0.13, training errors with as much."""
    found = {**(IMAGENET_RECIPE if network.layout == "imagenet" else CIFAR_RECIPE), **recipe}
    suffix = "".join(f"+{name}={value}" for name, value in recipe.items())
    deviations = tuple(f"{name} {value} (paper other)" for name, value in recipe.items())
    made = make_arm(network, found, seeds=seeds, deviations=deviations, name=f"{network.name}{suffix}")
    return made, make_runs(made, test, train, scale=0.08)


def plain(depth: int, **options: Any) -> Network:
    return Network(depth=depth, **options)


def residual(depth: int, shortcut: Any = "A", **options: Any) -> Network:
    return Network(depth=depth, shortcut=shortcut, **options)


def curve(metric: str, points: dict[int, float]) -> dict[str, Curve]:
    return {metric: Curve(metric=metric, iterations=tuple(points), values=tuple(points.values()))}


# Depth in plain networks


def moderate(errors: dict[int, float]) -> list[Measured]:
    return [arm(plain(depth), test, 1.0) for depth, test in errors.items()]


VALLEY = {8: 14.0, 14: 11.0, 20: 9.7, 32: 10.1, 44: 11.5, 56: 13.3}


def test_deg_08_asks_for_a_valley():
    assert judged("DEG-08", *moderate(VALLEY)).verdict is HOLDS
    assert judged("DEG-08", *moderate({**VALLEY, 56: 7.0})).verdict is FAILS
    assert judged("DEG-08", *moderate({**VALLEY, 56: 9.75})).verdict is UNDECIDED
    missing = judged("DEG-08", *moderate({depth: VALLEY[depth] for depth in (20, 32)}))
    assert (missing.verdict, missing.reason) == (
        UNDECIDED,
        "needs plain-8, plain-14, plain-44, plain-56, which are not in this study",
    )


# The constructed solution


def grown(difference: float = 2e-6, mine: float = 9.0, theirs: float = 9.0, train: float = 1.3) -> Measured:
    made, runs = arm(plain(56, grown_from=20), 9.7, train)
    growth = {"logit_difference": difference, "train_error": mine, "parent_train_error": theirs, "images": 2000}
    return made, [replace(run, result={**run.result, "growth": growth}) for run in runs]


def test_deg_09_reads_how_the_grown_network_began():
    assert judged("DEG-09", grown()).verdict is HOLDS
    assert judged("DEG-09", grown(difference=1e-3)).verdict is FAILS
    assert judged("DEG-09", grown(mine=9.5)).verdict is FAILS
    silent, runs = arm(plain(56, grown_from=20), 9.7, 1.3)
    assert "recorded how it began" in judged("DEG-09", (silent, runs)).reason
    assert "grown_from: 20" in judged("DEG-09", arm(plain(56), 13, 6)).reason


def test_deg_10_compares_what_random_weights_find_with_what_was_constructed():
    shallow, deep = arm(plain(20), 9.7, 1.33), arm(plain(56), 13.3, 5.84)
    assert judged("DEG-10", shallow, deep, grown(train=1.2)).verdict is HOLDS
    assert judged("DEG-10", shallow, deep, grown(train=3.0)).verdict is FAILS
    assert judged("DEG-10", shallow, arm(plain(56), 9.0, 0.5), grown(train=1.2)).verdict is FAILS
    assert "needs plain-20 under the recipe" in judged("DEG-10", deep, grown()).reason


def longer(shallow: float, deep: float) -> list[Measured]:
    recipe = {"iterations": 192_000}
    return [
        arm(plain(20), 9.7, 1.33),
        arm(plain(56), 13.3, 5.84),
        arm(plain(20), shallow, shallow - 8, **recipe),
        arm(plain(56), deep, deep - 8, **recipe),
    ]


def test_deg_11_compares_three_times_as_long():
    found = judged("DEG-11", *longer(9.2, 12.0))
    assert found.verdict is HOLDS
    assert "plain-56 at 3x ends at 12.00" in found.statistic
    assert judged("DEG-11", *longer(9.2, 8.5)).verdict is FAILS
    assert "schedule_multiplier: 3" in judged("DEG-11", *longer(9, 12)[:2]).reason


# How fast networks converge


def falling(network: Network, reaches: float) -> Measured:
    """A training error that falls on a straight line from 100 % to 20 % at `reaches` iterations, and on to 0."""
    made, runs = arm(network, 9, 1)
    slope = 80 / reaches
    ends = [
        replace(
            run,
            curves=curve(
                "train_error", {at: max(0.0, 100 - slope * at * (1 + 0.01 * run.seed)) for at in range(0, 64_000, 100)}
            ),
        )
        for run in runs
    ]
    return made, ends


@pytest.mark.parametrize(("plain_pace", "supported"), [(0.05, True), (0.002, False)])
def test_deg_13_is_reported_and_not_decided(plain_pace: float, supported: bool):
    """T = 1000 exp(b depth): the fit finds b."""
    nets = [falling(plain(depth), 1000 * math.exp(plain_pace * depth)) for depth in (20, 32, 44, 56)]
    nets += [falling(residual(depth), 1000 * math.exp(0.004 * depth)) for depth in (20, 32, 44, 56)]
    found = judged("DEG-13", *nets)
    assert found.verdict is UNDECIDED
    assert found.reason.endswith("here it is supported" if supported else "here it is not supported")
    assert found.numbers["plain"]["slope"] == pytest.approx(plain_pace, rel=0.05)
    assert "3 depths" in judged("DEG-13", *nets[:2], *nets[4:]).reason


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(-50, 50)), min_size=4, max_size=20, unique_by=lambda pair: pair[0]
    )
)
def test_the_line_is_that_of_scipy(points: list[tuple[int, int]]):
    x, y = zip(*points, strict=True)
    ours = fit(x, y)
    line: Any = stats.linregress(x, y)
    slope, error = line.slope, line.stderr
    assert ours.slope == pytest.approx(float(slope), abs=1e-9)
    assert ours.error == pytest.approx(float(error), abs=1e-9)
    half = float(stats.t.ppf(0.975, len(x) - 2)) * ours.error
    assert (ours.low, ours.high) == pytest.approx((ours.slope - half, ours.slope + half), abs=1e-9)


def test_a_line_through_too_little_is_refused():
    with pytest.raises(ValueError, match="3 points over 2 places, not 2 over 2"):
        fit([1, 2], [1, 2])
    with pytest.raises(ValueError, match="not 3 over 1"):
        fit([1, 1, 1], [1, 2, 3])


def test_a_limit_is_crossed_between_points():
    falls = curve("train_error", {100: 90.0, 200: 50.0, 300: 10.0})["train_error"]
    assert first_below(falls, 50.0) == pytest.approx(200)
    assert first_below(falls, 30.0) == pytest.approx(250)
    assert first_below(falls, 95.0) == 100.0
    assert first_below(falls, 5.0) is None
    assert mean_of([falls, curve("train_error", {200: 70.0, 400: 0.0})["train_error"]]) == {200: 60.0}


# ImageNet's curves


def phases(network: Network, train: float, *, early: float = 60.0, test: dict[int, float] | None = None) -> Measured:
    """Training error `early` until the first drop, then `train`; a validation curve where it is given."""
    made, runs = arm(network, 30, train, seeds=3)
    points = {at: early if at <= 150_000 else train for at in range(5000, 600_001, 5000)}
    found = []
    for run in runs:
        moved = {at: value + 0.02 * (run.seed - 1) for at, value in points.items()}
        curves = curve("train_error", moved) | (curve("test_error", test) if test else {})
        found.append(replace(run, curves=curves))
    return made, found


def test_deg_07_and_res_02_read_the_last_five_epochs():
    plain_18, plain_34 = phases(imagenet(18, "none"), 31.1), phases(imagenet(34, "none"), 32.7, early=62.0)
    assert judged("DEG-07", plain_18, plain_34).verdict is HOLDS
    assert judged("DEG-07", plain_18, phases(imagenet(34, "none"), 30.0)).verdict is FAILS
    late = judged("DEG-07", plain_18, phases(imagenet(34, "none"), 32.7, early=59.0))
    assert (late.verdict, late.numbers["share"] < 0.95) == (FAILS, True)
    residuals = phases(imagenet(18, "A"), 29.6), phases(imagenet(34, "A"), 24.9)
    assert judged("RES-02", *residuals).verdict is HOLDS
    assert judged("RES-02", residuals[0], phases(imagenet(34, "A"), 28.5)).verdict is FAILS
    assert "not in this study" in judged("RES-02", residuals[0]).reason


def test_res_05_asks_who_is_faster():
    slow = {45_000: 55.5, 90_000: 51.5, 120_000: 49.9, 145_000: 49.0}
    quick = {20_000: 54.0, 30_000: 51.0, 45_000: 49.5, 145_000: 46.7}
    base = phases(imagenet(18, "none"), 31, early=62.0, test=slow)
    found = judged("RES-05", base, phases(imagenet(18, "A"), 29.6, early=60.0, test=quick))
    assert found.verdict is HOLDS
    assert "50 %: 40,000 against 118,125" in found.statistic
    assert judged("RES-05", base, phases(imagenet(18, "A"), 29.6, early=60.0, test=slow)).verdict is FAILS
    assert judged("RES-05", base, phases(imagenet(18, "A"), 29.6, early=63.0, test=quick)).verdict is FAILS


# Variants


def test_sc_08_asks_for_half_of_the_gap():
    zeros, projected = arm(residual(56), 7.5, 0.2), arm(residual(56, "B"), 6.5, 0.2)
    assert judged("SC-08", zeros, projected, arm(residual(56, padding="duplicate"), 6.6, 0.2)).verdict is HOLDS
    assert judged("SC-08", zeros, projected, arm(residual(56, padding="duplicate"), 7.4, 0.2)).verdict is FAILS
    close = judged("SC-08", zeros, projected, arm(residual(56, padding="duplicate"), 6.91, 0.2))
    assert (close.verdict, bool(close.further)) == (UNDECIDED, True)
    assert "closes 59%" in close.statistic
    assert "padding: duplicate" in judged("SC-08", zeros, projected).reason


def test_sc_08_takes_averages_where_nothing_is_duplicated():
    zeros, projected = arm(residual(56), 7.5, 0.2), arm(residual(56, "B"), 6.5, 0.2)
    average, duplicate = (residual(56, padding=fill) for fill in ("average", "duplicate"))
    alone = judged("SC-08", zeros, projected, arm(average, 6.6, 0.2))
    assert (alone.verdict, "A average" in alone.statistic) == (HOLDS, True)
    both = judged("SC-08", zeros, projected, arm(average, 6.6, 0.2), arm(duplicate, 7.4, 0.2))
    assert both.verdict is FAILS


def test_sc_09_names_the_width_that_it_needs():
    """The one at which B is nearest in size to C; on CIFAR-10 none is near."""
    asked = judged("SC-09", arm(imagenet(34, "C"), 7, 0.1)).reason
    assert asked.endswith("needs C and imagenet-resnet-34-B-w65 (`width: 65`), which is not in this study")
    assert (
        "no whole width comes within 5 % of cifar10-resnet-56-C" in judged("SC-09", arm(residual(56, "C"), 7, 0)).reason
    )


def test_sc_09_takes_the_nearest_in_size():
    """66 filters are too many by 2 %, 65 too few by 1 %."""
    nets = [replace(imagenet(34, "C")), *[replace(imagenet(34, "B"), width=width) for width in (66, 65)]]
    measured = [arm(net, 7, 0.1) for net in nets]
    crops = [
        (made, [replace(run, result={**run.result, "last_ten_crop_error": 24.2 + run.seed / 10}) for run in runs])
        for made, runs in measured
    ]
    assert "ResNet-34 B w65" in judged("SC-09", *crops).statistic


def test_sc_09_counts_projections_and_widens_b():
    everywhere, wider = residual(20, "C"), residual(20, "B", width=16)
    assert wider.variant == ""
    missing = judged("SC-09", arm(everywhere, 7, 0.1), arm(wider, 7, 0.1))
    assert "projections at 34 layers: C 16, B 3" in missing.reason
    wide = imagenet(34, "B")
    wide = Network(**{**vars(wide), "width": 65})
    c = arm(imagenet(34, "C"), 7.0, 0.1)

    def with_ten_crop(measured: Measured, by: float) -> Measured:
        made, runs = measured
        return made, [
            replace(run, result={**run.result, "last_ten_crop_error": 24.2 + by + run.seed / 10}) for run in runs
        ]

    same, other = (judged("SC-09", with_ten_crop(c, 0), with_ten_crop(arm(wide, 7, 0.1), by)) for by in (0.02, 2.0))
    assert (same.verdict, other.verdict) == (HOLDS, FAILS)


def test_sc_10_compares_blocks_of_one_layer():
    base, two = arm(plain(56), 13.3, 5.84), arm(residual(56), 7.0, 0.2)
    one = residual(56, block_layers=1)
    assert judged("SC-10", base, two, arm(one, 13, 5.8)).verdict is HOLDS
    assert judged("SC-10", base, two, arm(one, 10, 3.0)).verdict is HOLDS  # better than plain, worse than two
    assert judged("SC-10", base, two, arm(one, 7, 0.2)).verdict is FAILS
    assert "block_layers: 1" in judged("SC-10", base, two).reason


def test_res_14_asks_whether_regularisation_helps_the_deeper_more():
    def study(deep: float, shallow: float) -> list[Measured]:
        return [
            arm(residual(110), 6.6, 0.1), arm(residual(1202), 7.9, 0.1),
            arm(residual(110), shallow, 0.1, dropout=0.2), arm(residual(1202), deep, 0.1, dropout=0.2),
            arm(residual(110), 6.7, 0.1, weight_decay=5e-4), arm(residual(1202), 8.5, 0.1, weight_decay=5e-4),
        ]  # fmt: skip

    found = judged("RES-14", *study(6.0, 6.4))
    assert found.verdict is HOLDS
    assert "most with dropout 0.2" in found.statistic
    assert judged("RES-14", *study(6.9, 5.0)).verdict is FAILS
    assert judged("RES-14", *study(9.0, 6.4)).verdict is FAILS
    assert "one more regulariser" in judged("RES-14", *study(6, 6)[:2]).reason


def warmed(network: Network, below_90: int, test: float, **recipe: Any) -> Measured:
    made, runs = arm(network, test, 0.1, **recipe)
    points = {at: 95.0 if at < below_90 else 50.0 for at in range(100, 5000, 100)}
    return made, [replace(run, curves=curve("train_error", points)) for run in runs]


def test_pap_01_compares_starts_with_and_without_warm_up():
    warm = warmed(residual(110), 200, 6.6)
    cold = {"warmup_from_depth": None}
    assert judged("PAP-01", warm, warmed(residual(110), 2000, 6.7, **cold)).verdict is HOLDS
    assert judged("PAP-01", warm, warmed(residual(110), 300, 6.7, **cold)).verdict is FAILS
    assert judged("PAP-01", warm, warmed(residual(110), 2000, 8.0, **cold)).verdict is FAILS
    assert "warmup_from_depth: null" in judged("PAP-01", warm).reason
    other = Network(data="shapes", depth=110, shortcut="A")
    pair = warmed(other, 200, 6.6), warmed(other, 2000, 6.7, **cold)
    assert "length of an epoch of shapes is not known" in judged("PAP-01", *pair).reason


def test_pap_03_compares_plain_bottlenecks():
    shallow = arm(imagenet(50, "none"), 30, 30.0, seeds=3)
    assert judged("PAP-03", shallow, arm(imagenet(101, "none"), 35, 36.0, seeds=3)).verdict is HOLDS
    assert judged("PAP-03", shallow, arm(imagenet(101, "none"), 25, 25.0, seeds=3)).verdict is FAILS
    assert "plain-50 and plain-101" in judged("PAP-03", shallow).reason


# What probes see


def probed(measured: Measured, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Measured:
    made, runs = measured
    layers = made.network["depth"] - 1
    found = []
    for run in runs:
        healthy = {
            "gradient": [0.02 - 0.01 * layer / layers for layer in range(layers)],
            "norm_variance": [0.9] * layers,
            "activation_variance": [0.4] * layers,
            "response": [1.5 - 0.005 * layers + 0.001 * run.seed] * layers,
            "residual_over_input": [0.8 - 0.002 * layers + 0.001 * run.seed] * 9,
        }
        probes = [{**change(dict(healthy)), "iteration": at} for at in (0, 6_400, 32_000, 48_000, 64_000)]
        found.append(replace(run, probes=tuple(probes)))
    return made, found


def values(name: str, new: list[float]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda probe: {**probe, name: [*probe[name][: -len(new)], *new]}


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("GRD-01", values("norm_variance", [1e-3])),
        ("GRD-01", values("activation_variance", [math.nan])),
        ("GRD-02", values("gradient", [1.0])),
        ("GRD-02", values("gradient", [1e-6, 0.01])),
        ("GRD-03", values("gradient", [10.0])),
        ("GRD-03", values("gradient", [0.0])),
    ],
)
def test_signals_are_healthy_or_not(claim: str, change: Callable[[dict[str, Any]], dict[str, Any]]):
    nets = plains()
    assert judged(claim, *map(probed, nets)).verdict is HOLDS
    assert judged(claim, probed(nets[0]), probed(nets[1], change)).verdict is FAILS
    assert "recipe.probe_at=[0, 0.1, 0.5, 0.75, 1] takes them" in judged(claim, *nets).reason
    assert "none of which is in this study" in judged(claim, arm(residual(20), 8, 1)).reason


def plains(seeds: int = 2) -> list[Measured]:
    return [arm(plain(depth), 10, 2, seeds=seeds) for depth in (20, 56, 110)]


SIGNALS = pytest.mark.parametrize("claim", ["GRD-01", "GRD-02", "GRD-03"])


@SIGNALS
def test_signals_are_judged_over_every_network_and_checkpoint_of_the_rule(claim: str):
    """What a shallow network shows, or a late look, says nothing of the others."""
    nets = [probed(each) for each in plains()]
    shallow = judged(claim, *nets[:2])
    assert shallow.verdict is UNDECIDED
    assert shallow.reason == "so it is in plain-20, plain-56; needs plain-110 too, which this study lacks"
    made, runs = nets[2]
    late = judged(claim, *nets[:2], (made, [replace(run, probes=run.probes[-1:]) for run in runs]))
    assert late.verdict is UNDECIDED
    assert "cifar10-plain-110.s0 has no probes at 0, 0.1, 0.5, 0.75 of its iterations" in late.reason
    assert "at least 2 seeds" in judged(claim, *[probed(each) for each in plains(seeds=1)]).reason
    assert "1 of 2 trials of plain-110" in judged(claim, *nets[:2], (made, runs[:1])).reason


@SIGNALS
def test_a_diverged_trial_of_a_plain_network_is_told(claim: str):
    nets = [probed(each) for each in plains()]
    made, runs = nets[2]
    lost = [replace(run, outcome=Outcome.DIVERGED, result={"diverged_at": 9}) for run in runs]
    found = judged(claim, *nets[:2], (made, [lost[0], runs[1]]))
    assert found.verdict is HOLDS
    assert "1 of 2 seeds of plain-110 diverged and are in no mean" in found.caveats
    assert "ImageNet are not in it" in found.caveats[0]
    assert judged(claim, *nets[:2], (made, lost)).reason == "all 2 trials of plain-110 diverged"


def test_gradients_of_few_batches_or_of_a_layer_that_is_no_3x3_decide_nothing():
    made, runs = probed(arm(plain(20), 10, 2, seeds=2, probe_batches=5))
    assert "average gradients over 5 batches, and the rule over 50" in judged("GRD-02", (made, runs)).reason
    nets = [arm(imagenet(depth, "none"), 30, 20, seeds=2, drops=[0.5, 0.75], iterations=64_000) for depth in (18, 34)]
    first = lambda probe: {**probe, "gradient": [1e-9, *probe["gradient"][1:]]}  # noqa: E731 - conv1 is 7x7
    assert judged("GRD-02", *[probed(each, first) for each in nets]).verdict is HOLDS


def test_gradients_at_initialisation_are_reported_apart():
    nets = []
    for made, runs in map(probed, plains()):
        first = [100.0, *[0.01] * (made.network["depth"] - 2)]
        nets.append((made, [replace(r, probes=({**r.probes[0], "gradient": first}, *r.probes[1:])) for r in runs]))
    found = judged("GRD-03", *nets)
    assert found.verdict is HOLDS
    assert "(at initialisation 1e+04)" in found.statistic


def responses(plain_by: float = 0.2, deeper_by: float = 0.0) -> list[Measured]:
    nets = [probed(arm(residual(depth), 7, 0.2)) for depth in (20, 56, 110)]
    nets[2] = probed(
        arm(residual(110), 7, 0.2),
        lambda probe: {**probe, "response": [each + deeper_by for each in probe["response"]]},
    )
    raised = lambda probe: {**probe, "response": [each + plain_by for each in probe["response"]]}  # noqa: E731
    return [*nets, *[probed(arm(plain(depth), 10, 2), raised) for depth in (20, 56)]]


def test_responses_are_compared_over_seeds():
    assert judged("RSP-01", *responses()).verdict is HOLDS
    assert judged("RSP-01", *responses(plain_by=-0.2)).verdict is FAILS
    assert judged("RSP-01", *responses(plain_by=0.0005)).verdict is UNDECIDED
    assert judged("RSP-02", *responses()).verdict is HOLDS
    assert judged("RSP-02", *responses(deeper_by=1.0)).verdict is FAILS
    assert judged("RSP-03", *responses()).verdict is HOLDS
    large = lambda probe: {**probe, "residual_over_input": [2.0] * 9}  # noqa: E731
    assert judged("RSP-03", *responses()[:2], probed(arm(residual(110), 7, 0.2), large)).verdict is FAILS
    early, runs = responses()[0]
    cut = [replace(run, probes=run.probes[:1]) for run in runs]
    assert "with a probe at their end" in judged("RSP-02", (early, cut), *responses()[1:]).reason
    assert judged("RSP-01", *responses()).statistic.startswith("medians plain-20 1.61, ResNet-20 A 1.41")


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.05, 0.05))
def test_responses_are_as_sure_as_welch_says(gap: float):
    means = {net: [1.405 + add + 0.001 * seed for seed in range(5)] for net, add in (("A", 0.0), ("none", gap))}
    welch: Any = stats.ttest_ind(means["none"], means["A"], equal_var=False, alternative="greater")
    found = judged("RSP-01", *responses(plain_by=gap))
    if found.raw is HOLDS:
        assert found.p == pytest.approx(welch.pvalue, abs=1e-9)
    assert (found.raw is HOLDS) == (gap > 2 * stats.sem(means["A"]) * math.sqrt(2))


def residuals(*ratios: float, by_seed: float = 0.01) -> list[Measured]:
    """ResNet-20, 56 and 110, whose blocks change what they get by so much."""
    return [
        probed(
            arm(residual(depth), 7, 0.2),
            lambda probe, ratio=ratio: {
                **probe,
                "residual_over_input": [ratio + by_seed * (probe["response"][0] * 1000 % 5)] * 9,
            },
        )
        for depth, ratio in zip((20, 56, 110), ratios, strict=True)
    ]


def test_residual_functions_must_be_small_and_fall_by_more_than_noise():
    found = judged("RSP-03", *residuals(0.9, 0.7, 0.5))
    assert found.verdict is HOLDS
    assert found.p is not None
    assert "extends the paper" in found.caveats[0]
    assert judged("RSP-03", *residuals(0.9, 0.7, 0.8)).verdict is FAILS
    assert judged("RSP-03", *residuals(1.9, 1.5, 0.8)).verdict is FAILS
    close = judged("RSP-03", *residuals(0.9, 0.701, 0.7))
    assert (close.verdict, close.raw) == (UNDECIDED, UNDECIDED)
    assert judged("RSP-03", *residuals(1.2, 0.99, 0.5)).verdict is UNDECIDED
    assert "ResNet-110 A" in judged("RSP-03", *residuals(0.9, 0.7, 0.5)[:2]).reason


@pytest.mark.parametrize(
    ("claim", "name"), [("RSP-01", "response"), ("RSP-02", "response"), ("RSP-03", "residual_over_input")]
)
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_dead_network_decides_nothing_about_responses(claim: str, name: str, number: float):
    nets = responses()
    nets[0] = probed(arm(residual(20), 7, 0.2), lambda probe: {**probe, name: [number] * len(probe[name])})
    found = judged(claim, *nets)
    assert (found.verdict, found.reason) == (
        UNDECIDED,
        f"the {name} of ResNet-20 A s0 is no number at its end: that network is dead",
    )


# Other tasks, and other claims


def test_detection_says_what_it_would_need():
    study, runs = digits()
    for claim in ("DET-01", "DET-02"):
        found = judge(replace(study, claims=({"id": claim},)), runs)[0]
        assert found.verdict is UNDECIDED
        assert "Faster R-CNN with VGG-16 and with ResNet-101" in found.reason
        assert "the paper prints" in found.reason


def test_gen_01_takes_every_other_data_set():
    study, runs = digits()
    found = judge(replace(study, claims=({"id": "GEN-01"},)), runs)[0]
    assert found.verdict is HOLDS
    assert "plain-56" in found.statistic
    assert found.caveats[0].startswith("extends the paper")
    network = {"data": "letters", "channels": 1, "size": 8}
    worse = [
        make_arm(Network(depth=20, shortcut=shortcut, **network), DIGITS_RECIPE, seeds=3, deviations=DIGITS_DEVIATIONS)
        for shortcut in ("none", "A")
    ]
    bad = [*make_runs(worse[0], 3, 1), *make_runs(worse[1], 9, 1)]
    both = replace(study, arms=(*study.arms, *worse), claims=({"id": "GEN-01"},))
    assert judge(both, [*runs, *bad])[0].verdict is FAILS
    assert "data that are not the paper's" in judged("GEN-01", arm(plain(20), 9, 1)).reason
    jpeg = [arm(net(20, data="cifar10-jpeg"), error, 1) for net, error in ((plain, 9), (residual, 7))]
    assert "data that are not the paper's" in judged("GEN-01", *jpeg).reason
    projections = [arm(plain(56, **network), 9, 1), arm(residual(56, "B", **network), 5, 1)]
    assert judged("GEN-01", *projections).verdict is HOLDS


def test_claims_about_claims_need_both_sides():
    study, runs = paper_like()
    one = {each.id: each for each in judge(replace(study, claims=({"id": "RES-10"}, {"id": "DEG-14"})), runs)}
    assert one["RES-10"].reason == "needs claims of both data sets: nothing is decided on ImageNet"
    assert one["DEG-14"].reason == "needs two data sets, as cifar10 and imagenet; it is decided on cifar10 alone"
    nets = [phases(imagenet(18, "none"), 31.1), phases(imagenet(34, "none"), 32.7, early=62.0)]
    nets += [phases(imagenet(18, "A"), 29.6), phases(imagenet(34, "A"), 24.9)]
    both = replace(study, arms=(*study.arms, *[made for made, _ in nets]), claims=({"id": "RES-10"}, {"id": "DEG-14"}))
    every = [*runs, *[run for _, found in nets for run in found]]
    agree = {each.id: each for each in judge(both, every)}
    assert agree["DEG-14"].verdict is HOLDS
    assert agree["DEG-14"].statistic == "cifar10: DEG-01 holds; imagenet: DEG-07 holds"
    assert agree["RES-10"].verdict is UNDECIDED
    assert agree["RES-10"].reason == "needs all nine: RES-01, RES-03, RES-04, RES-05 are undecided"
    nets[1] = phases(imagenet(34, "none"), 20.0)
    every = [*runs, *[run for _, found in nets for run in found]]
    assert {each.id: each.verdict for each in judge(both, every)}["DEG-14"] is FAILS


def test_a_run_without_a_training_curve_is_named():
    base, runs = phases(imagenet(18, "A"), 29.6)
    bare = [replace(run, curves={}) for run in runs]
    found = judged("RES-02", (base, bare), phases(imagenet(34, "A"), 24.9))
    assert "needs 2 trials of ResNet-18 A with a training error in their last 5 epochs" in found.reason


def test_diverged_trials_are_in_no_mean():
    made, runs = arm(plain(56), 13.3, 5.84)
    lost = [replace(runs[0], outcome=Outcome.DIVERGED, result={"diverged_at": 3}), *runs[1:]]
    found = judged("DEG-10", arm(plain(20), 9.7, 1.33), (made, lost), grown())
    assert found.verdict is HOLDS
    assert "1 of 5 seeds of plain-56 diverged and are in no mean" in found.caveats


def test_every_claim_has_a_check():
    found = judge(make_study([make_arm(Network(depth=20))], claims=PAPER_CLAIMS), [])
    assert [each.id for each in found if "no check" in each.reason] == []


def test_whatever_is_recorded_every_verdict_can_be_written():
    """JSON knows no infinity."""
    nets = [probed(arm(plain(depth), 10, 2, seeds=2), values("gradient", [0.0])) for depth in (20, 56)]
    for claim in ("GRD-01", "GRD-02", "GRD-03"):
        assert json.dumps(asdict(judged(claim, *nets)), allow_nan=False)


def test_what_was_measured_on_other_data_says_so():
    """Also where a check looks at every arm of a study."""
    jpeg = {"data": "cifar10-jpeg"}
    nets = [(plain(20, **jpeg), 1.33), (plain(56, **jpeg), 5.84), (plain(56, grown_from=20, **jpeg), 1.2)]
    arms = []
    for network, train in nets:
        made, runs = arm(network, 10, train)
        arms.append((replace(made, deviations=("data cifar10-jpeg (paper cifar10)",)), runs))
    found = judged("DEG-10", *arms)
    assert (found.verdict, found.measured) == (HOLDS, "measured on cifar10-jpeg")
    assert "data cifar10-jpeg (paper cifar10)" in found.caveats[0]
    assert judged("DEG-10", *[arm(network, 10, train) for network, train in (
        (plain(20), 1.33), (plain(56), 5.84), (plain(56, grown_from=20), 1.2)
    )]).measured == ""  # fmt: skip
