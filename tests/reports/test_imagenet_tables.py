"""Tables 1 to 5 to the digit: ten crops beside ten crops, and no difference where the kinds differ."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from synthetic import (
    IMAGENET_RECIPE,
    imagenet,
    imagenet_like,
    kept,
    make_arm,
    make_run,
    make_study,
    predicted,
)

from models.spec import Shortcut
from orchestrator.runs import Outcome, Run
from orchestrator.studies import RecordedArm
from reports.arms import gather
from reports.published import table_1
from reports.tables import TABLES, Table

SHORT_RECIPE = {**IMAGENET_RECIPE, "iterations": 80_000}
SHORT = ("iterations 80000 (paper 600000)", "augmentation crop (paper scale-crop-flip-colour)")
GROUP = "Measured on imagenet, 80,000 iterations"


def table_from(name: str, arms: list[RecordedArm], runs: list[Run]) -> Table:
    (table,) = TABLES[name](gather(make_study(arms), runs))
    return table


def texts(table: Table, row: int) -> list[str]:
    return [entry.text for entry in table.rows[row].entries]


def result_of(arm: RecordedArm, seed: int = 0, **results: float) -> Run:
    run = make_run(arm, seed, test=31.0, train=25.0)
    return replace(run, result={**run.result, **results})


def short(depth: int = 34, shortcut: Shortcut = "A", *, seeds: int = 1) -> RecordedArm:
    return make_arm(
        imagenet(depth, shortcut), SHORT_RECIPE, deviations=SHORT, name=f"short-{shortcut}-{depth}", seeds=seeds
    )


@pytest.fixture(scope="module")
def tables() -> Mapping[str, Table]:
    study, runs = imagenet_like()
    return {name: TABLES[name](gather(study, runs))[0] for name in study.tables}


def test_table_2(tables: Mapping[str, Table]):
    """Runs made of the paper's numbers give its table, with no difference to it."""
    assert [column.title for column in tables["table-2"].columns] == [
        "layers", "plain %", "ResNet %",
        "plain % (n)", "95 % interval", "difference", "ResNet % (n)", "95 % interval", "difference",
    ]  # fmt: skip
    assert [texts(tables["table-2"], row) for row in (0, 1)] == [
        ["18", "27.94", "27.88",
         "27.94 ± 0.10 (3)", "27.69 to 28.19", "+0.00", "27.88 ± 0.10 (3)", "27.63 to 28.13", "+0.00"],
        ["34", "28.54", "25.03",
         "28.54 ± 0.10 (3)", "28.29 to 28.79", "+0.00", "25.03 ± 0.10 (3)", "24.78 to 25.28", "+0.00"],
    ]  # fmt: skip


def test_table_3(tables: Mapping[str, Table]):
    table = tables["table-3"]
    assert texts(table, 0) == ["VGG-16", "28.07", "9.33", *[""] * 6]
    assert texts(table, 1)[:3] == ["GoogLeNet", "", "9.15"]
    assert texts(table, 6) == [
        "ResNet-34 C", "24.19", "7.40",
        "24.19 ± 0.10 (3)", "23.94 to 24.44", "+0.00", "7.40 ± 0.10 (3)", "7.15 to 7.65", "+0.00",
    ]  # fmt: skip
    assert [texts(table, row)[0] for row in (3, 9)] == ["plain-34", "ResNet-152"]
    assert [row.quoted for row in table.rows] == [True] * 3 + [False] * 7


def test_table_4(tables: Mapping[str, Table]):
    table = tables["table-4"]
    assert texts(table, 2)[:3] == ["VGG (v5)", "24.4", "7.1"]
    assert table.rows[0].entries[2].note == "ImageNet test; quoted [41]"
    assert texts(table, 9) == [
        "ResNet-152", "19.38", "4.49",
        "19.38 ± 0.10 (3)", "19.13 to 19.63", "+0.00", "4.49 ± 0.10 (3)", "4.24 to 4.74", "+0.00",
    ]  # fmt: skip


def test_table_1(tables: Mapping[str, Table]):
    """As printed; the blocks of a stage once for each kind of network, beside how often each network has them."""
    table = tables["table-1"]
    assert texts(table, 0) == ["conv1", "112 × 112", *["7×7, 64, stride 2", "", "", "7×7, 64, stride 2", "", "", ""]]
    assert texts(table, 4)[2:5] == ["[3×3, 256; 3×3, 256]", "× 2", "× 6"]
    assert texts(table, 4)[5:] == ["[1×1, 256; 3×3, 256; 1×1, 1024]", "× 6", "× 23", "× 36"]
    assert texts(table, 7) == ["FLOPs, 10^9", "", "", "1.8", "3.6", "", "3.8", "7.6", "11.3"]
    for shortcuts in (18, 34), (50, 101, 152):
        for stages in zip(*[[each for each in table_1() if each.depth == depth] for depth in shortcuts], strict=True):
            assert len({stage.layers for stage in stages}) == 1


