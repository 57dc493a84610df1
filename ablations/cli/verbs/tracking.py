"""MLflow: `publish` and `ui`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.directories import refuse_read_only
from ablations.cli.exits import UNREACHABLE, fail
from ablations.cli.loading import made_by, record_of
from ablations.cli.options import RESULTS, ResultsOption, StudyArgument, TrackingOption
from ablations.cli.tracking import places, tracking_uri
from ablations.reader import StudyError

if TYPE_CHECKING:
    from orchestrator.studies import RecordedStudy
    from orchestrator.tracking.summaries import Summary


def publish(study: StudyArgument, results: ResultsOption = RESULTS, tracking: TrackingOption = None) -> None:
    """Copy what the ledger holds of a study, and MLflow does not, to MLflow; and its page and tables, as a summary."""
    from orchestrator.ledger import Ledger
    from orchestrator.tracking.publisher import TrackingError, summarise
    from orchestrator.tracking.publisher import publish as copy

    uri, ledger = tracking_uri(tracking, results), Ledger(results)
    record = record_of(study, None, None, results)
    if not any(ledger.folder(key).path.exists() for arm in record.arms for _, key in arm.trials):
        raise StudyError(
            f"{results}: nothing of study {record.name} is there to publish; run it first, or name the directory of its"
            " run with --results"
        )
    refuse_read_only(results)
    try:
        touched = copy(ledger, record, uri)
        summarise(ledger, _summary(study, record, results, tracking), uri)
    except TrackingError as error:
        fail(str(error), UNREACHABLE)
    typer.echo(f"{touched} runs brought up to date")


def _summary(study: str, record: "RecordedStudy", results: Path, tracking: str | None) -> "Summary":
    """The study's page, its tables and claims as files, and how far it is in numbers."""
    from collections import Counter

    from orchestrator.ledger import Ledger
    from orchestrator.runs import read_runs
    from orchestrator.tracking.summaries import Summary
    from reports.page import render
    from reports.report import report_of
    from reports.texts import WRITERS

    runs = read_runs(record, Ledger(results))
    said = made_by("report", study) | places(record, results, tracking)
    report = report_of(record, runs, said)
    outcomes, answers = (
        Counter(run.outcome.value for run in runs),
        Counter(each.verdict.value for each in report.verdicts),
    )
    metrics = {f"trials_{name}": outcomes[name] for name in ("finished", "diverged", "failed", "running", "missing")}
    metrics |= {f"claims_{name}": answers[name] for name in ("holds", "fails", "undecided")}
    files = {f"report.{'tex' if form == 'latex' else form}": write(report) for form, write in WRITERS.items()}
    return Summary(study=record, metrics=metrics, files={"report.html": render(record, runs, about=said), **files})


def ui(
    results: ResultsOption = RESULTS,
    tracking: TrackingOption = None,
    artifacts: Annotated[
        Path | None,
        typer.Option("--artifacts", help="Folder of the files that clients send; by default in the results."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where it listens; by default for this machine alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    allowed_hosts: Annotated[
        str, typer.Option("--allowed-hosts", metavar="NAME,...", help="Names by which others may call it.")
    ] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes that answer.")] = 1,
    auth: Annotated[
        Path | None, typer.Option("--auth", metavar="FILE.ini", help="Ask for a password, as this file says.")
    ] = None,
) -> None:
    """Serve MLflow's own pages, on this machine for this machine alone, or for a team."""
    from orchestrator.tracking.server import Server, ServerError, Unavailable

    try:
        server = Server(
            uri=tracking_uri(tracking, results),
            artifacts=artifacts or results / "mlartifacts",
            host=host,
            port=port,
            names=[name.strip().lower() for name in allowed_hosts.split(",") if name.strip()],
            workers=workers,
            auth=auth,
        )
        server.probe()
    except Unavailable as error:
        fail(str(error), UNREACHABLE)
    except ServerError as error:
        raise StudyError(str(error)) from None
    os.environ.update(server.environment)
    typer.echo(f"MLflow on {server.address} (Ctrl-C ends it)")
    sys.stdout.flush()
    os.execv(sys.executable, server.command)  # noqa: S606 - our own interpreter, arguments as a list
