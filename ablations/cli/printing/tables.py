"""What every printed page shares: tables that fit a terminal, words in their colours, numbers in few characters."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape, render
from rich.table import Column, Table

MOST_NARROW = 24
"""Characters of a name on one line, however narrow the terminal."""
BETWEEN = 3
"""Characters between two columns."""
MOST_NAMES = 5
"""In one line."""
COLOURS = {
    "done": "green",
    "finished": "green",
    "holds": "green",
    "fails": "red",
    "failed": "red",
    "partial": "yellow",
    "running": "yellow",
    "starting": "yellow",
    "diverged": "magenta",
    "cancelled": "bright_black",
    "over budget": "bright_black",
    "waiting": "bright_black",
    "blocked": "bright_black",
    "missing": "bright_black",
    "undecided": "yellow",
    "ok": "green",
    "warn": "yellow",
    "bad": "red",
}


def folding_table(title: str, *columns: str) -> Table:
    """A table in which names fold where a terminal is narrow, and numbers, which `|` marks, are never cut."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        if column.endswith("|"):
            table.add_column(column[:-1].replace(" ", "\n"), justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def print_table(table: Table, console: Console) -> None:
    """Where a terminal is too narrow for its columns a row is its first cell with the others in lines under it, since
    a table would leave some out."""
    needs = [_widths(column, first=column is table.columns[0]) for column in table.columns]
    spare = console.width - sum(least for least, _ in needs) - BETWEEN * len(needs) - 1
    if spare >= 0:
        for column, (least, whole) in zip(table.columns, needs, strict=True):
            column.width = min(whole, least + spare)
            spare -= column.width - least
        console.print(table)
        return
    console.print(table.title, style="italic", highlight=False, soft_wrap=True)
    names = [str(column.header).replace("\n", " ") for column in table.columns]
    for first, *rest in zip(*(column.cells for column in table.columns), strict=True):
        console.print(first, highlight=False, soft_wrap=True)
        for name, cell in zip(names[1:], rest, strict=True):
            if cell:
                told = str(cell).replace("\n", ", ")
                console.print(f"  {name}: {told}", highlight=False, soft_wrap=True)


def _widths(column: Column, *, first: bool) -> tuple[int, int]:
    """Characters that a column needs at least, names and texts folded, and that it takes if nothing folds."""
    cells = [str(column.header), *map(str, column.cells)]
    lines = [render(line).plain for cell in cells for line in cell.split("\n")]
    whole = max(map(cell_len, lines), default=0)
    if column.no_wrap:
        return whole, whole
    words = max((cell_len(word) for line in lines for word in line.split()), default=0)
    return min(whole, MOST_NARROW) if first else words, whole


def coloured(word: str) -> str:
    return f"[{COLOURS[word]}]{word}[/]" if word in COLOURS else word


def print_blocked(reasons: Iterable[str | None], console: Console) -> None:
    for reason in sorted({each for each in reasons if each}):
        console.print(f"blocked: {escape(reason)}", highlight=False, soft_wrap=True)


def count(number: float) -> str:
    """`1.73 M`: parameters and multiply-adds as tables print them."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def duration(seconds: float) -> str:
    """`4.2 s`, `35 min`, `10 h`, `12 d`: in few characters, for tables."""
    units = (("d", 86_400, 172_800), ("h", 3600, 5400), ("min", 60, 100), ("s", 1, 0))
    unit, size, _ = next(each for each in units if seconds >= each[2])
    number = seconds / size
    return f"{number:,.0f} {unit}" if number >= 9.95 else f"{number:.1f} {unit}"


def some(names: Iterable[str]) -> str:
    """The first few of them."""
    found = list(names)
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return ", ".join(found[:MOST_NAMES]) + more


def many(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"
