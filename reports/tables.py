"""Tables as plain data: every entry is a value with the text that is printed. Nothing here draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from models.complexity import parameters
from models.spec import Network
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import TITLES, Cell, Metric, measure
from reports.published import Table6Row, table_6

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


def _text(text: str, value: float | None = None) -> Entry:
    return Entry(text=text, kind="text", value=value)


def _count(value: int | None) -> Entry:
    return EMPTY if value is None else Entry(text=f"{value:,}", value=value)


def _layers(value: int | None) -> Entry:
    return EMPTY if value is None else Entry(text=str(value), value=value)


EMPTY = Entry(text="", kind="empty")


def _measured(cell: Cell, decimals: int = 2) -> Entry:
    kind: Kind = "measured" if cell.n else "empty"
    return Entry(text=cell.text(decimals), kind=kind, value=cell.mean, cell=cell, note="; ".join(cell.absent))


def _absent(reason: str) -> Entry:
    return Entry(text=reason, kind="empty")


NOT_ASKED = "not in this study"

# Table 6


def _network(row: Table6Row) -> Network | None:
    return None if row.quoted or row.layers is None else Network(depth=row.layers, shortcut="A")


def _interval(cell: Cell) -> Entry:
    if cell.interval is None:
        return _absent("" if not cell.n else "needs 2 seeds")
    low, high = cell.interval
    return Entry(text=f"{low:.2f} to {high:.2f}", value=low)


def _difference(row: Table6Row, cell: Cell) -> Entry:
    if cell.mean is None:
        return EMPTY
    gap = cell.mean - row.comparable
    beside = f"mean {row.mean}" if row.mean else row.error
    return Entry(text=f"{gap:+z.2f}".replace("-", "−"), value=gap, note=f"{cell.mean:.2f} against the paper's {beside}")


def _best_run(row: Table6Row, cell: Cell) -> Entry:
    """Lowest last-iterate error of the seeds: the kind of number that the paper prints for ResNet-110."""
    if not row.mean or row.quoted or not cell.n:
        return EMPTY
    best = min(cell.values)
    return Entry(text=f"{best:.2f}", value=best, note=f"best of {cell.n}; the paper's best of 5 is {row.error}")


PAPER_GROUP = "The paper"
PAPER_RECIPE = "Measured, the paper's recipe"


def _paper_columns() -> tuple[Column, ...]:
    return (
        Column(title="method", group=PAPER_GROUP, numeric=False),
        Column(title="layers", group=PAPER_GROUP),
        Column(title="parameters", group=PAPER_GROUP),
        Column(title="error %", group=PAPER_GROUP),
        Column(title="parameters", group="Computed"),
    )


def _paper_entries(row: Table6Row) -> tuple[Entry, ...]:
    network = _network(row)
    count = parameters(network) if network else None
    millions = float(row.params.removesuffix("M")) if row.params else None
    return (
        _text(row.method),
        _layers(row.layers),
        Entry(text=row.params, kind="paper", value=millions) if row.params else EMPTY,
        Entry(text=row.printed, kind="paper", value=row.comparable),
        _count(count),
    )


def _recipe_columns() -> tuple[Column, ...]:
    return (
        Column(title="last test error % (n)", group=PAPER_RECIPE),
        Column(title="95 % interval", group=PAPER_RECIPE),
        Column(title="difference", group=PAPER_RECIPE),
        Column(title="best of the runs", group=PAPER_RECIPE),
        Column(title="best test error % (n)", group=PAPER_RECIPE),
    )


def _recipe_entries(row: Table6Row, pool: Pool | None) -> tuple[Entry, ...]:
    arm = pool.find("A", row.layers) if pool and row.layers and not row.quoted else None
    if arm is None:
        return (EMPTY if row.quoted else _absent(NOT_ASKED), *[EMPTY] * 4)
    last = measure(arm, Metric.LAST_TEST)
    best = measure(arm, Metric.BEST_TEST)
    shown = _measured(best) if best.n else EMPTY
    return _measured(last), _interval(last), _difference(row, last), _best_run(row, last), shown


def _other_columns(pool: Pool) -> tuple[Column, ...]:
    group = pool.title[0].upper() + pool.title[1:]
    return (
        Column(title="last test error % (n)", group=group),
        Column(title="best test error % (n)", group=group),
    )


def _other_entries(row: Table6Row, pool: Pool) -> tuple[Entry, ...]:
    arm = pool.find("A", row.layers) if row.layers and not row.quoted else None
    if arm is None:
        return (EMPTY if row.quoted else _absent(NOT_ASKED), EMPTY)
    best = measure(arm, Metric.BEST_TEST)
    return _measured(measure(arm, Metric.LAST_TEST)), _measured(best) if best.n else EMPTY


def deviation_note(pool: Pool) -> str:
    """Why the numbers of a pool stand in a column of their own."""
    return (
        f"“{pool.title}” stands in its own columns and no difference to the paper is taken, because it departs from "
        f"the paper: {'; '.join(pool.deviations)}."
    )


def table_6_of(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """Table 6 in the paper's row order, with what was measured beside it."""
    all_pools = pools(arms)
    paper = next((pool for pool in all_pools if pool.paper and pool.arms[0].network.data == "cifar10"), None)
    others = [pool for pool in all_pools if not pool.paper and "A" in pool.shortcuts and pool.layout == "cifar"]
    columns = (*_paper_columns(), *_recipe_columns(), *[each for pool in others for each in _other_columns(pool)])
    rows = tuple(
        Row(
            entries=(
                *_paper_entries(row),
                *_recipe_entries(row, paper),
                *[entry for pool in others for entry in _other_entries(row, pool)],
            ),
            quoted=row.quoted,
        )
        for row in table_6()
    )
    notes = (
        "The paper reports the last iterate, so the difference is taken to the last test error. Best test error is "
        "chosen with the test set and is compared with nothing.",
        "ResNet-110: the paper prints “best (mean ± std)” of five runs. The measured mean is compared with the mean, "
        "6.61; the best of the runs with 6.43.",
        "Rows set in italics are quoted by the paper from other work and were not trained here.",
        *[deviation_note(pool) for pool in others],
    )
    caption = "Classification error on the CIFAR-10 test set, percent. All networks use data augmentation."
    return (Table(id="table-6", title="Table 6", caption=caption, columns=columns, rows=rows, notes=notes),)


