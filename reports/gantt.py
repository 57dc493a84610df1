"""Who would run where, and when: a planned run as rows of bars, for the terminal and as one HTML file."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from orchestrator.placement import Node
from orchestrator.queue import Running
from orchestrator.trial import Trial

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Of the arms that take most of the time; all others are `OTHERS`."""
OTHERS = "+"
LEVELS = " ▁▂▃▄▅▆▇█"
"""How many of a row's GPUs or cores are at work: none to all."""
IDLE = "idle"
"""Ends the label of a row of places on which nothing runs."""
MOST_ROWS = 24
"""Of a chart in the terminal; of more places, those of a GPU or a node stand together."""
COLOURS = ("#0072B2", "#C25400", "#00805C", "#A8508A", "#7A5F15", "#56B4E9", "#E0A040", "#3DB38A", "#767676", "#B04060")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A trial on one place, in seconds from the beginning of the run."""

    trial: str
    arm: str
    start: float
    end: float
    share: float
    """Of the GPU, or core, on which it stands."""
    has: str
    """All of it, here and in other rows, as `8 GPUs`."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A part of a GPU, a GPU, a core, or several of them together."""

    label: str
    node: str
    device: str
    """`GPU 3`, or `cores`."""
    places: float
    """GPUs, or cores."""
    bars: Sequence[Bar]


@dataclass(frozen=True, kw_only=True)
class Gantt:
    """A row for each GPU, for each part of one that is shared, and for each core that is used."""

    rows: Sequence[Row]
    arms: Sequence[str]
    """The one that occupies most first."""
    seconds: float


def gantt(spans: Iterable[Running], trials: Mapping[str, Trial], nodes: Sequence[Node]) -> Gantt:
    """`trials` are those of the spans, by key."""
    numbers = {node.id: number for number, node in enumerate(nodes)}
    by_device: dict[tuple[int, int], list[Bar]] = {}
    work: dict[str, float] = {}
    for span in sorted(spans, key=lambda span: (span.started, span.expected_end)):
        trial = trials[span.key]
        bar = Bar(
            trial=trial.name, arm=trial.arm, start=span.started, end=span.expected_end, share=span.resources.share,
            has=span.resources.words,
        )  # fmt: skip
        work[trial.arm] = work.get(trial.arm, 0.0) + span.occupied * (bar.end - bar.start)
        for device in span.devices or (-1,):
            by_device.setdefault((numbers[span.node], device), []).append(bar)
    if any(device >= 0 for _, device in by_device):
        for number, node in enumerate(nodes):
            for device in range(node.gpus):
                by_device.setdefault((number, device), [])
    rows = [row for place in sorted(by_device) for row in _rows(*place, by_device[place], len(nodes))]
    return Gantt(
        rows=rows,
        arms=sorted(work, key=lambda arm: (-work[arm], arm)),
        seconds=max((bar.end for row in rows for bar in row.bars), default=0.0),
    )


def _rows(node: int, device: int, bars: Sequence[Bar], nodes: int) -> list[Row]:
    """Bars that overlap stand in rows of their own."""
    lanes: list[list[Bar]] = []
    free: list[tuple[float, int]] = []
    for bar in bars:
        if free and free[0][0] <= bar.start + 1e-6:
            lane = heapq.heappop(free)[1]
        else:
            lane = len(lanes)
            lanes.append([])
        lanes[lane].append(bar)
        heapq.heappush(free, (bar.end, lane))
    where = f"node {node + 1}" if nodes > 1 else ""
    lanes = lanes or [[]]
    if device >= 0:
        what, names = f"GPU {device}", [f"GPU {device}" + (f"/{lane}" if lane else "") for lane in range(len(lanes))]
    else:
        what, names = "cores", [f"core {lane}" for lane in range(len(lanes))]
    return [
        Row(
            label=f"{where} {name}".strip(), node=where, device=what, bars=lane,
            places=max((bar.share for bar in lane), default=1.0),
        )
        for name, lane in zip(names, lanes, strict=True)
    ]  # fmt: skip


