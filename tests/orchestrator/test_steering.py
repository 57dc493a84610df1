"""A word for the driver of a run, and what is told of it."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import toy

from orchestrator import steering
from orchestrator.drive import select
from orchestrator.driver import Driver
from orchestrator.queue import Running, Standing
from orchestrator.steering import Cancellation, answer, ask, forget, take

RAN, WAITED, DONE = (toy.trial(n).key for n in range(3))
BOTH = Cancellation(keys=[RAN, WAITED, DONE], by="ada on login1")


def driver(root: Path) -> Driver:
    (root / "studies" / "toys").mkdir(parents=True, exist_ok=True)
    return Driver(root / "studies" / "toys", "run-1", "a cluster", {RAN: 5.0, WAITED: 5.0, DONE: 5.0})


def standing(*, running: Sequence[str] = (), cancelled: Sequence[str] = ()) -> Standing:
    at = {
        key: Running(key=key, node="one", resources=toy.trial().resources, devices=(), started=0, expected_end=9)
        for key in running
    }
    return Standing(total=3, running=at, cancelled=dict.fromkeys(cancelled, BOTH.by), done=[DONE])


def test_a_word_is_taken_once(tmp_path: Path) -> None:
    """Of several each; one that cannot be read, or that was meant for an earlier run, is dropped."""
    first = ask(tmp_path, "toys", BOTH)
    ask(tmp_path, "toys", Cancellation(keys=[RAN], by="bob"))
    (first.parent / "0.json").write_text("{")
    assert sorted(each.by for each in take(tmp_path, "toys")) == ["ada on login1", "bob"]
    assert take(tmp_path, "toys") == []
    ask(tmp_path, "toys", BOTH)
    forget(tmp_path, "toys")
    assert take(tmp_path, "toys") == []
    assert take(tmp_path, "another") == []


def test_the_answer_waits_until_what_ran_has_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done, and what was no part of the run, is told apart."""
    monkeypatch.setattr("orchestrator.driver.WRITE_SECONDS", 0.0)
    at = driver(tmp_path)
    toy.told(at, standing(running=[RAN]), [])
    word = ask(tmp_path, "toys", BOTH)
    states = iter([standing(running=[RAN], cancelled=[WAITED]), standing(cancelled=[WAITED, RAN])])
    over = threading.Event()

    def drive() -> None:
        take(tmp_path, "toys")
        for each in states:
            over.wait(0.3)
            toy.told(at, each, [])

    thread = threading.Thread(target=drive)
    thread.start()
    told = answer(tmp_path, "toys", BOTH, word)
    thread.join()
    assert told.taken
    assert (told.cancelled, told.stopping, told.others) == ([RAN, WAITED], [], [DONE])


def test_the_answer_of_a_run_that_ended_with_it(tmp_path: Path) -> None:
    """Its last word is not waited for again."""
    at = driver(tmp_path)
    toy.told(at, standing(running=[RAN]), [])
    word = ask(tmp_path, "toys", BOTH)

    def drive() -> None:
        take(tmp_path, "toys")
        toy.told(at, standing(cancelled=[RAN, WAITED]), [], ended=True)

    timer = threading.Timer(0.1, drive)
    timer.start()
    assert answer(tmp_path, "toys", BOTH, word).cancelled == [RAN, WAITED]
    timer.join()


def test_a_driver_that_takes_nothing_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word stays for it."""
    monkeypatch.setattr(steering, "TAKE_SECONDS", 0.0)
    word = ask(tmp_path, "toys", BOTH)
    assert not answer(tmp_path, "toys", BOTH, word).taken
    assert word.exists()


def test_what_takes_long_to_stop_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is not kept waiting for ever."""
    monkeypatch.setattr(steering, "ENDING_SECONDS", 0.0)
    toy.told(driver(tmp_path), standing(running=[RAN], cancelled=[WAITED]), [])
    word = ask(tmp_path, "toys", BOTH)
    take(tmp_path, "toys")
    told = answer(tmp_path, "toys", BOTH, word)
    assert (told.cancelled, told.stopping) == ([WAITED], [RAN])


def test_a_part_is_selected_with_what_it_begins_from() -> None:
    """By arm or by trial; a grown network needs the smaller ones, where they are not done."""
    planned = toy.planned(
        toy.trial(0), toy.trial(1, after=0), toy.trial(2, after=1), toy.trial(3), toy.trial(4, after=9)
    )

    def names(*only: str) -> list[str]:
        return [each.trial.arm for each in select(planned, only)]

    assert names() == [f"toy-{n}" for n in range(5)]
    assert names("toy-3") == ["toy-3"]
    assert names("toy-2.s0") == ["toy-0", "toy-1", "toy-2"]
    assert names("toy-1", "toy-3.s0") == ["toy-0", "toy-1", "toy-3"]
    assert names("toy-4") == ["toy-4"]
