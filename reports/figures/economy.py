"""What networks cost beside what they reach: time, throughput and energy of arms; error against size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from orchestrator.runs import Run
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import Metric, measure
from reports.figures.lines import Axis, Figure, Line, Panel, numbered
from reports.hardware import hardware_of
from reports.published import table_6

# Costs

COSTS: Mapping[str, tuple[str, Callable[[Run], float | None]]] = {
    "Training time": ("seconds of training a trial", lambda run: run.seconds or None),
    "Throughput": ("training images per second", lambda run: run.costs.get("images_per_second")),
    "Energy": ("kWh of the device a trial", lambda run: _kilowatt_hours(run)),
}
"""Panel, axis, and what a run tells."""
TIMES = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))
"""From how many seconds on time is counted in what."""


def _kilowatt_hours(run: Run) -> float | None:
    joules = run.costs.get("device_energy_joules")
    return None if joules is None else joules / 3.6e6


def _bar(label: str, arm: MeasuredArm, values: Sequence[float]) -> Line:
    return Line(
        label=label,
        depth=arm.network.depth,
        metric="cost",
        x=(1,),
        median=(median(values),),
        low=(min(values),),
        high=(max(values),),
        n=len(values),
        arm=arm.arm.name,
    )


def _cost_panel(arms: Sequence[MeasuredArm], title: str) -> Panel:
    axis, told = COSTS[title]
    machines = dict.fromkeys(hardware_of(run) for arm in arms for run in arm.finished)
    bars = []
    for machine in machines:
        for arm in arms:
            values = [value for run in arm.finished if hardware_of(run) == machine and (value := told(run)) is not None]
            name = _named(arm, arms)
            if values:
                bars.append(_bar(f"{name}, {machine}" if len(machines) > 1 else name, arm, values))
    several = len(machines) > 1
    note = f"On unlike hardware, which is not to be compared: {'; '.join(machines)}." if several else ""
    notes = (note,) if note else tuple(f"On {machine}." for machine in machines)
    if title == "Training time":
        axis, bars = _readable(axis, bars)
    return Panel(title=title, lines=tuple(bars), x=Axis(title=axis), y=Axis(title=""), kind="bars", notes=notes)


def _readable(axis: str, bars: Sequence[Line]) -> tuple[str, list[Line]]:
    """In minutes or hours, where seconds are many."""
    longest = max((bar.median[0] for bar in bars), default=0.0)
    for least, seconds, name in TIMES:
        if longest >= least:
            scaled = [
                replace(
                    bar,
                    median=(bar.median[0] / seconds,),
                    low=(bar.low[0] / seconds,),
                    high=(bar.high[0] / seconds,),
                )
                for bar in bars
            ]
            return axis.replace("seconds", name), scaled
    return axis, list(bars)


def _named(arm: MeasuredArm, arms: Sequence[MeasuredArm]) -> str:
    """Its label, where that tells it from the others."""
    return arm.label if sum(other.label == arm.label for other in arms) == 1 else arm.arm.name


def costs_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Training time, throughput and energy of every arm, over its seeds."""
    panels = tuple(panel for title in COSTS if (panel := _cost_panel(arms, title)).lines)
    caption = "Median over seeds; the line reaches from the lowest to the highest."
    if panels:
        ordered = sorted(panels[0].lines, key=lambda line: line.median[0])
        shortest, longest = ordered[0], ordered[-1]
        caption += f" A trial of {longest.label} takes {longest.median[0] / shortest.median[0]:,.1f} times as long as"
        caption += f" one of {shortest.label}."
    return (Figure(id="costs", title="What training costs", caption=caption, panels=panels),)


# Sizes

FAMILY_COLOURS: Mapping[str, str] = {"none": "vermilion", "A": "blue", "B": "green", "C": "purple"}
SIZES: Mapping[str, Callable[[MeasuredArm], int]] = {
    "parameters": lambda arm: arm.arm.parameters,
    "multiply-adds of one image": lambda arm: arm.arm.multiply_adds,
}


def _family(pool: Pool, shortcut: str, size: Callable[[MeasuredArm], int], metric: Metric) -> Line | None:
    found = [
        (size(arm), cell, arm.label)
        for arm in sorted(pool.arms, key=lambda arm: arm.network.depth)
        if arm.network.shortcut == shortcut and (cell := measure(arm, metric)).n
    ]
    if not found:
        return None
    means = [cell.mean or 0.0 for _, cell, _ in found]
    return Line(
        label=SHORTCUT_TITLES[shortcut],
        depth=0,
        metric="error",
        x=tuple(x for x, _, _ in found),
        median=tuple(means),
        low=tuple(cell.interval[0] if cell.interval else cell.mean or 0.0 for _, cell, _ in found),
        high=tuple(cell.interval[1] if cell.interval else cell.mean or 0.0 for _, cell, _ in found),
        n=max(cell.n for _, cell, _ in found),
        names=tuple(label for _, _, label in found),
        colour=FAMILY_COLOURS[shortcut],
    )


def _papers(pool: Pool, size: Callable[[MeasuredArm], int]) -> list[Line]:
    """Table 6, for those networks that this study has under the paper's recipe."""
    if not (pool.paper and pool.layout == "cifar"):
        return []
    rows = {row.layers: row for row in table_6() if not row.quoted}
    found = [
        (size(arm), rows[arm.network.depth].comparable, arm.label)
        for arm in sorted(pool.arms, key=lambda arm: arm.network.depth)
        if arm.network.shortcut == "A" and arm.network.depth in rows
    ]
    if not found:
        return []
    values = tuple(value for _, value, _ in found)
    return [
        Line(
            label="Table 6, the paper's",
            depth=0,
            metric="error",
            x=tuple(x for x, _, _ in found),
            median=values,
            low=values,
            high=values,
            n=1,
            paper=True,
            names=tuple(label for _, _, label in found),
        )
    ]


def _sizes_of(pool: Pool, number: int) -> Figure:
    metric = Metric.LAST_TEN_CROP if pool.layout == "imagenet" else Metric.LAST_TEST
    panels = []
    for title, size in SIZES.items():
        mine = [line for shortcut in pool.shortcuts if (line := _family(pool, shortcut, size, metric))]
        panel = Panel(
            title=f"{title[0].upper()}{title[1:]}",
            lines=(*_papers(pool, size), *mine),
            x=Axis(title=title, logarithmic=True),
            y=Axis(title="10-crop error (%)" if pool.layout == "imagenet" else "test error (%)"),
            kind="points",
        )
        panels += [panel] if mine else []
    best = [
        f"{line.names[place]} {line.median[place]:.2f} %"
        for line in (panels[0].lines if panels else ())
        if not line.paper
        for place in [min(range(len(line.median)), key=line.median.__getitem__)]
    ]
    return Figure(
        id=numbered("sizes", number),
        title="Error against size" if pool.paper else f"Error against size, {pool.title}",
        caption="Mean of the last iterates; the lines through the points are 95 % intervals over seeds. The lowest of "
        f"each family: {', '.join(best)}.",
        panels=tuple(panels),
    )


def sizes_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Error against parameters and against multiply-adds: what a network's size buys."""
    return tuple(_sizes_of(pool, number) for number, pool in enumerate(pools(arms), start=1))
