"""Where things stand in a panel: units, ranges, ticks, and labels that do not overlap."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports.figures.lines import ITERATIONS, Drop, Line, Panel

LONG = 20_000
"""From this many iterations on, the axis counts in units of 1e4, as the paper's."""
SMALLEST = 0.01
"""Percent: zero has no place on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at a panel: the ends of its axis of values, and how it divides what is between."""

    low: float
    high: float
    logarithmic: bool = False

    def height(self, value: float) -> float:
        """Where a value stands: 0 at the bottom, 1 at the top."""
        return _share(value, self.low, self.high, logarithmic=self.logarithmic)


def _share(value: float, low: float, high: float, *, logarithmic: bool) -> float:
    if logarithmic:
        low = max(low, 1e-12)
        return (math.log10(max(value, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return (value - low) / (high - low)


def _end(panel: Panel) -> float:
    ends = [each.x[-1] for each in panel.lines] + [each.iteration for each in panel.drops]
    return float(max(ends, default=1))


def unit(panel: Panel) -> float:
    """What the axis counts in."""
    if panel.x.title != ITERATIONS.title:
        return 1.0
    return 1e4 if (panel.x.range[1] if panel.x.range else _end(panel)) >= LONG else 1.0


def x_title(panel: Panel) -> str:
    return f"{panel.x.title} (1e4)" if unit(panel) > 1 else panel.x.title


def x_range(panel: Panel) -> tuple[float, float]:
    """In the axis's unit."""
    if panel.x.range:
        low, high = panel.x.range
    elif panel.x.logarithmic:
        values = [x for each in panel.lines for x in each.x]
        low, high = min(values, default=1) / 1.5, max(values, default=10) * 1.5
    else:
        low, high = (0.0, _end(panel)) if panel.kind == "curves" else (0.0, _end(panel) + 1)
    return low / unit(panel), high / unit(panel)


def along(panel: Panel) -> Callable[[float], float]:
    """Where a value of the axis stands, from 0 at its left end to 1."""
    scale, (low, high) = unit(panel), x_range(panel)
    return lambda x: _share(x / scale, low, high, logarithmic=panel.x.logarithmic)


def _top(panel: Panel) -> float:
    """A little above the highest point; the reach of a band counts, that of an overlay too."""
    return 1.06 * max((value for each in panel.lines for value in each.high), default=1.0) or 1.0


def _bottom(panel: Panel) -> float:
    values = [value for each in panel.lines for value in each.low if value > 0]
    return (
        max(SMALLEST, 0.8 * min(values, default=SMALLEST))
        if panel.y.title == "error (%)"
        else 0.8 * min(values, default=SMALLEST)
    )


def views(panel: Panel) -> Mapping[str, View]:
    """The ways to look at a panel by name, the first as it is drawn at first."""
    linear = View(low=0.0, high=_top(panel))
    logarithmic = View(low=min(_bottom(panel), _top(panel) / 2), high=_top(panel), logarithmic=True)
    if panel.y.logarithmic:
        return {"Log": logarithmic}
    if panel.kind != "curves":
        return {"Linear": linear}
    if panel.y.range is None:
        return {"Linear": linear, "Log": logarithmic}
    low, high = panel.y.range
    return {"As in the paper": View(low=low, high=high), "Free axes": linear, "Log": logarithmic}


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between the ends, some `about` of them: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: powers of ten, and where these are few their doubles and fives."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), range(1, 10)):
        found = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        found = [round(each, 12) for each in found if low * (1 - 1e-9) <= each <= high * (1 + 1e-9)]
        if len(found) >= 3:
            break
    return found


def shown(panel: Panel) -> list[Drop]:
    """The drops within the axis."""
    low, _ = x_range(panel)
    return [each for each in panel.drops if low <= each.iteration / unit(panel)]


def ends(panel: Panel) -> list[Line]:
    """One line per name to write it beside: the test curve where there is one."""
    found: dict[str, Line] = {}
    for each in panel.lines:
        if not each.paper and each.shown and (each.label not in found or each.metric == "test_error"):
            found[each.label] = each
    return list(found.values())


def place(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least `gap` apart and within low and high where they fit."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = dict.fromkeys(order, 0.0)
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return [placed[index] for index in range(len(wanted))]


def end_labels(panel: Panel, view: View) -> list[tuple[Line, str, float]]:
    """Beside the end of each line its name, and where: `56-layer` in a panel of one family, moved apart where names
    would overlap. A line that ends above the panel has none."""
    lines = [each for each in ends(panel) if each.x and each.median[-1] <= view.high]
    if len(lines) > MOST_LABELS:
        return []
    families = {each.label.rpartition("-")[0] for each in lines}
    names = [
        f"{each.depth}-layer"
        if each.depth and len({one.depth for one in lines}) == len(lines) and len(families) < 3
        else each.label
        for each in lines
    ]
    heights = place([view.height(each.median[-1]) for each in lines], 0.062, 0.02, 0.98)
    return list(zip(lines, names, heights, strict=True))


MOST_LABELS = 14
"""More names do not fit beside a panel; the legend and the data table have them."""
