"""From a study and its runs to the text of the page. The same runs give the same bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy
from reports.arms import MeasuredArm, gather
from reports.claims import judge
from reports.drawing import CONFIG, dark, draw, variables
from reports.figures import FIGURES, Figure
from reports.figures.data import table as data_table
from reports.figures.thinning import thinned
from reports.names import clean
from reports.page.claims import FEW, families, striking
from reports.page.runs import SHOWN, Links, columns, data, drawn, places, web_address
from reports.page.sheets import metrics, sheets
from reports.page.shell import bundle, environment, json_text, packed, packed_script, part, policy, script
from reports.page.summary import answers, departures, gaps, opening, recipes, trials
from reports.provenance import facts
from reports.tables import maker

PLOTLY = "vendor/plotly-basic.min.js"
SCRIPTS = ("state.js", "charts.js", "tables.js", "saving.js")
"""Of the page, in the order in which each uses what those before it have."""


def _figure(figure: Figure) -> dict[str, Any]:
    charts = draw(figure)
    lines = [line for panel in figure.panels for line in panel.lines if not line.paper]
    return {
        "figure": figure,
        "charts": charts,
        "views": list(dict.fromkeys(name for chart in charts for name in chart["views"])),
        "curves": any(line.metric == "test_error" for line in lines),
        "training": any(line.metric == "train_error" for line in lines),
        "coded": len({line.stroke for line in lines}) > 1,
        "thin": any(line.stroke == "thin" for line in lines),
        "drops": any(panel.drops for panel in figure.panels),
        "overlay": any(line.paper for panel in figure.panels for line in panel.lines),
        "hidden": not all(line.shown for line in lines),
        "bands": list(dict.fromkeys(line.band for line in lines if line.band)),
        "runs": sorted({line.n for line in lines}),
        "data": data_table(figure),
    }


def _charts(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What plotly needs, once it is wanted; the drawings stand in the page itself."""
    charts = [
        {"figure": each["figure"].id, **{name: told for name, told in chart.items() if name != "svg"}}
        for each in figures
        for chart in each["charts"]
    ]
    return {"charts": charts, "config": CONFIG, "dark": dark()}


def _named(names: Sequence[str], known: Mapping[str, Any], kind: str, standard: str) -> tuple[list[str], list[str]]:
    """Which of the wanted ones this version has, and a remark for each that it has not."""
    wanted = list(names) or [standard]
    absent = [f"The study asks for {kind} {clean(name)}, which this version does not have." for name in wanted]
    return [name for name in wanted if name in known], [
        remark for name, remark in zip(wanted, absent, strict=True) if name not in known
    ]


def _figures(study: RecordedStudy, arms: Sequence[MeasuredArm]) -> tuple[list[dict[str, Any]], list[str]]:
    """The figures that the study asks for, and why others are not there."""
    names, unknown = _named(study.figures, FIGURES, "figure", "curves")
    made = [figure for name in names for figure in FIGURES[name](arms)]
    undrawn = [f"{each.title} is not drawn: none of its arms has a curve yet." for each in made if not each.panels]
    return [_figure(each) for each in thinned([each for each in made if each.panels])], [*unknown, *undrawn]


def render(
    study: RecordedStudy,
    runs: Iterable[Run],
    *,
    about: Mapping[str, str],
    run_pages: Mapping[str, str] | None = None,
) -> str:
    """The page as text.

    `about` says what the runs cannot: the program's version, the `command` that makes the page, the address of the
    `mlflow` server that shows the runs. `run_pages` are paths from the page to those of trials, by key.
    """
    recorded = list(runs)
    arms = gather(study, recorded)
    mine = [run for arm in arms for run in arm.runs]
    verdicts = judge(study, recorded)
    makers = {name: make for name in (study.tables or ["table"]) if (make := maker(name))}
    table_names, no_table = _named(study.tables, makers, "table", "table")
    tables = [table for name in table_names for table in makers[name](arms)]
    shown = sheets(tables, places(arms))
    figures, no_figure = _figures(study, arms)
    told, links = (
        columns(mine, metrics(tables)),
        Links(pages=run_pages or {}, server=web_address(about.get("mlflow", ""))),
    )
    scripts = {"theme": script("theme.js"), "page": bundle(SCRIPTS)}
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
            verdicts=verdicts,
            families=families(verdicts, {arm.arm.name: arm for arm in arms}),
            striking=striking(verdicts),
            few=len(verdicts) <= FEW,
            departures=departures(arms),
            recipes=recipes(arms),
            figures=figures,
            undrawn=no_figure,
            sheets=shown,
            remarks=no_table,
            gaps=gaps(arms),
            columns=told,
            runs=drawn(mine, told, links),
            shown=SHOWN,
            facts=facts(study, mine, about),
            command=about.get("command", ""),
            seconds=sum(run.seconds for run in mine),
            charts=packed(json_text(_charts(figures))),
            data={"tables": [each.data for each in shown], "runs": data(arms, told, links)},
            policy=policy([*scripts.values(), script(PLOTLY)]),
            style=f"{variables()}\n{part('page.css')}",
            scripts=scripts,
            plotly=packed_script(PLOTLY),
        )
    )
