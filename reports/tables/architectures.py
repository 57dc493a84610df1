"""Table 1: the networks for ImageNet, with what they cost as printed and as computed."""

import re
from collections.abc import Mapping, Sequence

from models.complexity import multiply_adds, parameters
from models.spec import BOTTLENECK_DEPTHS, IMAGENET_BLOCKS, Network
from reports.arms import MeasuredArm
from reports.published import Stage, table_1
from reports.tables.beside import PAPER_GROUP
from reports.tables.entries import EMPTY, Column, Entry, Row, Table, count, layers, printed, words

FAMILIES: Mapping[str, tuple[int, ...]] = {
    "18 and 34 layers": (18, 34),
    "50, 101 and 152 layers": BOTTLENECK_DEPTHS,
}
"""Networks whose blocks are alike and which differ in how many they have."""


def _network(depth: int) -> Network:
    """As in Tables 2 and 3: option A for two-layer blocks, B for bottlenecks."""
    return Network(
        data="imagenet", layout="imagenet", depth=depth, shortcut="B" if depth in BOTTLENECK_DEPTHS else "A",
        classes=1000, size=224, width=64,
    )  # fmt: skip


def _blocks(stages: Sequence[Stage], title: str) -> list[Entry]:
    """The block of a stage, which all these networks share, and how often each has it; of what is no block, nothing."""
    block = "; ".join(each.replace(",", ", ") for each in stages[0].layers)
    text = re.sub(r"(\d)x(\d)", r"\1×\2", block)
    repeated = any(each.repeats > 1 for each in stages)
    times = [printed(f"× {each.repeats}", each.repeats) if repeated else EMPTY for each in stages]
    return [printed(f"[{text}]" if repeated else text, note=title), *times]


def _columns() -> tuple[Column, ...]:
    return (
        Column(title="layer", numeric=False),
        Column(title="output", numeric=False),
        *[
            column
            for title, depths in FAMILIES.items()
            for column in (
                Column(title="block", group=title, numeric=False),
                *[Column(title=str(depth), group=title) for depth in depths],
            )
        ],
    )


def _billions(stage: Stage) -> Entry:
    """What the paper prints before its `× 10^9`."""
    return printed(stage.flops.removesuffix("e9"), float(stage.flops))


def table_1_of(_: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """The paper's architectures, whatever the study asks for: what they are, and what they cost."""
    by_depth = {depth: [each for each in table_1() if each.depth == depth] for depth in IMAGENET_BLOCKS}
    rows = []
    for at, stage in enumerate(by_depth[18]):
        parts = [_blocks([by_depth[depth][at] for depth in depths], title) for title, depths in FAMILIES.items()]
        rows.append((words(stage.name), words(stage.output.replace("x", " × ")), *parts[0], *parts[1]))
    flops = [[EMPTY, *[_billions(by_depth[depth][0]) for depth in depths]] for depths in FAMILIES.values()]
    rows.append((words("FLOPs, 10^9"), EMPTY, *flops[0], *flops[1]))
    return (
        Table(
            id="table-1",
            title="Table 1",
            caption="Architectures for ImageNet, as printed, for one image of 224 × 224.",
            columns=_columns(),
            rows=tuple(Row(entries=entries) for entries in rows),
            notes=("A block in brackets stands as often in a network as its column says.",),
        ),
        _cost(by_depth),
    )


def _cost(by_depth: Mapping[int, Sequence[Stage]]) -> Table:
    """Multiply-adds as computed beside those that Table 1 prints."""
    return Table(
        id="table-1-cost",
        title="Table 1: what the networks cost",
        caption="Multiply-adds of one image of 224 × 224, forward, as printed and as computed.",
        columns=(
            Column(title="layers"),
            Column(title="FLOPs, 10^9", group=PAPER_GROUP),
            Column(title="multiply-adds", group="Computed"),
            Column(title="difference %", group="Computed"),
            Column(title="parameters", group="Computed"),
        ),
        rows=tuple(_cost_row(depth, stages[0]) for depth, stages in by_depth.items()),
        notes=(
            "The paper calls multiply-adds FLOPs, and rounds or cuts them: 3.86 × 10^9 is printed as 3.8. Computed "
            "with option A for 18 and 34 layers and B from 50 on, convolutions and classifier.",
        ),
    )


def _cost_row(depth: int, stage: Stage) -> Row:
    network, paper = _network(depth), float(stage.flops)
    computed = multiply_adds(network)
    gap = 100 * (computed / paper - 1)
    return Row(
        entries=(
            layers(depth),
            _billions(stage),
            Entry(text=f"{computed:,}", value=computed, paper=paper),
            Entry(
                text=f"{gap:+z.1f}".replace("-", "−"),
                value=gap,
                unit="%",
                note=f"{computed / 1e9:.2f} × 10^9 against {stage.flops.removesuffix('e9')} × 10^9",
            ),
            count(parameters(network)),
        )
    )
