"""A table of any study: one field down, one across, one metric in the cells."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.spec import Layout
from reports.arms import MeasuredArm, pools
from reports.cells import COSTS, UNITS, Metric, measure, title
from reports.sentences import METRICS as ERRORS
from reports.tables.beside import NOT_ASKED, heading
from reports.tables.entries import Column, Entry, Row, Table, absent, count, measured, words

METRICS: Mapping[str, Metric] = {
    **ERRORS,
    "seconds": Metric.SECONDS,
    "images_per_second": Metric.IMAGES_PER_SECOND,
    "peak_memory_mib": Metric.PEAK_MEMORY,
}
SIZES = ("parameters", "multiply_adds")
"""What a network has rather than a run measures."""
_NAME = re.compile(r"(?P<rows>[\w.]+) x (?P<columns>[\w.]+) x (?P<metric>\w+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """`depth x shortcut x test_error`, as a study's record has it."""

    rows: str
    columns: str
    metric: str

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} x {self.metric}"


def parse(name: str) -> Pivot | None:
    """None for what is no pivot, or of a metric that this version does not know."""
    match = _NAME.fullmatch(name)
    if match is None or match["metric"] not in (*METRICS, *SIZES):
        return None
    return Pivot(**match.groupdict())


def _value(arm: MeasuredArm, field: str) -> Any:
    if field == "variant":
        return arm.network.variant or "the paper's"
    if field.startswith("recipe."):
        return arm.arm.recipe.get(field.removeprefix("recipe."))
    return arm.arm.network.get(field)


def _split(arms: Sequence[MeasuredArm], field: str) -> list[tuple[Any, MeasuredArm]]:
    """Each arm with its value; by seed, each arm once for each seed with that run alone."""
    if field != "seed":
        return [(_value(arm, field), arm) for arm in arms]
    return [(run.seed, replace(arm, runs=(run,))) for arm in arms for run in arm.runs]


def _ordered(values: Sequence[Any]) -> list[Any]:
    """Each once: numbers by size, all else in the order of the study."""
    once = list(dict.fromkeys(str(value) for value in values))
    by_text = {str(value): value for value in values}
    found = [by_text[text] for text in once]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return sorted(found) if numbers else found


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _entry(found: Sequence[MeasuredArm], metric: str) -> Entry:
    if not found:
        return absent(NOT_ASKED)
    if len(found) > 1:
        return absent(f"{len(found)} arms, which differ in {_apart(found)}")
    (arm,) = found
    if metric in SIZES:
        return count(getattr(arm.arm, metric))
    return measured(measure(arm, METRICS[metric]))


def _apart(arms: Sequence[MeasuredArm]) -> str:
    """The first fields that tell arms of one cell apart."""
    first, *others = arms
    fields = [*first.arm.network, *[f"recipe.{name}" for name in first.arm.recipe]]
    differ = [field for field in fields if any(_value(arm, field) != _value(first, field) for arm in others)]
    return ", ".join(differ[:3]) or "nothing but their names"


def pivot(asked: Pivot, arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """One table over all arms; a cell that several arms would share names what tells them apart."""
    placed = [
        (row, column, arm) for row, part in _split(arms, asked.rows) for column, arm in _split([part], asked.columns)
    ]
    rows, columns = (_ordered([each[at] for each in placed]) for at in (0, 1))
    cells: dict[tuple[str, str], list[MeasuredArm]] = {}
    for row, column, arm in placed:
        cells.setdefault((str(row), str(column)), []).append(arm)
    name = _title(asked.metric, arms)
    return (
        Table(
            id=re.sub(r"[^a-z0-9]+", "-", str(asked).lower()),
            title=f"{name[0].upper()}{name[1:]} by {asked.rows} and {asked.columns}",
            caption=f"{asked.rows} down, {asked.columns} across{_caption(asked.metric)}.",
            columns=(
                Column(title=asked.rows, numeric=False),
                *[Column(title=_text(column), group=asked.columns) for column in columns],
            ),
            rows=tuple(
                Row(
                    entries=(
                        words(_text(row)),
                        *[_entry(cells.get((str(row), str(column)), ()), asked.metric) for column in columns],
                    )
                )
                for row in rows
            ),
            notes=tuple(
                f"{heading(pool)}: departs from the paper in {'; '.join(pool.deviations)}."
                for pool in pools(arms)
                if not pool.paper
            ),
        ),
    )


def _title(metric: str, arms: Sequence[MeasuredArm]) -> str:
    if metric in SIZES:
        return metric.replace("_", "-")
    layout: Layout = "imagenet" if {arm.network.layout for arm in arms} == {"imagenet"} else "cifar"
    return title(METRICS[metric], layout)


def _caption(metric: str) -> str:
    """What stands in the cells, and in which unit."""
    if metric in SIZES:
        return ", of one image, forward" if metric == "multiply_adds" else ""
    known = METRICS[metric]
    unit = f", {UNITS[known]}" if known in COSTS else ", percent"
    return f"{unit}: mean ± sample standard deviation (seeds)"
