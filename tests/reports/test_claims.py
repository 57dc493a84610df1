"""Each claim of the paper holds over runs made of the paper's numbers, and flips when they are bent against it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace

import pytest
from synthetic import CIFAR_RECIPE, DIGITS_DEVIATIONS, DIGITS_RECIPE, digits, make_arm, make_run, make_runs, make_study

from models.spec import Network, Shortcut
from orchestrator.runs import Curve, Outcome, Run
from orchestrator.studies import RecordedArm
from reports.checks import CHECKS, CHECKS_OF_ALL, CHECKS_OF_CLAIMS
from reports.claims import PAPER_CLAIMS, Verdict, judge
from reports.verdicts import Answer

PAPER: dict[tuple[Shortcut, int], tuple[float, float]] = {
    ("none", 20): (9.69, 1.33),
    ("none", 32): (10.11, 1.46),
    ("none", 44): (11.47, 2.84),
    ("none", 56): (13.27, 5.84),
    ("A", 20): (8.75, 0.63),
    ("A", 32): (7.51, 0.27),
    ("A", 44): (7.17, 0.24),
    ("A", 56): (6.97, 0.15),
    ("A", 110): (6.61, 0.05),
    ("A", 1202): (7.93, 0.04),
}
"""Test and training error."""
COLD = {**CIFAR_RECIPE, "warmup_from_depth": None}
COLD_DEVIATION = "warmup_from_depth null (paper 110)"


def runs_of(arm: RecordedArm, test: float, train: float) -> list[Run]:
    """Test errors with an sd of 0.13, training errors with 0.013, and a training curve at that error."""
    found = []
    for run in make_runs(arm, test, train, scale=0.08):
        flat = max(0.0, train + (run.result["last_test_error"] - test) / 10)
        curve = Curve(metric="train_error", iterations=(32_000, 63_500, 64_000), values=(9.0, flat, flat))
        result = {**run.result, "tail_train_error": flat, "last_train_error": flat}
        found.append(replace(run, result=result, curves={"train_error": curve}))
    return found


def verdict(claim: str, ends: dict[tuple[Shortcut, int], tuple[float, float]], seeds: int = 5) -> Verdict:
    arms = {key: make_arm(Network(shortcut=key[0], depth=key[1]), seeds=seeds) for key in ends}
    runs = [run for key, arm in arms.items() for run in runs_of(arm, *ends[key])]
    return judge(make_study(arms.values(), claims=[claim]), runs)[0]


def bent(*changes: tuple[Shortcut, int, float, float]) -> dict[tuple[Shortcut, int], tuple[float, float]]:
    return {**PAPER, **{(shortcut, depth): (test, train) for shortcut, depth, test, train in changes}}


AGAINST = {
    "DEG-01": bent(("none", 56, 13.27, 1.40)),
    "DEG-02": bent(("none", 56, 9.0, 5.84)),
    "DEG-03": bent(("none", 56, 13.27, 1.0)),
    "DEG-05": bent(("none", 56, 13.27, 1.0)),
    "RES-06": bent(("A", 110, 7.9, 0.05)),
    "RES-07": bent(("A", 110, 6.61, 2.0)),
    "RES-08": bent(("A", 32, 7.51, 3.0)),
    "RES-09": bent(("A", 32, 12.0, 0.27)),
    "RES-11": bent(("A", 1202, 7.93, 0.4)),
    "RES-12": bent(("A", 1202, 7.93, 0.4)),
    "RES-13": bent(("A", 1202, 6.0, 0.04)),
    "RES-15": bent(("A", 56, 90.0, 91.0)),
    "PAP-02": bent(("A", 110, 7.9, 0.05)),
    "PAP-04": bent(("A", 110, 7.2, 0.05)),
}


@pytest.mark.parametrize("claim", AGAINST)
def test_a_claim_holds_over_the_papers_numbers_and_fails_when_they_are_bent(claim: str):
    assert verdict(claim, PAPER).verdict is Answer.HOLDS
    assert verdict(claim, AGAINST[claim]).verdict is Answer.FAILS


WITHIN_NOISE = {
    "DEG-01": bent(("none", 56, 13.27, 2.335)),
    "DEG-02": bent(("none", 56, 10.75, 5.84)),
    "RES-06": bent(("A", 110, 6.90, 0.05)),
    "RES-13": bent(("A", 1202, 6.65, 0.04)),
}


@pytest.mark.parametrize("claim", ["RES-06", "RES-13"])
def test_a_gap_within_the_noise_is_undecided(claim: str):
    found = verdict(claim, WITHIN_NOISE[claim])
    assert found.verdict is Answer.UNDECIDED
    assert found.reason


@pytest.mark.parametrize("claim", AGAINST)
def test_one_seed_is_undecided(claim: str):
    found = verdict(claim, PAPER, seeds=1)
    assert found.verdict is Answer.UNDECIDED
    assert "at least 2 seeds" in found.reason


@pytest.mark.parametrize("claim", AGAINST)
def test_a_missing_arm_is_named(claim: str):
    found = verdict(claim, {("B", 8): (20.0, 10.0)} if claim != "RES-15" else {("none", 8): (20.0, 10.0)})
    assert found.verdict is Answer.UNDECIDED
    assert "not in this study" in found.reason


@pytest.mark.parametrize("claim", AGAINST)
def test_missing_runs_are_undecided(claim: str):
    """A claim is not judged while trials of its arms are still to come."""
    arms = [make_arm(Network(shortcut=shortcut, depth=depth)) for shortcut, depth in PAPER]
    runs = [run for arm, ends in zip(arms, PAPER.values(), strict=True) for run in runs_of(arm, *ends)[:3]]
    found = judge(make_study(arms, claims=[claim]), runs)[0]
    assert found.verdict is Answer.UNDECIDED
    assert "3 of 5 trials" in found.reason
    assert "not run" in found.reason


def plain_110(recipe: dict, deviations: Iterable[str], test: float) -> tuple[RecordedArm, list[Run]]:
    name = "warm" if recipe["warmup_from_depth"] else "cold"
    arm = make_arm(Network(depth=110), recipe, seeds=3, deviations=tuple(deviations), name=name)
    return arm, make_runs(arm, test, test)


def test_deg_04_asks_for_the_variant_without_warm_up():
    warm, warm_runs = plain_110(dict(CIFAR_RECIPE), (), 80.0)
    alone = judge(make_study([warm], claims=["DEG-04"]), warm_runs)[0]
    assert alone.verdict is Answer.UNDECIDED
    assert "without warm-up" in alone.reason
    cold, cold_runs = plain_110(COLD, [COLD_DEVIATION], 75.0)
    both = judge(make_study([warm, cold], claims=["DEG-04"]), [*warm_runs, *cold_runs])[0]
    assert both.verdict is Answer.HOLDS
    assert both.statistic == "plain-110 without warm-up: median 75.00; limit 60; with warm-up 80.00 ± 0.10 (3)"
    assert COLD_DEVIATION in both.caveats[0]
    cold, cold_runs = plain_110(COLD, [COLD_DEVIATION], 14.0)
    assert judge(make_study([cold], claims=["DEG-04"]), cold_runs)[0].verdict is Answer.FAILS


def test_deg_04_counts_a_diverged_run_as_failed():
    cold, runs = plain_110(COLD, [COLD_DEVIATION], 14.0)
    lost = [replace(run, outcome=Outcome.DIVERGED, result={"diverged_at": 1200}) for run in runs[:2]]
    found = judge(make_study([cold], claims=["DEG-04"]), [*lost, runs[2]])[0]
    assert found.verdict is Answer.HOLDS
    assert "2 of 3 diverged" in found.statistic
    json.dumps(asdict(found), allow_nan=False)


def test_a_diverged_residual_run_refutes_res_15():
    arm = make_arm(Network(depth=20, shortcut="A"), seeds=2)
    runs = [make_run(arm, 0, test=9, train=1), make_run(arm, 1, test=9, train=1, outcome=Outcome.DIVERGED)]
    found = judge(make_study([arm], claims=["RES-15"]), runs)[0]
    assert found.verdict is Answer.FAILS
    assert "not: cifar10-resnet-20-A.s1" in found.statistic


def test_diverged_seeds_are_told():
    arms = [make_arm(Network(depth=depth), seeds=3) for depth in (20, 56)]
    runs = [*make_runs(arms[0], 9.7, 1.3), *make_runs(arms[1], 13.3, 5.8)]
    runs[-1] = replace(runs[-1], outcome=Outcome.DIVERGED, result={"diverged_at": 500})
    found = judge(make_study(arms, claims=["DEG-01"]), runs)[0]
    assert "1 of 3 seeds of plain-56 diverged and are in no mean" in found.caveats


def test_fewer_seeds_than_the_claim_asks_for_are_told():
    assert "the claim asks for 5 seeds of each arm; the fewest here are 3" in verdict("DEG-01", PAPER, seeds=3).caveats
    assert verdict("DEG-01", PAPER, seeds=5).caveats == ()


def test_other_arms_than_the_papers_are_told():
    """The verdict stands, and says what it was tested on."""
    study, runs = digits()
    found = {each.id: each for each in judge(study, runs)}
    assert found["DEG-01"].verdict is Answer.HOLDS
    assert found["DEG-01"].measured == "measured on digits, 150 iterations"
    assert DIGITS_DEVIATIONS[0] in found["DEG-01"].caveats[0]
    assert found["SC-06"].caveats == ()
    assert found["digits-options"].measured == ""


@pytest.mark.parametrize("claim", ["PAP-02", "PAP-04"])
def test_other_arms_are_not_compared_with_printed_errors(claim: str):
    network = Network(data="digits", depth=110, shortcut="A", channels=1, size=8)
    arm = make_arm(network, DIGITS_RECIPE, deviations=DIGITS_DEVIATIONS)
    found = judge(make_study([arm], claims=[claim]), make_runs(arm, 6.61, 0.1))[0]
    assert found.verdict is Answer.UNDECIDED
    assert "the paper printed" in found.reason


def test_the_papers_arms_come_before_others():
    """Where a study has both, a claim is decided over the paper's recipe, or not yet."""
    paper = [make_arm(Network(depth=depth)) for depth in (20, 56)]
    short = {**CIFAR_RECIPE, "iterations": 2000}
    other = [
        make_arm(Network(depth=depth), short, deviations=["iterations 2000 (paper 64000)"], name=f"short-{depth}")
        for depth in (20, 56)
    ]
    runs = [*make_runs(other[0], 40, 40), *make_runs(other[1], 60, 60)]
    found = judge(make_study([*other, *paper], claims=["DEG-01"]), runs)[0]
    assert found.verdict is Answer.UNDECIDED
    assert "0 of 5 trials of plain-56" in found.reason


