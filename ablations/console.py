"""What the command line prints: plans, standings, runs. Facts come in as values; nothing is computed here."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.cost import Origin
from orchestrator.ledger import Ledger
from orchestrator.packing import Packed
from orchestrator.plan import PlannedTrial
from orchestrator.queue import Standing
from orchestrator.runs import Outcome, Run
from orchestrator.status import STANDINGS, StudyStatus, TrialStatus, cost_hours, ends_in, share
from orchestrator.steering import Answer
from orchestrator.studies import RecordedStudy
from orchestrator.trial import State
from orchestrator.watch import spoken

MOST_NARROW = 24
"""Characters of a name on one line, however narrow the terminal."""
MOST_LINES = 8
"""Of trials that run."""
MOST_NAMES = 5
"""In one line."""
COLOURS = {
    "done": "green",
    "finished": "green",
    "holds": "green",
    "fails": "red",
    "failed": "red",
    "partial": "yellow",
    "running": "yellow",
    "starting": "yellow",
    "diverged": "magenta",
    "cancelled": "bright_black",
    "over budget": "bright_black",
    "waiting": "bright_black",
    "blocked": "bright_black",
    "missing": "bright_black",
    "undecided": "yellow",
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


MARKS: Mapping[Origin, str] = {Origin.MEASURED: "", Origin.SCALED: "~", Origin.GUESSED: "?"}
"""Before an expected time, where it comes from."""
ORIGINS: Mapping[Origin, str] = {
    Origin.MEASURED: "measured here",
    Origin.SCALED: "~ scaled from others",
    Origin.GUESSED: "? guessed",
}


def print_plan(study: str, plan: Packed, console: Console) -> None:
    """The arms in the order in which their first trial would start, what each trial gets, and what the whole costs."""
    table = _table(study, "arm", "trials|", "state", "mult-adds|", "each|", "gets")
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
    console.print(table)
    _print_blocked((each.reason for each in plan.trials), console)
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
    origins = [each.origin for each in runs]
    told = ", ".join(f"{origins.count(each)} {word}" for each, word in ORIGINS.items() if each in origins)
    bound, written = plan.bound_seconds, plan.written.makespan
    lines += [
        ("expected times", told + (f", on {plan.hardware}" if plan.hardware else "")),
        (
            "work",
            f"{found.occupied_seconds / 3600:,.2f} {unit}-hours on {_many(places, unit)}"
            f" of {_many(len(plan.nodes), 'node')}, of which {100 * found.utilisation:.0f} % are in use",
        ),
        (
            "time",
            f"{duration(found.makespan)}, {found.makespan / bound:.2f} times the lower bound of {duration(bound)}",
        ),
        ("in written order", f"{duration(written)}, one {unit} each, {written / bound:.2f} times that bound"),
    ]
    if plan.levers:
        lever = plan.levers[0]
        lines.append(("biggest lever", f"{lever.what}: {duration(found.makespan)} -> {duration(lever.seconds)}"))
    return lines


def _many(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """`4.2 s`, `35 min`, `10 h`, `12 d`: in few characters, for tables."""
    units = (("d", 86_400, 172_800), ("h", 3600, 5400), ("min", 60, 100), ("s", 1, 0))
    unit, size, _ = next(each for each in units if seconds >= each[2])
    number = seconds / size
    return f"{number:,.0f} {unit}" if number >= 9.95 else f"{number:.1f} {unit}"


CHART_COLOURS = ("blue", "red", "green", "magenta", "yellow", "cyan")


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


def print_status(status: StudyStatus, console: Console) -> None:
    """What went wrong first, then the grid by arm, then the run."""
    for line in (*_troubles(status), *_notes(status)):
        console.print(line, highlight=False, soft_wrap=True)
    study = status.study
    table = _table(study.name, "arm", "trials|", "outcome", "done|", "ETA|", "cost|")
    for arm in study.arms:
        members = status.of(arm)
        table.add_row(
            arm.name,
            str(len(members)),
            coloured("blocked") if arm.blocked else _standings(members),
            f"{share(members):.0%}",
            spoken(ends_in(members)),
            "\n".join(_cost(members)) or "-",
        )
    console.print(table)
    _print_blocked((arm.blocked for arm in study.arms), console)
    for line in (*_left_out(status), *_places(status), _driver(status), *_whole(status)):
        console.print(line, highlight=False, soft_wrap=True)


def _troubles(status: StudyStatus) -> Iterator[str]:
    for each in status.standing("failed"):
        yield f"[red]failed[/] {each.run.name}: {escape(str(each.reason))}"
    interrupted = [each for each in status.trials if each.killed or each.resumed]
    if interrupted:
        killed, resumed = sum(each.killed for each in interrupted), sum(each.resumed for each in interrupted)
        names = some(each.run.name for each in sorted(interrupted, key=lambda each: -each.killed))
        yield f"[yellow]interrupted[/] killed {killed}, resumed {resumed} from a commit: {names}"
    record = status.presence.record
    for why in record.set_aside if record else ():
        yield f"[yellow]set aside[/] {escape(why)}"


def _notes(status: StudyStatus) -> Iterator[str]:
    for each in status.trials:
        for note in each.run.notes:
            yield f"[yellow]note[/] {each.run.name}: {escape(note)}"


def _left_out(status: StudyStatus) -> Iterator[str]:
    again = "`ablate run` takes them up again"
    cancelled = status.standing("cancelled")
    for by in dict.fromkeys(each.reason for each in cancelled):
        names = some(each.run.name for each in cancelled if each.reason == by)
        yield f"cancelled by {escape(str(by))}: {names}; {again}"
    if over := status.standing("over budget"):
        yield f"left out by the budget: {some(each.run.name for each in over)}; {again}"


def _places(status: StudyStatus) -> Iterator[str]:
    """Where what runs is now."""
    running = [each for each in status.trials if each.standing in ("running", "starting")]
    for each in running[:MOST_LINES]:
        where = f" on {each.place.host} for {spoken(status.presence.now - each.place.started)}" if each.place else ""
        yield f"{each.standing} {each.run.name}{escape(where)}, {each.share:.0%} committed"
    if len(running) > MOST_LINES:
        yield f"and {len(running) - MOST_LINES} more run; --json has all"


def _driver(status: StudyStatus) -> str:
    """Who runs the study, or what became of the last run."""
    seen, record = status.presence, status.presence.record
    if seen.beginning:
        return f"a run begins or ends: {escape(str(seen.holder))}"
    if record is None:
        return "no run is at work"
    who = f"{escape(record.host)} (pid {record.pid})"
    if seen.silent:
        return f"[yellow]the driver on {who} has not been heard of for {spoken(seen.silence)}[/]"
    if seen.at_work:
        nodes = f", {len(record.nodes)} nodes" if len(record.nodes) > 1 else ""
        return f"run by {who} for {spoken(seen.now - record.started)}, {escape(record.cluster)}{nodes}"
    if record.ended is None:
        return f"[yellow]the driver on {who} ended without a word, {spoken(seen.silence)} ago[/]; `ablate run` goes on"
    return f"no run is at work; the last ended {spoken(seen.now - record.ended)} ago"


def _whole(status: StudyStatus) -> Iterator[str]:
    """How far the whole is, when it will end and on what assumption, and what it has cost."""
    record, done = status.presence.record, f"{share(status.trials):.0%} done"
    if status.presence.at_work:
        done += f"; ETA {spoken(ends_in(status.trials))} with {status.at_once} at a time as now, at the pace so far"
    yield done
    if not (committed := _cost(status.trials)):
        return
    spent = ""
    if record is not None and record.spent_seconds:
        which = "this run" if status.presence.at_work else "the last run"
        spent = f"; {which} spent {_hours(record.spent_seconds / 3600)}, with what it has not committed"
    yield f"cost so far: {' and '.join(committed)}{spent}"


def _standings(trials: Sequence[TrialStatus]) -> str:
    words = [each.standing for each in trials]
    return "\n".join(f"{words.count(word)} {coloured(word)}" for word in STANDINGS if word in words)


def _cost(trials: Iterable[TrialStatus]) -> list[str]:
    return [f"{_hours(hours)} {kind}-h" for kind, hours in cost_hours(trials).items()]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours >= 0.01 else "<0.01"


def some(names: Iterable[str]) -> str:
    """The first few of them."""
    found = list(names)
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return ", ".join(found[:MOST_NAMES]) + more


def status_facts(status: StudyStatus, runs: Sequence[Run]) -> dict[str, Any]:
    """`status --json`: what the terminal shows, and of each trial what was measured. `runs` have the numbers."""
    seen = status.presence
    return {
        "study": status.study.name,
        "at_work": seen.at_work,
        "holder": seen.holder,
        "silent_seconds": round(seen.silence, 1) if seen.record else None,
        "driver": asdict(seen.record) if seen.record else None,
        "share": round(share(status.trials), 4),
        "eta_seconds": _rounded(ends_in(status.trials)),
        "eta_assumes": {"trials_at_once": status.at_once, "pace": "as measured so far"},
        "cost_hours": cost_hours(status.trials),
        "arms": [
            {
                "arm": arm.name,
                "trials": len(arm.trials),
                "blocked": arm.blocked,
                "standings": Counter(each.standing for each in status.of(arm)),
                "share": round(share(status.of(arm)), 4),
                "eta_seconds": _rounded(ends_in(status.of(arm))),
                "cost_hours": cost_hours(status.of(arm)),
            }
            for arm in status.study.arms
        ],
        "trials": [
            run_facts(run, _alive(each)) | _steered(each) for each, run in zip(status.trials, runs, strict=True)
        ],
    }


def _alive(each: TrialStatus) -> set[str]:
    return {each.run.key} if each.standing == "running" else set()


def _steered(each: TrialStatus) -> dict[str, Any]:
    return {
        "standing": each.standing,
        "why": each.reason,
        "place": asdict(each.place) if each.place else None,
        "killed": each.killed,
        "resumed": each.resumed,
        "eta_seconds": _rounded(each.ends_in),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _print_blocked(reasons: Iterable[str | None], console: Console) -> None:
    for reason in sorted({each for each in reasons if each}):
        console.print(f"blocked: {escape(reason)}", highlight=False, soft_wrap=True)


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


def print_ending(standing: Standing, names: Mapping[str, str], console: Console) -> None:
    """What became of a run: what failed, in a line each, then the whole in one. `names` are those of the keys."""
    for key, reason in standing.failed.items():
        console.print(f"[red]failed[/] {names[key]}: {escape(reason)}", highlight=False, soft_wrap=True)
    for why in standing.set_aside.values():
        console.print(f"[yellow]set aside[/] {escape(why)}", highlight=False, soft_wrap=True)
    if standing.unaffordable:
        left = some(names[key] for key in standing.unaffordable)
        console.print(
            f"the budget was too small for {left}; with a larger one the same command takes them up",
            highlight=False,
            soft_wrap=True,
        )
    told = [f"{standing.submitted} submitted", f"{len(standing.done)} done", f"{len(standing.failed)} failed"]
    told += [f"{len(standing.cancelled)} cancelled"] if standing.cancelled else []
    told += [f"{len(standing.unaffordable)} left out by the budget"] if standing.unaffordable else []
    console.print(", ".join(told), highlight=False, soft_wrap=True)


def print_cancelled(study: RecordedStudy, told: Answer, ran: set[str], ledger: Ledger, console: Console) -> None:
    """What became of trials that were to stop; `ran` are the keys of those that ran then."""
    names = {key: f"{arm.name}.s{seed}" for arm in study.arms for seed, key in arm.trials}
    heads = {key: ledger.folder(key).head() for key in told.cancelled if key in ran}
    stopped = [f"{names[key]} at iteration {head.iteration:,}" if head else names[key] for key, head in heads.items()]
    waited = [names[key] for key in told.cancelled if key not in ran]
    parts = [f"{len(stopped)} committed and stopped ({some(stopped)})"] if stopped else []
    parts += [f"{len(waited)} will not begin ({some(waited)})"] if waited else []
    if told.stopping:
        parts.append(f"{len(told.stopping)} still stop ({some(names[key] for key in told.stopping)})")
    if not parts:
        console.print(
            f"nothing of it ran or waited any more: {len(told.others)} are done, failed or no part of the run"
        )
        return
    console.print(
        f"{'; '.join(parts)}; nothing is lost, `ablate run {study.name}` takes them up again",
        highlight=False,
        soft_wrap=True,
    )


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
