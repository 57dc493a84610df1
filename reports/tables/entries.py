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
    """The measurement behind the text, where there is one."""
    note: str = ""


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


def printed(text: str, value: float | None = None, note: str = "") -> Entry:
    """As the paper prints it; empty where it prints nothing."""
    return Entry(text=text, kind="paper", value=value, note=note) if text else EMPTY


def measured(cell: Cell, decimals: int = 2) -> Entry:
    """Mean, spread and n, or why there is nothing."""
    kind: Kind = "measured" if cell.n else "empty"
    return Entry(text=cell.text(decimals), kind=kind, value=cell.mean, cell=cell, note="; ".join(cell.absent))


def absent(reason: str) -> Entry:
    return Entry(text=reason, kind="empty")
