"""What sets two trials, arms or studies apart."""

import math
from dataclasses import replace

from synthetic import CIFAR_RECIPE, digits, make_arm, make_run, make_runs, make_study

from models.spec import Network
from orchestrator.runs import Curve, Outcome, Run
from reports.arms import MeasuredArm, gather
from reports.diff import Change, Difference, of_arms, of_studies, of_trials, partings
from reports.noise import difference

PLAIN = make_arm(Network(depth=20), seeds=3)
DEEP = make_arm(Network(depth=56), {**CIFAR_RECIPE, "lr": 0.05}, seeds=3)


def measured(arm, runs) -> MeasuredArm:
    return gather(make_study([arm]), runs)[0]


def alone(run: Run) -> MeasuredArm:
    return measured(replace(PLAIN, trials=((run.seed, run.key),)), [run])


def curve(*values: float) -> dict[str, Curve]:
    return {"test_error": Curve(metric="test_error", iterations=tuple(range(1, len(values) + 1)), values=values)}


def trials(a: Run, b: Run, params_a=None, params_b=None) -> Difference:
    return of_trials(alone(a), alone(b), params_a or a.params, params_b or b.params)


def changes(found: Difference) -> set[tuple[str, str, str, str]]:
    return {(each.part, each.name, each.a, each.b) for each in found.changes}


def test_a_trial_and_itself_differ_in_nothing() -> None:
    run = make_run(PLAIN, 0, test=9, train=1, curves=curve(20, 9))
    found = trials(run, run)
    assert found.nothing
    assert found.same_key
    assert [(each.metric, each.shared, each.at) for each in found.curves] == [("test_error", 2, None)]


def test_the_first_iteration_at_which_equal_work_parts() -> None:
    run = make_run(PLAIN, 0, test=9, train=1, curves=curve(20, 15, 9))
    other = replace(run, curves=curve(20, 15.5, 9, 8))
    (parting,) = trials(run, other).curves
    assert (parting.at, parting.a, parting.b, parting.shared) == (2, 15, 15.5, 3)
    assert not trials(run, other).nothing


def test_nan_is_equal_to_itself_alone() -> None:
    (equal,) = partings(curve(math.nan, 1.0), curve(math.nan, 1.0))
    (other,) = partings(curve(math.nan, 1.0), curve(2.0, 1.0))
    assert (equal.at, other.at) == (None, 1)


def test_other_work_has_no_parting() -> None:
    found = trials(
        make_run(PLAIN, 0, test=9, train=1, curves=curve(9)), make_run(PLAIN, 1, test=8, train=1, curves=curve(8))
    )
    assert not found.same_key
    assert found.curves == ()
    assert changes(found) == {("trial", "seed", "0", "1")}


def test_what_a_trial_was_asked_and_computed_with() -> None:
    """Network, recipe, data, semantics, versions, hardware, commit; what only one side has is nothing on the other."""
    run = make_run(PLAIN, 0, test=9, train=1)
    attempt = {**run.attempts[0], "versions": {"torch": "2.12.0", "ffcv": "1"}, "hardware": "H100", "commit": "ff"}
    other = replace(run, attempts=(*run.attempts, attempt), outcome=Outcome.DIVERGED)
    params = {**run.params, "data": {"fingerprint": "a"}, "semantics": 2}
    params_b = {
        **run.params,
        "recipe": {**CIFAR_RECIPE, "lr": 0.2, "nesterov": True},
        "data": {"fingerprint": "b"},
        "semantics": 3,
    }
    found = changes(trials(run, other, params, params_b))
    assert found == {
        ("recipe", "lr", "0.1", "0.2"),
        ("recipe", "nesterov", "", "True"),
        ("data", "fingerprint", "a", "b"),
        ("trial", "semantics", "2", "3"),
        ("trial", "outcome", "finished", "diverged"),
        ("attempts", "versions.torch", "2.11.0", "2.11.0; 2.12.0"),
        ("attempts", "versions.ffcv", "", "1"),
        ("attempts", "hardware", "2 CPU cores", "2 CPU cores; H100"),
        ("attempts", "commit", str(run.attempts[0]["commit"]), f"{run.attempts[0]['commit']}; ff"),
    }


def test_trials_on_their_way_are_compared_where_both_are() -> None:
    run = make_run(PLAIN, 0, test=9, train=1, curves=curve(20, 15, 9))
    running = make_run(PLAIN, 1, test=9, train=1, outcome=Outcome.RUNNING, curves=curve(21, 14))
    (gap,) = trials(run, running).gaps
    assert (gap.name, gap.a, gap.b, gap.difference) == ("test error at iteration 2", 15, 14, -1)


def test_arms_have_the_noise_of_their_difference() -> None:
    runs_a, runs_b = make_runs(PLAIN, 9.0, 1.0, 0.1), make_runs(DEEP, 13.0, 5.0, 0.2)
    found = of_arms(measured(PLAIN, runs_a), measured(DEEP, runs_b))
    assert {("network", "depth", "20", "56"), ("recipe", "lr", "0.1", "0.05")} <= changes(found)
    last = next(each for each in found.gaps if each.name == "test error, last iterate")
    values = [[run.result["last_test_error"] for run in runs] for runs in (runs_b, runs_a)]
    assert last.difference == difference(*values).value
    assert last.noise == difference(*values).noise
    assert (last.n_a, last.n_b) == (3, 3)


def test_one_seed_has_no_noise() -> None:
    one = measured(PLAIN, make_runs(PLAIN, 9, 1)[:1])
    assert all(gap.noise is None for gap in of_arms(one, one).gaps)
    assert of_arms(one, one).nothing


def test_studies_differ_in_arms_numbers_and_verdicts() -> None:
    study, runs = digits()
    solved = replace(runs[0], result={**runs[0].result, "last_test_error": runs[0].result["last_test_error"] + 1})
    smaller = replace(study, arms=study.arms[:-1], overrides=("recipe.lr=0.03",))
    found = of_studies(study, runs, smaller, [solved, *runs[1:]])
    assert Change(part="arms", name="in one alone", a=study.arms[-1].name, b="") in found.changes
    assert ("study", "given beside the file", "", "recipe.lr=0.03") in changes(found)
    assert {gap.name for gap in found.gaps} == {"digits-plain-20: test error, last iterate"}
    assert {each.name for each in found.changes if each.part == "verdicts"} == {"digits-options"}


def test_a_study_and_itself_differ_in_nothing() -> None:
    assert of_studies(*digits(), *digits()).nothing
