"""Tables as plain data, by the name that a study gives."""

from collections.abc import Callable, Mapping, Sequence

from reports.arms import MeasuredArm
from reports.tables.any_study import generic
from reports.tables.architectures import table_1_of
from reports.tables.cifar10 import table_6_of
from reports.tables.entries import Table
from reports.tables.imagenet import table_2_of, table_3_of, table_4_of
from reports.tables.voting import table_5_of

__all__ = ["TABLES", "Table"]

TABLES: Mapping[str, Callable[[Sequence[MeasuredArm]], tuple[Table, ...]]] = {
    "table-1": table_1_of,
    "table-2": table_2_of,
    "table-3": table_3_of,
    "table-4": table_4_of,
    "table-5": table_5_of,
    "table-6": table_6_of,
    "table": generic,
}
"""What `report: {tables: [...]}` of a study may name."""
