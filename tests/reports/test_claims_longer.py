"""Claims about degradation and its cure: what is undecided, and what is never compared with what."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from synthetic import CIFAR_RECIPE, IMAGENET_RECIPE, imagenet, make_arm, make_runs, make_study, paper_like

from models.spec import Network, Shortcut
from orchestrator.runs import Curve, Outcome, Run
from orchestrator.studies import RecordedArm
from reports.claims import Verdict, judge
from reports.verdicts import Answer

HOLDS, FAILS, UNDECIDED = Answer.HOLDS, Answer.FAILS, Answer.UNDECIDED
COLD: Mapping[str, Any] = {"warmup_from_depth": None}
THRICE: Mapping[str, Any] = {"iterations": 192_000}
DROPPED: Mapping[str, Any] = {"dropout": 0.2}
LENGTHS: Sequence[Mapping[str, Any]] = ({}, {"iterations": 1_800_000})
DECAYED: Mapping[str, Any] = {"weight_decay": 5e-4}
Measured = tuple[RecordedArm, Sequence[Run]]
Setting = Callable[[int], list[Measured]]
"""What a claim needs so that it holds, with so many seeds of each arm."""


def judged(claim: str, measured: Sequence[Measured]) -> Verdict:
    study = make_study([arm for arm, _ in measured], claims=[claim])
    return judge(study, [run for _, runs in measured for run in runs])[0]


def cifar(depth: int, shortcut: Shortcut = "none", **options: Any) -> Network:
    return Network(depth=depth, shortcut=shortcut, **options)


def arm(
    network: Network,
    test: float,
    train: float,
    seeds: int = 5,
    *,
    curves: Mapping[str, Mapping[int, float]] | None = None,
    result: Mapping[str, Any] | None = None,
    scale: float = 0.08,
    **recipe: Any,
) -> Measured:
    """Runs with these errors and, moved by seed as these are, these curves."""
    known = {**(IMAGENET_RECIPE if network.layout == "imagenet" else CIFAR_RECIPE), **recipe}
    name = network.name + "".join(f"+{name}={value}" for name, value in recipe.items())
    deviations = [f"{name} {value} (paper other)" for name, value in recipe.items()]
    made = make_arm(network, known, seeds=seeds, deviations=deviations, name=name)
    return made, [_filled(run, run.result["last_test_error"] - test, curves, result) for run in make_runs(
        made, test, train, scale=scale
    )]  # fmt: skip


def _filled(
    run: Run, shift: float, curves: Mapping[str, Mapping[int, float]] | None, result: Mapping[str, Any] | None
) -> Run:
    found = {
        metric: Curve(metric=metric, iterations=tuple(points), values=tuple(each + shift for each in points.values()))
        for metric, points in (curves or {}).items()
    }
    moved = {name: each + shift if isinstance(each, float) else each for name, each in (result or {}).items()}
    return replace(run, curves=found, result={**run.result, **moved})


def two_phases(early: float, late: float) -> dict[int, float]:
    return {at: early if at <= 150_000 else late for at in range(5000, 600_001, 5000)}


QUICK = {20_000: 54.0, 30_000: 51.0, 45_000: 49.0, 145_000: 46.7}
SLOW = {45_000: 55.5, 90_000: 51.5, 120_000: 49.5, 145_000: 49.0}
PACES = {20: 1000, 32: 2000, 44: 4000, 56: 8000, 110: 200_000}


def photographs(depth: int, shortcut: Shortcut, early: float, late: float, seeds: int, crop: float = 28.0) -> Measured:
    curves = {"train_error": two_phases(early, late), "test_error": SLOW if shortcut == "none" else QUICK}
    return arm(imagenet(depth, shortcut), 30, late, seeds, curves=curves, result={"last_ten_crop_error": crop})


def grown(seeds: int, train: float = 1.2, difference: float | str = 2e-6) -> Measured:
    growth = {"logit_difference": difference, "train_error": 9.0, "parent_train_error": 9.0, "images": 2000}
    return arm(cifar(56, grown_from=20), 9.7, train, seeds, result={"growth": growth})


def starting(seeds: int, below_90: int, test: float, **recipe: Any) -> Measured:
    points = {at: 95.0 if at < below_90 else 50.0 for at in range(100, 5000, 100)}
    return arm(cifar(110, "A"), test, 0.1, seeds, curves={"train_error": points}, **recipe)


VALLEY = {8: 14.0, 14: 11.0, 20: 9.7, 32: 10.1, 44: 11.5, 56: 13.3}
HOLDING: Mapping[str, Setting] = {
    "DEG-07": lambda n: [photographs(18, "none", 60, 31.1, n), photographs(34, "none", 62, 32.7, n)],
    "DEG-08": lambda n: [arm(cifar(depth), test, 1, n) for depth, test in VALLEY.items()],
    "DEG-10": lambda n: [arm(cifar(20), 9.7, 1.33, n), arm(cifar(56), 13.3, 5.84, n), grown(n)],
    "DEG-11": lambda n: [
        arm(cifar(20), 9.7, 1.33, n), arm(cifar(56), 13.3, 5.84, n),
        arm(cifar(20), 9.2, 0.5, n, **THRICE), arm(cifar(56), 12.0, 3.0, n, **THRICE),
    ],
    "RES-02": lambda n: [photographs(18, "A", 60, 29.6, n), photographs(34, "A", 55, 24.9, n)],
    "RES-05": lambda n: [photographs(18, "none", 62, 31.1, n), photographs(18, "A", 60, 29.6, n)],
    "RES-14": lambda n: [
        arm(cifar(110, "A"), 6.6, 0.1, n), arm(cifar(1202, "A"), 7.9, 0.1, n),
        arm(cifar(110, "A"), 6.4, 0.1, n, **DROPPED), arm(cifar(1202, "A"), 6.0, 0.1, n, **DROPPED),
    ],
    "PAP-01": lambda n: [starting(n, 200, 6.6), starting(n, 2000, 6.7, **COLD)],
    "PAP-03": lambda n: [arm(imagenet(50, "none"), 30, 30, n), arm(imagenet(101, "none"), 35, 36, n)],
}  # fmt: skip
"""Each claim that compares means, over runs as the paper has them or expects them."""
each_claim = pytest.mark.parametrize("claim", HOLDING)


@each_claim
def test_it_holds(claim: str):
    found = judged(claim, HOLDING[claim](5))
    assert (found.verdict, found.reason) == (HOLDS, "")
    assert found.p is not None
    assert found.p < 0.05


@each_claim
def test_one_seed_is_undecided_and_asks_for_another(claim: str):
    found = judged(claim, HOLDING[claim](1))
    assert found.verdict is UNDECIDED
    assert "at least 2 seeds" in found.reason
    assert found.further
    assert set(found.further.values()) == {1}


@each_claim
def test_nothing_is_said_while_trials_are_to_come(claim: str):
    """Of any arm that decides it."""
    for at, (_, runs) in enumerate(HOLDING[claim](3)):
        if claim == "DEG-11" and at < 2:
            continue  # those of the short schedule are told and decide nothing
        measured = HOLDING[claim](3)
        measured[at] = (measured[at][0], runs[:2])
        found = judged(claim, measured)
        assert found.verdict is UNDECIDED
        assert "2 of 3 trials of" in found.reason
        assert "not run" in found.reason


@each_claim
def test_an_arm_that_is_missing_is_named(claim: str):
    measured = HOLDING[claim](3)
    for at in range(len(measured)):
        found = judged(claim, [*measured[:at], *measured[at + 1 :]])
        assert (found.verdict, found.reason.startswith("needs ")) == (UNDECIDED, True)


@each_claim
def test_arms_of_other_data_are_never_in_a_comparison(claim: str):
    """Under the same recipe, one arm after the other taken from another data set."""
    for at, (made, runs) in enumerate(HOLDING[claim](3)):
        measured = HOLDING[claim](3)
        measured[at] = (replace(made, network={**made.network, "data": "letters"}), runs)
        assert judged(claim, measured).verdict is UNDECIDED


@each_claim
def test_its_verdict_is_json(claim: str):
    json.dumps(asdict(judged(claim, HOLDING[claim](3))), allow_nan=False)


# Degradation


@pytest.mark.parametrize("end", [8, 56])
def test_deg_08_is_undecided_where_an_end_is_lowest_within_the_noise(end: int):
    """And asks for seeds of the networks that would tell; beyond the noise it fails."""
    close = judged("DEG-08", [arm(cifar(depth), test, 1) for depth, test in {**VALLEY, end: 9.62}.items()])
    assert (close.verdict, f"lowest at {end} layers" in close.statistic) == (UNDECIDED, True)
    assert close.further
    assert set(close.further) == {f"cifar10-plain-{end}", "cifar10-plain-20"}
    assert judged("DEG-08", [arm(cifar(d), test, 1) for d, test in {**VALLEY, end: 9.0}.items()]).verdict is FAILS


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(80, 140), min_size=6, max_size=6, unique=True), st.sampled_from([0.01, 0.2]))
def test_deg_08_holds_where_the_rule_says_so(tenths: list[int], scale: float):
    """Literally: the argmin is strictly inside, and both ends are above it by more than two standard errors."""
    measured = [arm(cifar(depth), each / 10, 1, 5, scale=scale) for depth, each in zip(VALLEY, tenths, strict=True)]
    errors = [[run.result["last_test_error"] for run in runs] for _, runs in measured]
    means = [fmean(each) for each in errors]
    best = means.index(min(means))

    def above(end: int) -> bool:
        noise = 2 * ((stdev(errors[end]) ** 2 + stdev(errors[best]) ** 2) / 5) ** 0.5
        return means[end] - means[best] > noise

    assert (judged("DEG-08", measured).raw is HOLDS) == (best not in (0, 5) and above(0) and above(5))


def test_deg_07_takes_the_mean_of_an_epoch():
    """Five records in each; the deeper network is above in the mean of each and below at one record of five."""
    shallow, deep = (dict.fromkeys(range(1000, 600001, 1000), level) for level in (31.0, 32.0))
    deep = {at: 30.9 if at % 5000 == 2000 else value for at, value in deep.items()}
    measured = [
        arm(imagenet(depth, "none"), 30, 30, curves={"train_error": points}, scale=0.01)
        for depth, points in ((18, shallow), (34, deep))
    ]
    found = judged("DEG-07", measured)
    assert (found.verdict, found.numbers["share"]) == (HOLDS, 1.0)
    assert found.statistic.startswith("higher in 100.0% of 118 epochs")


def test_deg_07_fails_where_the_deeper_is_below_in_one_epoch_of_ten():
    base, deep = (photographs(depth, "none", 60, late, 5) for depth, late in ((18, 31.1), (34, 32.7)))
    dips = [
        replace(run, curves={"train_error": replace(curve, values=tuple(
            20.0 if at % 10 == 0 else value for at, value in enumerate(curve.values)
        ))}) for run in deep[1] for curve in [run.curves["train_error"]]
    ]  # fmt: skip
    found = judged("DEG-07", [base, (deep[0], dips)])
    assert (found.verdict, found.p) == (FAILS, None)


def test_deg_07_says_so_where_no_epoch_has_every_trial():
    base, (deep, runs) = (photographs(depth, "none", 60, late, 3) for depth, late in ((18, 31.1), (34, 32.7)))
    short = replace(runs[0].curves["train_error"], iterations=(5000,), values=(60.0,))
    cut = [replace(runs[0], curves={"train_error": short}), *runs[1:]]
    assert "no epoch after 2" in judged("DEG-07", [base, (deep, cut)]).reason


def test_deg_09_needs_one_trial_and_waits_for_all():
    """It has no noise; what is no number, as from a parent that diverged, is no agreement."""
    assert judged("DEG-09", [grown(1)]).verdict is HOLDS
    made, runs = grown(3)
    assert "1 of 3 trials" in judged("DEG-09", [(made, runs[:1])]).reason
    lost = judged("DEG-09", [grown(2, difference="inf")])
    assert (lost.verdict, lost.numbers["logit_difference"]) == (FAILS, None)
    json.dumps(asdict(lost), allow_nan=False)


def test_deg_09_counts_how_diverged_trials_began():
    made, runs = grown(2)
    found = judged("DEG-09", [(made, [replace(runs[0], outcome=Outcome.DIVERGED), runs[1]])])
    assert (found.verdict, found.n) == (HOLDS, 2)


def test_deg_10_fails_only_where_chance_does_not_explain_it():
    """The constructed network is above its parent by a little more than two standard errors."""
    base = HOLDING["DEG-10"](3)[:2]
    found = judged("DEG-10", [*base, grown(3, train=1.33 + 0.15)])
    assert (found.raw, found.verdict) == (FAILS, UNDECIDED)
    assert "chance explains as much" in found.reason
    assert judged("DEG-10", [*base, grown(3, train=2.5)]).verdict is FAILS


def test_deg_11_compares_schedules_that_differ_in_length_alone():
    """How often the longer one records is no difference; another learning rate is."""
    measured = HOLDING["DEG-11"](3)
    for change, answer in (({"record_every": 3000, "evaluate_every": 3000}, HOLDS), ({"lr": 0.05}, UNDECIDED)):
        longer = [(replace(made, recipe={**made.recipe, **change}), runs) for made, runs in measured[2:]]
        assert judged("DEG-11", [*measured[:2], *longer]).verdict is answer


def test_deg_11_takes_imagenet_first():
    found = judged("DEG-11", [*HOLDING["DEG-11"](3), *[
        arm(imagenet(depth, "none"), error, error, 3, **more)
        for more in LENGTHS for depth, error in ((18, 28.0), (34, 28.5))
    ]])  # fmt: skip
    assert found.verdict is HOLDS
    assert "plain-34 − plain-18" in found.statistic


def test_deg_11_is_undecided_within_the_noise():
    measured = HOLDING["DEG-11"](5)
    measured[3] = arm(cifar(56), 9.25, 3.0, 5, **THRICE)
    found = judged("DEG-11", measured)
    assert found.verdict is UNDECIDED
    assert found.further
    assert set(found.further) == {measured[2][0].name, measured[3][0].name}


def falling(network: Network, reaches: float) -> Measured:
    """Straight from 100 % to 20 % at `reaches` iterations, and on."""
    points = {at: max(0.0, 100 - 80 * at / reaches) for at in range(100, 64_001, 100)}
    return arm(network, 9, 1, curves={"train_error": points})


def test_deg_13_names_the_depths_that_it_lacks_and_counts_what_never_came_so_far():
    nets = [falling(cifar(depth, shortcut), pace) for shortcut in ("none", "A") for depth, pace in PACES.items()]
    whole = judged("DEG-13", nets)
    assert (whole.verdict, whole.caveats) == (UNDECIDED, ())
    assert whole.statistic.count("5 runs never below 20 %") == 2
    few = judged("DEG-13", [net for net in nets if net[0].network["depth"] not in (44, 110)])
    assert "the claim asks for plain-44, plain-110, ResNet-44, ResNet-110 too" in few.caveats
    assert judged("DEG-13", nets[:5]).reason == "needs ResNet networks of 3 depths, which are not in this study"


def test_deg_13_is_not_stopped_by_arms_that_say_nothing_of_it():
    """A pool that has the networks is found behind one that lacks them."""
    short: Mapping[str, Any] = {"iterations": 32_000}
    points = {at: 100 - 80 * at / 3000 for at in range(100, 3701, 100)}
    nets = [
        arm(cifar(depth, shortcut), 9, 1, curves={"train_error": points}, **short)
        for shortcut in ("none", "A")
        for depth in (20, 32, 44)
    ]
    found = judged("DEG-13", [falling(cifar(20), 1000), *nets])
    assert "here it is not supported" in found.reason


# Regularisation and warm-up


def test_res_14_fails_only_where_110_layers_gain_more_than_chance_explains():
    measured = HOLDING["RES-14"](5)
    measured[2] = arm(cifar(110, "A"), 4.65, 0.1, 5, **DROPPED)  # falls by 1.95, and 1202 layers by 1.9
    found = judged("RES-14", measured)
    assert (found.raw, found.verdict) == (FAILS, UNDECIDED)
    measured[2] = arm(cifar(110, "A"), 3.0, 0.1, 5, **DROPPED)
    assert judged("RES-14", measured).verdict is FAILS


def test_res_14_takes_a_way_that_helps_the_deeper_more():
    """Not the one that lowers its error most where that lowers the other's still more."""
    ways = [arm(cifar(110, "A"), 3.0, 0.1, **DECAYED), arm(cifar(1202, "A"), 5.5, 0.1, **DECAYED)]
    found = judged("RES-14", [*HOLDING["RES-14"](5), *ways])
    assert (found.verdict, "most with dropout 0.2" in found.statistic) == (HOLDS, True)
    assert "weight_decay 0.0005: 1202 layers" in found.statistic


