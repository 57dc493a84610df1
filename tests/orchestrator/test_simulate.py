"""The simulator: the real queue on a cluster that need not exist, and the bound that no schedule beats."""

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.placement import Node
from orchestrator.planning.plan import PlannedTrial, ordered
from orchestrator.planning.simulate import Simulation, Way, capacity, lower_bound, simulate
from orchestrator.queue import Running
from orchestrator.trial import Resources, State

MOMENT = 1e-6
SIZES = (0.25, 1 / 3, 0.5, 1, 2, 4)


def planned(number: int, gpus: float, seconds: float, after: int | None = None) -> PlannedTrial:
    resources = Resources(cpus=max(1, int(gpus)), gpus=gpus, replicas=max(1, int(gpus)))
    trial = replace(toy.trial(number, after=after), resources=resources)
    return PlannedTrial(trial=trial, state=State.NEW, iteration=0, expected_seconds=seconds)


@st.composite
def studies(draw: st.DrawFn) -> list[PlannedTrial]:
    """Trials of all sizes; some begin from an earlier one."""
    found = []
    for number in range(draw(st.integers(1, 25))):
        parent = draw(st.one_of(st.none(), st.integers(0, number - 1))) if number else None
        found.append(planned(number, draw(st.sampled_from(SIZES)), draw(st.floats(0.5, 100)), parent))
    return found


CLUSTERS = st.lists(st.sampled_from((4, 5, 8)), min_size=1, max_size=3).map(
    lambda sizes: [toy.node(f"n{place}", cpus=4.0 * gpus, gpus=gpus) for place, gpus in enumerate(sizes)]
)


def ends(found: Simulation) -> Mapping[str, Running]:
    return {each.key: each for each in found.spans}


def ways(trials: Sequence[PlannedTrial]) -> dict[str, list[Way]]:
    return {each.trial.key: [Way(occupied=each.trial.resources.gpus, seconds=each.expected_seconds)] for each in trials}


def bound(trials: Sequence[PlannedTrial], nodes: Sequence[Node]) -> float:
    after = {each.trial.key: each.trial.after for each in trials}
    return lower_bound(ways(trials), after, capacity(nodes, gpus=True))


@settings(deadline=None)
@given(studies(), CLUSTERS)
def test_nothing_is_lost_and_nothing_runs_before_its_parent(trials: list[PlannedTrial], nodes: list[Node]) -> None:
    """Each trial runs once, as long as expected, after the one that it begins from."""
    found = simulate(ordered(trials), nodes)
    assert sorted(each.key for each in found.spans) == sorted(each.trial.key for each in trials)
    assert not found.unplaced
    by_key = ends(found)
    for each in trials:
        span = by_key[each.trial.key]
        assert span.expected_end - span.started == pytest.approx(each.expected_seconds)
        if each.trial.after is not None:
            assert span.started >= by_key[each.trial.after].expected_end - MOMENT


@settings(deadline=None)
@given(studies(), CLUSTERS)
def test_no_gpu_and_no_core_is_given_twice(trials: list[PlannedTrial], nodes: list[Node]) -> None:
    """At every start the shares on each GPU add up to one at most, and cores to those of the node."""
    spans = simulate(ordered(trials), nodes).spans
    for moment in {each.started for each in spans}:
        running = [each for each in spans if each.started <= moment < each.expected_end - MOMENT]
        for node in nodes:
            here = [each for each in running if each.node == node.id]
            assert sum(each.resources.cpus for each in here) <= node.cpus + MOMENT
            for device in range(node.gpus):
                shares = [min(1.0, each.resources.gpus) for each in here if device in each.devices]
                assert sum(shares) <= 1 + MOMENT
        assert all(len(set(each.devices)) == max(1, int(each.resources.gpus)) for each in running)


@settings(deadline=None)
@given(studies(), CLUSTERS)
def test_no_run_ends_before_the_bound(trials: list[PlannedTrial], nodes: list[Node]) -> None:
    """Nor is the bound below what is plain: all GPU-seconds over all GPUs, and the longest trial."""
    least = bound(trials, nodes)
    assert simulate(ordered(trials), nodes).makespan >= least * (1 - 1e-6)
    work = sum(each.expected_seconds * each.trial.resources.gpus for each in trials)
    assert least >= work / capacity(nodes, gpus=True) * (1 - 1e-6)
    assert least >= max(each.expected_seconds for each in trials) * (1 - 1e-6)


@settings(deadline=None)
@given(studies(), CLUSTERS)
def test_what_is_first_is_never_starved(trials: list[PlannedTrial], nodes: list[Node]) -> None:
    """A trial that may start, and before which none stands, starts when those end that ran already: nothing that
    comes later puts it off."""
    order = ordered([replace(each, trial=replace(each.trial, after=None)) for each in trials])
    spans = ends(simulate(order, nodes))
    for place, each in enumerate(order):
        before = [spans[other.trial.key].expected_end for other in order[:place]]
        assert spans[each.trial.key].started <= max(before, default=0.0) + MOMENT


def test_a_gang_is_not_starved_by_small_ones() -> None:
    """Small trials without end, and one that needs the whole node: it waits for those of the beginning alone."""
    small = [planned(number, 1, 10.0 + number % 3) for number in range(1, 101)]
    found = simulate([*small[:4], planned(0, 4, 5.0), *small[4:]], [toy.node(cpus=8, gpus=4)])
    assert ends(found)[planned(0, 4, 5.0).trial.key].started <= 12.0


