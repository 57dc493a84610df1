"""A run that is at work: `status`, `logs` and `cancel`."""

import os
from typing import Annotated

import typer

from ablations.cli.exits import UNREACHABLE, fail
from ablations.cli.loading import record_of
from ablations.cli.names import followed_trial, to_cancel
from ablations.cli.options import RESULTS, JsonOption, ResultsOption, StudyArgument, TrialArgument
from ablations.cli.output import print_json, stderr, stdout
from ablations.reader import StudyError


def status(study: StudyArgument, results: ResultsOption = RESULTS, as_json: JsonOption = False) -> None:
    """Show how far a study is: what went wrong first, then each arm with its ETA and cost, then the run at work."""
    from ablations.cli.printing.progress import print_status, status_facts
    from orchestrator.ledger import Ledger, plain
    from orchestrator.runs import read_runs
    from orchestrator.status import study_status

    record = record_of(study, None, None, results)
    found = study_status(record, results)
    if as_json:
        print_json(plain(status_facts(found, read_runs(record, Ledger(results)))))
        return
    print_status(found, stdout())


def logs(
    trial: TrialArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the trial is at its end, or it has none in sight.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of this attempt alone, from 1; by default of all.")
    ] = None,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="Only so many of the last lines.")] = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Show what the attempts at a trial printed, and how they got on; times are UTC."""
    from orchestrator import logs as read
    from orchestrator.ledger import Ledger

    ledger = Ledger(results)
    found = followed_trial(trial, ledger)
    folder = ledger.folder(found.key)
    if follow:
        if not read.logs(folder, attempt) and read.why_over(ledger, found, attempt) is None:
            typer.echo(f"{found.name}: has not begun; waiting for it (Ctrl-C ends the waiting alone)", err=True)
        for piece in read.follow(ledger, found, attempt, lines):
            typer.echo(piece, nl=False)
        return
    if not read.logs(folder, attempt):
        if folder.about() is None:
            raise StudyError(f"{found.name}: has not begun; `ablate logs {trial} --follow` waits for it")
        which = f"attempt {attempt} of {found.name}" if attempt else found.name
        raise StudyError(f"{which}: there is no log of it; `ablate show {trial}` lists its attempts")
    pieces = read.printed(folder, attempt)
    for piece in pieces if lines is None else [read.last_lines(pieces, lines)]:
        typer.echo(piece, nl=False)


def cancel(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY [ARM|TRIAL]...",
            help="A study that is being run, or arms and trials of it; these may stand alone where one run has them.",
        ),
    ],
    results: ResultsOption = RESULTS,
) -> None:
    """Have trials of a run at work commit and stop, or not begin; `run` takes them up again."""
    from ablations.cli.printing.progress import print_cancelled
    from orchestrator.driver import presence
    from orchestrator.ledger import Ledger
    from orchestrator.steering import Cancellation, answer, ask

    record, keys = to_cancel(names, results)
    seen = presence(results, record.name)
    if not seen.at_work and not seen.beginning:
        fail(f"study {record.name}: no run of it is at work, so there is nothing to cancel", UNREACHABLE)
    where, ran = str(seen.holder), set[str]()
    if seen.record and seen.at_work:
        where, ran = seen.record.host, set(seen.record.running)
        keys = [key for key in keys if key not in seen.record.settled]
    if not keys:
        typer.echo("nothing of it runs or waits: all is done, failed, cancelled or left out by the budget already")
        return
    cancellation = Cancellation(keys=keys, by=_who())
    with stderr().status(f"asking the driver on {where}"):
        word = ask(results, record.name, cancellation)
        told = answer(results, record.name, cancellation, word)
    if not told.taken:
        fail(
            f"the driver on {where} has not taken it up yet; it will when it looks again, `ablate status {record.name}`"
            " tells",
            UNREACHABLE,
        )
    print_cancelled(record, told, ran, Ledger(results), stdout())


def _who() -> str:
    """The user and the machine, as `ada on login1`."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"
