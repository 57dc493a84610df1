"""What a table is made of, as plain data: every entry is a value with the text that is printed. Nothing here draws."""

from dataclasses import dataclass
from typing import Literal

from reports.cells import Cell

Kind = Literal["text", "number", "paper", "measured", "empty"]


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    group: str = ""
    """Heading over neighbouring columns with the same group."""
    numeric: bool = True


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One field of a table."""

    text: str
    kind: Kind = "number"
    value: float | None = None
    """What a reader sorts by; None sorts last."""
    cell: Cell | None = None
    """The measurement behind the text, where there is one: also behind its interval and its difference."""
    note: str = ""
    unit: str = ""
    """Of the value: `%`, `points`, `s`."""
    paper: float | None = None
    """The paper's value of the same kind, where the entry stands beside it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    entries: tuple[Entry, ...]
    quoted: bool = False
    """Taken by the paper from other work."""


@dataclass(frozen=True, kw_only=True)
class Table:
    id: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


EMPTY = Entry(text="", kind="empty")


def words(text: str) -> Entry:
    return Entry(text=text, kind="text")


def count(value: int | None) -> Entry:
    return EMPTY if value is None else Entry(text=f"{value:,}", value=value)


def layers(value: int | None) -> Entry:
    return EMPTY if value is None else Entry(text=str(value), value=value)


def printed(text: str, value: float | None = None, note: str = "", unit: str = "") -> Entry:
    """As the paper prints it; empty where it prints nothing."""
    return Entry(text=text, kind="paper", value=value, note=note, unit=unit) if text else EMPTY


def measured(cell: Cell, paper: float | None = None) -> Entry:
    """Mean, spread and n, or why there is nothing; with the paper's value where one stands beside it."""
    return Entry(
        text=cell.text(),
        kind="measured" if cell.n else "empty",
        value=cell.mean,
        cell=cell,
        note="; ".join(cell.absent),
        unit=cell.unit,
        paper=paper,
    )


def absent(reason: str) -> Entry:
    return Entry(text=reason, kind="empty")
