"""Panels as drawings that need no script: what the page shows first, what is printed, and what can be saved."""

import html
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from reports.drawing.axes import (
    View,
    above,
    along,
    end_labels,
    powers,
    shown,
    symbol,
    ticks,
    unit,
    views,
    x_range,
    x_title,
)
from reports.drawing.plotly import METRIC_WORDS
from reports.drawing.themes import FONT, THEMES, WIDTHS, named
from reports.figures.lines import Line, Panel
from reports.figures.thinning import thin
from reports.names import clean

WIDTH, HEIGHT = 440.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 78.0, 8.0, 44.0
ROW = 22.0
"""Height of a bar with what is around it."""
SEEN = 160
"""Points of a line: a drawing has some 300 pixels for them."""
LETTER = 7.0
"""Width of a letter of 12 pixels, about: enough to leave room for names."""


def _ink(name: str, what: str = "stroke") -> str:
    return f"{what}:var(--c-{name},{THEMES[name][0]})"


def _number(value: float) -> str:
    """With one decimal at most: a tenth of a pixel is not seen."""
    return f"{value:.1f}".removesuffix(".0")


def _label(value: float) -> str:
    """A tick as people write it: 0.5, 20, 1.5M, 3.6G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:,g}"


RIM = f"stroke:var(--c-paper,{THEMES['paper'][0]});stroke-width:3px;paint-order:stroke"
"""Of words over lines: in the colour of the ground."""


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "middle",
    ink: str = "text",
    size: float = 12,
    style: str = "",
    more: str = "",
) -> str:
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" font-size="{size:g}" '
        f'style="{_ink(ink, "fill")}{style and f";{style}"}"{more}>{html.escape(clean(words))}</text>'
    )


class _Box:
    """The rectangle inside the axes, in pixels."""

    def __init__(self, panel: Panel, view: View, left: float, height: float, right: float) -> None:
        self.panel, self.view, self.along = panel, view, along(panel)
        self.left, self.top, self.right, self.bottom = left, TOP, WIDTH - right, height - BOTTOM

    def x(self, value: float) -> float:
        return self.left + self.along(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - self.view.height(value) * (self.bottom - self.top)

    def points(self, x: Sequence[float], y: Sequence[float]) -> str:
        """A path in steps of tenths of a pixel, each from the last point: half as long as places would be.

        What lies far outside is cut, so that numbers stay short.
        """
        low, high = self.top - 2 * HEIGHT, self.bottom + 2 * HEIGHT
        places = [
            (round(10 * self.x(a)), round(10 * min(high, max(low, self.y(b))))) for a, b in zip(x, y, strict=True)
        ]
        steps = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(places)]
        begin = "M" + " ".join(_number(each / 10) for each in places[0])
        return begin + ("l" + _steps(each for step in steps for each in step) if steps else "")


def _steps(tenths: Iterable[int]) -> str:
    """`12-.5 3`: a blank only where no sign parts two numbers."""
    texts = [f" {each / 10:g}" for each in tenths]
    return "".join(texts).replace(" 0.", " .").replace(" -0.", " -.").replace(" -", "-").removeprefix(" ")


def svg(panel: Panel, id: str) -> str:  # noqa: A002 - the name of the attribute
    """The panel in its first view. `id` must be its own on the page."""
    return _bars(panel) if panel.kind == "bars" else _plot(panel, id)


def _open(height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" aria-hidden="true" '
        f'focusable="false" font-family="{html.escape(FONT)}">'
    )


def _plot(panel: Panel, id: str) -> str:  # noqa: A002
    view = next(iter(views(panel).values()))
    names = [each.name for each in end_labels(panel, view)]
    right = max([RIGHT, *[LETTER * len(clean(name)) + 12 for name in names]])
    box = _Box(panel, view, _left(view), HEIGHT, min(right, WIDTH / 3))
    clip = f"{id}-inside"
    lines = [thin(each, SEEN) if panel.kind == "curves" else each for each in panel.lines if each.shown and each.x]
    return "".join(
        [
            _open(HEIGHT),
            f'<clipPath id="{clip}"><rect x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:g}" '
            f'height="{box.bottom - box.top:g}"/></clipPath>',
            *_grid(box),
            *_rules(box),
            f'<g clip-path="url(#{clip})" fill="none">',
            *[_band(box, each) for each in lines if each.band and panel.kind == "curves"],
            *[_line(box, each) for each in sorted(lines, key=lambda line: not line.paper)],
            "</g>",
            *_rule_names(box),
            *_names(box),
            "</svg>",
        ]
    )


def _heights(view: View) -> list[float]:
    return powers(view.low, view.high) if view.logarithmic else ticks(view.low, view.high)


def _left(view: View) -> float:
    """Room for the axis's title and its longest number."""
    return max([LEFT, *[LETTER * len(_label(at)) + 26 for at in _heights(view)]])