def test_res_14_never_compares_across_recipes():
    """ResNet-110 without regularisation is there, under another precision."""
    measured = HOLDING["RES-14"](3)
    other = arm(cifar(110, "A"), 6.6, 0.1, 3, precision="bf16")
    found = judged("RES-14", [other, *measured[1:]])
    assert (found.verdict, "under the recipe of ResNet-1202" in found.reason) == (UNDECIDED, True)


def test_pap_01_asks_for_errors_that_are_alike_beyond_the_noise():
    warm = starting(5, 200, 6.6)
    close = judged("PAP-01", [warm, starting(5, 2000, 7.0, **COLD)])
    assert (close.verdict, bool(close.further)) == (UNDECIDED, True)
    assert judged("PAP-01", [warm, starting(5, 2000, 7.7, **COLD)]).verdict is FAILS
    assert judged("PAP-01", [warm, starting(5, 2000, 6.1, **COLD)]).verdict is UNDECIDED


def test_pap_01_compares_recipes_that_differ_in_the_warm_up_alone():
    """And what it departs in by its own words is no caveat, as a study records it."""
    warm, cold = HOLDING["PAP-01"](5)
    assert judged("PAP-01", [warm, starting(5, 2000, 6.7, **COLD, lr=0.2)]).verdict is UNDECIDED
    recorded = replace(cold[0], deviations=("warm-up none (paper 0.01 until 80 %)",))
    assert judged("PAP-01", [warm, (recorded, cold[1])]).caveats == ()


