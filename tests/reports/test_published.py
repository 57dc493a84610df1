"""The paper's numbers are there, typed, and as printed."""

from itertools import groupby

import pytest

from models.spec import IMAGENET_BLOCKS
from reports.published import (
    ImageNetRow,
    paper_claims,
    paper_curves,
    plain_facts,
    table_1,
    table_2,
    table_3,
    table_4,
    table_5,
    table_6,
)


def test_table_6_in_the_order_of_the_paper():
    assert [row.printed for row in table_6()] == [
        "9.38", "8.81", "8.22", "8.39", "7.54 (7.72±0.16)", "8.80",
        "8.75", "7.51", "7.17", "6.97", "6.43 (6.61±0.16)", "7.93",
    ]  # fmt: skip
    assert [row.quoted for row in table_6()] == [True] * 6 + [False] * 6
    assert [row.params for row in table_6()][6:] == ["0.27M", "0.46M", "0.66M", "0.85M", "1.7M", "19.4M"]


def test_the_mean_is_what_a_mean_is_compared_with():
    """ResNet-110 printed its best run first; a mean over seeds belongs beside the mean."""
    by_depth = {row.layers: row.comparable for row in table_6() if not row.quoted}
    assert by_depth == {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61, 1202: 7.93}


def test_figure_6_ends_at_table_6():
    """The digitised test curves of 20 and 56 layers end within 0.03 of the table."""
    ends = {
        each.depth: each.curve.values[-1]
        for each in paper_curves("fig6")
        if each.panel == "middle" and each.curve.metric == "test_error"
    }
    assert abs(ends[20] - 8.75) < 0.04
    assert abs(ends[56] - 6.97) < 0.04


def test_every_curve_is_in_order():
    for each in (*paper_curves("fig1"), *paper_curves("fig4"), *paper_curves("fig6")):
        assert each.panel in ("left", "middle", "right")
        assert each.curve.metric in ("train_error", "test_error")
        assert list(each.curve.iterations) == sorted(set(each.curve.iterations))
        assert len(each.curve.values) == len(each.curve.iterations)


def test_plain_networks():
    assert {depth: fact.test_error for depth, fact in plain_facts().items()} == {
        20: "9.69", 32: "10.11", 44: "11.47", 56: "13.27", 110: ">60",
    }  # fmt: skip


def test_66_claims():
    claims = paper_claims()
    assert len(claims) == 66
    assert claims["DEG-01"].rule == "diff(56-20) > 2*SE(diff) and > 1 point"
    assert {claim.tier for claim in claims.values()} <= {"S", "M", "C", "I", "D", "C/I", "I/C", "S/M", "S/I", "C/D"}


def shown(rows: tuple[ImageNetRow, ...]) -> list[tuple[str, str, str, str | None, int | None]]:
    return [(row.method, row.top1, row.top5, row.shortcut, row.depth if row.shortcut else None) for row in rows]


def test_table_1_is_the_networks_that_are_built():
    """Depths, blocks and output sizes; 18 and 34 layers have blocks of two, the others bottlenecks."""
    for depth, stages in groupby(table_1(), key=lambda each: each.depth):
        known = list(stages)
        assert [each.output for each in known] == ["112x112", "56x56", "56x56", "28x28", "14x14", "7x7", "1x1"]
        assert tuple(each.repeats for each in known[2:6]) == IMAGENET_BLOCKS[depth]
        assert {len(each.layers) for each in known[2:6]} == {2 if depth < 50 else 3}
    assert [stage.flops for stage in table_1()[::7]] == ["1.8e9", "3.6e9", "3.8e9", "7.6e9", "11.3e9"]


def test_table_2_as_printed():
    assert [(row.depth, row.plain, row.resnet) for row in table_2()] == [
        (18, "27.94", "27.88"), (34, "28.54", "25.03"),
    ]  # fmt: skip


def test_table_3_as_printed():
    assert shown(table_3()) == [
        ("VGG-16", "28.07", "9.33", None, None),
        ("GoogLeNet", "", "9.15", None, None),
        ("PReLU-net", "24.27", "7.38", None, None),
        ("plain-34", "28.54", "10.02", "none", 34),
        ("ResNet-34 A", "25.03", "7.76", "A", 34),
        ("ResNet-34 B", "24.52", "7.46", "B", 34),
        ("ResNet-34 C", "24.19", "7.40", "C", 34),
        ("ResNet-50", "22.85", "6.71", "B", 50),
        ("ResNet-101", "21.75", "6.05", "B", 101),
        ("ResNet-152", "21.43", "5.71", "B", 152),
    ]
    assert [row.quoted for row in table_3()] == [True] * 3 + [False] * 7


def test_table_4_as_printed():
    assert shown(table_4()) == [
        ("VGG (ILSVRC'14)", "", "8.43", None, None),
        ("GoogLeNet (ILSVRC'14)", "", "7.89", None, None),
        ("VGG (v5)", "24.4", "7.1", None, None),
        ("PReLU-net", "21.59", "5.71", None, None),
        ("BN-inception", "21.99", "5.81", None, None),
        ("ResNet-34 B", "21.84", "5.71", "B", 34),
        ("ResNet-34 C", "21.53", "5.60", "C", 34),
        ("ResNet-50", "20.74", "5.25", "B", 50),
        ("ResNet-101", "19.87", "4.60", "B", 101),
        ("ResNet-152", "19.38", "4.49", "B", 152),
    ]
    assert [row.split for row in table_4()].count("ImageNet test") == 1


def test_table_5_as_printed():
    assert [row.top5 for row in table_5()] == ["7.32", "6.66", "6.8", "4.94", "4.82", "3.57"]
    assert [row.quoted for row in table_5()] == [True] * 5 + [False]
    assert {row.split for row in table_5()} == {"ImageNet test (server)"}


@pytest.mark.parametrize(("shortcut", "depth", "end"), [("none", 18, 31.28), ("none", 34, 32.37), ("A", 34, 28.23)])
def test_figure_4_ends_as_it_was_read(shortcut: str, depth: int, end: float):
    """The centre crop on the validation set, to 55e4 iterations."""
    (read,) = [
        each.curve for each in paper_curves("fig4")
        if (each.shortcut, each.depth, each.curve.metric) == (shortcut, depth, "test_error")
    ]  # fmt: skip
    assert (read.iterations[-1], read.values[-1]) == (550_000, end)
    assert len(paper_curves("fig4")) == 8
