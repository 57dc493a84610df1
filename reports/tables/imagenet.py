"""Tables 2, 3 and 4: errors on the ImageNet validation set, ten crops with ten crops, several scales with such."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.spec import Shortcut
from reports.arms import MeasuredArm, Pool
from reports.cells import Metric, measure
from reports.published import ImageNetRow, table_2, table_3, table_4
from reports.tables.beside import (
    NOT_ASKED,
    PAPER_GROUP,
    PAPER_RECIPE,
    deviation_note,
    difference,
    heading,
    interval,
    others,
    papers,
)
from reports.tables.entries import EMPTY, Column, Entry, Row, Table, absent, layers, measured, printed, words


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number that the paper prints, and what is measured to stand beside it."""

    title: str
    """Of its columns."""
    text: str
    """As printed, percent; empty where the paper prints none."""
    metric: Metric
    network: tuple[Shortcut, int] | None
    """Shortcut and depth; None for the work of others."""
    note: str = ""

    @property
    def value(self) -> float | None:
        return float(self.text) if self.text else None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row as the paper has it; every row of a table has the same titles."""

    name: Entry
    numbers: tuple[Number, ...]

    @property
    def quoted(self) -> bool:
        return all(each.network is None for each in self.numbers)


def _compared(numbers: Sequence[Number], pool: Pool | None, *, paper: bool) -> list[Entry]:
    """What a pool measured for each number; beside the paper's own also its interval and the difference."""
    entries: list[Entry] = []
    width = 3 if paper else 1
    for place, each in enumerate(numbers):
        arm = pool.find(*each.network) if pool and each.network else None
        if arm is not None:
            cell = measure(arm, each.metric)
            beside = [interval(cell), difference(cell, each.value, each.text)] if paper else []
            entries += [measured(cell, each.value if paper else None), *beside]
            continue
        told = each.network in [before.network for before in numbers[:place]]
        entries += [EMPTY if told or each.network is None else absent(NOT_ASKED), *[EMPTY] * (width - 1)]
    return entries


def _columns(first: Column, lines: Sequence[Line], beside: Sequence[Pool]) -> tuple[Column, ...]:
    titles = [each.title for each in lines[0].numbers]
    return (
        first,
        *[Column(title=f"{title} %", group=PAPER_GROUP) for title in titles],
        *[
            Column(title=each, group=PAPER_RECIPE)
            for title in titles
            for each in (f"{title} % (n)", "95 % interval", "difference")
        ],
        *[Column(title=f"{title} % (n)", group=heading(pool)) for pool in beside for title in titles],
    )


def _row(line: Line, paper: Pool | None, beside: Sequence[Pool]) -> Row:
    entries = [
        line.name,
        *[printed(each.text, each.value, each.note, "%") for each in line.numbers],
        *_compared(line.numbers, paper, paper=True),
        *[entry for pool in beside for entry in _compared(line.numbers, pool, paper=False)],
    ]
    return Row(entries=tuple(entries), quoted=line.quoted)


def _table(
    number: int,
    caption: str,
    first: str,
    lines: Sequence[Line],
    arms: Sequence[MeasuredArm],
    notes: Sequence[str],
) -> tuple[Table, ...]:
    networks = {each.network for line in lines for each in line.numbers if each.network}
    paper, beside = papers(arms, "imagenet"), others(arms, "imagenet", networks)
    column = Column(title=first, group=PAPER_GROUP, numeric=first == "layers")
    return (
        Table(
            id=f"table-{number}",
            title=f"Table {number}",
            caption=caption,
            columns=_columns(column, lines, beside),
            rows=tuple(_row(line, paper, beside) for line in lines),
            notes=(*notes, *[deviation_note(pool) for pool in beside]),
        ),
    )


LAST = "The paper reports the last iterate, and so does what stands beside it."
TEN_CROP = (
    "10-crop: shorter side 256, the four corners and the centre at 224 × 224 and their mirrors, softmax averaged. "
    f"Errors of one crop are about 2 points higher and stand in no cell here. {LAST}"
)
QUOTED = "Rows set in italics are the work of others, as the paper prints them; they were not trained here."


def table_2_of(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """Plain against residual networks of 18 and 34 layers."""
    lines = [
        Line(
            name=layers(row.depth),
            numbers=(
                Number(title="plain", text=row.plain, metric=Metric.LAST_TEN_CROP, network=("none", row.depth)),
                Number(title="ResNet", text=row.resnet, metric=Metric.LAST_TEN_CROP, network=("A", row.depth)),
            ),
        )
        for row in table_2()
    ]
    caption = "Top-1 error on the ImageNet validation set, percent, 10-crop. The residual networks have option A: no "
    caption += "parameter more than the plain ones."
    return _table(2, caption, "layers", lines, arms, [TEN_CROP])


def _lines(rows: Sequence[ImageNetRow], top1: Metric, top5: Metric) -> list[Line]:
    found = []
    for row in rows:
        network = (row.shortcut, row.depth) if row.shortcut and row.depth else None
        note = f"{row.split}; {row.origin}" if row.quoted else ""
        numbers = (
            Number(title="top-1 error", text=row.top1, metric=top1, network=network, note=note),
            Number(title="top-5 error", text=row.top5, metric=top5, network=network, note=note),
        )
        found.append(Line(name=words(row.method), numbers=numbers))
    return found


def table_3_of(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """Shortcut options and depth, ten crops."""
    lines = _lines(table_3(), Metric.LAST_TEN_CROP, Metric.LAST_TEN_CROP_TOP5)
    caption = "Error on the ImageNet validation set, percent, 10-crop. ResNet-50, 101 and 152 have option B."
    notes = [TEN_CROP, f"{QUOTED} VGG-16 is the authors' own test of the published model."]
    return _table(3, caption, "model", lines, arms, notes)


def table_4_of(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """The best of single models, several scales."""
    lines = _lines(table_4(), Metric.LAST_MULTI_SCALE, Metric.LAST_MULTI_SCALE_TOP5)
    caption = "Error of single models on the ImageNet validation set, percent, fully-convolutional at several scales."
    notes = [
        "Multi-scale: shorter sides 224, 256, 384, 480 and 640, the scores averaged. The paper does not say whether "
        f"mirrors are among them, nor whether scores are averaged before or after softmax. {LAST}",
        f"{QUOTED} VGG (ILSVRC'14) is on the test set.",
    ]
    return _table(4, caption, "method", lines, arms, notes)
