"""Table 1: the networks for ImageNet, with what they cost as printed and as computed."""

import re
from collections.abc import Sequence

from models.complexity import multiply_adds, parameters
from models.spec import BOTTLENECK_DEPTHS, IMAGENET_BLOCKS, Network
from reports.arms import MeasuredArm
from reports.published import Stage, table_1
from reports.tables.entries import Column, Entry, Row, Table, count, printed, words


def _network(depth: int) -> Network:
    """As in Tables 2 and 3: option A for two-layer blocks, B for bottlenecks."""
    return Network(
        data="imagenet", layout="imagenet", depth=depth, shortcut="B" if depth in BOTTLENECK_DEPTHS else "A",
        classes=1000, size=224, width=64,
    )  # fmt: skip


def _stage(stage: Stage) -> Entry:
    layers = "; ".join(each.replace(",", ", ") for each in stage.layers)
    text = re.sub(r"(\d)x(\d)", r"\1×\2", layers)
    return printed(f"[{text}] × {stage.repeats}" if stage.repeats > 1 else text)


def _flops(stage: Stage) -> Entry:
    digits, power = stage.flops.split("e")
    return printed(f"{digits} × 10^{power}", float(stage.flops))


def table_1_of(_: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """The paper's architectures, whatever the study asks for."""
    by_depth = {depth: [each for each in table_1() if each.depth == depth] for depth in IMAGENET_BLOCKS}
    networks = [_network(depth) for depth in by_depth]
    rows = [
        (row[0].name, row[0].output.replace("x", " × "), [_stage(each) for each in row])
        for row in zip(*by_depth.values(), strict=True)
    ]
    rows += [
        ("FLOPs, printed", "", [_flops(row[0]) for row in by_depth.values()]),
        ("multiply-adds, computed", "", [count(multiply_adds(each)) for each in networks]),
        ("parameters, computed", "", [count(parameters(each)) for each in networks]),
    ]
    return (
        Table(
            id="table-1",
            title="Table 1",
            caption="Architectures for ImageNet, for one image of 224 × 224.",
            columns=(
                Column(title="layer", numeric=False),
                Column(title="output", numeric=False),
                *[Column(title=f"{depth}-layer") for depth in by_depth],
            ),
            rows=tuple(Row(entries=(words(name), words(output), *entries)) for name, output, entries in rows),
            notes=(
                "The paper calls multiply-adds FLOPs, and rounds or cuts them: 3.86 × 10^9 is printed as 3.8. Computed "
                "with option A for 18 and 34 layers and B from 50 on, convolutions and classifier.",
            ),
        ),
    )
