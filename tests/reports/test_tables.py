"""Tables to the digit, and the wall between the paper's recipe and every other."""

import pytest
from synthetic import CIFAR_RECIPE, digits, imagenet_like, make_arm, make_runs, make_study, paper_like

from models.spec import Network
from orchestrator.runs import Run
from orchestrator.studies import RecordedArm
from reports.arms import gather, pools
from reports.tables import TABLES, Table

JPEG_RECIPE = {**CIFAR_RECIPE, "iterations": 2000}
JPEG_DEVIATIONS = ("data cifar10-jpeg (paper cifar10)", "iterations 2000 (paper 64000)")


def table_6_from(arms: list[RecordedArm], runs: list[Run]) -> Table:
    (table,) = TABLES["table-6"](gather(make_study(arms), runs))
    return table


def texts(table: Table, row: int) -> list[str]:
    return [entry.text for entry in table.rows[row].entries]


def jpeg(depth: int) -> RecordedArm:
    network = Network(data="cifar10-jpeg", depth=depth, shortcut="A")
    return make_arm(network, JPEG_RECIPE, seeds=3, deviations=JPEG_DEVIATIONS)


def test_table_6_to_the_digit():
    """Runs made of the paper's numbers give its table, with no difference to it."""
    study, runs = paper_like()
    (table,) = TABLES["table-6"](gather(study, runs))
    assert texts(table, 6) == [
        "ResNet", "20", "0.27M", "8.75", "269,722",
        "8.75 ± 0.13 (5)", "8.59 to 8.91", "+0.00", "", "8.65 ± 0.13 (5)",
    ]  # fmt: skip
    assert texts(table, 10) == [
        "ResNet", "110", "1.7M", "6.43 (6.61±0.16)", "1,727,962",
        "6.61 ± 0.13 (5)", "6.45 to 6.77", "+0.00", "6.45 (6.61±0.13)", "6.51 ± 0.13 (5)",
    ]  # fmt: skip
    assert texts(table, 4)[:5] == ["Highway", "19", "2.3M", "7.54 (7.72±0.16)", ""]
    assert table.rows[4].quoted
    assert not table.rows[6].quoted


def test_the_difference_of_resnet_110_is_to_the_mean():
    arm = make_arm(Network(depth=110, shortcut="A"))
    table = table_6_from([arm], make_runs(arm, 6.50, 0.1))
    assert texts(table, 10)[7] == "−0.11"
    assert table.rows[10].entries[7].note == "6.50 against the paper's mean 6.61"
    assert texts(table, 10)[8] == "6.30 (6.50±0.16)"


def test_another_recipe_never_stands_in_the_papers_cells():
    """Its numbers have columns headed by what they are, and nothing is subtracted."""
    arm = jpeg(20)
    table = table_6_from([arm], make_runs(arm, 14.0, 9.0))
    groups = [column.group for column in table.columns]
    own = "Measured on cifar10-jpeg, 2,000 iterations"
    assert groups[-2:] == [own, own]
    assert texts(table, 6)[5:10] == ["not in this study", "", "", "", ""]
    assert texts(table, 6)[10:] == ["14.00 ± 0.10 (3)", "13.90 ± 0.10 (3)"]
    assert any("departs from the paper: data cifar10-jpeg (paper cifar10)" in note for note in table.notes)


def test_both_recipes_side_by_side():
    arm, other = make_arm(Network(depth=20, shortcut="A")), jpeg(20)
    table = table_6_from([other, arm], [*make_runs(other, 14.0, 9.0), *make_runs(arm, 8.7, 0.6)])
    assert texts(table, 6)[5] == "8.70 ± 0.16 (5)"
    assert texts(table, 6)[7] == "−0.05"
    assert texts(table, 6)[10] == "14.00 ± 0.10 (3)"


def test_a_lone_deviation_heads_its_column():
    """Same data and length as the paper's: then the first thing that differs names the column."""
    arm = make_arm(Network(depth=20, shortcut="A"), {**CIFAR_RECIPE, "lr": 0.03}, deviations=("lr 0.03 (paper 0.1)",))
    (pool,) = pools(gather(make_study([arm]), []))
    assert pool.title == "measured on cifar10, 64,000 iterations, lr 0.03 (paper 0.1)"


def test_an_empty_cell_is_never_zero():
    arm = make_arm(Network(depth=20, shortcut="A"))
    table = table_6_from([arm], [])
    assert texts(table, 6)[5:10] == ["not run", "", "", "", ""]
    assert table.rows[6].entries[5].value is None


def test_depth_against_shortcut():
    study, runs = digits()
    pivot, arms = TABLES["table"](gather(study, runs))
    assert [column.title for column in pivot.columns[:3]] == ["layers", "Plain", "ResNet, option A"]
    assert [row.entries[0].text for row in pivot.rows] == ["20", "32", "44", "56"]
    means = [row.entries[1].value for row in pivot.rows]
    assert means == sorted(means, key=lambda value: value or 0.0)
    assert len(arms.rows) == 16
    assert arms.rows[0].entries[5].text == "269,434"


@pytest.mark.parametrize("name", list(TABLES))
def test_every_row_fills_its_columns(name: str):
    for study, runs in (digits(), paper_like(), imagenet_like()):
        for table in TABLES[name](gather(study, runs)):
            assert {len(row.entries) for row in table.rows} == {len(table.columns)}


def test_what_is_measured_says_by_what_in_which_unit_and_beside_what():
    """A mean, its interval, its difference and the best of the runs rest on one measurement."""
    arm = make_arm(Network(depth=110, shortcut="A"))
    table = table_6_from([arm], make_runs(arm, 6.50, 0.1))
    mean, interval, difference, best = table.rows[10].entries[5:9]
    cell = mean.cell
    assert cell
    assert cell.keys == tuple(key for _, key in arm.trials)
    assert (interval.cell, difference.cell, best.cell) == (cell, cell, cell)
    assert [each.unit for each in (mean, interval, difference, best)] == ["%", "%", "points", "%"]
    assert (mean.paper, difference.paper, best.paper) == (6.61, 6.61, 6.43)


def test_one_run_of_resnet_110_has_no_spread():
    arm = make_arm(Network(depth=110, shortcut="A"), seeds=1)
    assert texts(table_6_from([arm], make_runs(arm, 6.50, 0.1)), 10)[8] == "6.50"
