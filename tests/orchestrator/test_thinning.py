"""What is shown of a long curve: enough for a person, the same however often it is published, and its last point."""

import random
from itertools import pairwise

import pytest

from orchestrator.tracking.thinning import POINTS, Point, Thinning, ordinal, stride


def shown(iterations: int, at: list[int]) -> list[int]:
    """Iterations of the points that are shown of one metric, the last point with them."""
    thinning = Thinning(iterations)
    points: list[Point] = [("loss", 0.0, 0, each) for each in at]
    found = [each[3] for each in points if thinning.shows(each)]
    return found + [each[3] for each in thinning.tail()]


@pytest.mark.parametrize("every", [1, 2, 7, 40, 63, 64, 65, 100, 400])
def test_of_a_long_curve_at_most_so_many_points_with_the_first_and_the_last(every: int) -> None:
    """At one distance from each other; a short curve is whole."""
    at = list(range(every, 64_001, every))
    found = shown(64_000, at)
    assert len(found) <= POINTS
    assert (found[0], found[-1]) == (at[0], at[-1])
    if len(at) <= POINTS:
        assert found == at
    else:
        assert len(found) > POINTS / 2
        assert {after - before for before, after in pairwise(found[:-1])} == {every * stride(len(at))}


@pytest.mark.parametrize("points", [999, 1000, 1001, 1002, 1999, 2000, 64_000, 1_000_001])
def test_the_bound_holds_at_its_edges(points: int) -> None:
    """One more than can be shown is thinned."""
    found = shown(points, list(range(1, points + 1)))
    assert len(found) <= POINTS
    assert (len(found) == points) == (points <= POINTS)


def test_a_curve_out_of_step_is_thinned_too() -> None:
    """A first point that lies before the others' rhythm hides none of them for good."""
    at = [1, *range(10, 64_001, 10)]
    found = shown(64_000, at)
    assert POINTS / 2 < len(found) <= POINTS
    assert found[-1] == 64_000


def test_few_evaluations_between_many_records_are_all_shown() -> None:
    """Each metric is thinned by its own rhythm."""
    thinning, found = Thinning(4000), list[tuple[str, int]]()
    for iteration in range(1, 4001):
        metrics = ["train_error", *(["test_error"] if iteration % 400 == 0 else [])]
        found += [(each, iteration) for each in metrics if thinning.shows((each, 0.0, 0, iteration))]
    assert [at for metric, at in found if metric == "test_error"] == list(range(400, 4001, 400))
    assert thinning.told() == "every 5th of 4,000 points: train_error"


def test_a_whole_curve_is_not_called_thinned() -> None:
    """Nor one that has a single point yet."""
    thinning = Thinning(1000)
    assert all(thinning.shows(("loss", 0.0, 0, iteration)) for iteration in range(1, 1001))
    assert thinning.told() is None
    assert list(thinning.tail()) == []


def test_no_point_that_was_shown_depends_on_what_came_after() -> None:
    """A curve that breaks off shows what the whole one shows of that part."""
    whole = shown(64_000, list(range(1, 64_001)))
    for until in random.Random(0).sample(range(1, 64_000), 5):
        *part, _ = shown(64_000, list(range(1, until + 1)))
        assert part == whole[: len(part)]


def test_ordinals() -> None:
    """As one says them."""
    assert [ordinal(each) for each in (2, 3, 4, 11, 12, 21, 65, 101, 113)] == [
        "2nd", "3rd", "4th", "11th", "12th", "21st", "65th", "101st", "113th",
    ]  # fmt: skip