def test_table_1_beside_what_networks_really_cost():
    """Within 2 % of the print; the relative difference stands beside both."""
    table = TABLES["table-1"]([])[1]
    assert [texts(table, row) for row in range(5)] == [
        ["18", "1.8", "1,794,805,760", "−0.3", "11,515,688"],
        ["34", "3.6", "3,644,493,824", "+1.2", "21,623,848"],
        ["50", "3.8", "3,857,973,248", "+1.5", "25,557,032"],
        ["101", "7.6", "7,570,194,432", "−0.4", "44,549,160"],
        ["152", "11.3", "11,282,415,616", "−0.2", "60,192,808"],
    ]
    for row in table.rows:
        _, printed, computed, difference, _ = row.entries
        assert computed.paper == printed.value
        assert computed.value is not None
        assert computed.paper is not None
        assert difference.value == pytest.approx(100 * (computed.value - computed.paper) / computed.paper)
        assert abs(difference.value or 0) < 2


@pytest.mark.parametrize(
    ("result", "stands"),
    [
        ("last_ten_crop_error", {"table-2", "table-3"}),
        ("last_multi_scale_error", {"table-4"}),
        ("last_test_error", set()),
    ],
)
def test_only_the_same_protocol_stands_beside_the_paper(result: str, stands: set[str]):
    """One crop in no table, ten crops in 2 and 3, several scales in 4."""
    arm = make_arm(imagenet(34, "B" if "multi" in result else "A"), IMAGENET_RECIPE, seeds=1)
    found = set()
    for name in ("table-2", "table-3", "table-4"):
        table = table_from(name, [arm], [result_of(arm, 0, **{result: 24.0})])
        numbers = [entry for row in table.rows for entry in row.entries if entry.kind == "measured"]
        assert [entry.text for entry in numbers] in ([], ["24.00 (1)"])
        found |= {name} if numbers else set()
    assert found == stands


def test_a_difference_is_signed_and_says_to_what():
    arm = make_arm(imagenet(50, "B"), IMAGENET_RECIPE, seeds=1)
    table = table_from("table-3", [arm], [result_of(arm, last_ten_crop_error=22.5, last_ten_crop_top5_error=6.8)])
    assert texts(table, 7)[3:] == ["22.50 (1)", "needs 2 seeds", "−0.35", "6.80 (1)", "needs 2 seeds", "+0.09"]
    assert table.rows[7].entries[5].note == "22.50 against the paper's 22.85"
    assert texts(table, 8)[3:] == ["not in this study", *[""] * 5]


def test_each_network_that_was_not_asked_for_is_told_once():
    arm = make_arm(imagenet(34, "A"), IMAGENET_RECIPE, seeds=1)
    table = table_from("table-2", [arm], [result_of(arm, last_ten_crop_error=25.0)])
    assert texts(table, 0)[3:] == ["not in this study", "", "", "not in this study", "", ""]
    assert texts(table, 1)[3:] == ["not in this study", "", "", "25.00 (1)", "needs 2 seeds", "−0.03"]


def test_a_missing_and_an_old_run_say_why():
    """Not run; finished without this evaluation; failed."""
    arms = [make_arm(imagenet(depth, "B"), IMAGENET_RECIPE, seeds=1) for depth in (34, 50, 101)]
    runs = [
        result_of(arms[1]),
        make_run(arms[2], 0, test=1, train=1, outcome=Outcome.FAILED, reason="CUDA out of memory"),
    ]
    table = table_from("table-4", arms, runs)
    reasons = [texts(table, row)[3] for row in (5, 7, 8)]
    assert reasons == ["not run", "not recorded", "failed: CUDA out of memory"]


@pytest.mark.parametrize("name", ["table-2", "table-3", "table-4", "table-5"])
def test_a_short_recipe_never_stands_in_the_papers_cells(name: str):
    """Its columns are headed by what it is, nothing is subtracted, and a note says in what it departs."""
    arm = short(shortcut="B" if name == "table-4" else "A", seeds=1)
    results = dict.fromkeys(
        ("last_ten_crop_error", "last_ten_crop_top5_error", "last_multi_scale_error", "last_multi_scale_top5_error"),
        33.0,
    )
    table = table_from(name, [arm], [replace(result_of(arm, 0, **results), kept=kept(predicted(0)))])
    groups = [column.group for column in table.columns]
    own = [place for place, group in enumerate(groups) if group == GROUP]
    assert own == list(range(len(groups) - len(own), len(groups)))
    assert {"plain % (n)": 2, "top-1 error % (n)": 2, "trials": 5}[table.columns[own[0]].title] == len(own)
    first = groups.index("Measured, the paper's recipe")
    papers = [row.entries[place] for row in table.rows for place in range(first, own[0])]
    assert {entry.text for entry in papers} == {"", "not in this study"}
    measured = [row.entries[place].text for row in table.rows for place in own]
    assert ("33.00 (1)" in measured) or ("1" in measured)
    assert any(f"departs from the paper: {'; '.join(SHORT)}." in note for note in table.notes)


