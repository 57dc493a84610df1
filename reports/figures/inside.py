"""What probes saw inside the networks: layer responses (Figure 7) and gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, isnan, nan

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.figures.lines import Axis, Figure, Line, Panel, Stroke, notes_on, numbered, spread
from reports.published import paper_responses

LAYERS = Axis(title="layer, from the input on")
RANKS = Axis(title="layer, by size of its response")
RESPONSE = Axis(title="standard deviation")
GRADIENT = Axis(title="gradient norm / weight norm", logarithmic=True)
FIGURE_7_DEPTHS: Mapping[Shortcut, tuple[int, ...]] = {"none": (20, 56), "A": (20, 56, 110)}
"""Those that the paper's figure has."""
NO_PROBE = "no probe was recorded; recipe.probe_at=[1] has one at the end"


def _looked(arm: MeasuredArm) -> Sequence[Run]:
    """Its finished runs; where none has finished, those that have begun."""
    return arm.finished or [run for run in arm.runs if run.outcome is not Outcome.MISSING]


def _seen(arm: MeasuredArm, name: str, place: int = -1) -> list[Sequence[float]]:
    """What the last probe of each run that has it saw, or the first: a value for each layer."""
    found = [[probe[name] for probe in run.probes if probe.get(name)] for run in _looked(arm)]
    return [each[place] for each in found if each]


def _line(arm: MeasuredArm, seen: Sequence[Sequence[float]], metric: str) -> Line | None:
    """Over runs, at the layers where every run has a finite number."""
    layers = [place for place in range(min(map(len, seen), default=0)) if all(isfinite(each[place]) for each in seen)]
    if not layers:
        return None
    middle, low, high = spread([[each[place] for place in layers] for each in seen])
    return Line(
        label=arm.label,
        depth=arm.network.depth,
        metric=metric,
        x=tuple(place + 1 for place in layers),
        median=tuple(middle),
        low=tuple(low),
        high=tuple(high),
        n=len(seen),
        arm=arm.arm.name,
        partial=not arm.finished,
    )


def _unprobed(arms: Sequence[MeasuredArm]) -> tuple[str, ...]:
    """Arms whose runs have not looked inside."""
    return notes_on(
        [arm.label for arm in arms if _looked(arm) and not any(run.probes for run in _looked(arm))], NO_PROBE
    )


# Figure 7


def _responses(arm: MeasuredArm, *, sort: bool) -> Line | None:
    seen = _seen(arm, "response")
    drawn = _line(arm, [sorted(each, reverse=True) if sort else each for each in seen], "response")
    return replace(drawn, code=_code(arm.network.shortcut), tag=drawn.label.removesuffix(" A")) if drawn else None


def _code(shortcut: Shortcut) -> Stroke:
    return "dashed" if shortcut == "none" else "solid"


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
            code=_code(each.shortcut),
        )
        for each in paper_responses()
        if (each.shortcut, each.depth) in ours
    ]


def _figure_7_of(pool: Pool, number: int) -> Figure:
    wanted = [arm for arm in pool.arms if arm.network.shortcut in ("none", "A")]
    paper_depths = [arm for arm in wanted if arm.network.depth in FIGURE_7_DEPTHS[arm.network.shortcut]]
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
        caption="Standard deviation of each layer's response in the last probe, after batch normalisation and before "
        f"ReLU and addition; dashed: plain networks. Means over the layers: {', '.join(means)}.",
        panels=panels if in_order else (),
    )


def figure_7_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Layer responses of plain and residual networks, in both orders of the paper."""
    wanted = [pool for pool in pools(arms) if {"none", "A"} & set(pool.shortcuts)]
    return tuple(_figure_7_of(pool, number) for number, pool in enumerate(wanted, start=1))


# Gradients


def _gradient_panel(pool: Pool, shortcut: Shortcut, place: int) -> Panel:
    arms = [arm for arm in pool.arms if arm.network.shortcut == shortcut]
    seen = [(arm, _seen(arm, "gradient", place)) for arm in arms]
    lines = [_line(arm, [[_or_nan(value) for value in each] for each in values], "gradient") for arm, values in seen]
    lost = [arm.label for arm, values in seen if any(isnan(_or_nan(value)) for each in values for value in each)]
    at = _looks(arms)
    where = f"iteration {at[place]:,}" if at else ""
    return Panel(
        title=f"{SHORTCUT_TITLES[shortcut]}, {where}",
        lines=tuple(line for line in lines if line),
        x=LAYERS,
        y=GRADIENT,
        notes=(*(_unprobed(arms) if place == -1 else ()), *notes_on(lost, NO_POINT)),
    )


NO_POINT = "layers whose gradient is zero or not finite have no point"


def _or_nan(value: float) -> float:
    """A logarithmic axis has no place for zero."""
    return value if value > 0 and isfinite(value) else nan


def _looks(arms: Sequence[MeasuredArm]) -> list[int]:
    return sorted({int(each["iteration"]) for arm in arms for run in _looked(arm) for each in run.probes})


def _gradients_of(pool: Pool, number: int) -> Figure:
    places = (0, -1) if len(_looks(pool.arms)) > 1 else (-1,)
    panels = [(place, _gradient_panel(pool, shortcut, place)) for shortcut in pool.shortcuts for place in places]
    deepest = [max(each.lines, key=lambda line: line.depth) for place, each in panels if each.lines and place == -1]
    ratios = [f"{each.label} {max(each.median) / min(each.median):,.3g}" for each in deepest]
    return Figure(
        id=numbered("gradients", number),
        title="Gradient norms by layer" if pool.paper else f"Gradient norms by layer, {pool.title}",
        caption="Norm of each layer's gradient over the norm of its weights, at the first probe and at the last. "
        f"Largest over smallest layer at the last: {', '.join(ratios)}.",
        panels=tuple(each for _, each in panels if each.lines),
    )


def gradients_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Relative gradient norm of each layer: whether gradients vanish or explode (sec. 4.1)."""
    return tuple(_gradients_of(pool, number) for number, pool in enumerate(pools(arms), start=1))
