"""Tasks shared out to processes, and their results in order.

Not `concurrent.futures`: its processes share one pipe. Where one is killed while it writes there, the pool waits for
the rest for ever, and so it does where Ctrl-C falls into a step of its own (seen with Python 3.11).
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TypeVar

from ablations.data.photographs.storing import begin_worker

AHEAD = 4
"""Tasks that a process has at a time."""

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """A process died before it gave a result."""


def in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Generator[tuple[Task, Result], None, None]:
    """Each task with what `function` makes of it, from so many processes. They are gone when it ends, however it ends.

    Raises what `function` raises, and WorkerDiedError.
    """
    with ExitStack() as stack:
        crew: list[Connection] = []
        waiting = deque[tuple[Task, Connection]]()
        for number, task in enumerate(tasks):
            if number < workers:
                crew.append(stack.enter_context(_process(function)))
            if len(waiting) == AHEAD * workers:
                yield _received(*waiting.popleft())
            with _end_told():
                crew[number % workers].send(task)
            waiting.append((task, crew[number % workers]))
        while waiting:
            yield _received(*waiting.popleft())


def _received(task: Task, worker: Connection) -> tuple[Task, Result]:  # type: ignore[type-var]
    with _end_told():
        result = worker.recv()
    if isinstance(result, Exception):
        raise result
    return task, result


@contextmanager
def _end_told() -> Iterator[None]:
    """The end of a pipe, between messages or within one, as what it means. What `function` raises is none of this."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise WorkerDiedError from error


@contextmanager
def _process(function: Callable[[Task], Result]) -> Iterator[Connection]:
    """Our end of its pipe. Nobody else has one, so that its death is the end of the pipe."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(function, theirs, os.getpid()), daemon=True)
    try:
        with _interrupted_later():
            process.start()
        theirs.close()
        yield ours
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        ours.close()


def _serve(function: Callable[[Task], Result], pipe: Connection, parent: int) -> None:
    """Tasks are taken from the pipe by a thread: were they left there while a result is sent, and more than the pipe
    holds, parent and worker would each wait for the other to read."""
    begin_worker(parent)
    tasks = SimpleQueue[Task]()
    threading.Thread(target=_take, args=(pipe, tasks), daemon=True).start()
    with suppress(ConnectionError):  # the parent is gone
        while True:
            task = tasks.get()
            try:
                result: Result | Exception = function(task)
            except Exception as error:  # noqa: BLE001 - raised where it is received
                result = error
            pipe.send(result)


def _take(pipe: Connection, tasks: "SimpleQueue[Task]") -> None:
    with suppress(EOFError, ConnectionError):
        while True:
            tasks.put(pipe.recv())
    os._exit(0)  # the parent is gone


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Ctrl-C takes effect at the end. Processes that are started meanwhile never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda *at: noted.append(at[0]))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if noted:
            signal.raise_signal(signal.SIGINT)
