"""Panels as plotly's dictionaries. Nothing is computed but what plotly asks for."""

import html
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from reports.drawing.axes import View, above, end_labels, shown, symbol, unit, views, x_range, x_title
from reports.drawing.themes import FONT, WIDTHS, hue, light, shade
from reports.figures.lines import Axis, Drop, Line, Panel
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


def text(label: str) -> str:
    """A name that plotly prints as it is: it would otherwise read tags, entities and TeX."""
    return html.escape(clean(label).replace("$", ""), quote=False)


# Lines


def stroke(line: Line) -> dict[str, Any]:
    """Its own curves are thin and quiet, and dotted where the others are dashed."""
    dashed = line.stroke == "dashed"
    if line.paper:
        return {"color": light("quiet"), "width": 1.0, "dash": "dot" if dashed else "solid"}
    return {"color": hue(line), "width": WIDTHS[line.stroke], "dash": "dash" if dashed else "solid"}


METRIC_WORDS: Mapping[str, str] = {"train_error": ", training", "test_error": ", test"}


def name(line: Line) -> str:
    """`plain-56, training`; what is no curve of errors has its label alone."""
    return text(f"{line.label}{METRIC_WORDS.get(line.metric, '')}" + (" (so far)" if line.partial else ""))


def _source(line: Line) -> str:
    if line.paper:
        return "read off the paper's figure"
    return f"median of {line.n}" if line.n > 1 else "n = 1"


def _x(values: Sequence[float], scale: float) -> dict[str, Any]:
    """Even steps as a start and a step, which is shorter."""
    x = [round(value / scale, 6) for value in values]
    steps = {round(after - before, 6) for before, after in pairwise(x)}
    return {"x0": x[0], "dx": steps.pop()} if len(steps) == 1 else {"x": x}


def _y(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") if abs(value) < 1 else round(value, 3) for value in values]


def _meta(line: Line, role: str) -> dict[str, Any]:
    return {"role": role, "metric": line.metric, "depth": line.depth, "shown": line.shown}


def _trace(line: Line, panel: Panel) -> dict[str, Any]:
    points = panel.kind == "points"
    trace = {
        "type": "scatter",
        "mode": "lines+markers" if points else "lines",
        "name": name(line),
        "y": _y(line.median),
        "line": stroke(line) | ({"width": 1.2} if points else {}),
        "opacity": 0.75 if line.paper else 1.0,
        "hovertemplate": f"%{{y:.3~f}} at %{{x}}<br>{_source(line)}<extra>%{{fullData.name}}</extra>",
        "showlegend": False,
        "meta": _meta(line, "paper" if line.paper else "line"),
        **_x(line.x, unit(panel)),
    }
    if points:
        trace["marker"] = {
            "size": 8,
            "color": stroke(line)["color"],
            "symbol": "circle-open" if line.paper else symbol(line, panel),
        }
        trace["customdata"] = [text(each) for each in line.names]
        trace["hovertemplate"] = "%{customdata}: %{y:.2f} at %{x:.4s}<extra></extra>"
        if line.tags:
            trace["mode"] = "lines+markers+text"
            trace["text"] = [text(each) for each in line.tags]
            trace["textposition"] = "top center" if above(line, panel) else "bottom center"
            trace["textfont"] = {"size": 11, "color": hue(line)}
        if not line.paper and line.n > 1:
            over = [high - middle for high, middle in zip(line.high, line.median, strict=True)]
            under = [middle - low for low, middle in zip(line.low, line.median, strict=True)]
            trace["error_y"] = {"array": _y(over), "arrayminus": _y(under), "symmetric": False, "thickness": 1.2}
    return trace


def _bar(line: Line, place: int) -> dict[str, Any]:
    (value,), (low,), (high,) = line.median, line.low, line.high
    return {
        "type": "bar",
        "orientation": "h",
        "name": name(line),
        "y": [place],
        "x": _y([value]),
        "error_x": {"array": _y([high - value]), "arrayminus": _y([value - low]), "symmetric": False, "thickness": 1.2},
        "marker": {"color": hue(line)},
        "hovertemplate": f"{name(line)}: %{{x:.4~g}}<br>{_source(line)}<extra></extra>",
        "showlegend": False,
        "meta": _meta(line, "line"),
    }


def _band(line: Line, scale: float) -> dict[str, Any]:
    """As one closed outline."""
    x = [round(each / scale, 6) for each in line.x]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name(line),
        "x": [*x, *reversed(x)],
        "y": _y([*line.high, *reversed(line.low)]),
        "fill": "toself",
        "fillcolor": shade(hue(line)),
        "line": {"width": 0, "color": hue(line)},
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": _meta(line, "band"),
    }


