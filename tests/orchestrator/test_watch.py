"""Progress: the share of the work that is behind, and the time that is left."""

from pathlib import Path

import pytest
import toy

from orchestrator.ledger import Ledger
from orchestrator.planning.plan import plan
from orchestrator.queue import Queue, Standing
from orchestrator.watch import remaining_seconds, share_done, spoken


def test_the_share_counts_work_not_trials(tmp_path: Path) -> None:
    """A trial of 30 iterations done, one of 10 half committed and running, one of 40 waiting: 35 of 80."""
    ledger = Ledger(tmp_path)
    trials = [toy.trial(0, iterations=30), toy.trial(1, iterations=10), toy.trial(2, iterations=40)]
    planned = plan(trials, ledger).open
    with ledger.attempt(trials[1], provenance={}, commit_seconds=0) as attempt:
        attempt.commit(5, b"5,1")
    queue = Queue(toy.planned(trials[1]), ledger, [toy.node()])
    queue.next("a", 0)
    queue.standing.done.append(trials[0].key)
    assert share_done(planned, queue.standing, ledger) == pytest.approx(35 / 80)


def test_nothing_to_do_is_done(tmp_path: Path) -> None:
    """No division by zero."""
    assert share_done([], Standing(total=0), Ledger(tmp_path)) == 1.0


def test_time_left() -> None:
    """In proportion, and unknown at first."""
    assert remaining_seconds(0.25, 30.0) == 90.0
    assert remaining_seconds(0.0, 30.0) is None


@pytest.mark.parametrize(("seconds", "words"), [(None, "-"), (0.4, "0:00"), (65, "1:05"), (3661, "1:01:01")])
def test_time_in_words(seconds: float | None, words: str) -> None:
    """Hours only where there are any."""
    assert spoken(seconds) == words
