"""Work done in advance: in order, bounded, its exceptions the taker's, and no thread left behind."""

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from ablations.data.photographs.ahead import Ahead

pytestmark = pytest.mark.timeout(30)


def test_everything_comes_once_and_in_order() -> None:
    assert list(Ahead(iter(range(50)), 3)) == list(range(50))
    assert list(Ahead(iter(()), 3)) == []


def test_no_more_is_made_than_was_allowed() -> None:
    made = []

    def items() -> Iterator[int]:
        for item in itertools.count():
            made.append(item)
            yield item

    ahead = Ahead(items(), 3)
    assert next(ahead) == 0
    time.sleep(0.5)
    assert len(made) <= 5  # one taken, three that wait, and one in the thread's hand
    ahead.close()


def test_an_exception_is_the_takers_each_time() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("a damaged image")

    ahead = Ahead(items(), 3)
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="a damaged image"):
            next(ahead)
    ahead.close()


def test_what_has_ended_stays_at_its_end() -> None:
    ahead = Ahead(iter([1]), 3)
    assert (next(ahead), next(ahead, None), next(ahead, None)) == (1, None, None)
    ahead.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_without_a_word_is_told() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise SystemExit  # ends a thread silently

    ahead = Ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="the thread that reads images ended without a word"):
        next(ahead)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_ends_the_thread_and_the_iterator(taken: int) -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.set()

    before = threading.active_count()
    ahead = Ahead(items(), 2)
    assert [next(ahead) for _ in range(taken)] == list(range(taken))
    ahead.close()
    ahead.close()
    assert threading.active_count() == before
    assert ended.wait(5)
