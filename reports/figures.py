"""Figures as plain data: lines with their bands, rules and panels. Nothing here draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import Metric, measure
from reports.published import PaperCurve, PaperFigure, paper_curves

METRICS = ("train_error", "test_error")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric of one arm against iterations, over its seeds."""

    label: str
    """`plain-56`."""
    depth: int
    metric: str
    iterations: tuple[int, ...]
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """The band: lowest and highest seed at each iteration; equal to the median for one seed."""
    n: int
    arm: str = ""
    """Empty for a curve of the paper."""
    paper: bool = False
    """Read off the paper's figure, not measured here."""
    partial: bool = False
    """No seed has finished: the points so far."""


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Where the learning rate drops."""

    iteration: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    title: str
    lines: tuple[Line, ...]
    drops: tuple[Drop, ...]
    x_range: tuple[float, float] | None = None
    """Iterations, as the paper's figure has them; None: what the lines need."""
    y_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    id: str
    title: str
    caption: str
    """What is drawn, and in one sentence what it shows."""
    panels: tuple[Panel, ...]


# Lines


def _curves(runs: Sequence[Run], metric: str) -> list[dict[int, float]]:
    found = [run.curves[metric] for run in runs if metric in run.curves]
    return [dict(zip(curve.iterations, curve.values, strict=True)) for curve in found]


def band(label: str, depth: int, metric: str, curves: Sequence[Mapping[int, float]]) -> Line:
    """Median, lowest and highest at the iterations that every curve has."""
    shared = sorted(set.intersection(*[set(curve) for curve in curves])) if curves else []
    points = [[curve[iteration] for curve in curves] for iteration in shared]
    return Line(
        label=label,
        depth=depth,
        metric=metric,
        iterations=tuple(shared),
        median=tuple(median(each) for each in points),
        low=tuple(min(each) for each in points),
        high=tuple(max(each) for each in points),
        n=len(curves),
    )


def line(arm: MeasuredArm, metric: str) -> Line | None:
    """Over the finished runs; where none has finished, over those that committed something. None without a point."""
    started = [run for run in arm.runs if run.outcome is not Outcome.MISSING]
    partial = not arm.finished
    drawn = band(arm.label, arm.network.depth, metric, _curves(started if partial else arm.finished, metric))
    return replace(drawn, arm=arm.arm.name, partial=partial) if drawn.iterations else None


def _paper_line(each: PaperCurve) -> Line:
    label = f"plain-{each.depth}" if each.shortcut == "none" else f"ResNet-{each.depth}"
    values = tuple(each.curve.values)
    return Line(
        label=f"{label}, the paper's",
        depth=each.depth,
        metric=each.curve.metric,
        iterations=tuple(each.curve.iterations),
        median=values,
        low=values,
        high=values,
        n=1,
        paper=True,
    )


def overlay(figure: PaperFigure, panel: str, arms: Sequence[MeasuredArm]) -> tuple[Line, ...]:
    """The paper's curves of a panel, for those arms that are the paper's networks under its recipe."""
    ours = {(arm.network.shortcut, arm.network.depth) for arm in arms if arm.paper}
    found = [each for each in paper_curves(figure) if each.panel == panel and (each.shortcut, each.depth) in ours]
    return tuple(_paper_line(each) for each in found)


def drops(arms: Sequence[MeasuredArm]) -> tuple[Drop, ...]:
    """From the recipes, each place once."""
    found = {}
    for arm in arms:
        recipe = arm.arm.recipe
        for share in recipe.get("drops", ()):
            iteration = round(share * arm.iterations)
            found[iteration] = Drop(iteration=iteration, label=f"lr × {recipe.get('drop_factor', 0.1):g}")
    return tuple(found[iteration] for iteration in sorted(found))


# Panels


def _lines(arms: Sequence[MeasuredArm]) -> tuple[Line, ...]:
    return tuple(drawn for arm in arms for metric in METRICS if (drawn := line(arm, metric)))


def _panel(title: str, arms: Sequence[MeasuredArm], quiet: Sequence[Line] = ()) -> Panel:
    mine = _lines(arms)
    unfinished = dict.fromkeys(each.label for each in mine if each.partial)
    notes = tuple(f"{label}: no seed has finished; the line is what was recorded so far." for label in unfinished)
    return Panel(title=title, lines=(*quiet, *mine), drops=drops(arms), notes=notes)


