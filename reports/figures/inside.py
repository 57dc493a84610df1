"""What probes saw inside the networks: layer responses (Figure 7) and gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.runs import Run
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.figures.lines import Axis, Figure, Line, Panel, numbered, spread
from reports.published import paper_responses

LAYERS = Axis(title="layer, from the input on")
RANKS = Axis(title="layer, by size of its response")
RESPONSE = Axis(title="standard deviation")
GRADIENT = Axis(title="gradient norm / weight norm", logarithmic=True)
FIGURE_7_DEPTHS = (20, 56, 110)


def _last(run: Run, name: str) -> Sequence[float] | None:
    """What the last probe that has it saw, a value for each layer."""
    return next((each[name] for each in reversed(run.probes) if each.get(name)), None)


def _first(run: Run, name: str) -> Sequence[float] | None:
    return next((each[name] for each in run.probes if each.get(name)), None)


def _line(arm: MeasuredArm, seen: Sequence[Sequence[float]], metric: str) -> Line | None:
    if not seen:
        return None
    middle, low, high = spread(seen)
    return Line(
        label=arm.label,
        depth=arm.network.depth,
        metric=metric,
        x=tuple(range(1, len(middle) + 1)),
        median=tuple(middle),
        low=tuple(low),
        high=tuple(high),
        n=len(seen),
        arm=arm.arm.name,
    )


def _unprobed(arms: Sequence[MeasuredArm]) -> tuple[str, ...]:
    """Arms whose finished runs have not looked inside."""
    silent = [arm.label for arm in arms if arm.finished and not any(run.probes for run in arm.finished)]
    return (f"Without a probe: {', '.join(silent)}; recipe.probe_at=[1] has one at the end.",) if silent else ()


# Figure 7


def _responses(arm: MeasuredArm, *, sort: bool) -> Line | None:
    seen = [values for run in arm.finished if (values := _last(run, "response"))]
    drawn = _line(arm, [sorted(each, reverse=True) if sort else each for each in seen], "response")
    dashed = arm.network.shortcut == "none"
    return replace(drawn, metric="train_error" if dashed else "response") if drawn else None


def _quiet(arms: Sequence[MeasuredArm]) -> list[Line]:
    """The paper's, for those arms that are the paper's."""
    ours = {(arm.network.shortcut, arm.network.depth) for arm in arms if arm.paper}
    return [
        Line(
            label=f"{'plain' if each.shortcut == 'none' else 'ResNet'}-{each.depth}, the paper's",
            depth=each.depth,
            metric="response",
            x=tuple(range(1, len(each.values) + 1)),
            median=each.values,
            low=each.values,
            high=each.values,
            n=1,
            paper=True,
        )
        for each in paper_responses()
        if (each.shortcut, each.depth) in ours
    ]


def _figure_7_of(pool: Pool, number: int) -> Figure:
    wanted = [arm for arm in pool.arms if arm.network.shortcut in ("none", "A")]
    paper_depths = [arm for arm in wanted if arm.network.depth in FIGURE_7_DEPTHS]
    arms = paper_depths or wanted
    in_order = [drawn for arm in arms if (drawn := _responses(arm, sort=False))]
    by_size = [drawn for arm in arms if (drawn := _responses(arm, sort=True))]
    panels = (
        Panel(title="In the order of the layers", lines=tuple(in_order), x=LAYERS, y=RESPONSE, notes=_unprobed(arms)),
        Panel(title="Sorted by size", lines=(*_quiet(arms), *by_size), x=RANKS, y=RESPONSE),
    )
    means = [f"{each.label} {sum(each.median) / len(each.median):.2f}" for each in in_order]
    return Figure(
        id=numbered("figure-7", number),
        title="Figure 7" if pool.paper else f"The panels of Figure 7, {pool.title}",
        caption="Standard deviation of each 3×3 layer's response, after batch normalisation and before ReLU and "
        f"addition; dashed: plain networks. Means over the layers: {', '.join(means)}.",
        panels=panels if in_order else (),
    )


def figure_7_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Layer responses of plain and residual networks, in both orders of the paper."""
    wanted = [pool for pool in pools(arms) if {"none", "A"} & set(pool.shortcuts)]
    return tuple(_figure_7_of(pool, number) for number, pool in enumerate(wanted, start=1))


# Gradients


def _gradient_panel(pool: Pool, shortcut: Any, when: str) -> Panel:
    arms = [arm for arm in pool.arms if arm.network.shortcut == shortcut]
    pick = {"first": _first, "last": _last}[when]
    lines = [
        _line(arm, [values for run in arm.finished if (values := pick(run, "gradient"))], "gradient") for arm in arms
    ]
    at = _looks(arms)
    place = f"iteration {at[0 if when == 'first' else -1]:,}" if at else f"the {when} probe"
    return Panel(
        title=f"{SHORTCUT_TITLES[shortcut]}, {place}",
        lines=tuple(line for line in lines if line and all(value > 0 for value in line.low)),
        x=LAYERS,
        y=GRADIENT,
        notes=_unprobed(arms) if when == "last" else (),
    )


def _looks(arms: Sequence[MeasuredArm]) -> list[int]:
    return sorted({int(each["iteration"]) for arm in arms for run in arm.finished for each in run.probes})


def _gradients_of(pool: Pool, number: int) -> Figure:
    panels = [_gradient_panel(pool, shortcut, when) for shortcut in pool.shortcuts for when in ("first", "last")]
    drawn = tuple(panel for panel in panels if panel.lines)
    worst = _widest(line for panel in drawn for line in panel.lines)
    return Figure(
        id=numbered("gradients", number),
        title="Gradient norms by layer" if pool.paper else f"Gradient norms by layer, {pool.title}",
        caption="Norm of each layer's gradient over the norm of its weights, at the first probe and at the last. "
        f"Largest over smallest layer: {worst}.",
        panels=drawn,
    )


def _widest(lines: Any) -> str:
    found: Mapping[str, float] = {}
    for each in lines:
        ratio = max(each.median) / min(each.median)
        found = {**found, each.label: max(found.get(each.label, 0.0), ratio)}
    return ", ".join(f"{label} {ratio:,.3g}" for label, ratio in found.items())


def gradients_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Relative gradient norm of each layer: whether gradients vanish or explode (sec. 4.1)."""
    return tuple(_gradients_of(pool, number) for number, pool in enumerate(pools(arms), start=1))
