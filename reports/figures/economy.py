"""What networks cost beside what they reach: time, throughput and energy of arms; error against size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from models.spec import Shortcut
from orchestrator.ledger import replicas
from orchestrator.runs import Run
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import Metric, measure
from reports.figures.lines import RANGE, Axis, Figure, Line, Panel, notes_on, numbered
from reports.figures.paper import HIDDEN_ABOVE, hidden
from reports.hardware import hardware_of
from reports.published import table_3, table_6

# Costs

COSTS: Mapping[str, tuple[str, Callable[[Run], float | None]]] = {
    "Training time": ("seconds of training a trial", lambda run: run.seconds or None),
    "Throughput": ("training images per second", lambda run: run.costs.get("images_per_second")),
    "Device time": ("device-hours a trial", lambda run: _device_hours(run)),
    "Energy": ("kWh of the device a trial", lambda run: _scaled(run, "device_energy_joules", 3.6e6)),
    "Peak memory": ("GiB", lambda run: _scaled(run, "peak_memory_mib", 1024)),
}
"""Panel, axis, and what a run tells."""
TIMES = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))
"""From how many seconds on time is counted in what."""
MOST_ROWS = 40


def _scaled(run: Run, cost: str, by: float) -> float | None:
    told = run.costs.get(cost)
    return None if told is None else told / by


def _device_hours(run: Run) -> float | None:
    """Training time, times the devices that shared in it."""
    return run.seconds * max(map(replicas, run.attempts), default=1) / 3600 if run.seconds else None


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
        reach=RANGE,
    )


def _cost_panel(arms: Sequence[MeasuredArm], title: str) -> Panel:
    axis, told = COSTS[title]
    by_machine: dict[str, list[tuple[str, MeasuredArm, list[float]]]] = {}
    for arm in arms:
        values: dict[str, list[float]] = {}
        for run in arm.finished:
            if (value := told(run)) is not None:
                values.setdefault(hardware_of(run), []).append(value)
        for machine, found in values.items():
            by_machine.setdefault(machine, []).append((_named(arm, arms), arm, found))
    several = len(by_machine) > 1
    bars: list[Line] = []
    for machine, rows in by_machine.items():
        mine = [_bar(f"{name}, {machine}" if several else name, arm, found) for name, arm, found in rows]
        bars += sorted(mine, key=lambda bar: -bar.median[0])
    machines = "; ".join(by_machine)
    notes = [f"On unlike hardware, which is not to be compared: {machines}." if several else f"On {machines}."]
    if len(bars) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(bars)}, from the largest on.")
    bars = bars[:MOST_ROWS]
    if title == "Training time":
        axis, bars = _readable(axis, bars)
    return Panel(title=title, lines=tuple(bars), x=Axis(title=axis), y=Axis(title=""), kind="bars", notes=tuple(notes))


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


def _longest_beside_shortest(arms: Sequence[MeasuredArm]) -> str:
    """In a sentence, of the arms that ran on what most of them ran on; of one arm nothing is said."""
    kinds: dict[str, list[tuple[float, str]]] = {}
    for arm in arms:
        machines = {hardware_of(run) for run in arm.finished}
        times = [run.seconds for run in arm.finished if run.seconds]
        if len(machines) == 1 and times:
            kinds.setdefault(machines.pop(), []).append((median(times), _named(arm, arms)))
    alike = max(kinds.values(), key=len, default=[])
    if len(alike) < 2:
        return ""
    (short, quick), (long, slow) = min(alike), max(alike)
    return f" A trial of {slow} takes {long / short:,.3g} times as long as one of {quick}."


def costs_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """What a trial of every arm took, over its seeds: machine by machine, from the largest on."""
    panels = tuple(panel for title in COSTS if (panel := _cost_panel(arms, title)).lines)
    several = any(line.n > 1 for panel in panels for line in panel.lines)
    caption = "Median over seeds" + ("; the line reaches from the lowest to the highest." if several else ".")
    caption += _longest_beside_shortest(arms)
    return (Figure(id="costs", title="What training costs", caption=caption, panels=panels),)


# Sizes

FAMILY_COLOURS: Mapping[str, str] = {"none": "vermilion", "A": "blue", "B": "green", "C": "purple"}
Size = Callable[[MeasuredArm], int]
SIZES: Mapping[str, Size] = {
    "parameters": lambda arm: arm.arm.parameters,
    "multiply-adds of one image": lambda arm: arm.arm.multiply_adds,
}


def _protocol(pool: Pool) -> Metric:
    """Ten crops where they were measured, so that Table 3 may stand beside; else the last test error."""
    ten = any(measure(arm, Metric.LAST_TEN_CROP).n for arm in pool.arms)
    return Metric.LAST_TEN_CROP if pool.layout == "imagenet" and ten else Metric.LAST_TEST


def _family(arms: Sequence[MeasuredArm], shortcut: Shortcut, size: Size, metric: Metric) -> Line | None:
    """From the shallowest on."""
    cells = [(arm, measure(arm, metric)) for arm in arms if arm.network.shortcut == shortcut]
    found = [(arm, cell, cell.mean) for arm, cell in cells if cell.mean is not None]
    if not found:
        return None
    reach = [cell.interval or (mean, mean) for _, cell, mean in found]
    return Line(
        label=SHORTCUT_TITLES[shortcut],
        depth=0,
        metric="error",
        x=tuple(size(arm) for arm, _, _ in found),
        median=tuple(mean for _, _, mean in found),
        low=tuple(low for low, _ in reach),
        high=tuple(high for _, high in reach),
        n=max(cell.n for _, cell, _ in found),
        names=tuple(arm.label for arm, _, _ in found),
        tags=tuple(str(arm.network.depth) for arm, _, _ in found),
        tag="plain" if shortcut == "none" else f"ResNet {shortcut}",
        colour=FAMILY_COLOURS[shortcut],
        reach="95 % interval of the mean",
    )


def _printed(pool: Pool, metric: Metric) -> tuple[str, Mapping[tuple[Shortcut, int], float]]:
    """What the paper prints of the same by the same protocol, and where."""
    if not pool.paper:
        return "", {}
    if pool.layout == "cifar":
        return "Table 6", {("A", row.layers): row.comparable for row in table_6() if row.layers and not row.quoted}
    if metric is not Metric.LAST_TEN_CROP:
        return "", {}
    return "Table 3", {(row.shortcut, row.depth): float(row.top1) for row in table_3() if row.shortcut and row.depth}


def _papers(arms: Sequence[MeasuredArm], pool: Pool, size: Size, metric: Metric) -> list[Line]:
    """The paper's errors, family by family, for those networks that this study has under the paper's recipe."""
    table, printed = _printed(pool, metric)
    lines = []
    for shortcut in pool.shortcuts:
        mine = [arm for arm in arms if arm.network.shortcut == shortcut and (shortcut, arm.network.depth) in printed]
        if mine:
            values = tuple(printed[shortcut, arm.network.depth] for arm in mine)
            lines.append(
                Line(
                    label=f"{table}, the paper's",
                    depth=0,
                    metric="error",
                    x=tuple(size(arm) for arm in mine),
                    median=values,
                    low=values,
                    high=values,
                    n=1,
                    paper=True,
                    names=tuple(arm.label for arm in mine),
                )
            )
    return lines


def _size_panel(pool: Pool, title: str, metric: Metric) -> Panel:
    size = SIZES[title]
    arms = sorted((arm for arm in pool.arms if not hidden(arm)), key=lambda arm: arm.network.depth)
    mine = [line for shortcut in pool.shortcuts if (line := _family(arms, shortcut, size, metric))]
    gone = [arm.label for arm in pool.arms if hidden(arm)]
    return Panel(
        title=f"{title[0].upper()}{title[1:]}",
        lines=(*_papers(arms, pool, size, metric), *mine) if mine else (),
        x=Axis(title=title, logarithmic=True),
        y=Axis(title="10-crop error (%)" if metric is Metric.LAST_TEN_CROP else "test error (%)"),
        kind="points",
        notes=notes_on(gone, f"ends above {HIDDEN_ABOVE:.0f} % and is not displayed"),
    )


def _sizes_of(pool: Pool, number: int) -> Figure:
    panels = [panel for title in SIZES if (panel := _size_panel(pool, title, _protocol(pool))).lines]
    lines = [line for panel in panels[:1] for line in panel.lines if not line.paper]
    lowest = [(line, min(range(len(line.median)), key=line.median.__getitem__)) for line in lines]
    best = [f"{line.names[at]} {line.median[at]:.2f} %" for line, at in lowest]
    several = any(line.n > 1 for line in lines)
    return Figure(
        id=numbered("sizes", number),
        title="Error against size" if pool.paper else f"Error against size, {pool.title}",
        caption=f"Mean of the last iterates{'; bars are 95 % intervals over seeds' if several else ''}. The lowest of "
        f"each family: {', '.join(best)}.",
        panels=tuple(panels),
    )


def sizes_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """Error against parameters and against multiply-adds: what a network's size buys."""
    return tuple(_sizes_of(pool, number) for number, pool in enumerate(pools(arms), start=1))
