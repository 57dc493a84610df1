"""Trials on a real Ray: ordered, packed, resumed after a death, failed by their own error, done once."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import toy

from orchestrator import schedule, worker
from orchestrator.cluster import Cluster
from orchestrator.ledger import Ledger
from orchestrator.placement import Node
from orchestrator.planning.plan import PlannedTrial, plan
from orchestrator.queue import Queue, Running
from orchestrator.worker import Cause, Setting, execute

SLOTS = 2


class Noted(Queue):
    """A queue that remembers what it handed out; which of two workers then begins first is chance."""

    def __init__(self, planned: Sequence[PlannedTrial], ledger: Ledger, nodes: Sequence[Node]) -> None:
        super().__init__(planned, ledger, nodes)
        self.order: list[str] = []

    def next(self, ticket: str, now: float) -> Running | None:
        started = super().next(ticket, now)
        self.order += [started.key] if started else []
        return started


def nothing() -> None:
    """Of a run that nobody steers."""


def setting(root: Path, commit_seconds: float = 0.0) -> Setting:
    return Setting(results=str(root), entry="toy:run", site={}, commit_seconds=commit_seconds)


def test_a_grid_on_ray(tmp_path: Path, cluster: Cluster) -> None:
    """Each trial is done once; the killed one is resumed from its last commit; the broken one is tried twice; a warm
    worker serves one trial after another, and never more at a time than there are slots."""
    trials = [
        *(toy.trial(n, iterations=20 + n, sleep=0.01) for n in range(6)),
        toy.trial(6, iterations=30, die_at=12),
        toy.trial(7, iterations=5, raise_at=3),
    ]
    ledger = Ledger(tmp_path)
    queue = Noted(plan(trials, ledger).open, ledger, cluster.nodes)
    schedule.run(queue, setting(tmp_path), cluster, nothing)
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


def test_grown_trials_on_ray(tmp_path: Path, cluster: Cluster) -> None:
    """A chain ends in order though slots are free, each beginning from the end of the one before; with a broken one
    those that come after it fail, and the run ends."""
    chain = [toy.trial(0, sleep=0.02), toy.trial(1, after=0), toy.trial(2, after=1)]
    broken = [toy.trial(3, raise_at=3), toy.trial(4, after=3, iterations=40)]
    ledger = Ledger(tmp_path)
    now = plan([*reversed(chain), *reversed(broken)], ledger)
    queue = Queue(now.open, ledger, cluster.nodes)
    schedule.run(queue, setting(tmp_path), cluster, nothing)
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


def test_a_trial_that_is_cancelled_commits_and_stops(tmp_path: Path, cluster: Cluster) -> None:
    """Within seconds, far from its end; what it had done is kept, another run takes it up, and the others go on."""
    long, short = toy.trial(0, iterations=2000, sleep=0.05), toy.trial(1, iterations=5)
    (tmp_path / "studies").mkdir()
    ledger = Ledger(tmp_path)
    queue = Queue(plan([long, short], ledger).open, ledger, cluster.nodes)

    def tick() -> None:
        if queue.standing.done and not queue.standing.cancelled:
            queue.cancel([long.key], "ada")
        for key in queue.stops:
            ledger.ask_to_stop(key, "this run")

    schedule.run(queue, replace(setting(tmp_path, 3600), run="this run"), cluster, tick)
    assert queue.standing.cancelled == {long.key: "ada"}
    (attempt,) = ledger.folder(long.key).attempts()
    head = ledger.folder(long.key).head()
    assert head is not None
    assert 0 < head.iteration < 2000
    assert attempt["cause"] == "stopped"
    assert [each.trial.name for each in plan([long, short], ledger).open] == [long.name]


def test_ctrl_c_has_all_that_runs_commit(tmp_path: Path, cluster: Cluster) -> None:
    """Nothing that was computed is lost, however long ago the last commit was; what waited has not begun."""
    trials = [toy.trial(n, iterations=2000, sleep=0.05) for n in range(SLOTS + 1)]
    (tmp_path / "studies").mkdir()
    ledger = Ledger(tmp_path)
    queue = Queue(plan(trials, ledger).open, ledger, cluster.nodes)
    begun = set[str]()

    def tick() -> None:
        begun.update(each.key for each in queue.standing.running.values() if ledger.folder(each.key).alive())
        if len(begun) == SLOTS and not queue.interrupted:
            signal.raise_signal(signal.SIGINT)
        for key in queue.stops:
            ledger.ask_to_stop(key, "this run")

    with pytest.raises(KeyboardInterrupt):
        schedule.run(queue, replace(setting(tmp_path, 3600), run="this run"), cluster, tick)
    heads = [ledger.folder(key).head() for key in begun]
    assert all(head is not None and head.iteration > 0 for head in heads)
    assert [each for each in ledger.trials() if each not in begun] == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_word_to_the_whole_group_is_for_the_driver(tmp_path: Path, sent: signal.Signals) -> None:
    """A batch system and a closed terminal send it to Ray's processes too: trials commit, and no process is left."""
    here = Path(toy.__file__).parent
    given = {
        "results": str(tmp_path), "commit_seconds": 3600,
        "trials": [{"number": n, "iterations": 5000, "sleep": 0.02} for n in range(SLOTS)],
    }  # fmt: skip
    driver = subprocess.Popen(
        [sys.executable, str(here / "drive_toys.py"), json.dumps(given)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parents[1])))},
        start_new_session=True,
    )
    ledger = Ledger(tmp_path)
    keys = [toy.trial(n).key for n in range(SLOTS)]
    while not all(ledger.folder(key).alive() for key in keys):
        assert driver.poll() is None
        time.sleep(0.1)
    ours = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, sent)
    assert driver.wait() == -signal.SIGINT  # what Python makes of KeyboardInterrupt, which `ablate` makes 130
    heads = [ledger.folder(key).head() for key in keys]
    assert all(head is not None and 0 < head.iteration < 5000 for head in heads)
    _, left = psutil.wait_procs(ours, timeout=10)
    assert not [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_trial_that_is_cancelled_while_it_starts_holds_nothing(tmp_path: Path, cluster: Cluster) -> None:
    """Its worker's place is free for a trial of another size."""
    trials = [toy.trial(0), toy.trial(1, iterations=3), toy.trial(2, iterations=3, cpus=SLOTS)]
    ledger = Ledger(tmp_path)
    queue = Queue(toy.planned(*trials), ledger, cluster.nodes)
    started = time.monotonic()

    def tick() -> None:
        if time.monotonic() - started > 0.5 and not queue.standing.cancelled:
            queue.cancel([trials[0].key], "ada")

    schedule.run(queue, setting(tmp_path), cluster, tick)
    assert {*queue.standing.done, *queue.standing.cancelled} == {trial.key for trial in trials}
    assert trials[2].key in queue.standing.done


def test_what_does_not_stop_is_ended(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that never asks whether it should: its process is killed after a time of grace, the next trial gets
    another, and no node is blamed."""
    monkeypatch.setattr(schedule, "GRACE_SECONDS", 1.0)
    deaf, other = toy.trial(0, iterations=1, sleep=3600.0), toy.trial(1, iterations=3, cpus=SLOTS)
    ledger = Ledger(tmp_path)
    queue = Queue(toy.planned(deaf, other), ledger, cluster.nodes)

    def tick() -> None:
        if ledger.folder(deaf.key).alive():
            queue.cancel([deaf.key], "ada")

    schedule.run(queue, setting(tmp_path), cluster, tick)
    assert queue.standing.cancelled == {deaf.key: "ada"}
    assert queue.standing.done == [other.key]
    assert not queue.standing.set_aside


def test_a_trial_that_is_cancelled_before_tune_takes_it_up(tmp_path: Path, cluster: Cluster) -> None:
    """In the same step in which it was handed out: the run ends well."""
    trials = [toy.trial(0, iterations=3), toy.trial(1)]
    queue = Cancelling(toy.planned(*trials), Ledger(tmp_path), cluster.nodes)
    schedule.run(queue, setting(tmp_path), cluster, nothing)
    assert queue.standing.done == [trials[0].key]
    assert queue.standing.cancelled == {trials[1].key: "ada"}


class Cancelling(Queue):
    """Cancels the second trial in the moment in which it hands it out."""

    def next(self, ticket: str, now: float) -> Running | None:
        started = super().next(ticket, now)
        if started is not None and started.key == toy.trial(1).key:
            self.cancel([started.key], "ada")
        return started


def test_a_trial_that_another_run_is_at_work_on_gives_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of waiting in it; one that is part of no run waits."""
    monkeypatch.setattr(worker, "HELD_SECONDS", 0.3)
    (tmp_path / "studies").mkdir()
    trial = toy.trial(0)
    with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=0):
        assert execute(trial, replace(setting(tmp_path), run="a run")).cause is Cause.ELSEWHERE
    assert execute(trial, replace(setting(tmp_path), run="a run")).cause is Cause.DONE


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN])
def test_a_worker_knows_when_the_results_are_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Whatever the server of files says, or an empty folder where it was mounted: no death, and no error."""
    away = replace(setting(tmp_path), run="a run")
    assert execute(toy.trial(0), away).cause is Cause.STORAGE
    (tmp_path / "studies").mkdir()

    def stat(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "stat", stat)
    assert execute(toy.trial(0), away).cause is Cause.STORAGE


def test_trouble_in_a_hook_ends_the_run_with_its_own_words(tmp_path: Path, cluster: Cluster) -> None:
    """Tune is told that all is over, instead of an exception that it would wrap in pages."""
    ledger = Ledger(tmp_path)
    queue = Queue(plan([toy.trial(0)], ledger).open, ledger, cluster.nodes)

    def tick() -> None:
        raise ValueError("the results directory is on fire")

    with pytest.raises(ValueError, match="on fire"):
        schedule.run(queue, setting(tmp_path), cluster, tick)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Failure # 1\nray.exceptions.OutOfMemoryError: Task was killed", "its node had run out of memory"),
        ("Failure # 1\nTraceback (most recent call last):\n  ...\nImportError: no toy\n", "ImportError: no toy"),
        ("Failure # 1\nThe actor died unexpectedly before finishing this task.\n\tclass_name: X", None),
    ],
)
def test_what_ray_says_of_a_death(said: str, reason: str | None) -> None:
    """In a status, where it helps: not the page that Ray writes of any death."""
    found = schedule._reason(said)
    assert found == reason if reason is None else reason in str(found)


def test_a_worker_answers_with_the_last_line_of_an_error(tmp_path: Path) -> None:
    """It never raises, so that a warm worker outlives a broken trial."""
    ending = execute(toy.trial(1, raise_at=2), setting(tmp_path))
    assert (ending.cause, ending.reason) == (Cause.ERROR, "RuntimeError: iteration 2 cannot be done")
    assert execute(toy.trial(2), setting(tmp_path)).cause is Cause.DONE


@pytest.mark.parametrize("says", ["OutOfMemoryError: CUDA out of memory", "RuntimeError: CUBLAS_STATUS_ALLOC_FAILED"])
def test_a_worker_knows_when_the_device_had_no_memory_left(tmp_path: Path, says: str) -> None:
    """From PyTorch's own exception, whose class is not known here, or from cuBLAS."""
    ending = execute(toy.trial(1, says=says), setting(tmp_path))
    assert (ending.cause, ending.reason) == (Cause.MEMORY, says)


def test_a_done_trial_is_not_run_again(tmp_path: Path) -> None:
    """Whoever asks: the second attempt finds the result and returns."""
    assert execute(toy.trial(2), setting(tmp_path)).cause is Cause.DONE
    before = Ledger(tmp_path).folder(toy.trial(2).key).head()
    assert execute(toy.trial(2), setting(tmp_path)).cause is Cause.DONE
    assert Ledger(tmp_path).folder(toy.trial(2).key).head() == before


@pytest.mark.parametrize("entry", ["nowhere:run", "toy:nothing"])
def test_a_missing_entry_is_an_error_of_the_trial(tmp_path: Path, entry: str) -> None:
    """Not the end of the worker."""
    broken = Setting(results=str(tmp_path), entry=entry, site={})
    ending = execute(toy.trial(0), broken)
    assert ending.cause is Cause.ERROR
    assert "Error" in str(ending.reason)
