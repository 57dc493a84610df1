"""What becomes of a trial that ended: the decisions of a run, without Ray."""

from pathlib import Path

import toy

from orchestrator.ledger import Ledger
from orchestrator.schedule import DEATHS_WITHOUT_COMMIT, Queue


def test_the_queue_is_over_when_nothing_waits_or_runs(tmp_path: Path) -> None:
    """While a trial runs, another may still come back."""
    queue = Queue([toy.trial(0)], Ledger(tmp_path))
    assert not queue.over
    assert queue.next("a") == toy.trial(0).key
    assert queue.next("b") is None
    assert not queue.over
    queue.ended("a", died=False, reason=None)
    assert queue.over
    assert queue.standing.done == [toy.trial(0).key]


def test_an_error_is_tried_once_more_then_the_trial_has_failed(tmp_path: Path) -> None:
    """An error in code: once, then failed, with its last line."""
    queue = Queue([toy.trial(0), toy.trial(1)], Ledger(tmp_path))
    for ticket in ("a", "b"):
        assert queue.next(ticket) == toy.trial(0).key
        queue.ended(ticket, died=False, reason="ValueError: no")
    assert queue.standing.failed == {toy.trial(0).key: "ValueError: no"}
    assert queue.next("c") == toy.trial(1).key


def test_a_death_is_resumed_without_limit_while_it_gets_on(tmp_path: Path) -> None:
    """Every death after a new commit is followed by another attempt."""
    ledger, trial = Ledger(tmp_path), toy.trial(0, iterations=100)
    queue = Queue([trial], ledger)
    for death in range(10):
        assert queue.next(str(death)) == trial.key
        with ledger.attempt(trial, provenance={}, commit_seconds=0) as attempt:
            attempt.commit(death + 1, b"1,1")
        queue.ended(str(death), died=True, reason=None)
    assert not queue.standing.failed
    assert not queue.over


def test_deaths_at_one_commit_end_in_failure(tmp_path: Path) -> None:
    """It would go on dying, for ever."""
    queue = Queue([toy.trial(0)], Ledger(tmp_path))
    for death in range(DEATHS_WITHOUT_COMMIT):
        assert queue.next(str(death))
        queue.ended(str(death), died=True, reason=None)
    assert queue.standing.failed == {
        toy.trial(0).key: "its process died 3 times after iteration 0 without a new commit"
    }
    assert queue.over


def test_a_death_after_the_last_commit_is_no_loss(tmp_path: Path) -> None:
    """The ledger says done, whatever became of the process."""
    ledger, trial = Ledger(tmp_path), toy.trial(0)
    queue = Queue([trial], ledger)
    queue.next("a")
    with ledger.attempt(trial, provenance={}, commit_seconds=0) as attempt:
        toy.run(trial.params, attempt)
    queue.ended("a", died=True, reason=None)
    assert queue.standing.done == [trial.key]


def test_a_death_over_a_damaged_commit_fails_that_trial_alone(tmp_path: Path) -> None:
    """The hook does not raise: it would end the whole run."""
    queue = Queue([toy.trial(0), toy.trial(1)], Ledger(tmp_path))
    queue.next("a")
    folder = Ledger(tmp_path).folder(toy.trial(0).key).path
    folder.mkdir(parents=True)
    (folder / "commit.json").write_text("{")
    queue.ended("a", died=True, reason=None)
    assert "commit.json: damaged" in queue.standing.failed[toy.trial(0).key]
    assert queue.next("b") == toy.trial(1).key


def test_an_unknown_ticket_changes_nothing(tmp_path: Path) -> None:
    """Tune may tell of the same end twice; hooks never raise."""
    queue = Queue([toy.trial(0)], Ledger(tmp_path))
    queue.ended("nobody", died=True, reason=None)
    assert not queue.over


def test_a_trial_waits_for_the_one_it_comes_after(tmp_path: Path) -> None:
    """Whatever the order; what is ready goes on meanwhile."""
    child, parent, other = toy.trial(1, after=0), toy.trial(0), toy.trial(2)
    queue = Queue([child, parent, other], Ledger(tmp_path))
    assert [queue.next("a"), queue.next("b"), queue.next("c")] == [parent.key, other.key, None]
    queue.ended("b", died=False, reason=None)
    assert queue.next("d") is None
    assert not queue.over
    queue.ended("a", died=False, reason=None)
    assert queue.next("e") == child.key
    assert queue.standing.submitted == 3


def test_a_trial_whose_parent_is_tried_again_goes_on_waiting(tmp_path: Path) -> None:
    """One error is no failure yet."""
    child, parent = toy.trial(1, after=0), toy.trial(0)
    queue = Queue([parent, child], Ledger(tmp_path))
    assert queue.next("a") == parent.key
    queue.ended("a", died=False, reason="ValueError: no")
    assert queue.next("b") == parent.key
    assert queue.next("c") is None
    queue.ended("b", died=False, reason=None)
    assert queue.next("c") == child.key


def test_with_a_trial_all_that_begin_from_it_have_failed(tmp_path: Path) -> None:
    """And those that begin from these, each with the reason; the others go on, and the run ends."""
    trials = [toy.trial(0), toy.trial(1, after=0), toy.trial(2, after=1), toy.trial(3)]
    queue = Queue(trials, Ledger(tmp_path))
    for ticket in ("a", "b"):
        assert queue.next(ticket) == trials[0].key
        queue.ended(ticket, died=False, reason="ValueError: no")
    assert queue.standing.failed == {
        trials[0].key: "ValueError: no",
        trials[1].key: "it begins from toy-0.s0, which failed: ValueError: no",
        trials[2].key: "it begins from toy-1.s0, which failed: it begins from toy-0.s0, which failed: ValueError: no",
    }
    assert queue.next("c") == trials[3].key
    queue.ended("c", died=False, reason=None)
    assert queue.over


def test_a_parent_that_is_no_part_of_the_run_was_done_before(tmp_path: Path) -> None:
    """The plan hands over what is open; a parent that is done is not."""
    child = toy.trial(1, after=0)
    assert Queue([child], Ledger(tmp_path)).next("a") == child.key
