"""Which points of a long curve a tracking server is given: of each metric as many as a person can see.

The ledger keeps all. What is shown of a metric follows from its own first two points and from the trial's iterations,
so it is the same however often and at which moments a curve is published, and nothing sent is ever superfluous.
"""

from collections.abc import Iterator

POINTS = 1000
"""Of one metric, at most. A shorter curve is shown whole."""

Point = tuple[str, float, int, int]
"""Metric, value, milliseconds since 1970, iteration."""


class Thinning:
    """What was seen of one trial's curves so far. It is fed every committed point once, in order of iterations, and
    takes as much memory for a long curve as for a short one."""

    def __init__(self, iterations: int) -> None:
        self.upto = -1
        """Iteration up to which it was fed."""
        self._iterations = iterations
        self._first: dict[str, int] = {}
        self._rhythm: dict[str, tuple[int, int]] = {}
        """Of each metric with two points or more, the iterations between two points, and the stride."""
        self._before: dict[str, int] = {}
        self._hidden: dict[str, Point] = {}
        """The last point of each metric, where it was not shown."""

    def shows(self, point: Point) -> bool:
        """Whether to show this point: the first of each stretch of `stride` points."""
        metric, _, _, iteration = point
        first, before = self._first.setdefault(metric, iteration), self._before.get(metric)
        self._before[metric] = iteration
        if before is not None and iteration > before and metric not in self._rhythm:
            interval = iteration - before
            self._rhythm[metric] = (interval, stride(1 + (self._iterations - first) // interval))
        interval, step = self._rhythm.get(metric, (1, 1))
        stretch = interval * step
        if step == 1 or before is None or (iteration - first) // stretch > (before - first) // stretch:
            self._hidden.pop(metric, None)
            return True
        self._hidden[metric] = point
        return False

    def tail(self) -> Iterator[Point]:
        """The last point of each metric that was not shown, for the end of a trial."""
        yield from self._hidden.values()

    def told(self) -> str | None:
        """`every 4th of 4,000 points: lr, train_error_percent`; None where every curve is whole."""
        groups: dict[str, list[str]] = {}
        for metric, (interval, step) in self._rhythm.items():
            if step > 1:
                points = 1 + (self._iterations - self._first[metric]) // interval
                groups.setdefault(f"every {ordinal(step)} of {points:,} points", []).append(metric)
        return "; ".join(f"{what}: {', '.join(sorted(metrics))}" for what, metrics in groups.items()) or None


def stride(points: int) -> int:
    """Between two shown points of a curve that will have so many: with the first and the last they are POINTS."""
    return 1 if points <= POINTS else -(-(points - 1) // (POINTS - 2))


def ordinal(number: int) -> str:
    """`2nd`, `3rd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