def _grid(box: _Box) -> Iterator[str]:
    panel, view = box.panel, box.view
    heights = _heights(view)
    low, high = x_range(panel)
    places = powers(low, high) if panel.x.logarithmic else ticks(low, high)
    down = "".join(f"M{box.left:g} {_number(box.y(at))}H{box.right:g}" for at in heights)
    across = "".join(f"M{_number(box.x(at * unit(panel)))} {box.top:g}V{box.bottom:g}" for at in places)
    yield f'<path d="{down}{across}" style="{_ink("grid")}"/>'
    yield f'<path d="M{box.left:g} {box.top:g}V{box.bottom:g}H{box.right:g}" fill="none" style="{_ink("axis")}"/>'
    for at in heights:
        yield _text(box.left - 6, box.y(at) + 4, _label(at), anchor="end")
    for at in places:
        yield _text(box.x(at * unit(panel)), box.bottom + 17, _label(at))
    middle = (box.top + box.bottom) / 2
    yield _text((box.left + box.right) / 2, box.bottom + 36, x_title(panel))
    yield _text(13, middle, panel.y.title, more=f' transform="rotate(-90 13 {_number(middle)})"')


def _rules(box: _Box) -> Iterator[str]:
    """Where the learning rate drops."""
    for each in shown(box.panel):
        x = box.x(each.iteration)
        yield f'<path d="M{_number(x)} {box.top:g}V{box.bottom:g}" stroke-dasharray="2 3" style="{_ink("axis")}"/>'


def _rule_names(box: _Box) -> Iterator[str]:
    """Over the lines."""
    for each in shown(box.panel):
        yield _text(
            box.x(each.iteration) + 3, box.top + 10, each.label, anchor="start", ink="quiet", size=10, style=RIM
        )


def _band(box: _Box, line: Line) -> str:
    outline = box.points((*line.x, *reversed(line.x)), (*line.high, *reversed(line.low)))
    return f'<path d="{outline}z" fill-opacity=".16" style="{_ink(named(line), "fill")}"/>'


def _line(box: _Box, line: Line) -> str:
    dashed = line.stroke == "dashed"
    ink = "quiet" if line.paper else named(line)
    dash = (' stroke-dasharray="1.5 2.5"' if line.paper else ' stroke-dasharray="6 4"') if dashed else ""
    width = 1.0 if line.paper else 1.3 if box.panel.kind == "points" else WIDTHS[line.stroke]
    drawn = (
        f'<path class="{"paper" if line.paper else "line"}" data-metric="{html.escape(line.metric)}" '
        f'd="{box.points(line.x, line.median)}" stroke-width="{width:g}" stroke-linejoin="round"{dash} '
        f'style="{_ink(ink)}"/>'
    )
    return drawn + (_markers(box, line, ink) if box.panel.kind == "points" or len(line.x) == 1 else "")


