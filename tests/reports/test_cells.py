"""A cell knows its mean, spread, n and runs, or why it is empty."""

import pytest
from synthetic import make_arm, make_run, make_runs, make_study

from models.spec import Layout, Network
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, gather
from reports.cells import Metric, measure, title

NETWORK = Network(depth=56, shortcut="A")


def cell_of(runs: list[Run], seeds: int = 5, blocked: str | None = None):
    return measure(measured(runs, seeds, blocked), Metric.LAST_TEST)


def measured(runs: list[Run], seeds: int = 5, blocked: str | None = None) -> MeasuredArm:
    return gather(make_study([make_arm(NETWORK, seeds=seeds, blocked=blocked)]), runs)[0]


def test_mean_spread_and_count():
    cell = cell_of(make_runs(make_arm(NETWORK), test=6.97, train=0.2, scale=0.1))
    assert cell.mean == pytest.approx(6.97)
    assert cell.sd == pytest.approx(0.1581, abs=5e-5)
    assert cell.interval == pytest.approx((6.7737, 7.1663), abs=5e-5)
    assert cell.text() == "6.97 ± 0.16 (5)"
    assert cell.n == len(cell.keys) == len(set(cell.keys)) == 5


def test_one_seed_has_no_spread():
    assert cell_of(make_runs(make_arm(NETWORK, seeds=1), 6.97, 0.2), seeds=1).text() == "6.97 (1)"


def test_missing_seeds_are_counted_and_told():
    runs = make_runs(make_arm(NETWORK), 7.0, 0.2, scale=0.0)[:3]
    cell = cell_of(runs)
    assert cell.text() == "7.00 ± 0.00 (3 of 5)"
    assert cell.absent == ("s3: not run", "s4: not run")


@pytest.mark.parametrize(
    ("outcome", "changes", "reason"),
    [
        (Outcome.MISSING, {}, "not run"),
        (Outcome.MISSING, {"notes": ("commit.json: damaged",)}, "unreadable in the ledger"),
        (Outcome.RUNNING, {"iteration": 400}, "running: 400 of 64,000 iterations"),
        (Outcome.DIVERGED, {"result": {"diverged_at": 1200}}, "diverged at iteration 1,200"),
        (Outcome.FAILED, {"reason": "CUDA out of memory"}, "failed: CUDA out of memory"),
        (Outcome.FAILED, {}, "failed: no reason was recorded"),
    ],
)
def test_an_empty_cell_says_why(outcome: Outcome, changes: dict, reason: str):
    run = make_run(make_arm(NETWORK, seeds=1), 0, test=1.0, train=1.0, outcome=outcome, **changes)
    cell = cell_of([run], seeds=1)
    assert cell.mean is None
    assert cell.text() == cell.reason == reason


def test_several_reasons_are_counted():
    arm = make_arm(NETWORK)
    runs = [make_run(arm, 0, test=1, train=1, outcome=Outcome.FAILED, reason="boom")]
    assert cell_of(runs).reason == "4 × not run; 1 × failed: boom"


def test_a_blocked_arm_says_so():
    assert cell_of([], blocked="no loader for imagenet").reason == "blocked: no loader for imagenet"


def test_a_finished_run_without_the_number():
    """Nothing is made up for a value that was not recorded or is not finite."""
    arm = make_arm(NETWORK, seeds=1)
    assert cell_of([make_run(arm, 0, test=1, train=1, result={})], seeds=1).reason == "not recorded"
    assert cell_of([make_run(arm, 0, test=float("nan"), train=1)], seeds=1).reason == "not recorded"


def test_runs_of_other_studies_are_left_out():
    arm = make_arm(NETWORK, seeds=1)
    other = make_run(make_arm(Network(depth=20)), 0, test=50.0, train=50.0)
    assert cell_of([other, make_run(arm, 0, test=7.0, train=0.1)], seeds=1).values == (7.0,)


def test_of_five_classes_there_is_no_top_5_error():
    network = Network(data="few", depth=20, classes=5)
    arm = make_arm(network, seeds=2)
    runs = [make_run(arm, 0, test=7.0, train=0.1, result={"last_test_top5_error": 0.0})]
    (measured,) = gather(make_study([arm]), runs)
    cell = measure(measured, Metric.LAST_TEST_TOP5)
    assert cell.n == 0
    assert cell.absent == ("s0: no top-5 error: 5 classes", "s1: not run")


def test_errors_have_two_decimals_and_costs_one():
    arm = make_arm(NETWORK, seeds=1)
    (measured,) = gather(make_study([arm]), make_runs(arm, 6.97, 0.2))
    error, seconds = measure(measured, Metric.LAST_TEST), measure(measured, Metric.SECONDS)
    assert (error.text(), error.text(1), error.unit) == ("6.97 (1)", "7.0 (1)", "%")
    assert (seconds.text(), seconds.unit) == ("6.0 (1)", "s")


@pytest.mark.parametrize(("layout", "called"), [("cifar", "best test error"), ("imagenet", "best validation error")])
def test_the_images_that_a_network_is_tested_on(layout: Layout, called: str):
    assert title(Metric.BEST_TEST, layout) == called
