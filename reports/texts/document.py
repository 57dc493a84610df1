"""A report as one JSON document: every number with the keys of its runs, the runs, and their provenance."""

import json
from dataclasses import asdict
from typing import Any

from orchestrator.ledger import plain
from orchestrator.runs import Run
from reports.arms import MeasuredArm
from reports.cells import Cell
from reports.report import Report
from reports.tables import Table
from reports.tables.entries import Entry

FORMAT = 1
"""Of the document; grows when a name changes its meaning or goes, not when one is added."""


def as_json(report: Report) -> str:
    """JSON, indented. NaN and infinity are the texts `nan`, `inf` and `-inf`."""
    return json.dumps(_plain(_facts(report)), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """As the ledger writes it; tuples, which it does not have, become lists first."""
    return plain(_lists(value))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _lists(each) for name, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, (list, tuple)) else value


def _facts(report: Report) -> dict[str, Any]:
    study = report.study
    return {
        "format": FORMAT,
        "kind": "report",
        "study": {
            "name": study.name,
            "question": study.question,
            "source": study.source,
            "sha256": study.sha256,
            "overrides": study.overrides,
            "text": study.text,
        },
        "about": dict(report.about),
        "tables": [_table(each) for each in report.tables],
        "unknown_tables": report.unknown,
        "claims": [asdict(each) for each in report.verdicts],
        "arms": [_arm(each) for each in report.arms],
        "runs": [_run(each) for each in report.runs],
        "provenance": {fact.label: fact.values for fact in report.facts},
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "id": table.id,
        "title": table.title,
        "caption": table.caption,
        "columns": [asdict(each) for each in table.columns],
        "rows": [
            {"quoted": row.quoted, "entries": [_entry(each) for each in row.entries]} for row in table.rows
        ],
        "notes": table.notes,
    }  # fmt: skip


def _entry(entry: Entry) -> dict[str, Any]:
    cell = {"cell": cell_facts(entry.cell)} if entry.cell else {}
    beside = {} if entry.paper is None else {"paper": entry.paper}
    unit = {"unit": entry.unit} if entry.unit else {}
    return {"text": entry.text, "kind": entry.kind, "value": entry.value, "note": entry.note} | unit | beside | cell


def cell_facts(cell: Cell) -> dict[str, Any]:
    """A measurement as facts: `low` and `high` are the 95 % interval of the mean, `runs` the keys behind it."""
    low, high = cell.interval or (None, None)
    return {
        "arm": cell.arm,
        "metric": cell.metric.value,
        "mean": cell.mean,
        "sd": cell.sd,
        "n": cell.n,
        "low": low,
        "high": high,
        "values": cell.values,
        "runs": cell.keys,
        "planned": cell.planned,
        "absent": cell.absent,
        "reason": cell.reason,
    }


def _arm(arm: MeasuredArm) -> dict[str, Any]:
    return {
        "name": arm.arm.name,
        "label": arm.label,
        "paper": arm.paper,
        "deviations": arm.arm.deviations,
        "network": dict(arm.arm.network),
        "recipe": dict(arm.arm.recipe),
        "parameters": arm.arm.parameters,
        "multiply_adds": arm.arm.multiply_adds,
        "blocked": arm.arm.blocked,
        "runs": [run.key for run in arm.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "key": run.key,
        "name": run.name,
        "arm": run.arm,
        "seed": run.seed,
        "outcome": run.outcome.value,
        "iteration": run.iteration,
        "iterations": run.iterations,
        "seconds": run.seconds,
        "costs": dict(run.costs),
        "result": dict(run.result),
        "reason": run.reason,
        "notes": run.notes,
        "mlflow_run": run.mlflow_run,
        "attempts": [dict(each) for each in run.attempts],
    }
