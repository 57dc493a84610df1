"""What of a figure is put on a page: as many points of a line, and lines of a panel, as a reader can tell apart."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from reports.figures.lines import Figure, Line, Panel

MOST_POINTS = 40_000
"""Of all lines of a page together."""
LONGEST = 400
SHORTEST = 60
"""Points of a line: no more are seen, and with fewer its shape is lost."""
MOST_ARMS = 8
"""Drawn at first in one panel."""
TOGETHER = 48
"""Drawn at first in all panels of a figure, about: but two in each."""


def thinned(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Each line with points that keep its ends and its extremes, and each panel with its first arms shown.

    Notes say what was left out. The same figures give the same points.
    """
    lines = sum(len(panel.lines) for figure in figures for panel in figure.panels)
    most = max(SHORTEST, min(LONGEST, MOST_POINTS // max(1, lines)))
    return tuple(
        replace(figure, panels=tuple(_panel(panel, most, _arms_of(figure)) for panel in figure.panels))
        for figure in figures
    )


def _arms_of(figure: Figure) -> int:
    return max(2, min(MOST_ARMS, TOGETHER // max(1, len(figure.panels))))


def _panel(panel: Panel, most: int, most_arms: int) -> Panel:
    if panel.kind != "curves":
        return panel
    lines = tuple(thin(each, most, [drop.iteration for drop in panel.drops]) for each in panel.lines)
    notes = list(panel.notes)
    longest = max((len(each.x) for each in panel.lines), default=0)
    if longest > most:
        notes.append(f"Of up to {longest:,} points a line has about {most}, with its ends, its highest and its lowest.")
    arms = list(dict.fromkeys(each.arm or each.label for each in lines if not each.paper))
    if len(arms) > most_arms:
        first = {arms[round(place * (len(arms) - 1) / (most_arms - 1))] for place in range(most_arms)}
        lines = tuple(replace(each, shown=(each.arm or each.label) in first) for each in lines)
        notes.append(f"{len(first)} of {len(arms)} arms are drawn at first; “All lines” draws the others.")
    return replace(panel, lines=lines, notes=tuple(notes))


def thin(line: Line, most: int, keep: Collection[float] = ()) -> Line:
    """At most so many of its points: the first, the last, and of each stretch between the lowest and the highest;
    beside them those to be kept, from which numbers are read."""
    if len(line.x) <= most:
        return line
    inner = range(1, len(line.x) - 1)
    stretches = max(1, (most - 2) // 2)
    kept = {0, len(line.x) - 1, *[place for place, at in enumerate(line.x) if at in keep]}
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
