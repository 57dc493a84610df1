"""One trial, as `show` prints it, and as facts."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablations.cli.printing.tables import coloured, folding_table, print_table
from orchestrator.runs import Outcome, Run

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
        print_table(_probe_table(probes), console)
    decoded = ["loader"] if any("loader" in attempt for attempt in run.attempts) else []
    table = folding_table(
        "attempts", "attempt|", "started (UTC)", "from|", "ended", "host", "commit", "kernels", "activations", *decoded
    )
    for number, attempt in enumerate(run.attempts, 1):
        commit = str(attempt.get("commit") or "unknown")[:12] + ("+changes" if attempt.get("dirty") else "")
        how = attempt.get("cause", "killed" if run.key not in alive or number < len(run.attempts) else "at work")
        table.add_row(
            str(number), attempt.get("started", "")[:19].replace("T", " "), str(attempt.get("from_iteration", "")), how,
            attempt.get("host", ""), commit, escape(attempt.get("kernels", "")), attempt.get("activations", ""),
            *(escape(attempt.get(name, "")) for name in decoded),
        )  # fmt: skip
    print_table(table, console)
    if run.mlflow_run:
        console.print(f"MLflow run {run.mlflow_run}", highlight=False, soft_wrap=True)
    console.print(f"ledger: {escape(folder)}", highlight=False, soft_wrap=True)


def _probe_table(probes: Sequence[Mapping[str, float]]) -> Table:
    """A row for each probe; a network without residual blocks has no std(F)/std(x), an initial one no response."""
    table = folding_table("probes", *PROBE_COLUMNS.values())
    for each in probes:
        rest = (f"{each[name]:.3g}" if name in each else "" for name in PROBE_COLUMNS if name != "iteration")
        table.add_row(f"{each['iteration']:,}", *rest)
    return table