def folded(chart: Gantt, most: int) -> Sequence[Row]:
    """At most so many rows: one for each place, or each GPU, or each node, or some nodes together."""
    rows = chart.rows
    if len(rows) > most:
        rows = _idle_together(rows)
    if len(rows) > most:
        rows = _together(rows, lambda row: f"{row.node} {row.device}".strip())
    if len(rows) > most:
        rows = _together(rows, lambda row: row.node or row.device)
    if len(rows) > most:
        size = -(-len(rows) // most)
        groups = [rows[at : at + size] for at in range(0, len(rows), size)]
        rows = [_merged(f"{g[0].label} to {g[-1].label.rpartition(' ')[2]}", g) for g in groups]
    return rows


def _together(rows: Sequence[Row], name: Callable[[Row], str]) -> list[Row]:
    return [_merged(label, list(group)) for label, group in groupby(rows, key=name)]


def _idle_together(rows: Sequence[Row]) -> list[Row]:
    """Nodes side by side on which nothing runs are one row, and so are such GPUs where there is but one node."""
    places = [list(group) for _, group in groupby(rows, key=lambda row: row.node or row.device)]
    found: list[Row] = []
    for idle, group in groupby(places, key=lambda place: not any(row.bars for row in place)):
        several = list(group)
        rest = [row for place in several for row in place]
        if idle and len(rest) > 1:
            first, last = rest[0].node or rest[0].device, rest[-1].node or rest[-1].device
            label = f"{first} {IDLE}" if len(several) == 1 else f"{first} to {last.rpartition(' ')[2]} {IDLE}"
            found.append(replace(_merged(label, rest), node=label))
        else:
            found += rest
    return found


def _merged(label: str, group: Sequence[Row]) -> Row:
    """Parts of one GPU are one GPU together, however many they are."""
    parts = len({(row.node, row.device) for row in group}) == 1 and group[0].device != "cores"
    places = 1.0 if parts else sum(row.places for row in group)
    return replace(group[0], label=label, places=places, bars=[bar for row in group for bar in row.bars])


def letters(chart: Gantt) -> Mapping[str, str]:
    """Arm -> its letter."""
    return {arm: LETTERS[place] if place < len(LETTERS) else OTHERS for place, arm in enumerate(chart.arms)}


def cells(row: Row, chart: Gantt, width: int) -> list[tuple[str, float]]:
    """For each of so many equal parts of the time the arm that has most of it, and how much of the row is at work:
    0 to 1. No arm where nothing is."""
    if not chart.seconds:
        return [("", 0.0)] * width
    step = chart.seconds / width
    shares: list[dict[str, float]] = [{} for _ in range(width)]
    for bar in row.bars:
        first, last = int(bar.start / step), min(width - 1, int(bar.end / step))
        for place in range(first, last + 1):
            within = min(bar.end, (place + 1) * step) - max(bar.start, place * step)
            if within > 0:
                shares[place][bar.arm] = shares[place].get(bar.arm, 0.0) + within / step * bar.share / row.places
    return [(max(share, key=lambda arm: share[arm]), min(1.0, sum(share.values()))) if share else ("", 0.0)
            for share in shares]  # fmt: skip


Line = tuple[str, Sequence[tuple[str, int]]]
"""A row's label, and for each moment a mark and the number of its arm; arms of one number have one colour."""


def lines(chart: Gantt, width: int) -> tuple[list[Line], list[str]]:
    """The chart in characters, at most `width` in a line with its label and a blank; and its legend.

    The mark is the letter of the arm that has most of the moment. Where rows hold several GPUs it is a bar instead,
    as high as they are at work.
    """
    rows, letter = folded(chart, MOST_ROWS), letters(chart)
    number = {arm: place for place, arm in enumerate(chart.arms)}
    label = max((len(row.label) for row in rows), default=0)
    bars = any(row.bars and (row.label == row.node or " to " in row.label) for row in rows)
    drawn: list[Line] = []
    for row in rows:
        marks = [
            (" ", 0)
            if not arm
            else (LEVELS[max(1, round(level * (len(LEVELS) - 1)))] if bars else letter[arm], number[arm])
            for arm, level in cells(row, chart, max(1, width - label - 1))
        ]
        drawn.append((row.label.ljust(label), marks))
    if bars:
        return drawn, ["height: how much of the row is at work; colour: the arm that has most of it"]
    more = [f"{OTHERS} {len(chart.arms) - len(LETTERS)} others"] if len(chart.arms) > len(LETTERS) else []
    return drawn, [f"{letter[arm]} {arm}" for arm in chart.arms[: len(LETTERS)]] + more


# As a page ------------------------------------------------------------------------------------------------------------


def page(chart: Gantt, title: str, facts: Sequence[tuple[str, str]]) -> str:
    """One HTML file that asks the network for nothing. `facts` are names with values, shown over the chart."""
    from reports.page.shell import environment, policy, script  # the chart in the terminal needs no templates

    scripts = [script("vendor/plotly-basic.min.js"), script("gantt.js")]
    return (
        environment()
        .get_template("gantt.html.j2")
        .render(
            title=title,
            facts=facts,
            scripts=scripts,
            policy=policy(scripts),
            chart=traces(chart),
            trials=sorted({(bar.start, bar.end, bar.trial, bar.has) for row in chart.rows for bar in row.bars}),
        )
    )


def traces(chart: Gantt) -> dict[str, Any]:
    """The chart as plotly's dictionaries: a trace for each arm, a bar for each place that a trial has. Hours."""
    bars: dict[str, list[tuple[str, Bar]]] = {arm: [] for arm in chart.arms}
    for row in chart.rows:
        for bar in row.bars:
            bars[bar.arm].append((row.label, bar))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": arm,
            "y": [label for label, _ in found],
            "base": [round(bar.start / 3600, 5) for _, bar in found],
            "x": [round((bar.end - bar.start) / 3600, 5) for _, bar in found],
            "text": [bar.trial for _, bar in found],
            "customdata": [[bar.has, round(bar.end / 3600, 3)] for _, bar in found],
            "textposition": "none",
            "hovertemplate": "%{text}<br>%{y}, %{customdata[0]}"
            "<br>%{base:.2f} h to %{customdata[1]:.2f} h<extra></extra>",
            "marker": {"color": COLOURS[place % len(COLOURS)], "line": {"width": 0.5, "color": "#fff"}},
        }
        for place, (arm, found) in enumerate(bars.items())
    ]
    return {"data": data, "rows": [row.label for row in chart.rows]}
