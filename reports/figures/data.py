"""A figure as a table, for those who read numbers: at its milestones, or point by point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.figures.lines import ITERATIONS, Figure, Line, Panel
from reports.names import clean

METRIC_WORDS = {"train_error": "training", "test_error": "test"}


@dataclass(frozen=True, kw_only=True)
class DataTable:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(figure: Figure) -> DataTable:
    """Curves over iterations are read at each drop of the learning rate and at their end."""
    if all(panel.x.title == ITERATIONS.title and panel.kind == "curves" for panel in figure.panels):
        return _over_iterations(figure)
    rows = tuple(row for panel in figure.panels for line in panel.lines for row in _rows(panel, line))
    return DataTable(columns=("panel", "what", "n", "at", "value (band)"), rows=rows)


def _rows(panel: Panel, line: Line) -> Iterator[tuple[str, ...]]:
    """Of points each, of bars the one, of layers the first, the last, the highest and the lowest."""
    title, count = clean(panel.title), str(line.n)
    if panel.kind == "bars":
        yield title, clean(line.label), count, "", _banded(line, 0)
    elif panel.kind == "points":
        for place, name in enumerate(line.names):
            shown = f"{name}, the paper's" if line.paper else name
            yield title, clean(shown), count, f"{line.x[place]:,.0f}", _banded(line, place)
    else:
        last = len(line.x) - 1
        highest, lowest = (pick(range(last + 1), key=line.median.__getitem__) for pick in (max, min))
        for word, place in (("first", 0), ("last", last), ("highest", highest), ("lowest", lowest)):
            yield title, clean(line.label), count, f"{word}: layer {line.x[place]:g}", _banded(line, place)


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _banded(line: Line, place: int) -> str:
    """Median and band at a point."""
    middle, low, high = (_number(values[place]) for values in (line.median, line.low, line.high))
    return middle if line.n == 1 or line.paper else f"{middle} ({low} to {high})"


def _at(line: Line, iteration: float) -> str:
    """At the last point up to an iteration."""
    known = [place for place, at in enumerate(line.x) if at <= iteration]
    return _banded(line, known[-1]) if known else ""


def milestones(lines: Sequence[Line], drops: Sequence[float]) -> tuple[float, ...]:
    """Iterations at which lines are read: each learning-rate drop, and the end."""
    end = max((line.x[-1] for line in lines if line.x), default=0)
    return (*[drop for drop in drops if drop < end], end)


def _over_iterations(figure: Figure) -> DataTable:
    lines = [line for panel in figure.panels for line in panel.lines]
    places = milestones(lines, sorted({drop.iteration for panel in figure.panels for drop in panel.drops}))
    unique = {(line.label, line.metric, line.paper): line for line in lines}
    heads = [f"at {place:,.0f}" for place in places[:-1]]
    return DataTable(
        columns=("error %, median (band)", "n", *heads, f"end, {places[-1]:,.0f}"),
        rows=tuple(
            (clean(f"{line.label}, {METRIC_WORDS[line.metric]}"), str(line.n), *[_at(line, place) for place in places])
            for line in unique.values()
        ),
    )