@settings(deadline=None, max_examples=60)
@given(st.floats(-1.2, 1.2), st.floats(0.02, 0.5), st.integers(2, 8))
def test_alike_is_two_one_sided_tests_of_scipy(apart: float, scale: float, n: int):
    """Of Welch, at 2.5 % each, which is the 95 % interval within the margin."""
    warm, cold = starting(n, 200, 6.6), starting(n, 2000, 6.6 + apart, **COLD)
    x, y = ([run.result["last_test_error"] for run in runs] for _, runs in (cold, warm))
    spread = [each + scale * (place % 3 - 1) for place, each in enumerate(x)]
    moved = [
        replace(run, result={**run.result, "last_test_error": value})
        for run, value in zip(cold[1], spread, strict=True)
    ]
    tests: list[Any] = [
        stats.ttest_ind(spread, [each - 0.5 for each in y], equal_var=False, alternative="greater"),
        stats.ttest_ind(spread, [each + 0.5 for each in y], equal_var=False, alternative="less"),
    ]
    p = max(test.pvalue for test in tests)
    found = judged("PAP-01", [warm, (cold[0], moved)])
    assert (found.raw is HOLDS) == (p < 0.025)
    if found.raw is HOLDS:
        assert found.p == pytest.approx(p, rel=1e-6)


