"""Trials on a real Ray: ordered, packed, resumed after a death, failed by their own error, done once."""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import toy

from orchestrator import schedule
from orchestrator.ledger import Ledger
from orchestrator.plan import plan
from orchestrator.schedule import Queue
from orchestrator.trial import Trial
from orchestrator.worker import Setting, execute

SLOTS = 2


class Noted(Queue):
    """A queue that remembers what it handed out; which of two workers then begins first is chance."""

    def __init__(self, trials: Sequence[Trial], ledger: Ledger) -> None:
        super().__init__(trials, ledger)
        self.order: list[str] = []

    def next(self, ticket: str) -> str | None:
        key = super().next(ticket)
        self.order += [key] if key else []
        return key


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """One cluster for all: Ray keeps the first token that a process shows. Its workers find the toy, and this tree."""
    here = Path(toy.__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, here.parents[1]))))
        with schedule.cluster(SLOTS):
            yield


def setting(root: Path, commit_seconds: float = 0.0) -> Setting:
    return Setting(results=str(root), entry="toy:run", site={}, commit_seconds=commit_seconds)


def test_a_grid_on_ray(tmp_path: Path) -> None:
    """Each trial is done once; the killed one is resumed from its last commit; the broken one is tried twice; a warm
    worker serves one trial after another, and never more at a time than there are slots."""
    trials = [
        *(toy.trial(n, iterations=20 + n, sleep=0.01) for n in range(6)),
        toy.trial(6, iterations=30, die_at=12),
        toy.trial(7, iterations=5, raise_at=3),
    ]
    ledger = Ledger(tmp_path)
    queue = Noted([each.trial for each in plan(trials, ledger).open], ledger)
    schedule.run(queue, setting(tmp_path), SLOTS)
    failed = {trials[7].key: "RuntimeError: iteration 3 cannot be done"}
    assert queue.standing.failed == failed
    assert sorted(queue.standing.done) == [trial.key for trial in trials[:7]]
    assert queue.standing.submitted == 10
    attempts = [len(ledger.folder(trial.key).attempts()) for trial in trials]
    assert attempts == [1, 1, 1, 1, 1, 1, 2, 2]
    _, resumed = ledger.folder(trials[6].key).attempts()
    assert 0 < resumed["from_iteration"] <= 12
    for trial in trials[:7]:
        undisturbed = Ledger(tmp_path / f"twin-{trial.key}")
        with undisturbed.attempt(trial, provenance={}, commit_seconds=0.0) as attempt:
            toy.run({**trial.params, "sleep": 0, "die_at": None}, attempt)
        assert _curves(ledger, trial.key) == _curves(undisturbed, trial.key)
    spans = [(each["started"], each["ended"]) for trial in trials[:6] for each in ledger.folder(trial.key).attempts()]
    assert all(sum(start <= at < end for start, end in spans) <= SLOTS for at, _ in spans)
    assert queue.order[:2] == [trials[6].key, trials[5].key]  # longest expected first
    heads = [ledger.folder(trial.key).head() for trial in trials[:7]]
    pids = {head.result["pid"] for head in heads if head and head.result}
    assert len(pids) <= SLOTS + 1
    now = plan(trials, ledger)
    assert [each.trial.key for each in now.open] == [trials[7].key]


def test_grown_trials_on_ray(tmp_path: Path) -> None:
    """A chain ends in order though slots are free, each beginning from the end of the one before; with a broken one
    those that come after it fail, and the run ends."""
    chain = [toy.trial(0, sleep=0.02), toy.trial(1, after=0), toy.trial(2, after=1)]
    broken = [toy.trial(3, raise_at=3), toy.trial(4, after=3, iterations=40)]
    ledger = Ledger(tmp_path)
    now = plan([*reversed(chain), *reversed(broken)], ledger)
    queue = Queue([each.trial for each in now.open], ledger)
    schedule.run(queue, setting(tmp_path), SLOTS)
    assert sorted(queue.standing.done) == [trial.key for trial in chain]
    assert queue.standing.failed[broken[1].key] == (
        "it begins from toy-3.s0, which failed: RuntimeError: iteration 3 cannot be done"
    )
    assert not ledger.folder(broken[1].key).path.exists()
    spans = [attempt for trial in chain for attempt in ledger.folder(trial.key).attempts()]
    assert all(first["ended"] <= second["started"] for first, second in pairwise(spans))
    assert len(spans) == 3
    assert plan(chain, ledger).open == []


def _curves(ledger: Ledger, key: str) -> bytes:
    head = ledger.folder(key).head()
    assert head is not None
    return ledger.folder(key).valid("curves.jsonl", head)


def test_a_worker_answers_with_the_last_line_of_an_error(tmp_path: Path) -> None:
    """It never raises, so that a warm worker outlives a broken trial."""
    assert execute(toy.trial(1, raise_at=2), setting(tmp_path)) == "RuntimeError: iteration 2 cannot be done"
    assert execute(toy.trial(2), setting(tmp_path)) is None


def test_a_done_trial_is_not_run_again(tmp_path: Path) -> None:
    """Whoever asks: the second attempt finds the result and returns."""
    assert execute(toy.trial(2), setting(tmp_path)) is None
    before = Ledger(tmp_path).folder(toy.trial(2).key).head()
    assert execute(toy.trial(2), setting(tmp_path)) is None
    assert Ledger(tmp_path).folder(toy.trial(2).key).head() == before


@pytest.mark.parametrize("entry", ["nowhere:run", "toy:nothing"])
def test_a_missing_entry_is_an_error_of_the_trial(tmp_path: Path, entry: str) -> None:
    """Not the end of the worker."""
    broken = Setting(results=str(tmp_path), entry=entry, site={})
    assert "Error" in (execute(toy.trial(0), broken) or "")
