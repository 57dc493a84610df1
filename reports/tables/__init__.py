"""Tables as plain data, by the name that a study gives."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from reports.arms import MeasuredArm
from reports.tables import pivot
from reports.tables.any_study import generic
from reports.tables.architectures import table_1_of
from reports.tables.as_published import AS_PUBLISHED
from reports.tables.cifar10 import table_6_of
from reports.tables.entries import Table
from reports.tables.imagenet import table_2_of, table_3_of, table_4_of

__all__ = ["TABLES", "Table", "maker"]


def _table_5_of(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    from reports.tables.voting import table_5_of  # it loads NumPy, and not every command needs it

    return table_5_of(arms)


TABLES: Mapping[str, Callable[[Sequence[MeasuredArm]], tuple[Table, ...]]] = {
    "table-1": table_1_of,
    "table-2": table_2_of,
    "table-3": table_3_of,
    "table-4": table_4_of,
    "table-5": _table_5_of,
    "table-6": table_6_of,
    **AS_PUBLISHED,
    "table": generic,
}
"""What `report: {tables: [...]}` of a study may name."""


def maker(name: str) -> Callable[[Sequence[MeasuredArm]], tuple[Table, ...]] | None:
    """What makes the tables of this name, one of the above or a pivot; None where this version has none."""
    if name in TABLES:
        return TABLES[name]
    asked = pivot.parse(name)
    return partial(pivot.pivot, asked) if asked else None
