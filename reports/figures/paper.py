"""Figures 1, 4 and 6: training in the paper's panels, its curves beside those that were measured."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from models.spec import Shortcut
from reports.arms import MeasuredArm, Pool, pools
from reports.cells import Metric, measure
from reports.figures.lines import (
    ERROR,
    ITERATIONS,
    SO_FAR,
    Figure,
    Panel,
    drops,
    finding,
    line,
    notes_on,
    numbered,
    overlay,
    panel_of,
    with_lines,
)

READ_OFF = "The paper's curves were read off its figure, to about 0.1 point."
NOT_THE_PAPER = "This is not the paper's recipe, so the paper's curves are not drawn."


# Figure 6

HIDDEN_ABOVE = 60.0
"""Figure 6 does not display plain-110: its error is above 60 %."""


def hidden(arm: MeasuredArm) -> bool:
    values = measure(arm, Metric.LAST_TEST).values
    return arm.network.depth == 110 and bool(values) and median(values) > HIDDEN_ABOVE


def _hidden_notes(pool: Pool) -> tuple[str, ...]:
    arm = pool.find("none", 110)
    if arm is None:
        return ()
    cell = measure(arm, Metric.LAST_TEST)
    said = "The paper does not display plain-110: its error is higher than 60 %."
    if not cell.n:
        return (f"{said} Here: {cell.reason}.",)
    shown = "not displayed" if hidden(arm) else "displayed"
    return (f"{said} Here it ends at {cell.text(1)} % and is {shown}.",)


def _chosen(pool: Pool, shortcut: Shortcut, depths: Sequence[int]) -> list[MeasuredArm]:
    return [arm for depth in depths if (arm := pool.find(shortcut, depth)) and not hidden(arm)]


FIGURE_6: tuple[tuple[str, str, Shortcut, tuple[int, ...]], ...] = (
    ("left", "Plain", "none", (20, 32, 44, 56, 110)),
    ("middle", "ResNet", "A", (20, 32, 44, 56, 110)),
    ("right", "ResNet-110 and ResNet-1202", "A", (110, 1202)),
)
"""Panel, title, shortcut and depths, as in the paper."""
FIGURE_6_Y = (0.0, 20.0)
FIGURE_6_END = 64_000.0
FIGURE_6_RIGHT_START = 35_000.0


def _figure_6_panel(pool: Pool, place: str, title: str, arms: Sequence[MeasuredArm]) -> Panel:
    panel = panel_of(title, arms, overlay("fig6", place, arms))
    if not pool.paper:
        return panel
    start = FIGURE_6_RIGHT_START if place == "right" else 0.0
    return replace(panel, x=replace(ITERATIONS, range=(start, FIGURE_6_END)), y=replace(ERROR, range=FIGURE_6_Y))


def _figure_6_of(pool: Pool, number: int) -> Figure:
    panels = []
    for place, title, shortcut, depths in FIGURE_6:
        arms = _chosen(pool, shortcut, depths)
        if arms and not (place == "right" and pool.find("A", 1202) is None):
            panels.append(_figure_6_panel(pool, place, title, arms))
    if panels and "none" in pool.shortcuts:
        panels[0] = replace(panels[0], notes=(*panels[0].notes, *_hidden_notes(pool)))
    beside = READ_OFF if pool.paper else NOT_THE_PAPER
    return Figure(
        id=numbered("figure-6", number),
        title="Figure 6" if pool.paper else f"The panels of Figure 6, {pool.title}",
        caption=f"Dashed: training error; bold: test error. {finding(pool)} {beside}",
        panels=with_lines(panels),
    )


def figure_6_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Training on CIFAR-10: plain, residual, 110 against 1202 layers; one figure for each set of comparable arms."""
    wanted = [pool for pool in pools(arms) if {"none", "A"} & set(pool.shortcuts)]
    return tuple(_figure_6_of(pool, number) for number, pool in enumerate(wanted, start=1))


# Figure 4

FIGURE_4: tuple[tuple[str, str, Shortcut], ...] = (("left", "Plain", "none"), ("right", "ResNet", "A"))
"""Panel, title and shortcut, as in the paper."""
FIGURE_4_DEPTHS = (18, 34)
FIGURE_4_Y = (20.0, 60.0)
FIGURE_4_LEVEL = (
    "The paper's curves were read off its figure. Its centre crop lies 3.1 to 3.9 points above its 10-crop values, "
    "where about 2 are usual: compare differences between curves, not levels."
)


def _figure_4_panel(pool: Pool, place: str, title: str, arms: Sequence[MeasuredArm]) -> Panel:
    panel = panel_of(title, arms, overlay("fig4", place, arms), training="thin")
    if not pool.paper:
        return panel
    return replace(
        panel,
        x=replace(ITERATIONS, range=(0.0, float(max(arm.iterations for arm in arms)))),
        y=replace(ERROR, range=FIGURE_4_Y),
    )


def _figure_4_of(pool: Pool, number: int) -> Figure:
    chosen = {each: _chosen(pool, each[2], FIGURE_4_DEPTHS) for each in FIGURE_4}
    panels = [_figure_4_panel(pool, place, title, arms) for (place, title, _), arms in chosen.items() if arms]
    drawn = replace(pool, arms=tuple(arm for arms in chosen.values() for arm in arms))
    return Figure(
        id=numbered("figure-4", number),
        title="Figure 4" if pool.paper else f"The panels of Figure 4, {pool.title}",
        caption="Thin: training error; bold: validation error of the centre crop. "
        f"{finding(drawn)} {FIGURE_4_LEVEL if pool.paper else NOT_THE_PAPER}",
        panels=with_lines(panels),
    )


def figure_4_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Training on ImageNet: plain and residual networks of 18 and 34 layers."""
    wanted = [pool for pool in pools(arms) if any(_chosen(pool, each[2], FIGURE_4_DEPTHS) for each in FIGURE_4)]
    return tuple(_figure_4_of(pool, number) for number, pool in enumerate(wanted, start=1))


# Figure 1


def _figure_1_of(pool: Pool, number: int) -> Figure:
    arms = _chosen(pool, "none", (20, 56))
    panels: list[Panel] = []
    for place, metric, title in (("left", "train_error", "Training error"), ("right", "test_error", "Test error")):
        mine = [drawn for arm in arms if (drawn := line(arm, metric))]
        lines = tuple(replace(each, code="bold") for each in (*overlay("fig1", place, arms), *mine))
        notes = notes_on([each.label for each in mine if each.partial], SO_FAR)
        panels.append(Panel(title=title, lines=lines, drops=drops(arms), notes=notes))
    if pool.paper:
        panels = [
            replace(panel, x=replace(ITERATIONS, range=(0.0, FIGURE_6_END)), y=replace(ERROR, range=FIGURE_6_Y))
            for panel in panels
        ]
    return Figure(
        id=numbered("figure-1", number),
        title="Figure 1" if pool.paper else f"The panels of Figure 1, {pool.title}",
        caption="Training error (left) and test error (right) of plain networks with 20 and 56 layers. "
        f"{finding(replace(pool, arms=tuple(arms)))} {READ_OFF if pool.paper else NOT_THE_PAPER}",
        panels=with_lines(panels),
    )


def figure_1_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Degradation: plain-20 against plain-56."""
    wanted = [pool for pool in pools(arms) if "none" in pool.shortcuts]
    return tuple(_figure_1_of(pool, number) for number, pool in enumerate(wanted, start=1))
