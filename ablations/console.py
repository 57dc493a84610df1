"""What the command line prints: plans, standings, runs. Facts come in as values; nothing is computed here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.findings import Finding
from orchestrator.plan import Plan, PlannedTrial
from orchestrator.runs import Outcome, Run
from orchestrator.studies import RecordedStudy
from orchestrator.trial import State
from orchestrator.watch import spoken

MOST_NARROW = 24
"""Characters of a name on one line, however narrow the terminal."""
COLOURS = {
    "done": "green",
    "finished": "green",
    "holds": "green",
    "fails": "red",
    "failed": "red",
    "partial": "yellow",
    "running": "yellow",
    "diverged": "magenta",
    "blocked": "bright_black",
    "missing": "bright_black",
    "undecided": "yellow",
    "ok": "green",
    "warn": "yellow",
    "bad": "red",
}


def _table(title: str, *columns: str) -> Table:
    """A table in which names fold where a terminal is narrow, and numbers, which `|` marks, are never cut."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        if column.endswith("|"):
            table.add_column(column[:-1].replace(" ", "\n"), justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold", min_width=MOST_NARROW if column is columns[0] else None)
    return table


def coloured(word: str) -> str:
    return f"[{COLOURS[word]}]{word}[/]" if word in COLOURS else word


def count(number: float) -> str:
    """`1.73 M`: parameters and multiply-adds as tables print them."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


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
        "resources": {"cpus": trial.resources.cpus, "gpus": trial.resources.gpus},
        "reason": each.reason,
        "after": trial.after,
    }


def print_plan(study: str, plan: Plan, slots: int, console: Console) -> None:
    """The arms in the order in which their first trial would start, and what the whole costs."""
    table = _table(study, "arm", "trials|", "state", "params|", "mult-adds|", "each|")
    arms: dict[str, list[PlannedTrial]] = {}
    for each in plan.trials:
        arms.setdefault(each.trial.arm, []).append(each)
    for arm, members in arms.items():
        first = members[0].trial
        states = {state: sum(each.state is state for each in members) for state in State}
        table.add_row(
            arm,
            str(len(members)),
            ", ".join(f"{number} {coloured(state)}" for state, number in states.items() if number),
            count(first.parameters),
            count(first.multiply_adds),
            spoken(max(each.expected_seconds for each in members)),
        )
    console.print(table)
    _print_blocked((each.reason for each in plan.trials), console)
    console.print(
        f"{len(plan.trials)} trials, {len(plan.open)} to run: {spoken(plan.work_seconds)} of work,"
        f" {spoken(plan.wall_seconds(slots))} with {slots} at a time, longest expected first",
        highlight=False,
        soft_wrap=True,
    )


def print_status(study: RecordedStudy, runs: Sequence[Run], alive: set[str], console: Console) -> None:
    """Failures first, then the grid by arm."""
    for run in runs:
        if run.outcome is Outcome.FAILED:
            console.print(f"[red]failed[/] {run.name}: {escape(str(run.reason))}", highlight=False, soft_wrap=True)
        for note in run.notes:
            console.print(f"[yellow]note[/] {run.name}: {escape(note)}", highlight=False, soft_wrap=True)
    table = _table(study.name, "arm", "trials|", "outcome", "iterations|", "seconds|")
    for arm in study.arms:
        members = [run for run in runs if run.arm == arm.name]
        table.add_row(
            arm.name,
            str(len(members)),
            coloured("blocked") if arm.blocked else _outcomes(members, alive),
            f"{sum(run.iteration for run in members):,} of {sum(run.iterations for run in members):,}",
            f"{sum(run.seconds for run in members):,.0f}",
        )
    console.print(table)
    _print_blocked((arm.blocked for arm in study.arms), console)


def _print_blocked(reasons: Iterable[str | None], console: Console) -> None:
    for reason in sorted({each for each in reasons if each}):
        console.print(f"blocked: {escape(reason)}", highlight=False, soft_wrap=True)


def _outcomes(runs: Sequence[Run], alive: set[str]) -> str:
    words = [standing(run, alive) for run in runs]
    return "\n".join(f"{words.count(word)} {coloured(word)}" for word in dict.fromkeys(words))


def standing(run: Run, alive: set[str]) -> str:
    """An outcome in a word; `partial` where the end was not reached and no attempt is at work."""
    return "partial" if run.outcome is Outcome.RUNNING and run.key not in alive else str(run.outcome)


def run_facts(run: Run, alive: set[str]) -> dict[str, Any]:
    """One trial of `status --json`."""
    return {
        "name": run.name,
        "key": run.key,
        "arm": run.arm,
        "seed": run.seed,
        "outcome": standing(run, alive),
        "iteration": run.iteration,
        "iterations": run.iterations,
        "seconds": run.seconds,
        "costs": dict(run.costs),
        "attempts": len(run.attempts),
        "result": dict(run.result),
        "reason": run.reason,
        "mlflow_run": run.mlflow_run,
        "notes": list(run.notes),
    }


COSTS = {"images_per_second": "{:,.1f} images/s", "peak_memory_mib": "peak memory {:,.1f} MiB",
         "device_energy_joules": "{:,.1f} J used by the device"}  # fmt: skip
PROBE_COLUMNS = {
    "iteration": "iteration|",
    "gradient_first_over_last": "gradient first / last|",
    "gradient_max_over_min": "max/min|",
    "norm_variance_min": "smallest variance BN|",
    "activation_variance_min": "smallest variance input|",
    "response_mean": "mean response|",
    "residual_over_input_median": "median std(F) / std(x)|",
}
"""Headings over what a probe comes down to, in words short enough for 80 columns."""


def print_run(
    run: Run,
    params: Mapping[str, Any],
    probes: Sequence[Mapping[str, float]],
    folder: str,
    alive: set[str],
    console: Console,
) -> None:
    """Everything that is known of one trial; of its probes, what each comes down to."""
    console.print(
        f"[bold]{run.name}[/]  key {run.key}  {coloured(standing(run, alive))}", highlight=False, soft_wrap=True
    )
    console.print(
        f"iteration {run.iteration:,} of {run.iterations:,}, {run.seconds:,.1f} s of training",
        highlight=False,
        soft_wrap=True,
    )
    if run.costs:
        told = [text.format(run.costs[name]) for name, text in COSTS.items() if name in run.costs]
        console.print(", ".join(told), highlight=False, soft_wrap=True)
    if run.reason:
        console.print(f"[red]{escape(run.reason)}[/]", highlight=False, soft_wrap=True)
    for note in run.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False, soft_wrap=True)
    for title, values in (("result", run.result), *((name, params[name]) for name in ("network", "recipe", "data"))):
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in values.items():
            table.add_row(name, escape(str(value)))
        console.print(table)
    if probes:
        console.print(_probe_table(probes))
    table = _table(
        "attempts", "attempt|", "started (UTC)", "from|", "ended", "host", "commit", "kernels", "activations"
    )
    for number, attempt in enumerate(run.attempts, 1):
        commit = str(attempt.get("commit") or "unknown")[:12] + ("+changes" if attempt.get("dirty") else "")
        how = attempt.get("cause", "killed" if run.key not in alive or number < len(run.attempts) else "at work")
        table.add_row(
            str(number), attempt.get("started", "")[:19].replace("T", " "), str(attempt.get("from_iteration", "")), how,
            attempt.get("host", ""), commit, escape(attempt.get("kernels", "")), attempt.get("activations", ""),
        )  # fmt: skip
    console.print(table)
    if run.mlflow_run:
        console.print(f"MLflow run {run.mlflow_run}", highlight=False, soft_wrap=True)
    console.print(f"ledger: {escape(folder)}", highlight=False, soft_wrap=True)


def _probe_table(probes: Sequence[Mapping[str, float]]) -> Table:
    """A row for each probe; a network without residual blocks has no std(F)/std(x), an initial one no response."""
    table = _table("probes", *PROBE_COLUMNS.values())
    for each in probes:
        rest = (f"{each[name]:.3g}" if name in each else "" for name in PROBE_COLUMNS if name != "iteration")
        table.add_row(f"{each['iteration']:,}", *rest)
    return table


def print_verdicts(verdicts: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Each claim with its verdict, and the numbers or the reason under it."""
    for each in verdicts:
        console.print(
            f"{coloured(each['verdict'])} [bold]{each['id']}[/] {escape(each['text'])}", highlight=False, soft_wrap=True
        )
        for line in (each["statistic"], each["reason"], each["measured"], *each["caveats"]):
            if line:
                console.print(f"    {line}", style="bright_black", highlight=False, markup=False, soft_wrap=True)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Each on one line, with what to do about it."""
    for each in findings:
        level = coloured(each.level) + " " * (4 - len(each.level))
        console.print(f"{level}  {escape(each.line)}", highlight=False, soft_wrap=True)
