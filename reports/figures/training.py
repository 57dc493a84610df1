"""Error against iterations, of any study."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import Metric, measure
from reports.figures.lines import Figure, Panel, drops, finding, numbered, panel_of, with_lines

MANY = 3
"""With more sets of comparable arms than these, a panel is a network under each of its recipes."""
COLOURS = ("ink", "blue", "vermilion", "green", "purple", "gold")
DROPS_DIFFER = "The learning rate does not drop at the same iterations in all arms; no drop is marked."


def _curves_of(pool: Pool, number: int) -> Figure:
    panels = [
        panel_of(SHORTCUT_TITLES[shortcut], [arm for arm in pool.arms if arm.network.shortcut == shortcut])
        for shortcut in pool.shortcuts
    ]
    title = "Error against iterations" if pool.paper else f"Error against iterations, {pool.title}"
    return Figure(
        id=numbered("curves", number),
        title=title,
        caption=f"Dashed: training error; bold: test error. {finding(pool)}",
        panels=with_lines(panels),
    )


def _base(arm: MeasuredArm) -> str:
    """Its network's name without what sets it apart: `cifar10-plain-56`."""
    return arm.network.name.removesuffix(f"-{arm.network.variant}") if arm.network.variant else arm.network.name


def _own(arm: MeasuredArm) -> str:
    """What its name says beyond that: `fan_in`, `lr=0.03`."""
    return arm.arm.name.removeprefix(_base(arm)).strip("-+") or "as it is"


def _network_panel(base: str, arms: Sequence[MeasuredArm]) -> Panel:
    panel = panel_of(base, arms)
    colours = dict(zip((arm.arm.name for arm in arms), cycle(COLOURS), strict=False))
    words = {arm.arm.name: _own(arm) for arm in arms}
    lines = tuple(replace(each, label=words[each.arm], colour=colours[each.arm]) for each in panel.lines)
    if any(drops([arm]) != panel.drops for arm in arms):
        return replace(panel, lines=lines, drops=(), notes=(*panel.notes, DROPS_DIFFER))
    return replace(panel, lines=lines)


def _extremes(arms: Sequence[MeasuredArm]) -> str:
    """The lowest and the highest final test error, in a sentence."""
    known = [(cell.mean, arm.arm.name) for arm in arms if (cell := measure(arm, Metric.LAST_TEST)).mean is not None]
    if not known:
        return "No trial has finished yet."
    (low, best), (high, worst) = min(known), max(known)
    return f"Final test error: from {low:.2f} % ({best}) to {high:.2f} % ({worst})."


def _by_network(arms: Sequence[MeasuredArm]) -> Figure:
    bases = dict.fromkeys(_base(arm) for arm in arms)
    return Figure(
        id="curves",
        title="Error against iterations, by network",
        caption="Each panel is a network, each line an arm of it: a recipe, or a variant. Dashed: training error; bold:"
        f" test error. {_extremes(arms)}",
        panels=with_lines([_network_panel(base, [arm for arm in arms if _base(arm) == base]) for base in bases]),
    )


def curves_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """One panel per shortcut for the arms there are, one figure for each set of comparable arms; of many such sets one
    figure together."""
    found = pools(arms)
    if len(found) > MANY:
        return (_by_network(arms),)
    return tuple(_curves_of(pool, number) for number, pool in enumerate(found, start=1))
