"""Error against iterations, of any study."""

from collections.abc import Sequence
from dataclasses import replace

from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import Metric, measure
from reports.figures.lines import NOT_FINISHED, Figure, Panel, drops, finding, numbered, panel_of, with_lines


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


MANY = 3
"""With more sets of comparable arms than these, a panel is a network, under each of its recipes."""
LONGEST_TAG = 16
"""Characters beside the end of a line."""
DROPS_DIFFER = "The learning rate does not drop at the same iterations in all arms; no drop is marked."
HUES = ("blue", "vermilion", "green", "purple", "ink", "gold")


def _base(arm: MeasuredArm) -> str:
    """The name of its network without what sets it apart: `cifar10-plain-56`."""
    whole, variant = arm.network.name, arm.network.variant
    return whole.removesuffix(f"-{variant}") if variant else whole


def _own_words(arm: MeasuredArm) -> str:
    """What an arm's name says beyond its network: `fan_in`, `weight_decay_scope-all`."""
    return arm.arm.name.removeprefix(_base(arm)).strip("-")[:LONGEST_TAG] or arm.label


def _network_panel(title: str, arms: Sequence[MeasuredArm]) -> Panel:
    """Its arms have one depth, so each has a colour of its own."""
    panel = panel_of(title, arms)
    hues = {arm.arm.name: HUES[place % len(HUES)] for place, arm in enumerate(arms)}
    words = {arm.arm.name: _own_words(arm) for arm in arms}
    lines = tuple(replace(each, label=each.arm, tag=words[each.arm], colour=hues[each.arm]) for each in panel.lines)
    if any(drops([arm]) != panel.drops for arm in arms):
        return replace(panel, lines=lines, drops=(), notes=(*panel.notes, DROPS_DIFFER))
    return replace(panel, lines=lines)


def _extremes(arms: Sequence[MeasuredArm]) -> str:
    """The lowest and the highest final test error, in a sentence."""
    known = [(cell.mean, arm.arm.name) for arm in arms if (cell := measure(arm, Metric.LAST_TEST)).mean is not None]
    if not known:
        return NOT_FINISHED
    (low, best), (high, worst) = min(known), max(known)
    return f"Final test error: from {low:.2f} % ({best}) to {high:.2f} % ({worst})."


def _networks(arms: Sequence[MeasuredArm]) -> Figure:
    """All arms in one figure, a panel for each network."""
    bases = dict.fromkeys(_base(arm) for arm in arms)
    panels = [_network_panel(base, [arm for arm in arms if _base(arm) == base]) for base in bases]
    return Figure(
        id="curves",
        title="Error against iterations, by network",
        caption="Each panel is a network, each colour an arm of it: a recipe, or a variant of the network. "
        f"Dashed: training error; bold: test error. {_extremes(arms)}",
        panels=with_lines(panels),
    )


def curves_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """One panel per shortcut for the arms there are, one figure for each set of comparable arms; of many such sets one
    figure together."""
    found = pools(arms)
    if len(found) > MANY:
        return (_networks(arms),)
    return tuple(_curves_of(pool, number) for number, pool in enumerate(found, start=1))
