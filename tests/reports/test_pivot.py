"""Tables of any study: pivots, columns that runs fill, and what the paper printed and nobody measures."""

from typing import Any, get_args

import pytest
from synthetic import CIFAR_RECIPE, digits, imagenet_like, make_arm, make_runs, make_study

from ablations.shape import PIVOTED
from models.spec import Network
from reports.arms import gather
from reports.cells import Metric, measure
from reports.published import _rows as rows_of
from reports.tables import TABLES, Table, maker
from reports.tables.pivot import METRICS, SIZES


def pivoted(name: str, study: Any, runs: Any) -> Table:
    make = maker(name)
    assert make
    (table,) = make(gather(study, runs))
    return table


def test_a_pivot_has_the_cells_of_the_arms():
    study, runs = digits()
    table = pivoted("depth x shortcut x test_error", study, runs)
    assert [column.title for column in table.columns] == ["depth", "none", "A", "B", "C"]
    assert [row.entries[0].text for row in table.rows] == ["20", "32", "44", "56"]
    arms = {(arm.network.depth, arm.network.shortcut): arm for arm in gather(study, runs)}
    for row in table.rows:
        for column, entry in zip(table.columns[1:], row.entries[1:], strict=True):
            arm = arms[int(row.entries[0].text), column.title]  # pyright: ignore[reportArgumentType]
            assert entry.cell == measure(arm, Metric.LAST_TEST)


def test_a_pivot_by_seed_shows_single_runs():
    study, runs = digits()
    table = pivoted("recipe.lr x seed x train_error", make_study(study.arms[:1]), runs)
    assert [column.title for column in table.columns[1:]] == ["0", "1", "2"]
    assert [entry.cell.n if entry.cell else 0 for entry in table.rows[0].entries[1:]] == [1, 1, 1]


def test_arms_that_would_share_a_cell_are_refused_with_what_tells_them_apart():
    arms = [make_arm(Network(depth=20), {**CIFAR_RECIPE, "lr": lr}, name=f"lr-{lr}") for lr in (0.1, 0.03)]
    runs = [run for arm in arms for run in make_runs(arm, 9, 1)]
    shared = pivoted("depth x shortcut x test_error", make_study(arms), runs)
    assert shared.rows[0].entries[1].text == "2 arms, which differ in recipe.lr"
    apart = pivoted("recipe.lr x depth x test_error", make_study(arms), runs)
    assert [row.entries[0].text for row in apart.rows] == ["0.03", "0.1"]
    assert all(row.entries[1].cell for row in apart.rows)


def test_an_empty_cell_says_why():
    arms = [make_arm(Network(depth=20)), make_arm(Network(depth=32, shortcut="A"))]
    table = pivoted("depth x shortcut x seconds", make_study(arms), make_runs(arms[0], 9, 1))
    assert [[entry.text for entry in row.entries[1:]] for row in table.rows] == [
        ["6.00 ± 0.00 (5)", "not in this study"],
        ["not in this study", "not run"],
    ]


def test_sizes_are_those_of_the_networks():
    study, runs = digits()
    table = pivoted("shortcut x depth x parameters", study, runs)
    assert table.rows[0].entries[1].value == study.arms[0].parameters


def test_what_is_no_pivot_has_no_maker():
    assert maker("depth x shortcut x happiness") is None
    assert maker("depth by shortcut") is None
    assert maker("table-99") is None


def test_a_study_may_ask_for_what_a_report_can_make():
    assert set(get_args(PIVOTED)) == {*METRICS, *SIZES}


def test_the_table_of_arms_has_what_runs_recorded():
    """Ten crops and several scales where there are such; not where there are none."""
    titles = [column.title for column in TABLES["table"](gather(*imagenet_like()))[-1].columns]
    assert "top-1 error, 10-crop % (n)" in titles
    assert "top-5 error, multi-scale % (n)" in titles
    assert not any("crop" in column.title for column in TABLES["table"](gather(*digits()))[-1].columns)


# As published


@pytest.mark.parametrize("number", range(7, 15))
def test_published_tables_are_the_papers_to_the_digit(number: int):
    """Every number that stands in the table stands in the file, as printed, and nothing is measured beside it."""
    (table,) = TABLES[f"table-{number}"]([])
    kinds = {entry.kind for row in table.rows for entry in row.entries}
    assert kinds <= {"text", "paper", "empty"}
    assert "not trained by this version" in table.notes[0]
    assert all(len(row.entries) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize(
    ("number", "row", "title", "printed"),
    [
        (7, 1, "mAP@.5", "76.4"),
        (8, 1, "mAP@[.5, .95]", "27.2"),
        (9, 5, "test-dev mAP@[.5, .95]", "37.4"),
        (10, 2, "mAP@.5", "85.6"),
        (11, 2, "mAP@.5", "83.8"),
        (12, 2, "test mAP", "62.1"),
        (13, 4, "top-5 error, class predicted", "10.6"),
        (14, 3, "test top-5 error", "9.0"),
    ],
)
def test_numbers_that_the_paper_is_known_for(number: int, row: int, title: str, printed: str):
    (table,) = TABLES[f"table-{number}"]([])
    place = [column.title for column in table.columns].index(title)
    assert table.rows[row].entries[place].text == printed


def test_every_published_file_is_read_whole():
    for number, name in ((7, "table7_voc_detection"), (13, "table13_localization_val")):
        assert len(TABLES[f"table-{number}"]([])[0].rows) == len(rows_of(name))
