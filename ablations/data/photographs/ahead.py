"""Work that is done before it is asked for: a thread that stays a few results ahead of whoever takes them."""

from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")
LOOK_SECONDS = 0.2
"""Between two looks of a thread that waits whether it is still wanted."""


class Ahead(Generic[Item]):
    """What an iterator gives, taken by a thread up to `depth` items in advance. Its exceptions are raised to the taker.

    Closing ends the thread, and with it the iterator, at its next item.
    """

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self._items, self._closed = items, Event()
        self._queue: Queue[Item | Exception] = Queue(depth)
        self._over: Exception | None = None
        self._thread = Thread(target=self._work, daemon=True, name="ahead")
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while self._over is None:
            with suppress(Empty):
                found = self._queue.get(timeout=LOOK_SECONDS)
                if not isinstance(found, Exception):
                    return found
                self._over = found
            if not self._thread.is_alive() and self._queue.empty():
                self._over = self._over or RuntimeError("the thread that reads images ended without a word")
        raise self._over

    def close(self) -> None:
        """May be called more than once."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
            self._put(StopIteration())
        except Exception as error:  # noqa: BLE001 - it is the taker's
            self._put(error)
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()

    def _put(self, item: Item | Exception) -> bool:
        """Whether it was wanted."""
        while not self._closed.is_set():
            with suppress(Full):
                self._queue.put(item, timeout=LOOK_SECONDS)
                return True
        return False