def test_options_are_reported_and_not_decided():
    study, runs = digits()
    found = next(each for each in judge(study, runs) if each.id == "SC-05")
    assert found.verdict is Answer.UNDECIDED
    assert "decides nothing" in found.reason
    assert found.numbers["spreads"]["56"] > 20


def test_structure_is_decided_before_anything_ran():
    found = judge(make_study([make_arm(Network(depth=8))], claims=["SC-06"]), [])[0]
    assert found.verdict is Answer.HOLDS
    assert found.statistic == "12 of 12 pairs have equal parameters and multiply-adds"


AT_ONCE = ("SC-06", "BOT-01", "BOT-02", "DEP-03", "DEP-04", "DEP-05", "DEP-06")
"""Claims about structure, which need no run."""


def test_all_66_claims_get_an_honest_verdict():
    assert len(PAPER_CLAIMS) == 66
    verdicts = judge(make_study([make_arm(Network(depth=20))], claims=PAPER_CLAIMS), [])
    assert [each.id for each in verdicts] == list(PAPER_CLAIMS)
    for each in verdicts:
        assert each.verdict is Answer.UNDECIDED or each.id in AT_ONCE
        assert each.reason or each.id in AT_ONCE
    assert {*CHECKS, *CHECKS_OF_ALL, *CHECKS_OF_CLAIMS} == set(PAPER_CLAIMS)


