"""What each trial gets: shares of a GPU and several GPUs, chosen so that the last of all ends soonest."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cost import H100, PAIR, QUARTER, WHOLE, arm, attempted

from orchestrator.ledger import Ledger
from orchestrator.placement import Node
from orchestrator.planning.cost import Origin
from orchestrator.planning.fitting import earliest, fitted
from orchestrator.planning.packing import Packed, prepare
from orchestrator.trial import Resources, State, Trial

NOWHERE = Ledger(Path("nowhere"))


def heavy(number: int, hours: float, counts: tuple[int, ...] = (1,), **given: object) -> Trial:
    """It computes all the time, so that sharing a GPU gains nothing."""
    trial = replace(toy.trial(number, gpus=1), work=hours * 3600 * 20e12, launches=0.0, replica_counts=counts)
    return replace(trial, **given)  # pyright: ignore[reportArgumentType]


def light(number: int, minutes: float = 10.0) -> Trial:
    """It waits for launches most of the time."""
    return replace(toy.trial(number, gpus=1), work=1e9, launches=minutes * 60 / 7.5e-5, multiply_adds=10)


def nodes(number: int, gpus: int, cores: float = 64) -> list[Node]:
    return [toy.node(f"n{place}", cpus=cores * gpus, gpus=gpus) for place in range(number)]


def gets(plan: Packed) -> dict[str, Resources]:
    return {each.trial.name.removesuffix(".s0"): each.trial.resources for each in plan.trials}


def ratio(plan: Packed) -> float:
    return plan.simulation.makespan / plan.bound_seconds


def test_small_networks_share_a_gpu() -> None:
    """Before anything is measured up to four, which is marked as a guess."""
    plan = prepare([light(n) for n in range(16)], NOWHERE, nodes(1, 2))
    assert {each.resources.gpus for each in (one.trial for one in plan.trials)} == {0.25}
    assert {each.origin for each in plan.open} == {Origin.GUESSED}
    assert plan.written.makespan > 2 * plan.simulation.makespan


def test_a_network_that_fills_a_gpu_has_it_alone() -> None:
    """Sharing would gain nothing."""
    plan = prepare([heavy(n, 1.0) for n in range(8)], NOWHERE, nodes(1, 2))
    assert set(gets(plan).values()) == {Resources(gpus=1)}


def test_measured_throughput_decides_how_many_share(tmp_path: Path) -> None:
    """Where a quarter of a GPU trains slower than a quarter of what the whole does, nothing is shared so."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 1.0)
    for sharing, seconds in ((2, 1.25), (3, 3.3), (4, 4.4)):
        attempted(ledger, arm(1, sharing), seconds, Resources(gpus=1 / sharing))
    plan = prepare([arm(1, seed) for seed in range(10, 22)], ledger, nodes(1, 2), H100)
    assert {each.trial.resources.gpus for each in plan.open} == {0.5}
    assert {each.origin for each in plan.open} == {Origin.MEASURED}
    assert plan.simulation.makespan == pytest.approx(12 / 4 * 12.5)


def test_memory_limits_how_many_share(tmp_path: Path) -> None:
    """Two fit, four would gain more."""
    ledger = Ledger(tmp_path)
    attempted(ledger, replace(light(1), iterations=10), 1.0, peak_mib=30_000.0)
    trials = [replace(light(1), key=f"{number:016x}", name=f"toy-{number}.s0") for number in range(100, 116)]
    assert set(gets(prepare(trials, ledger, nodes(1, 2), H100)).values()) == {Resources(gpus=0.5)}


def test_cores_limit_how_many_share() -> None:
    """Each trial has a process of its own, which needs one."""
    plan = prepare([light(n) for n in range(16)], NOWHERE, nodes(1, 2, cores=2))
    assert {each.gpus for each in gets(plan).values()} <= {0.5, 1.0}
    assert not plan.simulation.unplaced


def test_a_number_that_is_asked_for_is_given() -> None:
    """`--per-gpu 3`: a third for each, and no gangs."""
    trials = [light(0), heavy(1, 1.0, (1, 2, 4))]
    assert set(gets(prepare(trials, NOWHERE, nodes(1, 4), per_gpu=3)).values()) == {Resources(gpus=1 / 3)}


