"""What came out: `show`, `report` and `check`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.exits import CONTRADICTED
from ablations.cli.loading import recorded_runs
from ablations.cli.names import recorded_trial
from ablations.cli.options import (
    RESULTS,
    JsonOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    StudyArgument,
    TrackingOption,
    TrialArgument,
)
from ablations.cli.output import print_json, stdout
from ablations.cli.tracking import where_seen


def show(
    trial: TrialArgument,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Show everything that is known of one trial."""
    from ablations.cli.printing.trials import print_run, run_facts
    from orchestrator.ledger import Ledger, plain
    from orchestrator.runs import damaged, probe_summary, read_run

    ledger = Ledger(results)
    arm, about = recorded_trial(trial, ledger)
    found = read_run(arm, about["seed"], about["key"], ledger)
    found = replace(found, notes=(*found.notes, *damaged(found)))
    alive = {found.key} if ledger.folder(found.key).alive() else set[str]()
    if as_json:
        facts = run_facts(found, alive) | {"params": about["params"], "attempts": list(found.attempts)}
        print_json(plain(facts | {"probes": list(found.probes)}))
        return
    probes = [{"iteration": each["iteration"]} | probe_summary(each) for each in found.probes]
    print_run(found, about["params"], probes, str(ledger.folder(found.key).path), alive, stdout())


def report(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    to: Annotated[Path | None, typer.Option("--to", help="The page's file; by default in the results.")] = None,
    tracking: TrackingOption = None,
) -> None:
    """Write the study's page: one HTML file with its tables, figures, claims and provenance."""
    from reports.page import render

    record, runs = recorded_runs(study, overrides, seeds, results)
    path = to or results / "studies" / record.name / "report.html"
    page = render(record, runs, about={"command": shlex.join(["ablate", "report", study]), "version": _version()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    typer.echo(f"page: {path.resolve()}")
    typer.echo(f"MLflow: {where_seen(tracking, results)}")


def check(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Judge the study's claims; exit code 3 if one is contradicted."""
    from dataclasses import asdict

    from ablations.cli.printing.judgements import print_verdicts
    from reports.claims import judge

    record, runs = recorded_runs(study, overrides, seeds, results)
    verdicts = judge(record, runs)
    if as_json:
        print_json([asdict(each) for each in verdicts])
    else:
        print_verdicts([asdict(each) for each in verdicts], stdout())
    if any(each.verdict == "fails" for each in verdicts):
        raise typer.Exit(CONTRADICTED)


def _version() -> str:
    from orchestrator.provenance import version

    return version("ablate") or "unknown"
