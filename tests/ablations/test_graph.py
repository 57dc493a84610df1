"""When an update is captured and replayed; that both give the bits of the update itself is in `test_trial.py`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ablations.data.feed import Draws
from ablations.graph import EAGER_UPDATES, Graph


class Told(Graph):
    """A graph without a GPU, which says what it does with images of so many pixels."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.did: list[tuple[str, int]] = []

    def _eagerly(self, argument: Draws) -> None:
        self.did.append(("eager", len(argument[0])))

    def _capture(self, argument: Draws) -> None:
        self.did.append(("captured", len(argument[0])))
        self._argument = tuple(each.clone() for each in argument)
        replay = lambda: self.did.append(("replayed", int(self._argument[0].sum())))  # noqa: E731
        self._graph = cast(Any, SimpleNamespace(replay=replay))


def told(*sizes: int) -> Sequence[tuple[str, int]]:
    one = Told()
    for size in sizes:
        one((torch.ones(size), torch.ones(2)))
    return one.did


def test_an_update_is_captured_after_some_and_replayed_from_then_on() -> None:
    assert told(*[5] * 6) == [("eager", 5)] * EAGER_UPDATES + [("captured", 5), *[("replayed", 5)] * 3]


@pytest.mark.parametrize("before", [1, 2, 3, 4, 7])
def test_another_size_begins_anew_wherever_it_comes(before: int) -> None:
    """Also just before the capture: libraries choose their kernels in an update of that very size, and never in a
    capture."""
    did = told(*[5] * before, *[8] * 5)
    assert did[-6:] == [("eager", 8)] * EAGER_UPDATES + [("captured", 8), *[("replayed", 8)] * 2]


def test_what_is_replayed_is_given_the_new_values() -> None:
    one = Told()
    for value in range(6):
        one((torch.full((3,), value), torch.ones(2)))
    assert one.did[-2:] == [("replayed", 12), ("replayed", 15)]
