"""How a study gets on: `status`, the last lines of `run`, and what `cancel` did."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from ablations.cli.printing.tables import coloured, folding_table, print_blocked, print_table, some
from ablations.cli.printing.trials import run_facts
from orchestrator.ledger import Ledger
from orchestrator.queue import Standing
from orchestrator.runs import Run
from orchestrator.status import STANDINGS, StudyStatus, TrialStatus, cost_hours, ends_in, share
from orchestrator.steering import Answer
from orchestrator.studies import RecordedArm, RecordedStudy
from orchestrator.watch import spoken

MOST_LINES = 8
"""Of trials that run."""


def print_status(status: StudyStatus, console: Console) -> None:
    """What went wrong first, then the grid by arm, then the run."""
    for line in (*_troubles(status), *_notes(status)):
        console.print(line, highlight=False, soft_wrap=True)
    study = status.study
    table = folding_table(study.name, "arm", "trials|", "outcome", "done|", "ETA|", "cost|")
    for arm in study.arms:
        members = status.of(arm)
        table.add_row(
            arm.name,
            str(len(members)),
            coloured("blocked") if _blocked(arm, members) else _standings(members),
            f"{share(members):.0%}",
            "overdue" if any(each.overdue for each in members) else spoken(ends_in(members)),
            "\n".join(_cost(members)) or "-",
        )
    print_table(table, console)
    print_blocked((arm.blocked for arm in study.arms if _blocked(arm, status.of(arm))), console)
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
        late = [each.run.name for each in status.trials if each.overdue]
        why = f", {some(late)} overdue" if late else ""
        done += (
            f"; ETA {spoken(ends_in(status.trials))} with {status.at_once} at a time as now, at the pace so far{why}"
        )
    yield done
    if not (committed := _cost(status.trials)):
        return
    spent = ""
    if record is not None and record.spent_seconds:
        which = "this run" if status.presence.at_work else "the last run"
        spent = f"; {which} spent {_hours(record.spent_seconds / 3600)}, with what it has not committed"
    yield f"cost so far: {' and '.join(committed)}{spent}"


def _blocked(arm: RecordedArm, trials: Iterable[TrialStatus]) -> bool:
    """A trial that was done keeps its result, though its data are gone."""
    return arm.blocked is not None and all(each.standing == "missing" for each in trials)


def _standings(trials: Sequence[TrialStatus]) -> str:
    words = [each.standing for each in trials]
    return "\n".join(f"{words.count(word)} {coloured(word)}" for word in STANDINGS if word in words)


def _cost(trials: Iterable[TrialStatus]) -> list[str]:
    return [f"{_hours(hours)} {kind}-h" for kind, hours in cost_hours(trials).items()]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours >= 0.01 else "<0.01"


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
        "overdue": each.overdue,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def print_ending(standing: Standing, names: Mapping[str, str], console: Console) -> None:
    """What became of a run: what failed, in a line each, then the whole in one. `names` are those of the keys.

    A trial that was begun again counts each time; of a run that had nothing to do, nothing was submitted.
    """
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
    begun = f"{standing.submitted} begun" if standing.total else "0 submitted"
    told = [begun, f"{len(standing.done)} done", f"{len(standing.failed)} failed"]
    told += [f"{len(standing.cancelled)} cancelled"] if standing.cancelled else []
    told += [f"{len(standing.unaffordable)} left out by the budget"] if standing.unaffordable else []
    console.print(", ".join(told), highlight=False, soft_wrap=True)


def print_cancelled(study: RecordedStudy, told: Answer, ran: set[str], ledger: Ledger, console: Console) -> None:
    """What became of trials that were to stop; `ran` are the keys of those that ran then."""
    names = {key: f"{arm.name}.s{seed}" for arm in study.arms for seed, key in arm.trials}
    committed, lost = list[str](), list[str]()
    for key in [key for key in told.cancelled if key in ran]:
        head, last = ledger.folder(key).head(), ledger.folder(key).attempts()[-1:]
        at = f"{names[key]} at iteration {head.iteration:,}" if head else names[key]
        (committed if last and last[0].get("cause") == "stopped" else lost).append(at)
    waited = [names[key] for key in told.cancelled if key not in ran]
    parts = [f"{len(committed)} committed and stopped ({some(committed)})"] if committed else []
    parts += [f"{len(lost)} stopped without a new commit ({some(lost)})"] if lost else []
    parts += [f"{len(waited)} will not begin ({some(waited)})"] if waited else []
    if told.stopping:
        parts.append(f"{len(told.stopping)} still stop ({some(names[key] for key in told.stopping)})")
    if not parts:
        console.print(
            f"nothing of it ran or waited any more: {len(told.others)} are done, failed or no part of the run"
        )
        return
    console.print(
        f"{'; '.join(parts)}; what was committed is kept, `ablate run {study.name}` takes them up again",
        highlight=False,
        soft_wrap=True,
    )