def test_a_set_of_arms_without_a_network_of_the_table_has_no_columns():
    """A CIFAR arm, and a deep one that Table 2 does not have."""
    table = table_from("table-2", [short(152, "B", seeds=1), make_arm(imagenet(50, "B"), IMAGENET_RECIPE)], [])
    assert {column.group for column in table.columns} == {"The paper", "Measured, the paper's recipe"}


# Table 5


def test_table_5(tables: Mapping[str, Table]):
    """The votes of all trials that kept them, beside the paper's number and never subtracted from it."""
    table = tables["table-5"]
    assert texts(table, 0) == ["VGG (ILSVRC'14)", "7.32", *[""] * 5]
    method, paper, trials, top5, top1, best, gap = table.rows[5].entries
    assert (method.text, paper.text, trials.text) == ("ResNet (ILSVRC'15)", "3.57", "12")
    assert paper.note == "6 models of different depth, two of them 152-layer"
    assert top5.value is not None
    assert best.value is not None
    assert 0 <= top5.value < best.value
    assert top1.value is not None
    assert top1.value >= top5.value
    assert gap.value == pytest.approx(top5.value - best.value)
    assert "3.57" not in {entry.text for row in table.rows for entry in row.entries[2:]}
    assert not any("difference" in column.title and column.group == "The paper" for column in table.columns)
    (told,) = [note for note in table.notes if "12 trials" in note]
    for depth in (34, 50, 101, 152):
        assert all(f"imagenet-resnet-{depth}-B.s{seed} (" in told for seed in range(3))
    assert "imagenet-resnet-34-A" not in told


def test_votes_that_are_lost_are_told():
    """Damaged, and of other images: the others vote, and the page says who does not and why."""
    arm = make_arm(imagenet(50, "B"), IMAGENET_RECIPE, seeds=4)
    files = [kept(predicted(0)), kept(b"no predictions"), kept(predicted(1, images=200)), kept(predicted(2))]
    runs = [replace(result_of(arm, seed), kept=each) for seed, each in enumerate(files)]
    table = table_from("table-5", [arm], runs)
    assert texts(table, 5)[2] == "2"
    (lost,) = [note for note in table.notes if note.startswith("Without a vote")]
    assert "imagenet-resnet-50-B.s1: predictions-multi-scale.npz holds no predictions" in lost
    assert "imagenet-resnet-50-B.s2: its test images are not those of imagenet-resnet-50-B.s0" in lost


def test_an_ensemble_of_nobody_says_why():
    arm = make_arm(imagenet(50, "B"), IMAGENET_RECIPE, seeds=2)
    assert texts(table_from("table-5", [], []), 5)[2:] == ["not in this study", *[""] * 4]
    assert texts(table_from("table-5", [arm], []), 5)[2:] == ["not run", *[""] * 4]
    without_files = [result_of(arm, seed, last_multi_scale_top5_error=5.0) for seed in (0, 1)]
    assert texts(table_from("table-5", [arm], without_files), 5)[2] == "no trial kept predictions-multi-scale.npz"
    damaged = [replace(result_of(arm), kept=kept(b""))]
    assert "holds no predictions" in texts(table_from("table-5", [arm], damaged), 5)[2]


def test_trials_under_other_recipes_vote_apart():
    """The paper's recipe and the short one are two classifiers."""
    arm, other = make_arm(imagenet(50, "B"), IMAGENET_RECIPE, seeds=2), short(50, "B", seeds=1)
    runs = [replace(result_of(arm, seed), kept=kept(predicted(seed))) for seed in (0, 1)]
    table = table_from("table-5", [other, arm], [*runs, replace(result_of(other), kept=kept(predicted(9)))])
    assert [texts(table, 5)[place] for place in (2, 7)] == ["2", "1"]


def test_an_ensemble_over_few_classes_has_no_top_5_error():
    """Of five classes five guesses are always right: that is no error of 0."""
    arm = make_arm(imagenet(50, "B"), IMAGENET_RECIPE, seeds=2)
    runs = [replace(result_of(arm, seed), kept=kept(predicted(seed, classes=5))) for seed in (0, 1)]
    table = table_from("table-5", [arm], runs)
    trials, top5, top1, best, gap = texts(table, 5)[2:]
    assert (trials, top5, best, gap) == ("2", "no top-5 error: 5 classes", "", "")
    assert 0 < float(top1) < 100
    assert any(note.endswith("2 trials: imagenet-resnet-50-B.s0, imagenet-resnet-50-B.s1.") for note in table.notes)
