"""Warm-ups of a stated length, and drops where the validation error plateaus; the paper's rules are in test_train."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.learning_rate import Schedule
from ablations.recipes import Recipe


def schedule(depth: int = 20, **values: Any) -> Schedule:
    return Schedule(Recipe(**values), depth)


PLATEAU = {"schedule": "plateau", "held_out": 5000, "patience": 3}


def test_a_warm_up_of_stated_length_needs_no_error() -> None:
    """0.01 for 400 updates, whatever the training error, then 0.1; only where the depth asks for a warm-up."""
    warm, cold = schedule(110, warmup_iterations=400), schedule(56, warmup_iterations=400)
    rates = [warm.rate(iteration) for iteration in range(402)]
    assert rates == [0.01] * 400 + [0.1] * 2
    assert not any(warm.looks(iteration) for iteration in range(1000))
    assert cold.rate(0) == 0.1


def test_a_plateau_is_patience_evaluations_without_a_lower_error() -> None:
    """The third that is no better divides by ten; an equal error is no better, and the count begins anew."""
    one, rates = schedule(**PLATEAU), []
    for error in (50, 40, 40, 41, 39, 39, 39, 39, 60, 60, 38, 38, 38, 38):
        one.validated(error)
        rates.append(one.rate(0))
    tenth, hundredth = pytest.approx(0.01), pytest.approx(0.001)
    assert rates == [0.1] * 7 + [tenth] * 6 + [hundredth]


def test_a_plateau_knows_no_stated_drop() -> None:
    """`drops` say nothing under this schedule, and validation errors say nothing under the other."""
    assert schedule(**PLATEAU).rate(63_999) == 0.1
    other = schedule()
    for _ in range(100):
        other.validated(50.0)
    assert other.rate(0) == 0.1
    assert other.rate(32_000) == pytest.approx(0.01)


def test_a_warm_up_comes_before_a_plateau() -> None:
    """And evaluations during it count: the rate that follows is already the dropped one."""
    one = schedule(110, **PLATEAU, warmup_iterations=10)
    for _ in range(4):
        one.validated(90.0)
    assert one.rate(9) == 0.01
    assert one.rate(10) == pytest.approx(0.1 * 0.1)
    assert not one.warming


@settings(max_examples=50, deadline=None)
@given(errors=st.lists(st.floats(0, 100), max_size=40), at=st.integers(0, 40))
def test_a_schedule_is_its_state(errors: list[float], at: int) -> None:
    """Carried over at any evaluation, it goes on as if it had never been interrupted."""
    whole, first = schedule(110, **PLATEAU), schedule(110, **PLATEAU)
    second = schedule(110, **PLATEAU)
    whole.look(80.0, 100.0)
    first.look(80.0, 100.0)
    for error in errors:
        whole.validated(error)
    for error in errors[:at]:
        first.validated(error)
    second.restore(first.state())
    for error in errors[at:]:
        second.validated(error)
    assert second.state() == whole.state()
    assert second.rate(500) == whole.rate(500)
