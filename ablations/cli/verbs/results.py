"""What came out: `show`, `report`, `check` and `diff`."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

import typer

from ablations.cli.exits import CONTRADICTED, DAMAGED, say
from ablations.cli.files import refuse_no_file, write
from ablations.cli.loading import made_by, recorded_runs
from ablations.cli.names import recorded_trial, side
from ablations.cli.options import (
    RESULTS,
    JsonOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    StudyArgument,
    TrackingOption,
    TrialArgument,
    see_directory,
)
from ablations.cli.output import print_json, stderr, stdout
from ablations.cli.tracking import places, where_seen
from ablations.reader import StudyError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger
    from orchestrator.runs import Run
    from orchestrator.studies import RecordedStudy
    from reports.diff import Difference
    from reports.trials import TrialFacts

Format = Literal["html", "md", "csv", "latex", "json"]
TRIAL_PAGES = "_trials"
"""Beside the folders of studies, none of which can be called so."""


def show(
    trial: TrialArgument,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
    html: Annotated[bool, typer.Option("--html", help="Write the trial's page instead.")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="The page's file; by default in the results.")] = None,
) -> None:
    """Show everything that is known of one trial."""
    from ablations.cli.printing.trials import print_run, run_facts
    from orchestrator.ledger import Ledger, plain
    from orchestrator.runs import damaged, probe_summary, read_run

    if as_json and html:
        raise StudyError("--json and --html: give one of them")
    if to is not None and not html:
        raise StudyError(f"--to {to}: is where --html writes; give both, or none")
    refuse_no_file(to)
    ledger = Ledger(results)
    arm, about = recorded_trial(trial, ledger)
    found = read_run(arm, about["seed"], about["key"], ledger)
    found = replace(found, notes=(*found.notes, *damaged(found)))
    if html:
        from orchestrator.studies import recorded_studies
        from reports.trials import askers, trial_facts

        asked_by = askers(recorded_studies(results)).get(found.key, ())
        folder = results / "studies"
        path = to or folder / TRIAL_PAGES / f"{found.key}.html"
        there = {each.name: folder / each.name / "report.html" for each, _ in asked_by}
        there = {name: page for name, page in there.items() if page.is_file()}
        index = folder / "index.html"
        facts = trial_facts(found, arm, ledger, asked_by)
        about_page = made_by("show", found.key, "--html")
        _write_trial_page(path, facts, there, index if index.is_file() else None, about_page)
        typer.echo(f"page: {path.resolve()}")
        return
    alive = {found.key} if ledger.folder(found.key).alive() else set[str]()
    if as_json:
        facts = run_facts(found, alive) | {"params": about["params"], "attempts": list(found.attempts)}
        print_json(plain(facts | {"probes": list(found.probes)}))
        return
    probes = [{"iteration": each["iteration"]} | probe_summary(each) for each in found.probes]
    print_run(found, about["params"], probes, str(ledger.folder(found.key).path), alive, stdout())


def report(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="Name of a study that ships, or path of a study file.", show_default=False
        ),
    ] = None,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    to: Annotated[
        Path | None, typer.Option("--to", help="The file; by default a page in the results, other formats are printed.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="A page, Markdown, one long CSV table, LaTeX (booktabs), or JSON.")
    ] = "html",
    every: Annotated[
        bool,
        typer.Option("--all", help="Of every study in the results, of every trial, and an index of the whole paper."),
    ] = False,
    tracking: TrackingOption = None,
) -> None:
    """Write what a study came to: one HTML page, or its tables and verdicts as text for other programs."""
    refuse_no_file(to)
    if every:
        _refuse_beside_all(study, overrides, seeds, form)
        _report_all(results, to or results / "studies" / "index.html")
        return
    if study is None:
        raise StudyError("a report is of a study: name one (`ablate studies` lists those that ship), or give --all")
    record, runs = recorded_runs(study, overrides, seeds, results)
    changed = [word for each in overrides or () for word in ("--set", each)]
    command = ["report", study, *changed, *([] if seeds is None else ["--seeds", str(seeds)])]
    if form != "html":
        _report_text(record, runs, form, to, made_by(*command, "--format", form))
        return
    path = to or results / "studies" / record.name / "report.html"
    runs = list(runs)
    written = {run.key: results / "studies" / TRIAL_PAGES / f"{run.key}.html" for run in runs}
    beside = {key: page for key, page in written.items() if page.is_file()}
    _write_page(path, record, runs, made_by(*command) | places(record, results, tracking), beside)
    typer.echo(f"page: {path.resolve()}")
    typer.echo(f"MLflow: {where_seen(tracking, results)}")


def _write_page(
    path: Path,
    record: "RecordedStudy",
    runs: "Iterable[Run]",
    about: Mapping[str, str],
    trial_pages: Mapping[str, Path],
) -> None:
    from reports.page import render

    links = {key: quote(_from(path, page)) for key, page in trial_pages.items()}
    write(path, render(record, runs, about=about, run_pages=links))


def _report_text(
    record: "RecordedStudy", runs: "Iterable[Run]", form: str, to: Path | None, about: Mapping[str, str]
) -> None:
    from reports.report import report_of
    from reports.texts import WRITERS

    text = WRITERS[form](report_of(record, runs, about))
    if to is None:
        typer.echo(text, nl=False)
        return
    write(to, text)
    typer.echo(f"{form}: {to.resolve()}")


# Every study ----------------------------------------------------------------------------------------------------------


def _refuse_beside_all(study: str | None, overrides: list[str] | None, seeds: int | None, form: str) -> None:
    """--all is of what was recorded, as it was."""
    given = {study: study, "--set": overrides, "--seeds": seeds is not None, f"--format {form}": form != "html"}
    for name, there in given.items():
        if there:
            raise StudyError(
                f"--all with {str(name)[:200]}: --all writes the pages of every study that was run; leave one out"
            )


def _report_all(results: Path, index_path: Path) -> None:
    from orchestrator.ledger import Ledger
    from orchestrator.studies import every_study
    from reports.index import index_of, read_studies
    from reports.page.index import index_page

    studies, problems = every_study(results)
    if not studies and not problems:
        raise StudyError(f"{results}: no study was run into it; `ablate run STUDY` does, --results names another")
    ledger, made = Ledger(results), made_by("report", "--all")
    recorded = read_studies(studies, ledger)
    beside = index_path.parent
    pages = {study.name: beside / study.name / "report.html" for study in studies}
    trial_pages = _write_trial_pages(recorded, ledger, pages, index_path)
    for study, runs in recorded:
        _write_page(pages[study.name], study, runs, made_by("report", study.name) | places(study, results), trial_pages)
    page = index_page(
        index_of(recorded, problems),
        about=made,
        pages={name: _from(index_path, path) for name, path in pages.items()},
        trial_pages={key: _from(index_path, path) for key, path in trial_pages.items()},
    )
    write(index_path, page)
    typer.echo(f"page: {index_path.resolve()}")
    for problem in problems:
        say(problem, DAMAGED)
    if problems:
        raise typer.Exit(DAMAGED)


def _write_trial_pages(
    recorded: "list[tuple[RecordedStudy, list[Run]]]", ledger: "Ledger", pages: Mapping[str, Path], index: Path
) -> dict[str, Path]:
    """A page for each trial that has begun, however many studies it serves; where it lies, by key."""
    from rich.progress import track

    from reports.trials import askers, trial_facts

    asked_by = askers(study for study, _ in recorded)
    begun = {run.key: run for _, runs in recorded for run in runs if run.attempts or run.iteration}
    console = stderr()
    shown = track(begun.values(), "trials", console=console, transient=True, disable=not console.is_terminal)
    paths = {}
    for run in shown:
        facts = trial_facts(run, asked_by[run.key][0][1], ledger, asked_by[run.key])
        paths[run.key] = index.parent / TRIAL_PAGES / f"{run.key}.html"
        _write_trial_page(paths[run.key], facts, pages, index, made_by("show", run.key, "--html"))
    return paths


def _write_trial_page(
    path: Path, facts: "TrialFacts", pages: Mapping[str, Path], index: Path | None, about: Mapping[str, str]
) -> None:
    """With links to the pages of studies and to the index, where there are such."""
    from reports.page.trial import trial_page

    studies = {study.name: _from(path, pages[study.name]) for study in facts.studies if study.name in pages}
    write(path, trial_page(facts, about=about, studies=studies, index=_from(path, index) if index else None))


def _from(page: Path, other: Path) -> str:
    """The way from a page to another file."""
    return Path(os.path.relpath(other.absolute(), page.absolute().parent)).as_posix()


# Claims, and differences ----------------------------------------------------------------------------------------------


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


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A trial, an arm, or a study that was run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one of the same kind.")],
    results: ResultsOption = RESULTS,
    results_b: Annotated[Path | None, typer.Option("--results-b", help="Where B is; by default beside A.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what sets two trials, arms or studies apart: what was asked, with what it was computed, what came out."""
    from dataclasses import asdict

    from ablations.cli.printing.differences import print_difference
    from orchestrator.ledger import plain

    found = _difference(a, b, results, see_directory(results_b or results, "--results-b"))
    if as_json:
        facts = asdict(found)
        facts["changes"], facts["curves"] = list(facts["changes"]), list(facts["curves"])
        facts["gaps"] = [
            facts_of | {"difference": gap.difference} for facts_of, gap in zip(facts["gaps"], found.gaps, strict=True)
        ]
        print_json(plain(facts))
        return
    print_difference(found, (a, b), stdout())


def _difference(a: str, b: str, results: Path, results_b: Path) -> "Difference":
    from orchestrator.ledger import Ledger
    from orchestrator.runs import read_runs
    from reports import diff
    from reports.arms import gather

    sides = side(a, results), side(b, results_b)
    first, second = sides
    if first.kind != second.kind:
        raise StudyError(f"{a} is {_article(first.kind)} and {b} {_article(second.kind)}; give two of one kind")
    runs = [read_runs(each.study, Ledger(at)) for each, at in zip(sides, (results, results_b), strict=True)]
    if first.kind == "study":
        return diff.of_studies(first.study, runs[0], second.study, runs[1])
    (arm_a,), (arm_b,) = (gather(each.study, found) for each, found in zip(sides, runs, strict=True))
    if first.kind == "arm":
        return diff.of_arms(arm_a, arm_b)
    return diff.of_trials(arm_a, arm_b, first.about["params"], second.about["params"])


def _article(kind: str) -> str:
    return f"{'an' if kind == 'arm' else 'a'} {kind}"
