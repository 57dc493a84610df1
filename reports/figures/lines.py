"""Lines with their bands, rules and panels: what a figure is made of, as plain data. Nothing here draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm, Pool
from reports.cells import Metric, measure
from reports.published import PaperCurve, PaperFigure, paper_curves

if TYPE_CHECKING:
    from numpy import ndarray

METRICS = ("train_error", "test_error")
ENOUGH = 5
"""From so many seeds on a band is an interval of their median rather than their range."""
RESAMPLES = 1000
Stroke = Literal["bold", "solid", "thin", "dashed"]
RANGE = "lowest to highest seed"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric of one arm against iterations, or against what else the panel's axis counts, over its seeds."""

    label: str
    """`plain-56`."""
    depth: int
    metric: str
    x: tuple[float, ...]
    """Iterations; layers, parameters or multiply-adds in the panels that count these."""
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """The band: lowest and highest seed; from five seeds on the 95 % interval of the median, resampled over seeds."""
    n: int
    arm: str = ""
    """Empty for a curve of the paper."""
    paper: bool = False
    """Read off the paper's figure, not measured here."""
    partial: bool = False
    """No seed has finished: the points so far."""
    names: tuple[str, ...] = ()
    """Of each point, where the points are arms."""
    tags: tuple[str, ...] = ()
    """What is written beside each point: `56`."""
    colour: str = ""
    """Of a family of points; a curve has its depth's."""
    shown: bool = True
    """Whether it is drawn at first; the reader may always add it."""
    code: Stroke | None = None
    """How it is drawn; None: as in Figure 6, training dashed and test bold."""
    tag: str = ""
    """What is written beside its end; empty: the panel finds a name."""
    reach: str = ""
    """What low and high are, where they are something else than a band of medians."""

    @property
    def band(self) -> str:
        """What low and high are, in words; empty where there is no band."""
        if self.n < 2 or self.paper:
            return ""
        return self.reach or (RANGE if self.n < ENOUGH else "95 % bootstrap interval of the median")

    @property
    def stroke(self) -> Stroke:
        return self.code or ("dashed" if self.metric == "train_error" else "bold")


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Where the learning rate drops."""

    iteration: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What an axis counts."""

    title: str
    logarithmic: bool = False
    range: tuple[float, float] | None = None
    """As the paper's figure has it; None: what the lines need."""


ITERATIONS = Axis(title="iterations")
ERROR = Axis(title="error (%)")


