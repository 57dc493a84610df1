"""Every number of a report as one long CSV table: a line for each entry of each table, and for each claim.

Each line says where its number comes from, so that lines of many studies can be put under each other.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.runs import Run
from reports.cells import Cell
from reports.names import clean, prose
from reports.provenance import described
from reports.report import Report, numbers_of
from reports.tables import Table
from reports.tables.entries import Entry, Row
from reports.verdicts import Verdict

FORMAT = 1
COLUMNS = (
    "table", "row", "column", "value", "mean", "sd", "n", "low", "high", "paper", "difference", "unit", "runs",
    "text", "kind", "note",
    "study", "study_sha256", "recipe", "commit", "versions", "hardware", "hosts", "ablate", "format",
)  # fmt: skip
FOLDED = ("95 % interval", "difference")
"""Columns whose numbers stand in the line of the measurement that they belong to."""
_RUNS_IT = re.compile(r"^\s*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def guarded(text: str) -> str:
    """A field that no spreadsheet takes for a formula: a `'` before what would be one, unless it is a number."""
    return f"'{text}" if _RUNS_IT.match(text) and not _NUMBER.fullmatch(text) else text


def _field(value: Any) -> Any:
    """Numbers to six decimals; of what is no number, nothing."""
    if isinstance(value, str):
        return guarded(value)
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else ""
    return "" if value is None else value


def as_csv(report: Report) -> str:
    """The table as CSV with a header, which one `pandas.read_csv` reads."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in _lines(report):
        writer.writerow({name: _field(line.get(name)) for name in COLUMNS})
    return out.getvalue()


def _lines(report: Report) -> Iterator[dict[str, Any]]:
    runs = {run.key: run for run in report.runs}
    recipes = {arm.arm.name: "the paper's" if arm.paper else "; ".join(arm.arm.deviations) for arm in report.arms}
    common = {
        "study": clean(report.study.name),
        "study_sha256": report.study.sha256,
        "ablate": clean(report.about.get("version", "")),
        "format": FORMAT,
    }
    for table in report.tables:
        for line, cell in _of_table(table):
            source = _source([runs[key] for key in cell.keys if key in runs]) if cell else {}
            recipe = {"recipe": prose(recipes.get(cell.arm, ""))} if cell else {}
            yield line | recipe | source | common
    for verdict in report.verdicts:
        used = [run for arm in report.arms if arm.arm.name in verdict.arms for run in arm.finished]
        yield _of_claim(verdict, used) | _source(used) | common


def _of_table(table: Table) -> Iterator[tuple[dict[str, Any], Cell | None]]:
    for row in table.rows:
        name = _name(table, row)
        for place, entry in enumerate(row.entries):
            column = table.columns[place]
            if not place or entry.kind == "text" or column.title in FOLDED or not (entry.text or entry.note):
                continue
            line = {
                "table": clean(table.id),
                "row": clean(name),
                "column": clean(f"{column.group}: {column.title}" if column.group else column.title),
                "value": entry.value,
                "unit": entry.unit or ("%" if "%" in column.title else ""),
                "text": prose(entry.text),
                "kind": "quoted" if row.quoted and entry.kind == "paper" else entry.kind,
                "note": prose(entry.note),
            }
            yield line | (_measured(entry, entry.cell) if entry.cell else {}), entry.cell


def _name(table: Table, row: Row) -> str:
    """The texts that a row begins with, as `ResNet`; or `20 layers`. With its layers, where the texts say none."""
    words = [entry.text for entry in row.entries[:2] if entry.kind == "text" and entry.text]
    numbers = [
        f"{entry.text} {column.title}"
        for column, entry in zip(table.columns[:2], row.entries[:2], strict=True)
        if entry.kind == "number" and column.title == "layers"
    ]
    return ", ".join((*words, *numbers)) or (row.entries[0].text if row.entries else "")


def _measured(entry: Entry, cell: Cell) -> dict[str, Any]:
    """The difference is that of the value to the paper's value of the same kind, a best to a best."""
    low, high = cell.interval or (None, None)
    gap = None if entry.value is None or entry.paper is None else entry.value - entry.paper
    return {
        "mean": cell.mean,
        "sd": cell.sd,
        "n": cell.n,
        "low": low,
        "high": high,
        "paper": entry.paper,
        "difference": gap,
        "runs": " ".join(cell.keys),
    }


def _of_claim(verdict: Verdict, used: Sequence[Run]) -> dict[str, Any]:
    return {
        "table": "claims",
        "row": clean(verdict.id),
        "column": "verdict",
        "n": verdict.n,
        "runs": " ".join(run.key for run in used),
        "text": verdict.verdict.value,
        "kind": "verdict",
        "note": prose(f"{verdict.text} {numbers_of(verdict)}"),
        "recipe": prose(verdict.measured),
    }


def _source(runs: Sequence[Run]) -> dict[str, str]:
    """What the runs behind a number were computed with; each value once, in order of appearance."""
    attempts = [attempt for run in runs for attempt in run.attempts]
    return {
        "commit": _each(f"{each['commit']}{'+changes' if each.get('dirty') else ''}" for each in attempts
                        if each.get("commit")),
        "versions": _each(_told(attempts, "versions")),
        "hardware": _each(_told(attempts, "hardware")),
        "hosts": _each(_told(attempts, "host")),
    }  # fmt: skip


def _told(attempts: Iterable[Mapping[str, Any]], name: str) -> Iterator[str]:
    return (described(each[name]) for each in attempts if each.get(name))


def _each(values: Iterable[str]) -> str:
    return prose("; ".join(dict.fromkeys(values)))
