"""Tables of any study: pivots, columns that runs fill, and what the paper printed and nobody measures."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from synthetic import CIFAR_RECIPE, digits, imagenet_like, make_arm, make_runs, make_study

from ablations.shape import PIVOTED
from models.spec import Network
from reports.arms import gather
from reports.cells import Metric, measure
from reports.tables import TABLES, Table, maker
from reports.tables.any_study import TESTED
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
        ["6.0 ± 0.0 (5)", "not in this study"],
        ["not in this study", "not run"],
    ]


def test_a_pivot_says_what_departs_from_the_paper_and_in_which_unit():
    arms = [
        make_arm(Network(depth=20)),
        make_arm(Network(depth=20), {**CIFAR_RECIPE, "lr": 0.03}, name="slow", deviations=("lr 0.03 (paper 0.1)",)),
    ]
    table = pivoted("recipe.lr x depth x test_error", make_study(arms), make_runs(arms[0], 9, 1))
    assert table.caption == "recipe.lr down, depth across, percent: mean ± sample standard deviation (seeds)."
    (note,) = table.notes
    assert note.endswith("departs from the paper in lr 0.03 (paper 0.1).")
    assert pivoted("recipe.lr x depth x parameters", make_study(arms), []).caption == "recipe.lr down, depth across."


def test_on_imagenet_it_is_the_validation_error():
    """The paper's word for the images that ImageNet's networks are tested on; CIFAR has a test set."""
    study, runs = imagenet_like()
    assert pivoted("depth x shortcut x test_error", study, runs).title.startswith("Validation error, last iterate by")
    by_shortcut, arms = TABLES["table"](gather(study, runs))
    assert "Validation error, last iterate %" in {column.group for column in by_shortcut.columns}
    assert "validation error, last iterate % (n)" in {column.title for column in arms.columns}
    other, more = digits()
    mixed = TABLES["table"](gather(make_study([*study.arms, *other.arms]), [*runs, *more]))[-1]
    assert "test error, last iterate % (n)" in {column.title for column in mixed.columns}
    assert mixed.notes == (TESTED,)


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


LONG_FORM = list(csv.DictReader((Path(__file__).parent / "paper_values.csv").read_text(encoding="utf-8").splitlines()))
"""Every number of the paper's tables once, read off independently of the files that the tables are made of."""
AGAIN = {9: ["41.5", "21.2", "48.4", "27.2"], 10: ["73.2", "76.4"], 11: ["70.4", "73.8"], 14: ["8.9"]}
"""What a table repeats from one before it."""


@pytest.mark.parametrize("number", range(7, 15))
def test_published_tables_have_each_number_of_the_paper(number: int):
    (table,) = TABLES[f"table-{number}"]([])
    shown = Counter(entry.text for row in table.rows for entry in row.entries if entry.kind == "paper")
    printed = Counter(row["value"] for row in LONG_FORM if row["source"] == f"Table {number}")
    assert shown == printed + Counter(AGAIN.get(number, []))


@pytest.mark.parametrize(("number", "data"), [(10, "voc07"), (11, "voc12")])
def test_each_class_has_its_own_number(number: int, data: str):
    (table,) = TABLES[f"table-{number}"]([])
    titles = [column.title for column in table.columns]
    for row in table.rows:
        system, network = row.entries[0].text, row.entries[1].text.lower()
        for name, entry in zip(titles[4:], row.entries[4:], strict=True):
            (found,) = [each for each in LONG_FORM if each["key"] == f"{data}/{network}/{system}/{name}/ap50"]
            assert entry.text == found["value"]


def test_work_of_others_is_marked_as_quoted():
    quoted = {
        number: [row.entries[0].text for row in TABLES[f"table-{number}"]([])[0].rows if row.quoted]
        for number in range(7, 15)
    }
    assert {number: names for number, names in quoted.items() if names} == {
        12: ["GoogLeNet (ILSVRC'14)"],
        13: ["VGG's [41]"],
        14: ["OverFeat (ILSVRC'13)", "GoogLeNet (ILSVRC'14)", "VGG (ILSVRC'14)"],
    }


def test_what_all_rows_share_is_a_note():
    (table,) = TABLES["table-8"]([])
    assert [column.title for column in table.columns] == ["network", "mAP@.5", "mAP@[.5, .95]"]
    assert "Detector: baseline Faster R-CNN." in table.notes
