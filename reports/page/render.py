"""From a study and its runs to the text of the page. The same runs give the same bytes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy
from reports.arms import MeasuredArm, gather
from reports.cells import Metric, measure
from reports.claims import judge
from reports.drawing import CONFIG, dark, draw
from reports.figures import FIGURES, Figure
from reports.names import anchor, clean
from reports.page.shell import environment, part, policy, script
from reports.page.summary import answers, departures, gaps, line_table, opening, trials
from reports.provenance import facts
from reports.tables import Table, maker
from reports.verdicts import Verdict


def _groups(table: Table) -> list[tuple[str, int]]:
    """Headings over the columns, each with the number of columns below it; empty where the table has none."""
    found = [(name, len(list(columns))) for name, columns in groupby(table.columns, key=lambda column: column.group)]
    return found if any(name for name, _ in found) else []


RUN_COLUMNS = (
    ("trial", "text"),
    ("seed", "number"),
    ("outcome", "text"),
    ("test error, last", "percent"),
    ("test error, best", "percent"),
    ("training error", "percent"),
    ("iterations", "number"),
    ("seconds", "seconds"),
    ("attempts", "number"),
    ("key", "code"),
    ("MLflow run", "code"),
)


def _run_row(run: Run) -> list[Any]:
    return [
        clean(run.name),
        run.seed,
        run.outcome.value,
        *[run.result.get(metric.value) for metric in (Metric.LAST_TEST, Metric.BEST_TEST, Metric.TAIL_TRAIN)],
        run.iteration,
        run.seconds or None,
        len(run.attempts),
        clean(run.key),
        clean(run.mlflow_run or ""),
    ]


def _runs_data(arms: Sequence[MeasuredArm]) -> dict[str, Any]:
    runs = [(arm, run) for arm in arms for run in arm.runs]
    return {
        "columns": [{"title": title, "kind": kind} for title, kind in RUN_COLUMNS],
        "rows": [_run_row(run) for _, run in runs],
        "anchors": [anchor("run", run.key) for _, run in runs],
        "arms": [anchor("arm", arm.arm.name) for arm, _ in runs],
        "notes": {anchor("run", run.key): [clean(note) for note in run.notes] for _, run in runs if run.notes},
    }


def _figure(figure: Figure) -> dict[str, Any]:
    places, lines = line_table(figure)
    charts = draw(figure)
    return {
        "figure": figure,
        "charts": charts,
        "views": list(dict.fromkeys(name for chart in charts for name in chart["views"])),
        "overlay": any(line.paper for panel in figure.panels for line in panel.lines),
        "depths": sorted({line.depth for panel in figure.panels for line in panel.lines if not line.paper}),
        "runs": sorted({line.n for panel in figure.panels for line in panel.lines if not line.paper}),
        "places": places,
        "lines": lines,
    }


def _samples(verdict: Verdict, arms: Mapping[str, MeasuredArm]) -> list[dict[str, str]]:
    """The measurements that a verdict rests on, each with a link to its runs."""
    found = [arms[name] for name in verdict.arms if name in arms]
    cells = [(arm, measure(arm, Metric.LAST_TEST)) for arm in found]
    return [
        {
            "text": f"{arm.label}: {cell.n} of {cell.planned} runs",
            "arm": anchor("arm", arm.arm.name),
            "anchor": anchor("run", arm.runs[0].key),
        }
        for arm, cell in cells
        if arm.runs
    ]


def _named(names: Sequence[str], known: Mapping[str, Any], kind: str, standard: str) -> tuple[list[str], list[str]]:
    """Which of the wanted ones this version has, and a remark for each that it has not."""
    wanted = list(names) or [standard]
    absent = [f"The study asks for {kind} {clean(name)}, which this version does not have." for name in wanted]
    return [name for name in wanted if name in known], [
        remark for name, remark in zip(wanted, absent, strict=True) if name not in known
    ]


def render(study: RecordedStudy, runs: Iterable[Run], *, about: Mapping[str, str]) -> str:
    """The page as text. `about` says what the runs cannot: the program's version, the `command` that makes the page."""
    recorded = list(runs)
    arms = gather(study, recorded)
    mine = [run for arm in arms for run in arm.runs]
    by_name = {arm.arm.name: arm for arm in arms}
    verdicts = judge(study, recorded)
    made_by = {name: make for name in (study.tables or ["table"]) if (make := maker(name))}
    table_names, no_table = _named(study.tables, made_by, "table", "table")
    figure_names, no_figure = _named(study.figures, FIGURES, "figure", "curves")
    made = [figure for name in figure_names for figure in FIGURES[name](arms)]
    undrawn = [
        f"{figure.title} is not drawn: none of its arms has a curve yet." for figure in made if not figure.panels
    ]
    figures = [_figure(figure) for figure in made if figure.panels]
    scripts = {
        "theme": script("theme.js"),
        "plotly": script("vendor/plotly-basic.min.js"),
        "page": script("page.js"),
    }
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            study=study,
            opening=opening(arms, verdicts),
            arms=arms,
            trials=trials(arms),
            total=len(mine),
            answers=answers(verdicts),
            verdicts=[{**vars(each), "samples": _samples(each, by_name)} for each in verdicts],
            departures=departures(arms),
            figures=figures,
            undrawn=undrawn,
            tables=[table for name in table_names for table in made_by[name](arms)],
            remarks=[*no_table, *no_figure],
            gaps=gaps(arms),
            facts=facts(study, mine, about),
            command=about.get("command", ""),
            seconds=sum(run.seconds for run in mine),
            charts={
                "charts": [{"figure": each["figure"].id, **chart} for each in figures for chart in each["charts"]],
                "config": CONFIG,
                "dark": dark(),
            },
            runs_data=_runs_data(arms),
            groups=_groups,
            policy=policy(scripts.values()),
            style=part("page.css"),
            scripts=scripts,
        )
    )