def traces(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind == "bars":
        return [_bar(each, -place) for place, each in enumerate(panel.lines)]
    banded = [each for each in panel.lines if each.band and panel.kind == "curves"]
    quiet = [_trace(each, panel) for each in panel.lines if each.paper]
    return [
        *[_band(each, unit(panel)) for each in banded],
        *quiet,
        *[_trace(each, panel) for each in panel.lines if not each.paper],
    ]


# Labels and rules


def _labels(panel: Panel, view: View) -> list[dict[str, Any]]:
    return [
        {
            "xref": "paper",
            "x": round(each.across, 4),
            "yref": "paper",
            "y": round(each.up, 4),
            "xanchor": "left",
            "yanchor": "middle",
            "xshift": 6,
            "showarrow": False,
            "text": f"<b>{text(each.name)}</b>",
            "font": {"size": 11.5, "color": hue(each.line)},
        }
        for each in end_labels(panel, view)
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
        "line": {"color": light("axis"), "width": 1, "dash": "2px,3px"},
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
        "font": {"size": 10, "color": light("quiet")},
    }


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 12}, "standoff": 8},
        "gridcolor": light("grid"),
        "linecolor": light("axis"),
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": light("axis"),
        "minorloglabels": "complete",
        "separatethousands": True,
        **more,
    }


def _range(low: float, high: float, *, logarithmic: bool) -> list[float]:
    return [math.log10(low), math.log10(high)] if logarithmic else [low, high]


def _view(panel: Panel, view: View) -> dict[str, Any]:
    """What one way to look at a panel changes in its layout."""
    return {
        "yaxis.type": "log" if view.logarithmic else "linear",
        "yaxis.range": _range(view.low, view.high, logarithmic=view.logarithmic),
        "annotations": [*_labels(panel, view), *[_rule_label(each, unit(panel)) for each in shown(panel)]],
    }


def ways(panel: Panel) -> dict[str, dict[str, Any]]:
    """The ways to look at a panel by name, the first as it is drawn at first."""
    if panel.kind == "bars":
        return {"Linear": {"yaxis.type": "linear", "yaxis.range": [0.6 - len(panel.lines), 0.6], "annotations": []}}
    return {name: _view(panel, view) for name, view in views(panel).items()}


def _axes(panel: Panel) -> dict[str, Any]:
    first = next(iter(ways(panel).values()))
    if panel.kind == "bars":
        names = {
            "tickvals": [-place for place in range(len(panel.lines))],
            "ticktext": [name(each) for each in panel.lines],
        }
        return {
            "xaxis": _axis(panel.x.title, rangemode="tozero"),
            "yaxis": _axis("", automargin=True, range=first["yaxis.range"], **names),
        }
    low, high = x_range(panel)
    x: Axis = panel.x
    kind = {"type": "log"} if x.logarithmic else {}
    return {
        "xaxis": _axis(x_title(panel), range=_range(low, high, logarithmic=x.logarithmic), **kind),
        "yaxis": _axis(panel.y.title, range=first["yaxis.range"], type=first["yaxis.type"]),
    }


def layout(panel: Panel) -> dict[str, Any]:
    return {
        "template": None,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": light("text")},
        "margin": {"l": 44, "r": 72, "t": 8, "b": 42},
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "shapes": [_rule(each, unit(panel)) for each in shown(panel)],
        "annotations": next(iter(ways(panel).values()))["annotations"],
        **_axes(panel),
    }