def test_pap_03_says_that_its_networks_are_twice_as_deep():
    found = judged("PAP-03", HOLDING["PAP-03"](3))
    assert any("plain-26" in each for each in found.caveats)
    near = [arm(imagenet(50, "none"), 30, 30, 3), arm(imagenet(101, "none"), 30, 30.05, 3)]
    assert judged("PAP-03", near).verdict is UNDECIDED


# Claims about claims


def nine(**late: float) -> tuple[list[RecordedArm], list[Run]]:
    """The paper's arms on CIFAR-10, and on ImageNet so that RES-01 to RES-05 hold unless an error is another."""
    study, runs = paper_like()
    errors = {"plain_18": (27.94, 31.1), "plain_34": (28.54, 32.7), "A_18": (27.88, 29.6), "A_34": (25.03, 24.9)}
    made = []
    for name, (crop, train) in errors.items():
        family, depth = name.split("_")
        early = 62.0 if family == "plain" else 60.0 - int(depth) / 10
        shortcut: Shortcut = "none" if family == "plain" else "A"
        made.append(photographs(int(depth), shortcut, early, late.get(name, train), 3, crop))
    return [*study.arms, *[each for each, _ in made]], [*runs, *[run for _, found in made for run in found]]


def test_res_10_holds_where_all_nine_do_and_fails_where_one_does():
    def found(**late: float) -> Verdict:
        arms, runs = nine(**late)
        return judge(make_study(arms, claims=["RES-10"]), runs)[0]

    assert found().verdict is HOLDS
    assert found().statistic.startswith("cifar10: RES-06 holds, RES-07 holds")
    assert "RES-02 fails" in found(A_34=29.5).statistic
    assert found(A_34=29.5).verdict is FAILS


