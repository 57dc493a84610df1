"""Figures drawn: from lines and panels to plotly's dictionaries. Nothing is computed but where a label stands."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.figures import Drop, Figure, Line, Panel
from reports.names import clean

CONFIG: Mapping[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "scrollZoom": False,
    "displayModeBar": False,
}
"""Nothing is sent anywhere: the default of plotly.js 4 offers to upload the figure. Buttons are the page's own."""

THEMES: Mapping[str, tuple[str, str]] = {
    "blue": ("#0072B2", "#56B4E9"),
    "green": ("#00805C", "#3DD6A3"),
    "purple": ("#A8508A", "#E8A6CC"),
    "vermilion": ("#C25400", "#FF8A4C"),
    "ink": ("#212121", "#E8E6E1"),
    "gold": ("#7A5F15", "#E0C060"),
    "quiet": ("#767676", "#8F8F8F"),
    "text": ("#3A3A3A", "#C9C7C1"),
    "grid": ("#ECEAE6", "#2E3137"),
    "axis": ("#B5B2AC", "#565B64"),
    "paper": ("#FFFFFF", "#191B1F"),
}
"""Each colour in light and in dark; every line has at least 3:1 against its ground."""
DEPTH_COLOURS: Mapping[int, str] = {
    20: "blue",
    32: "green",
    44: "purple",
    56: "vermilion",
    110: "ink",
    1202: "gold",
    18: "blue",
    34: "green",
    50: "purple",
    101: "vermilion",
    152: "ink",
}
BAND_ALPHA = 0.16
FONT = "-apple-system, 'Segoe UI', Inter, Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"


def _light(name: str) -> str:
    return THEMES[name][0]


