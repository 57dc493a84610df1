"""The plan: the set difference between what is asked and what the ledger holds, priced and ordered."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger import Ledger
from orchestrator.planning.plan import plan
from orchestrator.trial import State, Trial


def names(trials: Iterable[Trial], ledger: Ledger) -> list[str]:
    """In the order of the plan."""
    return [each.trial.name.removeprefix("toy-").removesuffix(".s0") for each in plan(trials, ledger).trials]


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


def test_an_empty_plan(tmp_path: Path) -> None:
    """Nothing asked, nothing to do, no time."""
    now = plan([], Ledger(tmp_path))
    assert now.work_seconds == 0


def test_a_parent_stands_before_its_child_and_counts_with_it(tmp_path: Path) -> None:
    """A short trial that a long one waits for is not left for last."""
    trials = [
        toy.trial(0, iterations=30, after=1),
        toy.trial(1, iterations=5),
        toy.trial(2, iterations=32),
        toy.trial(3, iterations=36),
        toy.trial(4, iterations=2, after=1),
    ]
    assert names(trials, Ledger(tmp_path)) == ["3", "1", "2", "0", "4"]


@given(st.permutations(range(6)), st.lists(st.integers(1, 50), min_size=6, max_size=6))
def test_whatever_the_prices_a_parent_stands_before_its_child(order: Sequence[int], iterations: Sequence[int]) -> None:
    """Also where trials cost the same."""
    parents = {1: 0, 2: 1, 3: 0, 5: 4}
    trials = [toy.trial(n, iterations=iterations[n], after=parents.get(n)) for n in order]
    places = {each: place for place, each in enumerate(names(trials, Ledger(Path("nowhere"))))}
    assert all(places[str(parent)] < places[str(child)] for child, parent in parents.items())


def test_with_a_blocked_trial_all_that_begin_from_it_are_blocked(tmp_path: Path) -> None:
    """With the reason of the first; none of them counts as damaged but the damaged one itself."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 4)
    (ledger.folder(toy.trial(4).key).path / "commit.json").write_text("{")
    attempted(ledger, 7)
    trials = [
        toy.trial(2, after=1),
        toy.trial(1, after=0),
        toy.trial(0, blocked="no data"),
        toy.trial(3, after=99),
        toy.trial(5, after=4),
        toy.trial(6, after=7),
    ]
    found = {each.trial.name: each for each in plan([*trials, toy.trial(4)], ledger).trials}
    assert [name for name, each in found.items() if each.state is not State.BLOCKED] == ["toy-6.s0"]
    assert found["toy-1.s0"].reason == "it begins from toy-0.s0, which is blocked: no data"
    assert "toy-1.s0, which is blocked: it begins from toy-0.s0" in (found["toy-2.s0"].reason or "")
    assert found["toy-3.s0"].reason == f"it begins from trial {99:016x}, which is neither done nor asked for"
    assert "toy-4.s0, which is blocked: " in (found["toy-5.s0"].reason or "")
    assert [name for name, each in found.items() if each.damaged] == ["toy-4.s0"]
    orphan = plan([toy.trial(5, after=4)], ledger).trials[0]
    assert "commit.json: damaged" in (orphan.reason or "")


def test_a_trial_that_is_done_stays_done_without_its_parent(tmp_path: Path) -> None:
    """And one whose parent is done is open, alone."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 1)
    done = toy.trial(1, after=0)
    assert [each.state for each in plan([done, toy.trial(0, blocked="no data")], ledger).trials].count(State.DONE) == 1
    now = plan([toy.trial(1), toy.trial(2, after=1)], ledger)
    assert [each.trial.name for each in now.open] == ["toy-2.s0"]


def test_a_trial_whose_beginning_is_gone_is_blocked(tmp_path: Path) -> None:
    """The checkpoint of a done trial may be removed, but not while another is to begin from it."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 0)
    parent = toy.trial(0)
    child = replace(toy.trial(1), after=parent.key)
    assert {each.trial.key: each.state for each in plan([parent, child], ledger).trials} == {
        parent.key: State.DONE, child.key: State.NEW,
    }  # fmt: skip
    (checkpoint,) = ledger.folder(parent.key).path.glob("checkpoint-*.pt")
    checkpoint.unlink()
    for asked in ([parent, child], [child]):
        (blocked,) = [each for each in plan(asked, ledger).trials if each.trial.key == child.key]
        assert blocked.state is State.BLOCKED
        assert blocked.reason == f"it begins from {checkpoint}, which is gone; remove the folder"


def test_a_trial_that_is_not_what_its_folder_says_is_blocked(tmp_path: Path) -> None:
    """A damaged trial.json is named before anything runs."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 0)
    (ledger.folder(toy.trial(0).key).path / "trial.json").write_text("{")
    (found,) = plan([toy.trial(0)], ledger).trials
    assert found.damaged
    assert "trial.json: damaged" in str(found.reason)
