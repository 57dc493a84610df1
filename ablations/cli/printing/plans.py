"""A plan as `plan` prints it: its table, what it comes down to, its Gantt chart, and the same as facts."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.text import Text

from ablations.cli.printing.tables import coloured, count, duration, folding_table, many, print_blocked, print_table
from orchestrator.planning.cost import Origin
from orchestrator.planning.packing import Packed
from orchestrator.planning.plan import PlannedTrial
from orchestrator.trial import State

MARKS: Mapping[Origin, str] = {Origin.MEASURED: "", Origin.SCALED: "~", Origin.GUESSED: "?"}
"""Before an expected time, where it comes from."""
ORIGINS: Mapping[Origin, str] = {
    Origin.MEASURED: "measured here",
    Origin.SCALED: "~ scaled from others",
    Origin.GUESSED: "? guessed",
}
CHART_COLOURS = ("blue", "red", "green", "magenta", "yellow", "cyan")


def planned_facts(each: PlannedTrial) -> dict[str, Any]:
    """One trial of `plan --json`."""
    trial = each.trial
    return {
        "name": trial.name,
        "key": trial.key,
        "arm": trial.arm,
        "seed": trial.seed,
        "state": each.state,
        "iteration": each.iteration,
        "iterations": trial.iterations,
        "parameters": trial.parameters,
        "multiply_adds": trial.multiply_adds,
        "expected_seconds": round(each.expected_seconds, 1),
        "expected_from": each.origin,
        "resources": {
            "cpus": trial.resources.cpus, "gpus": trial.resources.gpus, "replicas": trial.resources.replicas
        },
        "reason": each.reason,
        "after": trial.after,
    }  # fmt: skip


def packed_facts(plan: Packed) -> dict[str, Any]:
    """What `plan --json` says of the whole."""
    found, written, levers = plan.simulation, plan.written, plan.levers
    names = {each.trial.key: each.trial.name for each in plan.trials}
    return {
        "hardware": plan.hardware or None,
        "nodes": [{"name": node.host, "cpus": node.cpus, "gpus": node.gpus} for node in plan.nodes],
        "expected_seconds": round(found.makespan, 1),
        "bound_seconds": round(plan.bound_seconds, 1),
        "utilisation": round(found.utilisation, 4),
        "occupied_hours": round(found.occupied_seconds / 3600, 4),
        "written_order": {
            "expected_seconds": round(written.makespan, 1),
            "occupied_hours": round(written.occupied_seconds / 3600, 4),
        },
        "levers": [{"what": each.what, "expected_seconds": round(each.seconds, 1)} for each in levers],
        "unplaced": [trial.name for trial in found.unplaced],
        "spans": [
            {
                "name": names[each.key], "node": each.node, "devices": list(each.devices),
                "gpus": each.resources.gpus, "start": round(each.started, 1), "end": round(each.expected_end, 1),
            }
            for each in found.spans
        ],
    }  # fmt: skip


def print_plan(study: str, plan: Packed, console: Console) -> None:
    """The arms in the order in which their first trial would start, what each trial gets, and what the whole costs."""
    table = folding_table(study, "arm", "trials|", "state", "mult-adds|", "each|", "gets")
    arms: dict[str, list[PlannedTrial]] = {}
    for each in plan.trials:
        arms.setdefault(each.trial.arm, []).append(each)
    simulated = {each.trial.key for each in plan.simulated}
    for arm, members in arms.items():
        states = {state: sum(each.state is state for each in members) for state in State}
        longest = max(members, key=lambda each: each.expected_seconds)
        gets = dict.fromkeys(each.trial.resources.words for each in members if each.trial.key in simulated)
        table.add_row(
            arm,
            str(len(members)),
            ", ".join(f"{number} {coloured(state)}" for state, number in states.items() if number),
            count(members[0].trial.multiply_adds),
            MARKS[longest.origin] + duration(longest.expected_seconds) if longest.expected_seconds else "-",
            ", ".join(gets),
        )
    print_table(table, console)
    print_blocked((each.reason for each in plan.trials), console)
    for name, value in plan_lines(plan):
        console.print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)


def plan_lines(plan: Packed) -> list[tuple[str, str]]:
    """What a plan comes down to: names with values, in words."""
    found, runs = plan.simulation, plan.simulated
    lines = [("plan", f"{len(plan.trials)} trials, {len(plan.open)} to run")]
    if len(runs) > len(plan.open):
        lines.append(("simulated", f"{len(runs)} trials, as if the blocked ones could run"))
    if found.unplaced:
        first = found.unplaced[0]
        lines.append(("fit no node", f"{len(found.unplaced)} trials, as {first.name} with {first.resources.words}"))
    if not found.spans:
        return lines
    unit = "GPU" if any(each.resources.gpus for each in found.spans) else "core"
    places = sum(node.gpus if unit == "GPU" else node.cpus for node in plan.nodes)
    origins = [one.origin for one in runs]
    told = ", ".join(f"{origins.count(origin)} {word}" for origin, word in ORIGINS.items() if origin in origins)
    bound, written = plan.bound_seconds, plan.written.makespan
    each = ", ".join(dict.fromkeys(span.resources.words for span in plan.written.spans))
    lines += [
        ("expected times", told + (f", on {plan.hardware}" if plan.hardware else "")),
        (
            "work",
            f"{found.occupied_seconds / 3600:,.2f} {unit}-hours on {many(places, unit)}"
            f" of {many(len(plan.nodes), 'node')}, of which {100 * found.utilisation:.0f} % are in use",
        ),
        (
            "time",
            f"{duration(found.makespan)}, {found.makespan / bound:.2f} times the lower bound of {duration(bound)}",
        ),
        ("in written order", f"{duration(written)}, {each} each, {written / bound:.2f} times that bound"),
    ]
    if plan.levers:
        lever = plan.levers[0]
        lines.append(("biggest lever", f"{lever.what}: {duration(found.makespan)} -> {duration(lever.seconds)}"))
    return lines


def print_gantt(
    lines: Sequence[tuple[str, Sequence[tuple[str, int]]]], legend: Sequence[str], seconds: float, console: Console
) -> None:
    """A row for each place: its label, and for each moment a mark and the number of its colour."""
    for label, marks in lines:
        line = Text(f"{label} ")
        for mark, colour in marks:
            line.append(mark, style=CHART_COLOURS[colour % len(CHART_COLOURS)])
        console.print(line, no_wrap=True, overflow="crop", highlight=False)
    for label, marks in lines[:1]:
        console.print(f"{' ' * len(label)} 0{duration(seconds).rjust(len(marks) - 1)}", highlight=False, no_wrap=True)
    console.print(Columns(legend, padding=(0, 2)), highlight=False)