def colour(depth: int) -> str:
    """A depth has one colour in every figure."""
    cycle = ("blue", "green", "purple", "vermilion", "ink", "gold")
    return _light(DEPTH_COLOURS.get(depth, cycle[depth // 6 % len(cycle)]))


def shade(hexadecimal: str, alpha: float = BAND_ALPHA) -> str:
    red, green, blue = (int(hexadecimal[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def dark() -> dict[str, str]:
    """Each light colour, line and band, with the one that stands for it in dark."""
    pairs = dict(THEMES.values())
    return {**pairs, **{shade(light): shade(night, BAND_ALPHA + 0.06) for light, night in pairs.items()}}


def text(label: str) -> str:
    """A name that plotly prints as it is: it would otherwise read tags, entities and TeX."""
    return html.escape(clean(label).replace("$", ""), quote=False)


# Axes

LONG = 20_000
"""From this many iterations on, the axis counts in units of 1e4, as the paper's."""


def _end(panel: Panel) -> float:
    ends = [each.iterations[-1] for each in panel.lines] + [each.iteration for each in panel.drops]
    return max(ends, default=1)


def unit(panel: Panel) -> float:
    end = panel.x_range[1] if panel.x_range else _end(panel)
    return 1e4 if end >= LONG else 1.0


def _x_range(panel: Panel) -> list[float]:
    low, high = panel.x_range or (0.0, float(_end(panel)))
    return [low / unit(panel), high / unit(panel)]


def _top(panel: Panel) -> float:
    """A little above the highest point."""
    return 1.06 * max((value for each in panel.lines for value in each.high), default=1.0)


SMALLEST = 0.01
"""Percent: zero has no place on a logarithmic axis."""


def _bottom(panel: Panel) -> float:
    values = [value for each in panel.lines for value in each.low if value > 0]
    return max(SMALLEST, 0.8 * min(values, default=SMALLEST))


# Lines


def _stroke(line: Line) -> dict[str, Any]:
    """The paper's code: dashed and thin is training, bold is test; its own curves are thin and quiet."""
    training = line.metric == "train_error"
    if line.paper:
        return {"color": _light("quiet"), "width": 1.0, "dash": "dot" if training else "solid"}
    return {"color": colour(line.depth), "width": 1.3 if training else 2.6, "dash": "dash" if training else "solid"}


def _metric(line: Line) -> str:
    return "training" if line.metric == "train_error" else "test"


def _name(line: Line) -> str:
    return text(f"{line.label}, {_metric(line)}" + (" (so far)" if line.partial else ""))


def _trace(line: Line, scale: float) -> dict[str, Any]:
    source = "read off the paper's figure" if line.paper else f"median of {line.n}" if line.n > 1 else "n = 1"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _name(line),
        "x": [iteration / scale for iteration in line.iterations],
        "y": [round(value, 3) for value in line.median],
        "line": _stroke(line),
        "opacity": 0.75 if line.paper else 1.0,
        "customdata": [f"{iteration:,}" for iteration in line.iterations],
        "hovertemplate": f"%{{y:.2f}} % at %{{customdata}}<br>{source}<extra>%{{fullData.name}}</extra>",
        "showlegend": False,
        "meta": {"role": "paper" if line.paper else "line", "metric": line.metric, "depth": line.depth},
    }


def _band(line: Line, scale: float) -> dict[str, Any]:
    """Lowest to highest seed, as one closed outline."""
    x = [iteration / scale for iteration in line.iterations]
    outline = [*line.high, *reversed(line.low)]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _name(line),
        "x": [*x, *reversed(x)],
        "y": [round(value, 3) for value in outline],
        "fill": "toself",
        "fillcolor": shade(colour(line.depth)),
        "line": {"width": 0, "color": colour(line.depth)},
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": {"role": "band", "metric": line.metric, "depth": line.depth},
    }


def _traces(panel: Panel) -> list[dict[str, Any]]:
    scale = unit(panel)
    bands = [_band(each, scale) for each in panel.lines if each.n > 1 and not each.paper]
    quiet = [_trace(each, scale) for each in panel.lines if each.paper]
    return [*bands, *quiet, *[_trace(each, scale) for each in panel.lines if not each.paper]]


# Labels and rules


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


def _ends(panel: Panel) -> list[Line]:
    """One line per depth to write its name beside: the test curve where there is one."""
    found: dict[int, Line] = {}
    for each in panel.lines:
        if not each.paper and (each.depth not in found or each.metric == "test_error"):
            found[each.depth] = each
    return list(found.values())


def _height(value: float, low: float, high: float, logarithmic: bool) -> float:
    """Where a value stands between the ends of the axis: 0 at the bottom, 1 at the top."""
    if logarithmic:
        return (math.log10(max(value, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return (value - low) / (high - low)


def _labels(panel: Panel, low: float, high: float, *, logarithmic: bool = False) -> list[dict[str, Any]]:
    """`56-layer` beside the end of each test curve, moved apart where they would overlap."""
    lines = [each for each in _ends(panel) if each.median[-1] <= high]
    wanted = [_height(each.median[-1], low, high, logarithmic) for each in lines]
    return [
        {
            "xref": "paper",
            "x": 1,
            "yref": "paper",
            "y": round(at, 4),
            "xanchor": "left",
            "yanchor": "middle",
            "xshift": 6,
            "showarrow": False,
            "text": f"<b>{each.depth}-layer</b>",
            "font": {"size": 11.5, "color": colour(each.depth)},
        }
        for each, at in zip(lines, place(wanted, 0.062, 0.02, 0.98), strict=True)
    ]


def _rule(drop: Drop, scale: float) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": drop.iteration / scale,
        "x1": drop.iteration / scale,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"color": _light("axis"), "width": 1, "dash": "2px,3px"},
    }


def _rule_label(drop: Drop, scale: float) -> dict[str, Any]:
    return {
        "x": drop.iteration / scale,
        "yref": "paper",
        "y": 1,
        "xanchor": "left",
        "yanchor": "top",
        "xshift": 3,
        "showarrow": False,
        "text": text(drop.label),
        "font": {"size": 10, "color": _light("quiet")},
    }


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 12}, "standoff": 8},
        "gridcolor": _light("grid"),
        "linecolor": _light("axis"),
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": _light("axis"),
        **more,
    }


def _view(panel: Panel, low: float, high: float, *, logarithmic: bool = False) -> dict[str, Any]:
    """What one way to look at a panel changes in its layout."""
    scale = unit(panel)
    rules = [_rule_label(each, scale) for each in _shown(panel)]
    ends = [math.log10(low), math.log10(high)] if logarithmic else [low, high]
    return {
        "yaxis.type": "log" if logarithmic else "linear",
        "yaxis.range": ends,
        "annotations": [*_labels(panel, low, high, logarithmic=logarithmic), *rules],
    }


def views(panel: Panel) -> dict[str, dict[str, Any]]:
    """The ways to look at a panel by name, the first as it is drawn at first."""
    free = {
        "Free axes": _view(panel, 0.0, _top(panel)),
        "Log": _view(panel, _bottom(panel), _top(panel), logarithmic=True),
    }
    if panel.y_range is None:
        return {"Linear": free["Free axes"], "Log": free["Log"]}
    return {"As in the paper": _view(panel, *panel.y_range), **free}


def _shown(panel: Panel) -> list[Drop]:
    return [each for each in panel.drops if _x_range(panel)[0] <= each.iteration / unit(panel)]


def layout(panel: Panel) -> dict[str, Any]:
    scale = unit(panel)
    first = next(iter(views(panel).values()))
    return {
        "template": None,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": _light("text")},
        "margin": {"l": 44, "r": 72, "t": 8, "b": 42},
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "xaxis": _axis("iterations (1e4)" if scale > 1 else "iterations", range=_x_range(panel)),
        "yaxis": _axis("error (%)", range=first["yaxis.range"]),
        "shapes": [_rule(each, scale) for each in _shown(panel)],
        "annotations": first["annotations"],
    }


def draw(figure: Figure) -> list[dict[str, Any]]:
    """One chart per panel, with fixed ids: equal figures give equal bytes."""
    return [
        {"id": f"{figure.id}-panel-{number}", "data": _traces(panel), "layout": layout(panel), "views": views(panel)}
        for number, panel in enumerate(figure.panels, start=1)
    ]
