"""The paper's numbers are there, typed, and as printed."""

from reports.published import paper_claims, paper_curves, plain_facts, table_6


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
    for each in (*paper_curves("fig1"), *paper_curves("fig6")):
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
