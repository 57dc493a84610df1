"""Tables as the page shows them: rows that are drawn, and the same as data, from which it sorts, filters and saves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from reports.cells import Cell, Metric
from reports.names import anchor, clean, prose
from reports.page.packing import packed
from reports.page.runs import SHOWN, Place
from reports.tables import Table
from reports.tables.entries import Entry

LONG = 50
"""A table with more rows is drawn from its data, a hundred rows at a time."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A field as it is drawn."""

    text: str
    """Of a measurement its mean; what else is said of it stands in `rest`."""
    classes: str
    rest: str = ""
    note: str = ""
    lost: bool = False
    """Whether some of its trials gave no value."""
    id: str = ""
    href: str = ""
    cell: int | None = None
    """Its place among the table's measurements."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    table: Table
    headings: tuple[tuple[str, int], ...]
    """Over the columns, each with the number of columns below it; empty where the table has none."""
    rows: tuple[tuple[Shown, ...], ...]
    """The first of them."""
    data: Mapping[str, Any]


def sheets(tables: Sequence[Table], runs: Mapping[str, Place]) -> tuple[Sheet, ...]:
    return tuple(_sheet(table, runs) for table in tables)


def metrics(tables: Sequence[Table]) -> tuple[Metric, ...]:
    """What the tables measure, each once."""
    entries = (entry for table in tables for row in table.rows for entry in row.entries)
    return tuple(dict.fromkeys(entry.cell.metric for entry in entries if entry.cell is not None))


def _sheet(table: Table, runs: Mapping[str, Place]) -> Sheet:
    known: list[tuple[str, Entry, str]] = []
    lines = [list(_fields(table, row, known, runs)) for row in range(len(table.rows))]
    headings = tuple(_headings(table))
    return Sheet(
        table=table,
        headings=headings if any(name for name, _ in headings) else (),
        rows=tuple(tuple(shown for shown, _ in line) for line in lines[:SHOWN]),
        data={
            "id": table.id,
            "title": clean(table.title),
            "caption": prose(table.caption),
            "notes": [prose(note) for note in table.notes],
            "columns": [
                {
                    "title": clean(each.title),
                    "group": clean(each.group),
                    "classes": _column_classes(table, place),
                    "numeric": each.numeric,
                }
                for place, each in enumerate(table.columns)
            ],
            "rows": [[data for _, data in line] for line in lines],
            "quoted": [place for place, row in enumerate(table.rows) if row.quoted],
            "cells": _cells([_cell(name, entry, gap, runs) for name, entry, gap in known]),
        },
    )


def _headings(table: Table) -> Iterator[tuple[str, int]]:
    for name, columns in groupby(table.columns, key=lambda column: column.group):
        yield name, len(list(columns))


def _column_classes(table: Table, place: int) -> str:
    """Numbers stand at the right; the first column of a group has a rule before it."""
    column = table.columns[place]
    edge = place > 0 and column.group != table.columns[place - 1].group
    return " ".join([*(["right"] if column.numeric else []), *(["edge"] if edge else [])])


def _fields(
    table: Table, row: int, known: list[tuple[str, Entry, str]], runs: Mapping[str, Place]
) -> Iterator[tuple[Shown, Any]]:
    """Of each field what is drawn, and what the script has; measurements are put among the known ones."""
    taken = {name for name, _, _ in known}
    for place, entry in enumerate(table.rows[row].entries):
        classes = " ".join(part for part in (_column_classes(table, place), entry.kind) if part)
        note = prose(entry.note)
        if entry.kind != "measured" or entry.cell is None:
            data = [entry.kind[0], prose(entry.text), _value(entry.value)] + ([note] if note else [])
            yield Shown(text=prose(entry.text), classes=classes, note=note), data if entry.text or note else 0
            continue
        name = anchor("cell", table.id, entry.cell.arm, entry.cell.metric)
        name = name if name not in taken else f"{name}-{row + 1}-{place + 1}"
        taken.add(name)
        known.append((name, entry, _gap(table, row, place)))
        mean, _, rest = entry.text.partition(" ")
        yield (
            Shown(
                text=mean,
                rest=rest,
                classes=classes,
                note=note,
                lost=bool(entry.cell.absent),
                id=name,
                href=f"#{runs[entry.cell.keys[0]].anchor}",
                cell=len(known) - 1,
            ),
            ["m", entry.text, _value(entry.value), 0 if note == _lost(entry.cell) else note, len(known) - 1],
        )


def _value(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _gap(table: Table, row: int, place: int) -> str:
    """The difference to the paper's number that a column beside the measurement has, with what was compared."""
    entries = table.rows[row].entries
    for column, entry in zip(table.columns[place + 1 :], entries[place + 1 :], strict=True):
        if entry.kind == "measured" or column.group != table.columns[place].group:
            return ""
        if column.title == "difference" and entry.text:
            return f"{entry.text} ({entry.note})" if entry.note else entry.text
    return ""


def _cell(name: str, entry: Entry, gap: str, runs: Mapping[str, Place]) -> dict[str, Any]:
    """What is told of a measurement when it is asked: the rest is computed from the values of its runs."""
    cell = entry.cell
    assert cell is not None
    low, high = cell.interval or (None, None)
    found = {
        "id": name,
        "arm": clean(cell.arm),
        "what": cell.title,
        "metric": cell.metric.value,
        "n": cell.n,
        "planned": cell.planned,
        "sd": _value(cell.sd),
        "low": _value(low),
        "high": _value(high),
        "runs": _rows(cell, runs),
        "absent": tuple(prose(each) for each in cell.absent),
        "gap": prose(gap),
    }
    return {name: value for name, value in found.items() if value not in (None, "", ())}


def _cells(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As columns: an arm's measurements have much in common."""
    names = dict.fromkeys(name for cell in cells for name in cell)
    return {name: packed([cell.get(name) for cell in cells]) for name in names}


def _rows(cell: Cell, runs: Mapping[str, Place]) -> tuple[int, ...]:
    """First row and number of rows, for each stretch of rows that follow each other."""
    found: list[int] = []
    for row in (runs[key].row for key in cell.keys):
        if found and row == found[-2] + found[-1]:
            found[-1] += 1
        else:
            found += [row, 1]
    return tuple(found)


def _lost(cell: Cell) -> str:
    """What the script says beside a measurement without being told: why trials gave no value."""
    return "; ".join(prose(each) for each in cell.absent)
