"""Which trial is next and where, and what becomes of one that ended: the decisions of a run, without Ray."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ledger import Ledger
from orchestrator.placement import Node
from orchestrator.queue import BUDGET, DEATHS_WITHOUT_COMMIT, STORAGE_SECONDS, Queue
from orchestrator.trial import Resources, Trial
from orchestrator.worker import Cause, Ending

DONE, DIED = Ending(cause=Cause.DONE), Ending(cause=Cause.DIED)
ERROR = Ending(cause=Cause.ERROR, reason="ValueError: no")
LOST = Ending(cause=Cause.NODE_LOST)
STOPPED = Ending(cause=Cause.STOPPED)


def queue(place: Path, *trials: Trial, nodes: Sequence[Node] = (), **options: float | None) -> Queue:
    seconds = options.pop("seconds", 10.0) or 10.0
    planned = toy.planned(*trials, seconds=seconds)
    return Queue(planned, Ledger(place), nodes or [toy.node(cpus=8)], **options)  # pyright: ignore[reportArgumentType]


def key(started: object) -> str | None:
    return getattr(started, "key", None)


def test_the_queue_is_over_when_nothing_waits_or_runs(tmp_path: Path) -> None:
    """While a trial runs, another may still come back."""
    line = queue(tmp_path, toy.trial(0))
    assert not line.over
    assert key(line.next("a", 0)) == toy.trial(0).key
    assert line.next("b", 0) is None
    assert not line.over
    line.ended("a", DONE, 1)
    assert line.over
    assert line.standing.done == [toy.trial(0).key]


def test_an_error_is_tried_once_more_then_the_trial_has_failed(tmp_path: Path) -> None:
    """An error in code: once, then failed, with its last line."""
    line = queue(tmp_path, toy.trial(0), toy.trial(1))
    for ticket in ("a", "b"):
        assert key(line.next(ticket, 0)) == toy.trial(0).key
        line.ended(ticket, ERROR, 0)
    assert line.standing.failed == {toy.trial(0).key: "ValueError: no"}
    assert key(line.next("c", 0)) == toy.trial(1).key


def test_a_death_is_resumed_without_limit_while_it_gets_on(tmp_path: Path) -> None:
    """Every death after a new commit is followed by another attempt."""
    trial = toy.trial(0, iterations=100)
    line = queue(tmp_path, trial)
    for death in range(10):
        assert key(line.next(str(death), 0)) == trial.key
        with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=0) as attempt:
            attempt.commit(death + 1, b"1,1")
        line.ended(str(death), DIED, 0)
    assert not line.standing.failed
    assert not line.over
    assert line.standing.interruptions == {trial.key: 10}


def test_deaths_at_one_commit_end_in_failure(tmp_path: Path) -> None:
    """It would go on dying, for ever. What Ray knows of the last death is said."""
    line = queue(tmp_path, toy.trial(0))
    for death in range(DEATHS_WITHOUT_COMMIT):
        assert line.next(str(death), 0)
        line.ended(str(death), Ending(cause=Cause.DIED, reason="out of memory"), 0)
    assert line.standing.failed == {
        toy.trial(0).key: "its process died 3 times after iteration 0 without a new commit: out of memory"
    }
    assert line.over


def test_a_lost_node_is_never_the_trials_fault(tmp_path: Path) -> None:
    """Preempted as often as it may be, without a commit in between: it is begun again."""
    line = queue(tmp_path, toy.trial(0))
    for loss in range(20):
        assert line.next(str(loss), 0)
        line.ended(str(loss), LOST, 0)
    assert not line.standing.failed
    assert line.standing.interruptions == {toy.trial(0).key: 20}


def test_what_is_left_is_expected_to_take_less(tmp_path: Path) -> None:
    """After a loss, from the commit that is there."""
    trial = toy.trial(0, iterations=100)
    line = queue(tmp_path, trial, seconds=100.0)
    line.next("a", 0)
    with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=0) as attempt:
        attempt.commit(75, b"1,1")
    line.ended("a", LOST, 80)
    again = line.next("b", 100)
    assert again is not None
    assert again.expected_end == pytest.approx(125)


@pytest.mark.parametrize("ending", [DIED, LOST])
def test_a_death_after_the_last_commit_is_no_loss(tmp_path: Path, ending: Ending) -> None:
    """The ledger says done, whatever became of the process."""
    trial = toy.trial(0)
    line = queue(tmp_path, trial)
    line.next("a", 0)
    with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=0) as attempt:
        toy.run(trial.params, attempt)
    line.ended("a", ending, 0)
    assert line.standing.done == [trial.key]


def test_a_death_over_a_damaged_commit_fails_that_trial_alone(tmp_path: Path) -> None:
    """The hook does not raise: it would end the whole run."""
    line = queue(tmp_path, toy.trial(0), toy.trial(1), nodes=[toy.node(cpus=1)])
    line.next("a", 0)
    folder = Ledger(tmp_path).folder(toy.trial(0).key).path
    folder.mkdir(parents=True)
    (folder / "commit.json").write_text("{")
    line.ended("a", DIED, 0)
    assert "commit.json: damaged" in line.standing.failed[toy.trial(0).key]
    assert key(line.next("b", 0)) == toy.trial(1).key


def test_an_unknown_ticket_changes_nothing(tmp_path: Path) -> None:
    """Tune may tell of the same end twice; hooks never raise."""
    line = queue(tmp_path, toy.trial(0))
    line.ended("nobody", DIED, 0)
    assert not line.over


def test_out_of_memory_doubles_the_share_of_a_gpu(tmp_path: Path) -> None:
    """A quarter, a half, the whole; then it has failed. The batch is never touched, and it is no error of the code."""
    line = queue(tmp_path, toy.trial(0, gpus=0.25), nodes=[toy.node(gpus=1)])
    short = Ending(cause=Cause.MEMORY, reason="OutOfMemoryError: 2 GiB")
    for share in (0.25, 0.5, 1.0):
        started = line.next(str(share), 0)
        assert started is not None
        assert started.resources == Resources(gpus=share)
        line.ended(str(share), short, 0)
    assert line.standing.failed == {toy.trial(0).key: "a whole GPU has too little memory: OutOfMemoryError: 2 GiB"}


def test_out_of_memory_without_a_gpu_is_an_error(tmp_path: Path) -> None:
    """There is no share to enlarge."""
    line = queue(tmp_path, toy.trial(0))
    for ticket in ("a", "b"):
        assert line.next(ticket, 0)
        line.ended(ticket, Ending(cause=Cause.MEMORY, reason="no"), 0)
    assert line.standing.failed == {toy.trial(0).key: "no"}


def test_while_the_results_are_away_a_trial_waits_ever_longer(tmp_path: Path) -> None:
    """As often as it takes; other trials go on."""
    line, now, waits = queue(tmp_path, toy.trial(0)), 0.0, []
    for attempt in range(10):
        started = line.next(str(attempt), now)
        assert started is not None
        line.ended(str(attempt), Ending(cause=Cause.STORAGE, reason="disk full"), now)
        assert line.next("too early", now + 1) is None
        assert not line.over
        wait = next(wait for wait in range(1, 1000) if now + wait >= line._later[0][0])
        waits.append(wait)
        now += wait
    assert waits[:3] == [5, 10, 20]
    assert waits[-1] == STORAGE_SECONDS[1]
    assert not line.standing.failed


def test_a_trial_waits_for_the_one_it_comes_after(tmp_path: Path) -> None:
    """Whatever the order; what is ready goes on meanwhile."""
    child, parent, other = toy.trial(1, after=0), toy.trial(0), toy.trial(2)
    line = queue(tmp_path, child, parent, other)
    assert [key(line.next(ticket, 0)) for ticket in "abc"] == [parent.key, other.key, None]
    line.ended("b", DONE, 0)
    assert line.next("d", 0) is None
    assert not line.over
    line.ended("a", DONE, 0)
    assert key(line.next("e", 0)) == child.key
    assert line.standing.submitted == 3


def test_a_trial_whose_parent_is_tried_again_goes_on_waiting(tmp_path: Path) -> None:
    """One error is no failure yet."""
    child, parent = toy.trial(1, after=0), toy.trial(0)
    line = queue(tmp_path, parent, child)
    assert key(line.next("a", 0)) == parent.key
    line.ended("a", ERROR, 0)
    assert key(line.next("b", 0)) == parent.key
    assert line.next("c", 0) is None
    line.ended("b", DONE, 0)
    assert key(line.next("c", 0)) == child.key


def test_with_a_trial_all_that_begin_from_it_have_failed(tmp_path: Path) -> None:
    """And those that begin from these, each with the reason; the others go on, and the run ends."""
    trials = [toy.trial(0), toy.trial(1, after=0), toy.trial(2, after=1), toy.trial(3)]
    line = queue(tmp_path, *trials)
    for ticket in ("a", "b"):
        assert key(line.next(ticket, 0)) == trials[0].key
        line.ended(ticket, ERROR, 0)
    assert line.standing.failed == {
        trials[0].key: "ValueError: no",
        trials[1].key: "it begins from toy-0.s0, which failed: ValueError: no",
        trials[2].key: "it begins from toy-1.s0, which failed: it begins from toy-0.s0, which failed: ValueError: no",
    }
    assert key(line.next("c", 0)) == trials[3].key
    line.ended("c", DONE, 0)
    assert line.over


def test_a_parent_that_is_no_part_of_the_run_was_done_before(tmp_path: Path) -> None:
    """The plan hands over what is open; a parent that is done is not."""
    child = toy.trial(1, after=0)
    assert key(queue(tmp_path, child).next("a", 0)) == child.key


def test_no_more_at_a_time_than_asked(tmp_path: Path) -> None:
    """`--slots`, whatever the nodes could hold."""
    line = queue(tmp_path, *map(toy.trial, range(3)), most=2)
    assert line.next("a", 0)
    assert line.next("b", 0)
    assert line.next("c", 0) is None


def test_a_gang_goes_to_one_node_and_small_ones_leave_room_for_it(tmp_path: Path) -> None:
    """Two GPUs of one node, never one of each; a single-GPU trial goes where fewest are free."""
    nodes = [toy.node("left", gpus=2), toy.node("right", gpus=2)]
    single, gang = toy.trial(0, gpus=1), toy.trial(1, gpus=2)
    line = queue(tmp_path, single, gang, toy.trial(2, gpus=1), nodes=nodes)
    first, second, third = (line.next(ticket, 0) for ticket in "abc")
    assert first
    assert second
    assert third
    assert (first.node, len(second.devices), third.node) == ("left", 2, "left")
    assert second.node == "right"


def test_shares_of_a_gpu_are_packed(tmp_path: Path) -> None:
    """Thirds of the same GPU, so that another stays whole."""
    nodes = [toy.node(cpus=8, gpus=2)]
    line = queue(tmp_path, *(toy.trial(n, gpus=1 / 3) for n in range(3)), toy.trial(3, gpus=1), nodes=nodes)
    started = [line.next(ticket, 0) for ticket in "abcd"]
    assert [each and each.devices for each in started] == [[0], [0], [0], [1]]


def test_a_large_trial_does_not_starve_behind_small_ones(tmp_path: Path) -> None:
    """The node on which it fits soonest is kept for it; what ends before may still use it."""
    small = [toy.trial(n, gpus=1) for n in range(2)]
    large, long = toy.trial(2, gpus=2), toy.trial(3, gpus=1)
    line = queue(tmp_path, *small, large, long, nodes=[toy.node(cpus=8, gpus=2)])
    assert line.next("a", 0)
    assert line.next("b", 0)
    line.ended("a", DONE, 5)
    assert line.next("c", 5) is None  # until 15, which is after the other small one's end at 10
    line.ended("b", DONE, 10)
    assert key(line.next("d", 10)) == large.key


def test_a_short_trial_passes_while_a_large_one_waits(tmp_path: Path) -> None:
    """It is over before the large one could begin."""
    planned = toy.planned(toy.trial(0, gpus=1), toy.trial(1, gpus=2), seconds=100)
    planned += toy.planned(toy.trial(2, gpus=1), seconds=10)
    line = Queue(planned, Ledger(tmp_path), [toy.node(cpus=8, gpus=2)])
    assert key(line.next("a", 0)) == toy.trial(0).key
    assert key(line.next("b", 0)) == toy.trial(2).key
    assert line.next("c", 0) is None


def test_a_node_on_which_trials_die_in_a_row_is_set_aside(tmp_path: Path) -> None:
    """And it is said why; a trial goes elsewhere after a death; where no other node is left, it is used again."""
    nodes = [toy.node("bad", cpus=1), toy.node("good", cpus=2)]
    line = queue(tmp_path, *map(toy.trial, range(5)), nodes=nodes)
    first = line.next("a", 0)
    assert first
    assert first.node == "bad"
    line.ended("a", DIED, 0)
    started = [line.next(ticket, 0) for ticket in "bcd"]
    assert [each and (each.key, each.node) for each in started] == [
        (first.key, "good"),
        (toy.trial(1).key, "bad"),
        (toy.trial(2).key, "good"),
    ]
    line.ended("c", DIED, 0)
    assert line.standing.set_aside == {"bad": "bad: 2 trials died there in a row, toy-1.s0 the last"}
    assert line.next("e", 0) is None
    line.see([nodes[0]])
    last = line.next("f", 0)
    assert last
    assert last.node == "bad"


def test_a_trial_that_dies_everywhere_is_itself_to_blame(tmp_path: Path) -> None:
    """It sets no node aside, and takes back what was set aside because of it."""
    nodes = [toy.node("one", cpus=1), toy.node("two", cpus=1)]
    line = queue(tmp_path, *map(toy.trial, range(9)), nodes=nodes)
    (first, second) = (line.next(ticket, 0) for ticket in "ab")
    assert first
    assert second
    line.ended("a", DIED, 0)
    line.ended("b", DONE, 0)
    poison = next(each for each in (line.next("c", 0), line.next("d", 0)) if each and each.key != first.key)
    assert poison.node == "one"
    line.ended("d" if line.standing.running["d"] is poison else "c", DIED, 0)
    assert list(line.standing.set_aside) == ["one"]
    ticket = next(ticket for ticket, each in line.standing.running.items() if each.key == first.key)
    assert line.standing.running[ticket].node == "two"
    line.ended(ticket, DIED, 0)
    assert not line.standing.set_aside


@pytest.mark.parametrize("harm", [ERROR, Ending(cause=Cause.STORAGE)])
def test_a_node_on_which_nothing_works_does_not_fail_the_grid(tmp_path: Path, harm: Ending) -> None:
    """A broken driver, a mount that is missing: the second try goes elsewhere, and two that end well there tell."""
    nodes = [toy.node("bad", cpus=1), toy.node("good", cpus=1)]
    line = queue(tmp_path, *map(toy.trial, range(20)), nodes=nodes)
    now, tickets, on_bad = 0.0, 0, 0
    while not line.over:
        while (started := line.next(str(tickets), now)) is not None:
            tickets += 1
            on_bad += started.node == "bad"
        now += 1
        for ticket, each in list(line.standing.running.items()):
            line.ended(ticket, harm if each.node == "bad" else DONE, now)
    assert len(line.standing.done) == 20
    assert not line.standing.failed
    assert on_bad < 10
    assert "failed there and not elsewhere" in line.standing.set_aside["bad"]


def test_a_death_blocks_its_node_for_that_trial_alone(tmp_path: Path) -> None:
    """Others like it go there meanwhile."""
    nodes = [toy.node("one", cpus=1), toy.node("two", cpus=1)]
    line = queue(tmp_path, *map(toy.trial, range(4)), nodes=nodes)
    first, second = line.next("a", 0), line.next("b", 0)
    assert first
    assert second
    line.ended("a", DIED, 0)
    third = line.next("c", 0)
    assert third
    assert (third.key, third.node) == (toy.trial(2).key, first.node)


def test_a_node_is_not_blamed_for_what_was_cancelled(tmp_path: Path) -> None:
    """A trial that did not stop in time is ended, which looks like a death."""
    line = queue(tmp_path, *map(toy.trial, range(4)), nodes=[toy.node("one", cpus=2), toy.node("two", cpus=2)])
    started = {ticket: line.next(ticket, 0) for ticket in "abcd"}
    line.cancel([each.key for each in started.values() if each], "ada")
    for ticket in started:
        line.ended(ticket, DIED, 1)
    assert not line.standing.set_aside
    assert line.over


def test_large_trials_go_to_the_only_node_that_holds_them_though_it_is_set_aside(tmp_path: Path) -> None:
    """They have no other."""
    nodes = [toy.node("large", cpus=8, gpus=4), toy.node("small", cpus=8, gpus=1)]
    trials = [*(toy.trial(n, gpus=1) for n in range(5)), toy.trial(9, gpus=4)]
    line = queue(tmp_path, *trials, nodes=nodes)
    started = [line.next(ticket, 0) for ticket in "abc"]
    assert [each and each.node for each in started] == ["small", "large", "large"]
    line.ended("b", DIED, 0)
    line.ended("c", DIED, 0)
    assert list(line.standing.set_aside) == ["large"]
    assert not line.unplaceable()
    gang = line.next("d", 0)
    assert gang
    assert (gang.key, gang.node) == (trials[-1].key, "large")
    line.ended("d", DONE, 0)
    assert line.next("e", 0) is None


def test_a_good_end_clears_a_node(tmp_path: Path) -> None:
    """Two deaths with a result between them are no row."""
    nodes = [toy.node("one", cpus=1), toy.node("two", cpus=2)]
    line = queue(tmp_path, *map(toy.trial, range(9)), nodes=nodes)
    for ticket, ending in (("a", DIED), ("b", DONE), ("c", DIED)):
        while (started := line.next(ticket, 0)) is not None and started.node != "one":
            line.ended(ticket, DONE, 0)
        line.ended(ticket, ending, 0)
    assert not line.standing.set_aside


def test_nodes_come_and_go(tmp_path: Path) -> None:
    """Nothing is placed on one that is gone; one that is new is used at once; what runs there keeps its room."""
    line = queue(tmp_path, *map(toy.trial, range(4)), nodes=[toy.node("one", cpus=1)])
    assert line.next("a", 0)
    line.see([toy.node("two", cpus=1)])
    second = line.next("b", 0)
    assert second
    assert second.node == "two"
    line.ended("a", LOST, 1)
    line.see([toy.node("one", cpus=1), toy.node("two", cpus=1)])
    third = line.next("c", 1)
    assert third
    assert third.node == "one"


def test_what_fits_no_node_is_told(tmp_path: Path) -> None:
    """The driver waits for a larger node, and says so in the end."""
    line = queue(tmp_path, toy.trial(0, gpus=4), nodes=[toy.node(gpus=2)])
    assert line.next("a", 0) is None
    assert [trial.name for trial in line.unplaceable()] == ["toy-0.s0"]
    assert not line.over


def test_cancelling_drops_what_waits_and_stops_what_runs(tmp_path: Path) -> None:
    """With a trial all that begin from it; the others go on."""
    trials = [toy.trial(0), toy.trial(1), toy.trial(2, after=0), toy.trial(3), toy.trial(4)]
    line = queue(tmp_path, *trials, nodes=[toy.node(cpus=2)])
    line.next("a", 0)
    line.next("b", 0)
    line.cancel([trials[0].key, trials[3].key], "ada on login1")
    assert line.stops == {trials[0].key: "ada on login1"}
    line.ended("a", STOPPED, 1)
    assert line.standing.cancelled == {
        trials[3].key: "ada on login1",
        trials[0].key: "ada on login1",
        trials[2].key: "ada on login1, with toy-0.s0 from which it begins",
    }
    line.ended("b", DONE, 1)
    assert key(line.next("c", 1)) == trials[4].key
    line.ended("c", DONE, 2)
    assert line.over
    assert not line.stops


@pytest.mark.parametrize("ending", [DIED, ERROR, Ending(cause=Cause.STORAGE)])
def test_a_cancelled_trial_that_ends_otherwise_is_not_begun_again(tmp_path: Path, ending: Ending) -> None:
    """It did not live to hear of it."""
    line = queue(tmp_path, toy.trial(0))
    line.next("a", 0)
    line.cancel([toy.trial(0).key], "ada")
    line.ended("a", ending, 1)
    assert line.over
    assert line.standing.cancelled == {toy.trial(0).key: "ada"}


def test_cancelling_a_child_that_waits_for_its_parent(tmp_path: Path) -> None:
    """The parent goes on, and its end begins nothing."""
    line = queue(tmp_path, toy.trial(0), toy.trial(1, after=0))
    line.next("a", 0)
    line.cancel([toy.trial(1).key], "ada")
    line.ended("a", DONE, 1)
    assert line.over


def test_a_budget_begins_nothing_that_it_cannot_pay(tmp_path: Path) -> None:
    """25 GPU-seconds: two of ten, and what is left out is told."""
    trials = [toy.trial(n, gpus=1) for n in range(4)]
    line = queue(tmp_path, *trials, nodes=[toy.node(cpus=8, gpus=4)], budget_seconds=25.0)
    assert line.next("a", 0)
    assert line.next("b", 0)
    assert line.next("c", 0) is None
    line.began("a", 0)
    line.began("b", 0)
    line.ended("a", DONE, 10)
    line.ended("b", DONE, 10)
    assert line.next("d", 10) is None
    assert line.over
    assert line.standing.unaffordable == [trials[2].key, trials[3].key]
    assert line.standing.spent_seconds == 20


def test_a_budget_that_is_spent_stops_what_runs(tmp_path: Path) -> None:
    """Slower than expected: it commits, and is left for another run."""
    line = queue(tmp_path, toy.trial(0, gpus=1), nodes=[toy.node(gpus=1)], budget_seconds=12.0)
    assert line.next("a", 0)
    line.keep_budget(1000)  # it waits for its process, which costs nothing
    line.began("a", 1000)
    line.keep_budget(1011.9)
    assert not line.stops
    line.keep_budget(1012.0)
    assert line.stops == {toy.trial(0).key: BUDGET}
    line.ended("a", STOPPED, 1013)
    assert line.standing.spent_seconds == 13
    assert line.over
    assert line.standing.unaffordable == [toy.trial(0).key]
    assert not line.standing.cancelled


ENDINGS = [DONE, DONE, DONE, DIED, LOST, ERROR, Ending(cause=Cause.STORAGE), Ending(cause=Cause.MEMORY, reason="no")]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 25), machines=st.integers(1, 4))
def test_whatever_happens_no_trial_is_lost_or_runs_twice(
    seed: int, count: int, machines: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random grids, endings, nodes that come and go: in the end each trial is done, failed or cancelled, exactly once,
    no GPU was ever shared beyond its whole, and no child began before its parent was done."""
    chance = random.Random(seed)
    ledger = Ledger(tmp_path_factory.getbasetemp() / "none")
    nodes = [toy.node(str(n), cpus=4, gpus=chance.choice([2, 4])) for n in range(machines)]
    trials = [
        toy.trial(
            n,
            gpus=chance.choice([0, 0.25, 0.5, 1, 2]),
            after=chance.randrange(n) if n and chance.random() < 0.3 else None,
        )
        for n in range(count)
    ]
    line = Queue(toy.planned(*trials), ledger, nodes)
    now, tickets = 0.0, 0
    for _ in range(5000):
        if line.over:
            break
        now += chance.uniform(0, 20)
        line.see(chance.sample(nodes, chance.randint(1, machines)) if chance.random() < 0.1 else nodes)
        while (started := line.next(str(tickets), now)) is not None:
            tickets += 1
            assert trials[int(started.key, 16)].after in (None, *line.standing.done)
            assert sum(each.key == started.key for each in line.standing.running.values()) == 1
            for room in line._rooms.values():
                assert all(-1e-6 <= free <= 1 + 1e-6 for free in room.devices)
                assert room.cpus > -1e-6
        if chance.random() < 0.05:
            line.cancel([chance.choice(trials).key], "chance")
        for ticket in list(line.standing.running):
            if chance.random() < 0.5:
                line.ended(ticket, chance.choice(ENDINGS), now)
    standing = line.standing
    ends = [*standing.done, *standing.failed, *standing.cancelled]
    assert line.over
    assert sorted(ends) == [trial.key for trial in trials]


def test_resources_of_a_running_trial_are_what_it_was_given(tmp_path: Path) -> None:
    """Its share is given back as taken, though the trial's own has grown meanwhile."""
    line = queue(tmp_path, toy.trial(0, gpus=0.5), nodes=[toy.node(gpus=1)])
    started = line.next("a", 0)
    assert started
    line.trials[started.key] = replace(line.trials[started.key], resources=Resources(gpus=1))
    line.ended("a", DONE, 1)
    assert line._rooms["one"].devices == [1.0]


def test_what_an_autoscaler_is_told(tmp_path: Path) -> None:
    """What runs and what may run now, and no more than may run at a time; not what waits for another's end."""
    trials = [toy.trial(0, gpus=2), toy.trial(1, gpus=1), toy.trial(2, gpus=1), toy.trial(3, gpus=4, after=0)]
    line = queue(tmp_path, *trials, nodes=[toy.node(gpus=2)], most=2)
    line.next("a", 0)
    assert [each.gpus for each in line.wanted()] == [2, 1]