def _markers(box: _Box, line: Line, ink: str) -> str:
    filled = f"fill:var(--c-paper,{THEMES['paper'][0]})" if line.paper else _ink(ink, "fill")
    found = [f'<g style="{filled};{_ink(ink)}">']
    mark = MARKS["circle" if line.paper or box.panel.kind != "points" else symbol(line, box.panel)]
    for x, middle, low, high in zip(line.x, line.median, line.low, line.high, strict=True):
        if high > low:
            found.append(f'<path d="M{_number(box.x(x))} {_number(box.y(low))}V{_number(box.y(high))}"/>')
        found.append(f'<path d="M{_number(box.x(x))} {_number(box.y(middle))}{mark}"/>')
    return "".join([*found, "</g>", *_tags(box, line, ink)])


MARKS = {
    "circle": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "square": "m-3.5-3.5h7v7h-7z",
    "diamond": "m0-5l5 5-5 5-5-5z",
    "triangle-up": "m0-4.5l4.5 8h-9z",
    "cross": "m-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
}


def _tags(box: _Box, line: Line, ink: str) -> Iterator[str]:
    if line.tags:
        off = -9 if above(line, box.panel) else 17
        for x, y, tag in zip(line.x, line.median, line.tags, strict=True):
            yield _text(box.x(x), box.y(y) + off, tag, ink=ink, size=11, style=RIM)


def _names(box: _Box) -> Iterator[str]:
    for each in end_labels(box.panel, box.view):
        x, y = box.left + each.across * (box.right - box.left), box.bottom - each.up * (box.bottom - box.top)
        yield _text(
            x + 6, y + 4, each.name, anchor="start", ink=named(each.line), size=11.5, style=f"font-weight:600;{RIM}"
        )


def _bars(panel: Panel) -> str:
    """A row for each line, named at its left, with its value at its end."""
    names = [f"{each.label}{METRIC_WORDS.get(each.metric, '')}" for each in panel.lines]
    left = min(WIDTH * 0.55, max([LEFT, *[LETTER * len(clean(name)) + 14 for name in names]]))
    height = TOP + ROW * len(panel.lines) + BOTTOM
    longest = max((each.high[0] for each in panel.lines), default=1.0) or 1.0
    right = WIDTH - 52
    bottom = height - BOTTOM

    def x(value: float) -> float:
        return left + value / longest * (right - left)

    parts = [_open(height)]
    places = ticks(0, longest, 5)
    parts.append(
        f'<path d="{"".join(f"M{_number(x(at))} {TOP:g}V{bottom:g}" for at in places)}" style="{_ink("grid")}"/>'
    )
    parts += [_text(x(at), bottom + 17, _label(at)) for at in places]
    parts.append(_text((left + right) / 2, bottom + 36, panel.x.title))
    bars, ranges, labels, values = list[str](), list[str](), list[str](), list[str]()
    for place, (line, name) in enumerate(zip(panel.lines, names, strict=True)):
        y = TOP + ROW * (place + 0.5)
        (value,), (low,), (high,) = line.median, line.low, line.high
        labels.append(f'<text x="{_number(left - 8)}" y="{_number(y + 4)}">{html.escape(clean(name))}</text>')
        bars.append(
            f'<rect x="{left:g}" y="{_number(y - 6)}" width="{_number(max(0.5, x(value) - left))}" height="12" '
            f'rx="1.5" style="{_ink(named(line), "fill")}"/>'
        )
        if high > low:
            ranges.append(f"M{_number(x(low))} {_number(y)}H{_number(x(high))}")
        said = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
        values.append(f'<text x="{_number(x(high) + 6)}" y="{_number(y + 4)}">{said}</text>')
    filled = _ink("text", "fill")
    parts += bars
    parts += [f'<path d="{"".join(ranges)}" style="{_ink("text")}"/>'] if ranges else []
    parts += [f'<g text-anchor="end" font-size="12" style="{filled}">', *labels, "</g>"]
    parts += [f'<g font-size="11" style="{filled}">', *values, "</g>"]
    return "".join([*parts, "</svg>"])