def test_an_unknown_claim_and_an_empty_study():
    assert judge(make_study([], claims=["NOPE-1", "DEG-01"]), [])[0].reason.startswith("this version does not know")
    assert judge(make_study([], claims=["DEG-01"]), [])[0].reason == "the study has no arm"


def test_verdicts_are_json():
    study, runs = digits()
    json.dumps([asdict(each) for each in judge(study, runs)], allow_nan=False)


def test_every_rule_stands_in_its_docstring():
    assert all(check.__doc__ for check in (*CHECKS.values(), *CHECKS_OF_ALL.values(), *CHECKS_OF_CLAIMS.values()))


def test_what_was_measured_counts_though_its_data_are_gone() -> None:
    """An arm is blocked where its data are not; a claim over trials that are done is judged all the same."""
    arms = [make_arm(Network(depth=depth), blocked="its data are away") for depth in (20, 56)]
    runs = [run for arm, depth in zip(arms, (20, 56), strict=True) for run in runs_of(arm, *PAPER["none", depth])]
    study = make_study(arms, claims=["DEG-01"])
    assert judge(study, runs)[0].verdict is Answer.HOLDS
    assert "is blocked: its data are away" in judge(study, [])[0].reason


def test_what_holds_alone_may_not_hold_among_many():
    """The gap is above two standard errors; among seventeen claims that were tested, chance explains one such."""
    ends = bent(("A", 1202, 6.79, 0.04))
    alone = verdict("RES-13", ends)
    assert (alone.verdict, alone.raw) == (Answer.HOLDS, Answer.HOLDS)
    assert alone.p == alone.p_corrected
    arms = {key: make_arm(Network(shortcut=key[0], depth=key[1])) for key in ends}
    runs = [run for key, arm in arms.items() for run in runs_of(arm, *ends[key])]
    own = [{"id": f"own-{n}", "say": f"test_error(A, 20) > test_error(A, 110) + 2.{n}"} for n in range(2, 9)]
    among = judge(make_study(arms.values(), claims=["RES-13", *own]), runs)[0]
    assert (among.verdict, among.raw, among.p) == (Answer.UNDECIDED, Answer.HOLDS, alone.p)
    assert among.p_corrected is not None
    assert among.p_corrected > 0.05
    assert "among 8 claims" in among.reason
    assert among.further
    assert set(among.further) == {"cifar10-resnet-1202-A", "cifar10-resnet-110-A"}


def test_one_seed_asks_for_another():
    found = verdict("DEG-01", PAPER, seeds=1)
    assert found.further == {"cifar10-plain-56": 1}
    assert (found.p, found.tested) == (None, 0)