def test_the_longest_gets_several_gpus() -> None:
    """Ten hours beside short ones on four GPUs: alone it would be all that runs in the end."""
    plan = prepare([heavy(0, 10.0, (1, 2, 4)), *(heavy(n, 1.0, (1, 2, 4)) for n in range(1, 7))], NOWHERE, nodes(1, 4))
    assert gets(plan)["toy-0"].replicas > 1
    assert gets(plan)["toy-0"].gpus == gets(plan)["toy-0"].replicas == gets(plan)["toy-0"].cpus
    assert plan.simulation.makespan < 5.5 * 3600
    assert ratio(plan) < 1.15


def test_a_gang_is_no_larger_than_a_node() -> None:
    """Four replicas where nodes have two GPUs: two."""
    plan = prepare([heavy(0, 10.0, (1, 2, 4))], NOWHERE, nodes(4, 2))
    assert gets(plan)["toy-0"].replicas == 2


def test_a_trial_that_began_keeps_its_replicas(tmp_path: Path) -> None:
    """Its bits depend on them, whatever would be faster; its share of a GPU may change."""
    ledger = Ledger(tmp_path)
    begun, shared = (replace(arm(number, 0), replica_counts=(1, 2, 4)) for number in (1, 2))
    attempted(ledger, begun, 1.0, PAIR, until=3)
    attempted(ledger, shared, 1.0, QUARTER, until=3)
    found = {each.trial.key: each.trial.resources for each in prepare([begun, shared], ledger, nodes(1, 8), H100).open}
    assert found[begun.key] == PAIR
    assert found[shared.key] == WHOLE


def test_on_cores_each_trial_has_one() -> None:
    """Nothing is shared; the plan is that of the queue."""
    plan = prepare([toy.trial(n, iterations=n + 5) for n in range(5)], NOWHERE, [toy.node(cpus=2)])
    assert set(gets(plan).values()) == {Resources()}
    assert [each.trial.iterations for each in plan.trials] == [9, 8, 7, 6, 5]
    assert 1 < ratio(plan) < 1.2
    assert plan.levers[0].what == "one more node of 2 cores"


