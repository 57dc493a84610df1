"""A run on a real Ray that is steered while it is at work: cancelled in part and whole, held to a budget, cut short."""

import io
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import toy
from rich.console import Console

from orchestrator import drive
from orchestrator.cluster import Cluster
from orchestrator.drive import Limits
from orchestrator.driver import presence, read_driver
from orchestrator.ledger import Ledger
from orchestrator.planning.plan import plan
from orchestrator.queue import Queue, Standing
from orchestrator.status import study_status
from orchestrator.steering import Answer, Cancellation, answer, ask
from orchestrator.trial import Trial
from orchestrator.worker import Setting


def run(
    root: Path,
    cluster: Cluster,
    trials: Sequence[Trial],
    limits: Limits | None = None,
    commit_seconds: float = 0.0,
) -> Standing:
    return drive.run(
        toy.study(*trials),
        lambda: plan(trials, Ledger(root)),
        Setting(results=str(root), entry="toy:run", site={}, commit_seconds=commit_seconds),
        lambda: nullcontext(cluster),
        limits or Limits(),
        tracking=None,
        console=Console(file=io.StringIO()),
    )


def curves(root: Path, trial: Trial) -> bytes:
    folder = Ledger(root).folder(trial.key)
    head = folder.head()
    assert head is not None
    assert head.result is not None
    return folder.valid("curves.jsonl", head)


def undisturbed(root: Path, trial: Trial) -> bytes:
    with Ledger(root).attempt(trial, provenance={}, commit_seconds=30) as attempt:
        toy.run({**trial.params, "sleep": 0}, attempt)
    return curves(root, trial)


class Steered(threading.Thread):
    """Cancels trials as soon as the first of them have committed three iterations, and keeps what it was told."""

    def __init__(self, root: Path, first: Sequence[Trial], keys: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._root, self._first, self._over = root, first, threading.Event()
        self._what = Cancellation(keys=keys, by="ada on login1")
        self.told: Answer | None = None
        self.words: dict[str, str] = {}

    def run(self) -> None:
        heads = [Ledger(self._root).folder(each.key).head for each in self._first]
        while not all((head := look()) and head.iteration >= 3 for look in heads):
            self._over.wait(0.05)
        self.words = {each.run.arm: each.standing for each in study_status(_STUDY, self._root).trials}
        self.told = answer(self._root, "toys", self._what, ask(self._root, "toys", self._what))


LONG = [toy.trial(n, iterations=300, sleep=0.1) for n in range(3)]
SHORT = [toy.trial(n) for n in range(3, 5)]
_STUDY = toy.study(*LONG, *SHORT)


def test_what_runs_commits_and_stops_what_waits_never_begins(tmp_path: Path, cluster: Cluster) -> None:
    """The others go on to their end; another run takes up what was cancelled, where it was, bit for bit."""
    steered = Steered(tmp_path, LONG[:2], [each.key for each in LONG])
    steered.start()
    standing = run(tmp_path, cluster, [*LONG, *SHORT])
    steered.join()
    ran, waited = LONG[:2], LONG[2]
    assert steered.words == {
        "toy-0": "running", "toy-1": "running", "toy-2": "waiting", "toy-3": "waiting", "toy-4": "waiting"
    }  # fmt: skip
    assert steered.told is not None
    assert steered.told.cancelled == [each.key for each in LONG]
    assert sorted(standing.cancelled) == [each.key for each in LONG]
    assert sorted(standing.done) == [each.key for each in SHORT]
    assert not standing.failed
    ledger = Ledger(tmp_path)
    for trial in ran:
        head, (attempt,) = ledger.folder(trial.key).head(), ledger.folder(trial.key).attempts()
        assert head is not None
        assert attempt["cause"] == "stopped"
        assert 3 <= head.iteration < 300
    assert not ledger.folder(waited.key).path.exists()
    words = {each.run.arm: each.standing for each in study_status(_STUDY, tmp_path).trials}
    assert words == dict.fromkeys(("toy-0", "toy-1", "toy-2"), "cancelled") | dict.fromkeys(
        ("toy-3", "toy-4"), "finished"
    )
    assert not presence(tmp_path, "toys").at_work
    quick = [toy.trial(n, iterations=300) for n in range(3)]
    again = run(tmp_path, cluster, quick, commit_seconds=30)
    assert sorted(again.done) == [each.key for each in LONG]
    assert ledger.folder(ran[0].key).attempts()[1]["from_iteration"] >= 3
    for trial in quick:
        assert curves(tmp_path, trial) == undisturbed(tmp_path / f"twin-{trial.key}", trial)


def test_cancelling_everything_ends_the_run(tmp_path: Path, cluster: Cluster) -> None:
    """It returns, with nothing done and nothing failed; the last word of its driver says so."""
    steered = Steered(tmp_path, LONG[:2], [each.key for each in LONG])
    steered.start()
    standing = run(tmp_path, cluster, LONG)
    steered.join()
    assert (standing.done, standing.failed, len(standing.cancelled)) == ([], {}, 3)
    record = read_driver(tmp_path, "toys")
    assert record is not None
    assert record.ended is not None
    assert record.running == {}
    assert set(record.cancelled) == {each.key for each in LONG}


def test_a_budget_stops_what_runs_and_the_rest_is_taken_up_later(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials that take longer than expected commit and stop once it is spent, the third never begins; without a
    budget all are done, from where they were."""
    trials = [toy.trial(n, iterations=300, sleep=0.1) for n in range(3)]
    ledger = Ledger(tmp_path)

    class Patient(Queue):
        """How long a process takes to start is chance: here it is not paid for."""

        def keep_budget(self, now: float) -> None:
            if all(ledger.folder(each.key).head() for each in trials[:2]):
                super().keep_budget(now)

    monkeypatch.setattr(drive, "Queue", Patient)
    expected = sum(each.expected_seconds for each in plan(trials, ledger).open)
    standing = run(tmp_path, cluster, trials, Limits(budget_hours=(expected + 0.1) / 3600))
    assert sorted(standing.unaffordable) == [each.key for each in trials]
    assert (standing.done, standing.failed, standing.cancelled) == ([], {}, {})
    assert standing.submitted == 2
    heads = [ledger.folder(each.key).head() for each in trials]
    assert [head is not None and 0 < head.iteration < 300 for head in heads] == [True, True, False]
    words = [each.standing for each in study_status(toy.study(*trials), tmp_path).trials]
    assert words == ["over budget"] * 3
    quick = [toy.trial(n, iterations=300) for n in range(3)]
    assert len(run(tmp_path, cluster, quick, commit_seconds=30).done) == 3
    assert curves(tmp_path, quick[0]) == undisturbed(tmp_path / "twin", quick[0])


def test_a_part_of_a_study_is_run_alone(tmp_path: Path, cluster: Cluster) -> None:
    """With what it begins from. What a worker printed meanwhile is in the logs of its trials, each its own."""
    trials = [toy.trial(0), toy.trial(1, after=0), toy.trial(2)]
    assert run(tmp_path, cluster, trials, Limits(only=["toy-1"])).done == [trials[0].key, trials[1].key]
    assert Ledger(tmp_path).trials() == [trials[0].key, trials[1].key]
    for trial in trials[:2]:
        (log,) = (Ledger(tmp_path).folder(trial.key).path / "attempts").glob("*.log")
        assert f"attempt 1 of {trial.name} ({trial.key})" in log.read_text()
        assert log.read_text().count("train_error") == 10
    assert run(tmp_path, cluster, trials).done == [trials[2].key]
