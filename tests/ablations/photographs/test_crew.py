"""Results come in order, and nothing is waited for that cannot come."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from ablations.data.photographs import crew
from ablations.data.photographs.crew import WorkerDiedError, in_order


def slow_where_even(number: int) -> int:
    time.sleep(0.01 * (number % 2 == 0))
    return number * number


def large(number: int) -> bytes:
    return bytes(50_000_000)


def thrice(task: bytes) -> bytes:
    return 3 * task


def refuse(number: int) -> int:
    raise KeyError(number)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("tasks", [0, 1, 30])
def test_results_are_in_order(tasks: int, workers: int) -> None:
    assert list(in_order(slow_where_even, range(tasks), workers)) == [(n, n * n) for n in range(tasks)]
    assert not multiprocessing.active_children()


@pytest.mark.timeout(60)
def test_tasks_and_results_may_be_more_than_a_pipe_holds() -> None:
    """Neither side waits for the other to read while it writes itself."""
    tasks = [bytes([number]) * 1_000_000 for number in range(20)]
    assert [result[:1] for _, result in in_order(thrice, tasks, 2)] == [task[:1] for task in tasks]


def test_what_a_worker_raises_is_raised() -> None:
    with pytest.raises(KeyError, match="0"):
        list(in_order(refuse, range(30), 2))
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_while_it_writes_is_told() -> None:
    """It is killed with a pipe that is full of half a result."""
    with closing(in_order(large, range(30), 2)) as results:
        next(results)
        time.sleep(0.2)  # both go on, and write as much as a pipe takes
        for worker in multiprocessing.active_children():
            os.kill(worker.pid or 0, signal.SIGKILL)
        with pytest.raises(WorkerDiedError):
            list(results)


INTERRUPTED = """
import os, signal, sys
from multiprocessing.context import SpawnContext, SpawnProcess
from ablations.data.photographs import crew
at, times = sys.argv[1], int(sys.argv[2])

def interrupt():
    for _ in range(times):
        os.killpg(0, signal.SIGINT)

class Process(SpawnProcess):
    def start(self):
        super().start()
        if at == "start":
            print("started", flush=True)
            interrupt()

SpawnContext.Process = Process
if __name__ == "__main__":
    try:
        for number, (task, result) in enumerate(crew.in_order(abs, range(10000), 2)):
            if at == "work" and number == 50:
                print("started", flush=True)
                interrupt()
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("at", ["start", "work"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_it(tmp_path: Path, at: str, times: int) -> None:
    """Ctrl-C reaches all processes of a terminal: while they start, while they work, once and again."""
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, script, at, str(times)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(crew.__file__).parents[3])},
        start_new_session=True,
    )
    assert (done.stdout.split(), done.stderr, done.returncode) == (["started", "interrupted"], "", 0)
