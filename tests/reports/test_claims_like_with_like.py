"""A claim is judged over arms that differ in what it speaks of alone, as surely as its noise says."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from synthetic import imagenet
from test_claims_longer import (
    COLD,
    HOLDING,
    LENGTHS,
    VALLEY,
    Measured,
    arm,
    cifar,
    judged,
)

from models.spec import Network
from reports.noise import difference
from reports.verdicts import Answer

HOLDS, FAILS, UNDECIDED = Answer.HOLDS, Answer.FAILS, Answer.UNDECIDED
CHANCE = "chance explains as much"


def late(train: float, clean: float | None) -> Measured:
    """ResNet-1202 with a training error at its end over augmented batches and over clean images."""
    result = {} if clean is None else {"last_clean_train_error": clean}
    return arm(
        cifar(1202, "A"), 7.9, train, 3, curves={"train_error": {64_000: train}}, result=result, scale=0.001
    )  # fmt: skip


def test_res_11_takes_clean_images_where_augmented_batches_are_above_the_limit():
    """Its rule is met by either."""
    assert judged("RES-11", [late(0.3, clean=0.05)]).verdict is HOLDS
    assert judged("RES-11", [late(0.05, clean=0.3)]).verdict is HOLDS
    found = judged("RES-11", [late(0.3, clean=0.2)])
    assert (found.verdict, found.n) == (FAILS, 3)
    assert "0.200 on clean images" in found.statistic


def test_res_11_says_where_clean_images_were_not_seen():
    found = judged("RES-11", [late(0.3, clean=None)])
    assert "3 of 3 trials of ResNet-1202 A recorded no error on clean images" in found.caveats
    assert not judged("RES-11", [late(0.3, clean=0.2)]).caveats


ERRORS = {20: 0.63, 32: 0.27, 44: 0.25, 56: 0.18}


def residuals(deepest: float) -> list[Measured]:
    return [arm(cifar(depth, "A"), 7, error, 5) for depth, error in {**ERRORS, 110: deepest}.items()]


def test_res_07_fails_only_where_chance_does_not_explain_it():
    """One of four steps is a little above two standard errors."""
    found = judged("RES-07", residuals(0.18 + 0.17))
    assert (found.raw, found.verdict) == (FAILS, UNDECIDED)
    assert CHANCE in found.reason
    assert found.further == {"cifar10-resnet-110-A": 1, "cifar10-resnet-56-A": 1}
    assert judged("RES-07", residuals(2.0)).verdict is FAILS
    assert judged("RES-07", residuals(0.1)).further == {}


def plains(test: float) -> list[Measured]:
    """Degradation in training, and a gap between test and training error that is as wide at 56 layers, or wider."""
    return [arm(cifar(20), 9.0, 3.0, 3, scale=0.01), _apart(arm(cifar(56), test, 6.0, 3, scale=0.01))]


def _apart(measured: Measured) -> Measured:
    """Training errors that do not move with the test errors."""
    made, runs = measured
    return made, [
        replace(run, result={**run.result, "tail_train_error": 6.0 + 0.03 * (run.seed % 2)}) for run in runs
    ]  # fmt: skip


def test_deg_05_fails_only_where_chance_does_not_explain_it():
    found = judged("DEG-05", plains(12.045))
    assert (found.raw, found.verdict) == (FAILS, UNDECIDED)
    assert CHANCE in found.reason
    assert judged("DEG-05", plains(14.0)).verdict is FAILS
    assert judged("DEG-05", plains(12.0)).verdict is HOLDS


def test_sc_10_fails_only_where_chance_does_not_explain_it():
    base, two = arm(cifar(56), 13, 5.84, 3), arm(cifar(56, "A"), 7, 5.8, 3)
    found = judged("SC-10", [base, two, arm(cifar(56, "A", block_layers=1), 12, 5.84 - 0.135, 3)])
    assert (found.raw, found.verdict) == (FAILS, UNDECIDED)
    assert CHANCE in found.reason


def test_sc_09_fails_only_where_chance_does_not_explain_it():
    c = imagenet(34, "C")
    wide = replace(imagenet(34, "B"), width=66)
    both = [
        arm(net, 30, 20, 3, result={"last_ten_crop_error": error}, scale=0.08)
        for net, error in ((c, 24.0), (wide, 24.15))
    ]
    found = judged("SC-09", both)
    assert (found.raw, found.verdict) == (FAILS, UNDECIDED)
    assert CHANCE in found.reason


def test_deg_08_counts_the_lowest_once_for_each_depth_that_it_could_have_been():
    """Of four depths the lowest is chosen by the errors that it is then compared by."""
    end = difference([9.95, 9.87, 10.03], [9.7, 9.62, 9.78])
    found = judged("DEG-08", [arm(cifar(depth), test, 1, 3) for depth, test in {**VALLEY, 8: 9.95}.items()])
    assert found.raw is HOLDS
    assert found.p == pytest.approx(4 * end.p_above())


def test_deg_04_has_beside_it_the_same_network_on_the_same_data():
    cold = arm(cifar(110), 75.0, 75.0, 3, **COLD)
    other = arm(Network(data="letters", depth=110), 12.0, 12.0, 3)
    assert "with warm-up" not in judged("DEG-04", [cold, other]).statistic
    assert "with warm-up 80.00" in judged("DEG-04", [other, cold, arm(cifar(110), 80.0, 80.0, 3)]).statistic


def test_sc_05_speaks_of_cifar():
    found = judged("SC-05", [arm(imagenet(34, option), 30, 20, 3) for option in ("A", "B", "C")])
    assert (found.n, found.reason) == (
        0,
        "needs CIFAR networks with options A, B and C at one depth, which are not in this study",
    )


def test_deg_11_takes_the_papers_data_before_other_photographs():
    others = [
        arm(imagenet(depth, "none", data="shapes"), error, error, 3, **more)
        for more in LENGTHS
        for depth, error in ((18, 28.0), (34, 28.5))
    ]
    others = [(replace(made, deviations=("data shapes (paper imagenet)",)), runs) for made, runs in others]
    assert "plain-56 − plain-20" in judged("DEG-11", [*others, *HOLDING["DEG-11"](3)]).statistic


def test_what_was_measured_under_another_recipe_says_so():
    """Also where a check looks at every arm; the departure that a claim is about is none."""
    short: Mapping[str, Any] = {"iterations": 2000}
    found = judged(
        "DEG-10",
        [
            arm(cifar(20), 10, 1.33, **short),
            arm(cifar(56), 10, 5.84, **short),
            arm(cifar(56, grown_from=20), 10, 1.2, **short),
        ],
    )
    assert (found.verdict, found.measured) == (HOLDS, "measured with iterations 2000 (paper other)")
    for claim in ("DEG-10", "DEG-11", "RES-14", "PAP-01"):
        assert judged(claim, HOLDING[claim](3)).measured == ""
