"""What of a figure is put on a page: as many points of a line, and lines of a panel, as a reader can tell apart."""

from collections.abc import Sequence
from dataclasses import replace

from reports.figures.lines import Figure, Line, Panel

MOST_POINTS = 40_000
"""Of all lines of a page together."""
LONGEST = 400
SHORTEST = 60
"""Points of a line: no more are seen, and with fewer its shape is lost."""
MOST_ARMS = 8
"""Drawn at first in one panel."""


def thinned(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Each line with points that keep its ends and its extremes, and each panel with its first arms shown.

    Notes say what was left out. The same figures give the same points.
    """
    lines = sum(len(panel.lines) for figure in figures for panel in figure.panels)
    most = max(SHORTEST, min(LONGEST, MOST_POINTS // max(1, lines)))
    return tuple(replace(figure, panels=tuple(_panel(panel, most) for panel in figure.panels)) for figure in figures)


def _panel(panel: Panel, most: int) -> Panel:
    if panel.kind != "curves":
        return panel
    lines = tuple(thin(each, most) for each in panel.lines)
    notes = list(panel.notes)
    longest = max((len(each.x) for each in panel.lines), default=0)
    if longest > most:
        notes.append(
            f"Of up to {longest:,} points a line has the {most} that keep its ends, its highest and its lowest."
        )
    arms = list(dict.fromkeys(each.arm or each.label for each in lines if not each.paper))
    if len(arms) > MOST_ARMS:
        first = {arms[round(place * (len(arms) - 1) / (MOST_ARMS - 1))] for place in range(MOST_ARMS)}
        lines = tuple(replace(each, shown=(each.arm or each.label) in first) for each in lines)
        notes.append(f"{len(first)} of {len(arms)} arms are drawn at first; “All lines” draws the others.")
    return replace(panel, lines=lines, notes=tuple(notes))


def thin(line: Line, most: int) -> Line:
    """At most so many of its points: the first, the last, and of each stretch between the lowest and the highest."""
    if len(line.x) <= most:
        return line
    inner = range(1, len(line.x) - 1)
    stretches = max(1, (most - 2) // 2)
    kept = {0, len(line.x) - 1}
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        kept |= {min(part, key=line.median.__getitem__), max(part, key=line.median.__getitem__)}
    at = sorted(kept)
    return replace(
        line,
        x=tuple(line.x[each] for each in at),
        median=tuple(line.median[each] for each in at),
        low=tuple(line.low[each] for each in at),
        high=tuple(line.high[each] for each in at),
    )