# Any study: depth against shortcut, and one row per arm

PIVOTED = (Metric.TAIL_TRAIN, Metric.LAST_TEST)


def _pivot(pool: Pool, number: int) -> Table:
    columns = [Column(title="layers")]
    columns += [
        Column(title=SHORTCUT_TITLES[shortcut], group=f"{TITLES[metric][0].upper()}{TITLES[metric][1:]} %")
        for metric in PIVOTED
        for shortcut in pool.shortcuts
    ]
    rows = []
    for depth in pool.depths:
        found = [(pool.find(shortcut, depth), metric) for metric in PIVOTED for shortcut in pool.shortcuts]
        entries = [_measured(measure(arm, metric)) if arm else _absent(NOT_ASKED) for arm, metric in found]
        rows.append(Row(entries=(_layers(depth), *entries)))
    title = pool.title[0].upper() + pool.title[1:]
    return Table(
        id="depth-by-shortcut" if number == 1 else f"depth-by-shortcut-{number}",
        title="Depth against shortcut",
        caption=f"{title}. Mean ± sample standard deviation (seeds). Training error is the mean over the last "
        "10/64 of the iterations.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


ARM_METRICS = (Metric.TAIL_TRAIN, Metric.LAST_TEST, Metric.BEST_TEST)


def _arm_row(arm: MeasuredArm) -> Row:
    seconds = measure(arm, Metric.SECONDS)
    return Row(
        entries=(
            _text(arm.arm.name),
            _layers(arm.network.depth),
            *[_measured(measure(arm, metric)) for metric in ARM_METRICS],
            _count(arm.arm.parameters),
            Entry(text=f"{arm.arm.multiply_adds / 1e6:,.1f}", value=arm.arm.multiply_adds),
            _measured(seconds, 1) if seconds.n else EMPTY,
        )
    )


def _arms_table(arms: Sequence[MeasuredArm]) -> Table:
    columns = (
        Column(title="arm", numeric=False),
        Column(title="layers"),
        *[Column(title=f"{TITLES[metric]} % (n)") for metric in ARM_METRICS],
        Column(title="parameters"),
        Column(title="multiply-adds, millions"),
        Column(title="seconds (n)"),
    )
    caption = "One row per arm. Mean ± sample standard deviation (seeds); multiply-adds of one image, forward."
    rows = tuple(_arm_row(arm) for arm in arms)
    return Table(id="arms", title="Every arm", caption=caption, columns=columns, rows=rows)


def generic(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """The study's own tables: depth against shortcut for every set of comparable arms, then one row per arm."""
    return (*[_pivot(pool, number) for number, pool in enumerate(pools(arms), start=1)], _arms_table(arms))


TABLES: Mapping[str, Callable[[Sequence[MeasuredArm]], tuple[Table, ...]]] = {
    "table-6": table_6_of,
    "table": generic,
}
"""What `report: {tables: [...]}` of a study may name."""