def test_res_10_is_undecided_while_one_of_the_nine_is():
    arms, runs = nine()
    lacking = [run for run in runs if run.name != "cifar10-resnet-110-A.s4"]
    found = judge(make_study(arms, claims=["RES-10"]), lacking)[0]
    assert (found.verdict, found.reason) == (UNDECIDED, "needs all nine: RES-06, RES-07 are undecided")


def of(data: str, deep: float, seeds: int = 3) -> list[Measured]:
    """Plain networks of 20 and 56 layers on another data set."""
    nets = [(20, 1.3), (56, deep)]
    measured = [arm(Network(data=data, depth=depth), 9, train, seeds) for depth, train in nets]
    other = () if data == "cifar10" else (f"data {data} (paper cifar10)",)
    return [(replace(made, deviations=other), runs) for made, runs in measured]


def test_deg_14_asks_every_data_set_that_was_tested():
    both = judged("DEG-14", [*of("cifar10", 5.8), *of("letters", 4.0)])
    assert (both.verdict, both.statistic) == (HOLDS, "cifar10: DEG-01 holds; letters: DEG-01 holds")
    assert both.measured == "measured on letters, 64,000 iterations"
    assert both.p is not None
    assert judged("DEG-14", [*of("cifar10", 5.8), *of("letters", 1.0)]).verdict is FAILS
    third = [*of("cifar10", 5.8), *of("letters", 4.0)]
    assert judged("DEG-14", [*third, *of("signs", 2.25)]).reason == "on signs the gap is within the noise"
    assert judged("DEG-14", [*third, *of("signs", 2.25, seeds=1)]).verdict is HOLDS


def test_deg_14_counts_images_in_another_encoding_once():
    found = judged("DEG-14", [*of("cifar10", 5.8), *of("cifar10-jpeg", 5.8)])
    assert (found.verdict, found.reason.endswith("decided on cifar10 alone")) == (UNDECIDED, True)
    assert judged("DEG-14", of("cifar10", 5.8, seeds=1)).reason.endswith("decided on none")