def test_only_what_is_open_is_simulated(tmp_path: Path) -> None:
    """What is done or blocked stands after it; `with_blocked` simulates also what lacks data."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 1.0)
    blocked = [heavy(2, 1.0, blocked="no data"), heavy(3, 1.0, after=f"{2:016x}")]
    trials = [arm(1, 0), *blocked, heavy(4, 1.0)]
    plan = prepare(trials, ledger, nodes(1, 2), H100)
    assert [each.trial.name for each in plan.simulated] == ["toy-4.s0"]
    assert [each.state for each in plan.trials] == [State.NEW, State.BLOCKED, State.BLOCKED, State.DONE]
    as_if = prepare(trials, ledger, nodes(1, 2), H100, with_blocked=True)
    assert {each.trial.name for each in as_if.simulated} == {"toy-2.s0", "toy-3.s0", "toy-4.s0"}
    assert [each.trial.name for each in as_if.open] == ["toy-4.s0"]


def test_nothing_to_run() -> None:
    """No time, no bound, no lever."""
    plan = prepare([], NOWHERE, nodes(1, 2))
    assert (plan.simulation.makespan, plan.bound_seconds, plan.levers) == (0.0, 0.0, [])


def test_the_same_trials_get_the_same_plan() -> None:
    """The search throws a die, but always the same one."""
    trials = [heavy(n, 1.0 + n % 5, (1, 2, 4)) for n in range(11)]
    one, other = (prepare(trials, NOWHERE, nodes(1, 8)) for _ in range(2))
    assert one.trials == other.trials
    assert one.simulation == other.simulation


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0.5, 20), st.booleans()), min_size=1, max_size=12),
    st.sampled_from(((1, 4), (1, 8), (2, 8))),
)
def test_a_plan_is_never_worse_than_the_written_order(
    jobs: Sequence[tuple[float, bool]], cluster: tuple[int, int]
) -> None:
    """And never better than the bound; everything is placed."""
    trials = [heavy(n, hours, (1, 2, 4, 8) if several else (1,)) for n, (hours, several) in enumerate(jobs)]
    plan = prepare(trials, NOWHERE, nodes(*cluster))
    assert plan.bound_seconds * (1 - 1e-6) <= plan.simulation.makespan <= plan.written.makespan * (1 + 1e-6)
    assert len(plan.simulation.spans) == len(trials)


def test_levers_are_simulated() -> None:
    """One long trial beside short ones: more nodes change nothing; its absence does, and more GPUs for it do."""
    plan = prepare([heavy(0, 10.0), *(heavy(n, 1.0) for n in range(1, 6))], NOWHERE, nodes(1, 4))
    found = {each.what: each.seconds / 3600 for each in plan.levers}
    assert found == {
        "leave out toy-0, which is 67 % of the work": pytest.approx(2.0),
        "let toy-0, whose recipe allows one replica, train on several GPUs": pytest.approx(10 / 1.9**2 + 2),
    }
    assert plan.levers[0].what.startswith("leave out")


def test_one_more_node_is_a_lever_where_all_is_full() -> None:
    """Equal trials on one node: two halve the time."""
    plan = prepare([heavy(n, 1.0) for n in range(16)], NOWHERE, nodes(1, 2))
    assert plan.levers[0].what == "one more node of 2 GPUs"
    assert plan.levers[0].seconds == pytest.approx(4 * 3600)


@pytest.mark.parametrize("per_gpu", [1, 2, 3])
def test_the_written_order_answers_the_question_of_the_bound(per_gpu: int) -> None:
    """What `--per-gpu` asks for, it gets too; a trial that has begun keeps its replicas in it."""
    plan = prepare([heavy(n, 1.0 + n, (1, 2, 4)) for n in range(12)], NOWHERE, nodes(1, 4), per_gpu=per_gpu)
    assert {span.resources.gpus for span in plan.written.spans} == {1 / per_gpu}
    assert plan.written.makespan >= plan.bound_seconds * (1 - 1e-6)


def test_the_bound_knows_how_many_run_at_a_time() -> None:
    """Equal trials one after another: nothing ends sooner, and only more at a time would help."""
    plan = prepare([heavy(n, 1.0) for n in range(8)], NOWHERE, nodes(2, 4), most=1)
    assert plan.bound_seconds == pytest.approx(8 * 3600)
    assert ratio(plan) == pytest.approx(1.0)
    found = {each.what: each.seconds / 3600 for each in plan.levers}
    assert found["2 trials at a time in place of 1"] == pytest.approx(4.0)
    assert not any(what.startswith("one more node") for what in found)


def test_trials_are_fitted_together() -> None:
    """7 + 3, 6 + 4 and 5 + 5 by 10; the longest first on what is free first would take 11."""
    plan = [replace(each, expected_seconds=float(seconds)) for each, seconds in zip(
        toy.planned(*(toy.trial(n, gpus=1) for n in range(6))), (7, 6, 5, 5, 4, 3), strict=True
    )]  # fmt: skip
    assert fitted(plan, nodes(1, 3), 9.9) is None
    found = earliest(plan, nodes(1, 3), 9.0, 12.0)
    assert found is not None
    assert max(found[each.trial.key] + each.expected_seconds for each in plan) <= 10.5
    assert earliest(plan, nodes(1, 3), 5.0, 9.0) is None


def test_gangs_and_shares_are_fitted_on_one_node() -> None:
    """A gang leaves its GPUs to shares, which stand beside each other; parts that do not nest begin together."""
    sizes = ((2, 4.0), (1, 2.0), (0.5, 2.0), (0.5, 2.0), (1 / 3, 1.0))
    plan = [
        replace(each, expected_seconds=seconds, trial=replace(each.trial, resources=Resources(gpus=gpus)))
        for each, (gpus, seconds) in zip(toy.planned(*map(toy.trial, range(5))), sizes, strict=True)
    ]
    found = fitted(plan, nodes(1, 2), 7.0)
    assert found is not None
    assert [found[each.trial.key] for each in plan] == [0.0, 4.0, 4.0, 4.0, 6.0]
    assert fitted(plan, nodes(1, 2), 6.5) is None
    assert fitted(plan, nodes(2, 1), 100.0) is None