def test_short_ones_run_where_a_gang_is_awaited() -> None:
    """Of trials of one size the first that ends in time, though a longer one stands before it."""
    trials = [planned(0, 1, 100), planned(1, 2, 50), planned(2, 1, 150), planned(3, 1, 90)]
    spans = ends(simulate(trials, [toy.node(cpus=8, gpus=2)]))
    started = [spans[each.trial.key].started for each in trials]
    assert started == [0.0, 100.0, 150.0, 0.0]


def test_the_same_trials_give_the_same_run() -> None:
    """Nothing depends on a clock or a die."""
    trials = [planned(number, SIZES[number % 6], 7.0 * (number % 11) + 1) for number in range(60)]
    nodes = [toy.node(str(name), cpus=64, gpus=8) for name in range(2)]
    assert simulate(trials, nodes) == simulate(trials, nodes)


def test_what_fits_nowhere_is_told() -> None:
    """With all that begins from it; the rest runs."""
    trials = [planned(0, 4, 1.0), planned(1, 1, 1.0), planned(2, 1, 1.0, after=0)]
    found = simulate(trials, [toy.node(cpus=8, gpus=2)])
    assert [each.name for each in found.unplaced] == ["toy-0.s0", "toy-2.s0"]
    assert [each.key for each in found.spans] == [trials[1].trial.key]


def test_so_many_at_a_time() -> None:
    """`most` holds whatever the nodes could take."""
    trials = [planned(number, 0.25, 10.0) for number in range(8)]
    assert simulate(trials, [toy.node(cpus=64, gpus=8)], most=2).makespan == pytest.approx(40.0)


def test_numbers_of_a_run() -> None:
    """Two trials on two GPUs, one twice as long: three quarters are in use."""
    found = simulate([planned(0, 1, 10.0), planned(1, 1, 5.0)], [toy.node(cpus=8, gpus=2)])
    assert (found.makespan, found.occupied_seconds, found.utilisation) == (10.0, 15.0, 0.75)
    nothing = simulate([], [toy.node()])
    assert (nothing.makespan, nothing.occupied_seconds, nothing.utilisation) == (0.0, 0.0, 0.0)


def test_the_bound_chooses_among_ways() -> None:
    """One trial, ten hours on one GPU or three on four, and a short one: neither the cheapest nor the fastest way of
    all, but what can end together."""
    both = {"long": [Way(occupied=1, seconds=10.0), Way(occupied=4, seconds=3.0)]}
    assert lower_bound(both, {}, 4) == pytest.approx(3.0)
    assert lower_bound(both, {}, 1) == pytest.approx(10.0)
    three = dict.fromkeys("abc", both["long"])
    # By 9 all three must be wide: 36 GPU-hours, and 4 GPUs have 36 by then.
    assert lower_bound(three, {}, 4) == pytest.approx(9.0)


def test_the_bound_knows_chains() -> None:
    """What begins from another ends after it."""
    line = {name: [Way(occupied=1, seconds=4.0), Way(occupied=2, seconds=3.0)] for name in "abc"}
    after = {"b": "a", "c": "b"}
    assert lower_bound(line, after, 100) == pytest.approx(9.0)
    assert lower_bound(line, after, 1) == pytest.approx(12.0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    st.integers(1, 3),
)
def test_the_bound_is_below_the_best_of_all_schedules(jobs: list[tuple[int, int]], gpus: int) -> None:
    """Each trial alone on a GPU, or on half of one for longer: all choices and orders tried."""
    both = {str(n): [Way(occupied=1, seconds=a), Way(occupied=0.5, seconds=a + b)] for n, (a, b) in enumerate(jobs)}
    least = lower_bound(both, {}, gpus)
    for choice in itertools.product((0, 1), repeat=len(jobs)):
        chosen = [both[str(place)][way] for place, way in enumerate(choice)]
        trials = [planned(place, way.occupied, way.seconds) for place, way in enumerate(chosen)]
        for order in itertools.islice(itertools.permutations(trials), 6):
            assert simulate(order, [toy.node(cpus=64, gpus=gpus)]).makespan >= least * (1 - 1e-6)


def test_nothing_has_no_bound() -> None:
    """Nor has anything on a cluster without places."""
    assert lower_bound({}, {}, 8) == 0.0
    assert lower_bound({"a": [Way(occupied=1, seconds=1.0)]}, {}, 0) == 0.0


@pytest.mark.bench
def test_ten_thousand_trials_on_256_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    """In seconds: shares, GPUs, gangs and chains; and close to the bound."""
    nodes = [toy.node(str(number), cpus=512, gpus=8) for number in range(32)]
    for name, sizes in {"one GPU": (1,), "quarters": (0.25,), "all sizes": (0.25, 0.5, 1, 1, 2, 4, 8)}.items():
        chained = len(sizes) > 1
        trials = [
            planned(n, sizes[n * 7 % len(sizes)], 60.0 + n * 37 % 941, n - 1 if chained and n % 10 == 5 else None)
            for n in range(10_000)
        ]
        started = time.perf_counter()
        found = simulate(ordered(trials), nodes)
        took, ratio = time.perf_counter() - started, found.makespan / bound(trials, nodes)
        with capsys.disabled():
            sys.stdout.write(f"\n10,000 trials on 256 GPUs, {name}: {took:.1f} s, {ratio:.3f} times the lower bound\n")
        assert ratio < 1.02