@dataclass(frozen=True, kw_only=True)
class Panel:
    title: str
    lines: tuple[Line, ...]
    drops: tuple[Drop, ...] = ()
    x: Axis = ITERATIONS
    y: Axis = ERROR
    kind: Literal["curves", "points", "bars"] = "curves"
    """`points` are joined and have error bars; `bars` are a row for each line, named by it."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    id: str
    title: str
    caption: str
    """What is drawn, and in one sentence what it shows."""
    panels: tuple[Panel, ...]


def spread(values: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    """Median, low and high at each point, of (seeds, points) values.

    Resampled always alike, so that equal seeds have equal bands.
    """
    if not values or not values[0]:
        return [], [], []
    import numpy as np  # a chart in the terminal needs none of it

    of = np.asarray(values, dtype=np.float64)
    middle = np.median(of, axis=0)
    if len(of) < ENOUGH:
        return middle.tolist(), of.min(axis=0).tolist(), of.max(axis=0).tolist()
    lower, upper = _middle_ranks(len(of))
    ordered = np.sort(of, axis=0)
    low, high = np.quantile((ordered[lower] + ordered[upper]) / 2, [0.025, 0.975], axis=0)
    return middle.tolist(), low.tolist(), high.tolist()


@cache
def _middle_ranks(seeds: int) -> "tuple[ndarray, ndarray]":
    """Of each resample, the ranks among the seeds of the two values whose mean is its median.

    So no resample is ever made: a median needs the order of the seeds alone, which is found once for each point.
    """
    import numpy as np

    ranks = np.sort(np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds)), axis=1)
    return ranks[:, (seeds - 1) // 2], ranks[:, seeds // 2]


def _curves(runs: Sequence[Run], metric: str) -> list[dict[int, float]]:
    found = [run.curves[metric] for run in runs if metric in run.curves]
    return [dict(zip(curve.iterations, curve.values, strict=True)) for curve in found]


def band(label: str, depth: int, metric: str, curves: Sequence[Mapping[int, float]]) -> Line:
    """Median and band at the iterations that every curve has."""
    shared = sorted(set.intersection(*[set(curve) for curve in curves])) if curves else []
    middle, low, high = spread([[curve[iteration] for iteration in shared] for curve in curves])
    return Line(
        label=label,
        depth=depth,
        metric=metric,
        x=tuple(shared),
        median=tuple(middle),
        low=tuple(low),
        high=tuple(high),
        n=len(curves),
    )


def line(arm: MeasuredArm, metric: str) -> Line | None:
    """Over the finished runs; where none has finished, over those that committed something. None without a point."""
    started = [run for run in arm.runs if run.outcome is not Outcome.MISSING]
    partial = not arm.finished
    drawn = band(arm.label, arm.network.depth, metric, _curves(started if partial else arm.finished, metric))
    return replace(drawn, arm=arm.arm.name, partial=partial) if drawn.x else None


def _paper_line(each: PaperCurve) -> Line:
    label = f"plain-{each.depth}" if each.shortcut == "none" else f"ResNet-{each.depth}"
    values = tuple(each.curve.values)
    return Line(
        label=f"{label}, the paper's",
        depth=each.depth,
        metric=each.curve.metric,
        x=tuple(each.curve.iterations),
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


def lines_of(arms: Sequence[MeasuredArm]) -> tuple[Line, ...]:
    return tuple(drawn for arm in arms for metric in METRICS if (drawn := line(arm, metric)))


SO_FAR = "no seed has finished; what was recorded so far is drawn"
LISTED = 4
"""Arms that a note names; of more it gives the number."""


def notes_on(labels: Sequence[str], what: str) -> tuple[str, ...]:
    """That something holds of these arms: a note on each of a few, or one on all."""
    different = list(dict.fromkeys(labels))
    if len(different) > LISTED:
        return (f"{len(different)} arms: {what}.",)
    return tuple(f"{label}: {what}." for label in different)


def panel_of(
    title: str, arms: Sequence[MeasuredArm], quiet: Sequence[Line] = (), *, training: Stroke = "dashed"
) -> Panel:
    """Training and test error; training is drawn as `training` says."""
    mine = lines_of(arms)
    notes = notes_on([each.label for each in mine if each.partial], SO_FAR)
    lines = tuple(replace(each, code=training) if each.metric == "train_error" else each for each in (*quiet, *mine))
    return Panel(title=title, lines=lines, drops=drops(arms), notes=notes)


def with_lines(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """An empty panel shows nothing; what is missing is said in the tables."""
    return tuple(panel for panel in panels if panel.lines)


def _ending(arm: MeasuredArm) -> str | None:
    cell = measure(arm, Metric.LAST_TEST)
    return None if cell.mean is None else f"{arm.label} at {cell.mean:.1f} %"


def _ends(pool: Pool, shortcut: Shortcut) -> list[str]:
    """How the shallowest and the deepest network of this shortcut end."""
    mine = sorted((arm for arm in pool.arms if arm.network.shortcut == shortcut), key=lambda arm: arm.network.depth)
    return [end for arm in (*mine[:1], *mine[1:][-1:]) if (end := _ending(arm))]


NOT_FINISHED = "No trial has finished yet."


def finding(pool: Pool) -> str:
    """What the figure shows, in one sentence of numbers."""
    parts = [" and ".join(ends) for shortcut in pool.shortcuts if (ends := _ends(pool, shortcut))]
    return f"Final test error: {'; '.join(parts)}." if parts else NOT_FINISHED


def numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