def _with_lines(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """An empty panel shows nothing; what is missing is said in the tables."""
    return tuple(panel for panel in panels if panel.lines)


def _ending(arm: MeasuredArm) -> str | None:
    cell = measure(arm, Metric.LAST_TEST)
    return None if cell.mean is None else f"{arm.label} at {cell.mean:.1f} %"


def _ends(pool: Pool, shortcut: Shortcut) -> list[str]:
    """How the shallowest and the deepest network of this shortcut end."""
    mine = sorted((arm for arm in pool.arms if arm.network.shortcut == shortcut), key=lambda arm: arm.network.depth)
    return [end for arm in (*mine[:1], *mine[1:][-1:]) if (end := _ending(arm))]


def finding(pool: Pool) -> str:
    """What the figure shows, in one sentence of numbers."""
    parts = [" and ".join(ends) for shortcut in pool.shortcuts if (ends := _ends(pool, shortcut))]
    return f"Final test error: {'; '.join(parts)}." if parts else "No trial has finished yet."


# Figure 6

HIDDEN_ABOVE = 60.0
"""Figure 6 does not display plain-110: its error is above 60 %."""


def _hidden(arm: MeasuredArm) -> bool:
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
    shown = "not displayed" if _hidden(arm) else "displayed"
    return (f"{said} Here it ends at {cell.text(1)} % and is {shown}.",)


def _chosen(pool: Pool, shortcut: Shortcut, depths: Sequence[int]) -> list[MeasuredArm]:
    return [arm for depth in depths if (arm := pool.find(shortcut, depth)) and not _hidden(arm)]


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
    panel = _panel(title, arms, overlay("fig6", place, arms))
    if not pool.paper:
        return panel
    start = FIGURE_6_RIGHT_START if place == "right" else 0.0
    return replace(panel, x_range=(start, FIGURE_6_END), y_range=FIGURE_6_Y)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _figure_6_of(pool: Pool, number: int) -> Figure:
    panels = []
    for place, title, shortcut, depths in FIGURE_6:
        arms = _chosen(pool, shortcut, depths)
        if arms and not (place == "right" and pool.find("A", 1202) is None):
            panels.append(_figure_6_panel(pool, place, title, arms))
    if panels and "none" in pool.shortcuts:
        panels[0] = replace(panels[0], notes=(*panels[0].notes, *_hidden_notes(pool)))
    beside = "The paper's curves were read off its figure, to about 0.1 point." if pool.paper else NOT_THE_PAPER
    return Figure(
        id=_numbered("figure-6", number),
        title="Figure 6" if pool.paper else f"The panels of Figure 6, {pool.title}",
        caption=f"Dashed: training error; bold: test error. {finding(pool)} {beside}",
        panels=_with_lines(panels),
    )


NOT_THE_PAPER = "This is not the paper's recipe, so the paper's curves are not drawn."


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
    panel = _panel(title, arms, overlay("fig4", place, arms))
    if not pool.paper:
        return panel
    return replace(panel, x_range=(0.0, float(max(arm.iterations for arm in arms))), y_range=FIGURE_4_Y)


def _figure_4_of(pool: Pool, number: int) -> Figure:
    chosen = {each: _chosen(pool, each[2], FIGURE_4_DEPTHS) for each in FIGURE_4}
    panels = [_figure_4_panel(pool, place, title, arms) for (place, title, _), arms in chosen.items() if arms]
    drawn = replace(pool, arms=tuple(arm for arms in chosen.values() for arm in arms))
    return Figure(
        id=_numbered("figure-4", number),
        title="Figure 4" if pool.paper else f"The panels of Figure 4, {pool.title}",
        caption=f"Dashed: training error; bold: test error of the centre crop. "
        f"{finding(drawn)} {FIGURE_4_LEVEL if pool.paper else NOT_THE_PAPER}",
        panels=_with_lines(panels),
    )


def figure_4_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Training on ImageNet: plain and residual networks of 18 and 34 layers."""
    wanted = [pool for pool in pools(arms) if any(_chosen(pool, each[2], FIGURE_4_DEPTHS) for each in FIGURE_4)]
    return tuple(_figure_4_of(pool, number) for number, pool in enumerate(wanted, start=1))


# Figure 1


def _figure_1_of(pool: Pool, number: int) -> Figure:
    arms = _chosen(pool, "none", (20, 56))
    panels = []
    for place, metric, title in (("left", "train_error", "Training error"), ("right", "test_error", "Test error")):
        quiet = overlay("fig1", place, arms)
        mine = tuple(drawn for arm in arms if (drawn := line(arm, metric)))
        panels.append(Panel(title=title, lines=(*quiet, *mine), drops=drops(arms)))
    if pool.paper:
        panels = [replace(panel, x_range=(0.0, FIGURE_6_END), y_range=FIGURE_6_Y) for panel in panels]
    return Figure(
        id=_numbered("figure-1", number),
        title="Figure 1" if pool.paper else f"The panels of Figure 1, {pool.title}",
        caption="Training error (left) and test error (right) of plain networks with 20 and 56 layers."
        + ("" if pool.paper else f" {NOT_THE_PAPER}"),
        panels=_with_lines(panels),
    )


def figure_1_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Degradation: plain-20 against plain-56."""
    wanted = [pool for pool in pools(arms) if "none" in pool.shortcuts]
    return tuple(_figure_1_of(pool, number) for number, pool in enumerate(wanted, start=1))


# Any study


def _curves_of(pool: Pool, number: int) -> Figure:
    panels = [
        _panel(SHORTCUT_TITLES[shortcut], [arm for arm in pool.arms if arm.network.shortcut == shortcut])
        for shortcut in pool.shortcuts
    ]
    title = "Error against iterations" if pool.paper else f"Error against iterations, {pool.title}"
    return Figure(
        id=_numbered("curves", number),
        title=title,
        caption=f"Dashed: training error; bold: test error. {finding(pool)}",
        panels=_with_lines(panels),
    )


def curves_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """One panel per shortcut for the arms there are; one figure for each set of comparable arms."""
    return tuple(_curves_of(pool, number) for number, pool in enumerate(pools(arms), start=1))


FIGURES: Mapping[str, Callable[[Sequence[MeasuredArm]], tuple[Figure, ...]]] = {
    "figure-1": figure_1_of,
    "figure-4": figure_4_of,
    "figure-6": figure_6_of,
    "curves": curves_of,
}
"""What `report: {figures: [...]}` of a study may name."""
