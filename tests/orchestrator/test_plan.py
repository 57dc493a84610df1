"""The plan: the set difference between what is asked and what the ledger holds, priced and ordered."""

from pathlib import Path

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger import Ledger
from orchestrator.plan import finish_times, guess, plan
from orchestrator.trial import State


def attempted(ledger: Ledger, number: int, *, until: int | None = None, iterations: int = 10) -> None:
    """A trial in the ledger: whole, or committed up to an iteration."""
    trial = toy.trial(number, iterations=iterations)
    with ledger.attempt(trial, provenance={}, commit_seconds=1e9) as attempt:
        if until is None:
            toy.run(trial.params, attempt)
        else:
            attempt.commit(until, b"%d,1" % until)


def test_states(tmp_path: Path) -> None:
    """New, partial, done and blocked; only the first two are submitted."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 1, until=5)
    attempted(ledger, 2)
    trials = [toy.trial(0), toy.trial(1), toy.trial(2), toy.trial(3, blocked="no data")]
    now = plan(trials, ledger)
    assert {each.trial.key: each.state for each in now.trials} == {
        trials[0].key: State.NEW,
        trials[1].key: State.PARTIAL,
        trials[2].key: State.DONE,
        trials[3].key: State.BLOCKED,
    }
    assert {each.trial.key for each in now.open} == {trials[0].key, trials[1].key}
    assert {state: len(group) for state, group in now.by_state().items()} == dict.fromkeys(State, 1)


def test_a_partial_trial_costs_what_is_left_of_it(tmp_path: Path) -> None:
    """Half done, half the price; done, nothing."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 1, until=5)
    attempted(ledger, 2)
    seconds = {each.trial.key: each.expected_seconds for each in plan([toy.trial(n) for n in range(3)], ledger).trials}
    assert seconds[toy.trial(1).key] == pytest.approx(seconds[toy.trial(0).key] / 2)
    assert seconds[toy.trial(2).key] == 0


def test_longest_expected_first(tmp_path: Path) -> None:
    """The order in which trials start; equals keep the study's order."""
    trials = [toy.trial(n, iterations=i) for n, i in enumerate((10, 30, 20, 30))]
    assert [each.trial.iterations for each in plan(trials, Ledger(tmp_path)).trials] == [30, 30, 20, 10]
    assert [each.trial.name for each in plan(trials, Ledger(tmp_path)).trials][:2] == ["toy-1.s0", "toy-3.s0"]


def test_what_was_measured_corrects_the_guess(tmp_path: Path) -> None:
    """A trial that took k times its guess makes the others k times dearer."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 0)
    head = ledger.folder(toy.trial(0).key).head()
    assert head is not None
    factor = head.seconds / guess(toy.trial(0))
    other = next(
        each
        for each in plan([toy.trial(0), toy.trial(1)], ledger).trials
        if each.trial.seed == 0 and each.trial.name == "toy-1.s0"
    )
    assert other.expected_seconds == pytest.approx(factor * guess(toy.trial(1)))


def test_a_gpu_is_priced_as_one() -> None:
    """The same work costs less where the trial holds a GPU."""
    assert guess(toy.trial(0, gpus=1)) < guess(toy.trial(0))


def test_damage_is_blocked_and_named(tmp_path: Path) -> None:
    """A damaged commit, or a finished trial whose curves changed: neither done nor new, and the others go on."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 0)
    attempted(ledger, 1)
    (ledger.folder(toy.trial(0).key).path / "commit.json").write_text("{")
    path = ledger.folder(toy.trial(1).key).path / "curves.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    now = plan([toy.trial(n) for n in range(3)], ledger)
    blocked = {each.trial.name: each.reason or "" for each in now.trials if each.damaged}
    assert {each.state for each in now.trials if each.damaged} == {State.BLOCKED}
    assert "commit.json: damaged" in blocked["toy-0.s0"]
    assert "curves.jsonl: not what was committed" in blocked["toy-1.s0"]
    assert [each.trial.name for each in now.open] == ["toy-2.s0"]


def test_more_slots_than_trials_cost_nothing() -> None:
    """Whatever number is given."""
    assert finish_times([3.0, 1.0], 10**12) == 3.0


def test_an_empty_plan(tmp_path: Path) -> None:
    """Nothing asked, nothing to do, no time."""
    now = plan([], Ledger(tmp_path))
    assert (now.work_seconds, now.wall_seconds(4)) == (0, 0)


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 8))
def test_finish_times_equal_a_literal_list_scheduler(seconds: list[float], slots: int) -> None:
    """Each starts on the slot that is free first."""
    free = [0.0] * slots
    for each in seconds:
        first = free.index(min(free))
        free[first] += each
    assert finish_times(seconds, slots) == max(free)
