"""A study file is a study or one line that says what is wrong, where, what is allowed and what to do."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablations.shape import Fields, choice, worded
from ablations.study import REPORT_FIGURES, REPORT_TABLES, Study, StudyError, load, shipped, template

HEAD = "name: mine\nquestion: Why?\ndata: cifar10\n"
GRID = "matrix: {depth: [20]}\n"


def write(folder: Path, text: str) -> str:
    path = folder / "s.yaml"
    path.write_text(text)
    return str(path)


def study(folder: Path, text: str, **given: Any) -> Study:
    return load(write(folder, text), **given)


def names(of: Study) -> list[str]:
    return [arm.name for arm in of.arms]


# What is wrong in each file, the line that has to be named, and the words that have to be there.
BAD: list[tuple[str, int, str]] = [
    ("question: q\n" + GRID, 1, "name: missing; a name for results and reports"),
    ("name: x\n" + GRID, 1, "question: missing; what the study asks"),
    ("name: x\nquestion: '  '\n", 2, "question: is empty; what the study asks"),
    ("name: My Study\nquestion: q\n", 1, "name: 'My Study' is not a name; use a-z, 0-9, - and _"),
    ("name: ../x\nquestion: q\n", 1, "'../x' is not a name"),
    ("name: /abs\nquestion: q\n", 1, "'/abs' is not a name"),
    (f"name: {'x' * 64}\nquestion: q\n", 1, "at most 63"),
    ('name: "a\\n"\nquestion: q\n', 1, "is not a name"),
    ("name: 3\nquestion: q\n", 1, "name: expected a text, got 3"),
    ("name: no\nquestion: 1e-4\n", 2, "question: expected a text, got 0.0001"),
    (f"name: x\nquestion: {'q' * 2001}\n", 2, "question: has 2,001 characters; at most 2,000"),
    (HEAD + "depht: 20\n", 4, "depht: unknown key 'depht'; did you mean 'depth'?"),
    (HEAD + "matrx: {}\n", 4, "unknown key 'matrx'; did you mean 'matrix'?"),
    (HEAD + "grid: {}\n", 4, "did you mean 'matrix'?"),
    (HEAD + "lr: 0.1\n", 4, "unknown key 'lr'; write it under `recipe`, as {lr: ...}"),
    (HEAD + "depth: 20\n", 4, "write it under `matrix` as a list, or in an `include`"),
    (HEAD + "zzz: 20\n", 4, "unknown key 'zzz'; allowed: name, question, source, data"),
    (HEAD + "matrix:\n  depht: [20]\n", 5, "matrix.depht[0]: 'depht' is no field of an arm"),
    (HEAD + "matrix:\n  option: [A]\n", 5, "did you mean 'shortcut'?"),
    (HEAD + "matrix:\n  lr: [0.1]\n", 5, "did you mean 'recipe.lr'?"),
    (
        HEAD + "matrix:\n  network:\n    - {shortcut: A}\n    - {shorcut: B}\n",
        7,
        "unknown key 'shorcut'; did you mean 'shortcut'?",
    ),
    (HEAD + "matrix:\n  network: [{zzz: A}]\n", 5, "allowed: data, depth, shortcut"),
    (
        HEAD + 'matrix:\n  depth: [20, "32"]\n',
        5,
        "matrix.depth[1]: expected a whole number, got '32'; write 32 without quotes",
    ),
    (HEAD + "matrix:\n  depth:\n    - 20\n    - 20.0\n", 7, "depth[1]: expected a whole number, got 20.0"),
    (HEAD + "matrix:\n  depth: [true]\n", 5, "expected a whole number, got true"),
    (HEAD + "matrix:\n  depth: [1:30]\n", 5, "expected a whole number, got '1:30'"),
    (HEAD + "matrix:\n  depth: [[20]]\n", 5, "expected a whole number, got a list"),
    (HEAD + "matrix:\n  depth: 20\n", 5, "matrix.depth: expected a list, got 20"),
    (HEAD + "matrix:\n  network: 20\n", 5, "matrix.network: expected a list, got 20"),
    (HEAD + "matrix:\n  depth: []\n", 5, "matrix.depth: the axis is empty: 0 arms; give at least one value"),
    (HEAD + "matrix: [20]\n", 4, "matrix: expected axes, as {depth: [20, 32], shortcut: [none, A]}, got a list"),
    (HEAD + "matrix:\n  depth: [0]\n", 5, "depth[0]: must be 1 to 10,000, not 0"),
    (HEAD + "matrix:\n  depth: [-20]\n", 5, "must be 1 to 10,000, not -20"),
    (
        HEAD + "matrix:\n  depth: [21]\n",
        5,
        "depth must be 6n + 2 on cifar10 (20, 32, 44, 56, 110, 1202), not 21; nearest 20, 26",
    ),
    (
        HEAD + "matrix:\n  net:\n    - depth: 20\n      shortcut: A\n    - depth: 54\n      shortcut: A\n",
        8,
        "net[1].depth: depth must be",
    ),
    (HEAD + "matrix: {depth: [36], data: [imagenet]}\n", 4, "depth must be 18, 34, 50, 101 or 152 on imagenet, not 36"),
    (HEAD + "matrix: {depth: [20], shortcut: [no]}\n", 4, "'no' is not one of none, A, B, C; did you mean 'none'?"),
    (HEAD + "matrix: {depth: [20], shortcut: [null]}\n", 4, "nothing is not one of none, A, B, C"),
    (HEAD + "matrix: {depth: [20], width: [0]}\n", 4, "must be 1 to 4,096, not 0"),
    (HEAD + "matrix: {depth: [20], init: [fan_inn]}\n", 4, "is not one of fan_out, fan_in; did you mean 'fan_in'?"),
    (
        HEAD + "matrix: {depth: [20], shortcut: [A], padding: [averag]}\n",
        4,
        "is not one of appended, split, duplicate, average; did you mean 'average'?",
    ),
    (
        HEAD + "matrix:\n  depth: [20]\n  shortcut: [A, B]\n  padding: [split]\n",
        7,
        "padding[0]: padding split is for shortcut A, not B; leave it out or give A",
    ),
    (HEAD + "matrix: {depth: [20], shortcut: [A], block_layers: [3]}\n", 4, "block_layers[0]: must be 1 to 2, not 3"),
    (HEAD + "matrix: {depth: [20], shortcut: [A], block_layers: [true]}\n", 4, "expected a whole number, got true"),
    (
        HEAD + "matrix:\n  depth: [20]\n  block_layers: [2, 1]\n",
        6,
        "block_layers[1]: block_layers 1 changes nothing in a plain network; leave it out or give a shortcut",
    ),
    (HEAD + "matrix: {depth: [20], grown_from: [0]}\n", 4, "must be 1 to 10,000, not 0"),
    (
        HEAD + GRID + "include:\n  - depth: 56\n    grown_from: 21\n",
        7,
        "include[0].grown_from: grown_from is a smaller network's depth, and depth must be 6n + 2 on cifar10",
    ),
    (HEAD + "matrix:\n  depth: [56, 8]\n  grown_from: [20]\n", 6, "must be below the depth, 8, not 20"),
    (HEAD + "matrix: {depth: [20], stride: [3x3]}\n", 4, "stride 3x3 changes nothing in cifar10-plain-20"),
    (
        "name: x\nquestion: q\ndata: cifar\n" + GRID,
        3,
        "data: 'cifar' is not one of digits, cifar10, cifar10-jpeg, imagenet; did you mean 'cifar10'?",
    ),
    ("name: x\nquestion: q\ndata:\n" + GRID, 3, "data: expected a text, got nothing"),
    ("name: x\nquestion: q\n" + GRID, 3, "matrix: no data set is named; give `data`, one of digits"),
    (HEAD + "matrix: {shortcut: [A]}\n", 4, "an arm needs a depth"),
    (HEAD + GRID + "include:\n  - {shortcut: A}\n", 6, "include[0]: an arm needs a depth"),
    (HEAD, 1, "the study has 0 arms; give a `matrix`"),
    (HEAD + "matrix: {}\ninclude: []\n", 1, "the study has 0 arms"),
    (HEAD + GRID + "exclude: [{depth: 20}]\n", 1, "the study has 0 arms"),
    (HEAD + GRID + "exclude:\n  - {depth: 26}\n", 6, "exclude[0]: matches no arm of the matrix"),
    (HEAD + GRID + "exclude:\n  - {}\n", 6, "exclude[0]: names no field"),
    (HEAD + GRID + "exclude: {depth: 20}\n", 5, "exclude: expected a list, got keys and values"),
    (
        HEAD + GRID + "include: [26]\n",
        5,
        "include[0]: expected a mapping of fields, as {depth: 20, shortcut: A}, got 26",
    ),
    (HEAD + GRID + "exclude: [" + "{depth: 20}," * 201 + "]\n", 5, "exclude: has 201 entries; at most 200"),
    (HEAD + "matrix:\n  depth: [20, 26, 20]\n", 5, "depth[2]: arm cifar10-plain-20 is given twice, first by"),
    (
        HEAD + GRID + "include:\n  - {depth: 26}\n  - {depth: 20}\n",
        7,
        "include[1]: arm cifar10-plain-20 is given twice",
    ),
    (
        HEAD + GRID + "include:\n  - {depth: 20, recipe.lr: 0.1}\n",
        6,
        "s.yaml:4: matrix.depth[0], the same or with other values that change nothing; keep one",
    ),
    (HEAD + "matrix:\n  depth: [20]\n  net: [{depth: 26}]\n", 6, "net: gives depth, as the axis 'depth' does"),
    (HEAD + "matrix: {depth: [20], a: [{}, {}]}\n", 4, "is given twice"),
    (
        HEAD + GRID + "recipe: cifr\n",
        5,
        "recipe.name: 'cifr' is not one of cifar, imagenet, imagenet-16, imagenet-32, digits; did you mean 'cifar'?",
    ),
    (HEAD + GRID + "recipe: 3\n", 5, "recipe: expected the name of a recipe, or {name: cifar, lr: 0.03}, got 3"),
    (HEAD + GRID + "recipe:\n  name: cifar\n  lrr: 0.1\n", 7, "recipe.lrr: unknown key 'lrr'; did you mean 'lr'?"),
    (HEAD + GRID + "recipe: {lr: 0}\n", 5, "recipe.lr: must be above 0, not 0"),
    (HEAD + GRID + "recipe: {lr: -0.1}\n", 5, "must be above 0, not -0.1"),
    (HEAD + GRID + "recipe: {lr: '0.1'}\n", 5, "expected a number, got '0.1'; write 0.1 without quotes"),
    (HEAD + GRID + "recipe: {lr: .nan}\n", 5, "recipe.lr: .nan is not allowed; give a finite number"),
    (HEAD + GRID + "recipe: {lr: .inf}\n", 5, ".inf is not allowed"),
    (HEAD + GRID + "recipe: {momentum: 1}\n", 5, "must be at least 0 and below 1, not 1"),
    (HEAD + GRID + "recipe: {iterations: 0}\n", 5, "must be 1 to 1,000,000,000, not 0"),
    (HEAD + GRID + "recipe: {iterations: 64_000}\n", 5, "expected a whole number, got '64_000'; write 64000 without"),
    (
        HEAD + GRID + "recipe: {batch: 50001}\n",
        5,
        "a batch of 50,001 is larger than the 50,000 training images of cifar10",
    ),
    (HEAD + GRID + "recipe: {drops: [0.75, 0.5]}\n", 5, "drops must rise strictly, as [0.5, 0.75], not [0.75, 0.5]"),
    (HEAD + GRID + "recipe: {drops: [0.5, 1.5]}\n", 5, "recipe.drops[1]: must be above 0 and below 1, not 1.5"),
    (HEAD + GRID + "recipe: {drops: 0.5}\n", 5, "recipe.drops: expected a list, got 0.5"),
    (
        HEAD + GRID + "recipe: {evaluate_every: 300}\n",
        5,
        "evaluate_every must be a multiple of record_every (200), not 300",
    ),
    (
        HEAD + GRID + "recipe: {record_every: 300}\n",
        5,
        "evaluate_every must be a multiple of record_every (300), not 400",
    ),
    (HEAD + GRID + "recipe: {precision: fp16}\n", 5, "'fp16' is not one of fp32, tf32, bf16"),
    (
        HEAD + GRID + "recipe: imagenet\n",
        5,
        "'scale-crop-flip-colour' is not for cifar10, which has small images; give pad-crop-flip",
    ),
    (
        HEAD + GRID + "recipe: {augmentation: scale-crop-flip-colour}\n",
        5,
        "recipe.augmentation: augmentation 'scale-crop",
    ),
    (HEAD + GRID + "recipe: {warmup_from_depth: 0}\n", 5, "must be 1 to"),
    (HEAD + GRID + "recipe:\n  nesterov: 1\n", 6, "recipe.nesterov: expected true or false, got 1"),
    (HEAD + GRID + "recipe: {compiled: yes}\n", 5, "recipe.compiled: expected true or false, got 'yes'"),
    (HEAD + GRID + "recipe: {schedule: plato}\n", 5, "is not one of iterations, plateau; did you mean 'plateau'?"),
    (
        HEAD + GRID + "recipe:\n  lr: 0.1\n  schedule: plateau\n",
        7,
        "recipe.schedule: schedule plateau watches the validation error, and held_out is 0; give held_out too",
    ),
    (HEAD + GRID + "recipe: {patience: 0}\n", 5, "must be 1 to 1,000,000,000, not 0"),
    (HEAD + GRID + "recipe: {warmup_iterations: 0.5}\n", 5, "expected a whole number, got 0.5"),
    (HEAD + GRID + "recipe: {held_out: -1}\n", 5, "must be 0 to 1,000,000,000, not -1"),
    (
        HEAD + GRID + "recipe:\n  batch: 100\n  held_out: 49901\n",
        7,
        "held_out 49,901 leaves fewer than a batch of 100 of the 50,000 training images of cifar10; give at most 49",
    ),
    (
        HEAD + GRID + "recipe:\n  batch: 128\n  bn_batch: 48\n",
        7,
        "bn_batch must divide batch (128), not 48; give its share on one replica",
    ),
    (
        HEAD + GRID + "recipe: {held_out: 5000, precise_bn: 45001}\n",
        5,
        "precise_bn 45,001 is more than the training images of cifar10; give at most 45,000",
    ),
    (
        HEAD + GRID + "recipe: {precise_bn: 1}\n",
        5,
        "precise_bn must be 0 or at least 2, not 1: one image has no variance",
    ),
    (HEAD + GRID + "recipe: {dropout: 1}\n", 5, "must be at least 0 and below 1, not 1"),
    (HEAD + GRID + "recipe: {stochastic_depth: 1.5}\n", 5, "must be at least 0 and below 1, not 1.5"),
    (
        HEAD + "matrix: {depth: [20], shortcut: [A, none]}\nrecipe: {stochastic_depth: 0.5}\n",
        5,
        "recipe.stochastic_depth: stochastic_depth 0.5 leaves blocks out, and cifar10-plain-20 has no shortcuts",
    ),
    (
        HEAD + GRID + "recipe: {clean_every: 500}\n",
        5,
        "recipe.clean_every: clean_every must be a multiple of evaluate_every (400), not 500",
    ),
    (HEAD + GRID + "recipe: {probe_at: [0, 0]}\n", 5, "probe_at must rise strictly, as [0, 0.5, 1], not [0.0, 0.0]"),
    (HEAD + GRID + "recipe: {probe_at: [0, 1.5]}\n", 5, "recipe.probe_at[1]: must be 0 to 1, not 1.5"),
    (
        HEAD + GRID + f"recipe: {{probe_at: {[at / 40 for at in range(33)]}}}\n",
        5,
        "probe_at: has 33 entries; at most 32",
    ),
    (HEAD + GRID + "recipe: {probe_batches: 0}\n", 5, "must be 1 to 1,000,000,000, not 0"),
    (HEAD + GRID + "recipe: {schedule_multiplier: 101}\n", 5, "must be 1 to 100, not 101"),
    (HEAD + GRID + "recipe: {schedule_multiplier: 1.5}\n", 5, "expected a whole number, got 1.5"),
    (
        HEAD + GRID + "recipe: {iterations: 20000000, schedule_multiplier: 100}\n",
        5,
        "recipe.iterations: iterations must be 1 to 1,000,000,000, not 2000000000",
    ),
    (
        HEAD + GRID + "include: [{depth: 26, recipe: {lr: 1}, recipe.lr: 2}]\n",
        5,
        "include[0]: recipe.lr is given twice; keep one",
    ),
    (HEAD + GRID + "seeds: 0\n", 5, "seeds: must be 1 to 1,000, not 0"),
    (HEAD + GRID + "seeds: 1001\n", 5, "must be 1 to 1,000, not 1001"),
    (HEAD + GRID + "seeds: -1\n", 5, "not -1"),
    (HEAD + GRID + "seeds: 18446744073709551616\n", 5, "digits is not allowed"),
    (HEAD + GRID + "seeds: [1, 2]\n", 5, "seeds: expected a whole number, got a list"),
    (HEAD + "matrix: {depth: [20], seeds: [0]}\n", 4, "must be 1 to 1,000, not 0"),
    (HEAD + GRID + "claims: DEG-01\n", 5, "claims: expected a list, got 'DEG-01'"),
    (HEAD + GRID + "claims: [3]\n", 5, "claims[0]: expected the id of a claim, as DEG-01, or {id, say, text}, got 3"),
    (HEAD + GRID + "claims: [DEG_1]\n", 5, "'DEG_1' is no claim; give one of the paper, as DEG-01"),
    (
        HEAD + GRID + "claims: [deg-01]\n",
        5,
        "'deg-01' is no claim of the paper (as DEG-01), and an own claim needs `say`",
    ),
    (
        HEAD + GRID + "claims:\n  - DEG-01\n  - {id: DEG-02, say: a > b}\n",
        7,
        "DEG-02 is the paper's claim; give it alone",
    ),
    (HEAD + GRID + "claims:\n  - DEG-01\n  - DEG-01\n", 7, "claims[1]: DEG-01 is given twice; keep one"),
    (HEAD + GRID + "claims: [{say: a > b}]\n", 5, "id: missing; give `id`"),
    (HEAD + GRID + "claims:\n  - DEG-15\n", 6, "the paper has no claim DEG-15; DEG-01 to DEG-02 are known"),
    (HEAD + GRID + "claims:\n  - XYZ-15\n", 6, "the paper has no claim XYZ-15; known are DEG-01, DEG-02"),
    (HEAD + GRID + "claims:\n  - id: own\n    say: a ? b\n", 7, "claims[0].say: '?' is no comparison"),
    (HEAD + GRID + "report: {tables: [table-77]}\n", 5, "is not one of table, table-1, table-2"),
    (
        HEAD + GRID + "report: {pivots: [{rows: dept, columns: seed, metric: seconds}]}\n",
        5,
        "'dept' is no field of an arm; did you mean 'depth'?",
    ),
    (
        HEAD + GRID + "report: {pivots: [{rows: recipe.schedule_multiplier, columns: seed, metric: seconds}]}\n",
        5,
        "'recipe.schedule_multiplier' is no field of an arm",
    ),
    (
        HEAD + GRID + "report: {pivots: [{rows: zzz, columns: seed, metric: seconds}]}\n",
        5,
        "'zzz' is no field of an arm; give one of a network's, variant, seed, or one as recipe.lr",
    ),
    (
        HEAD + GRID + "report: {pivots: [{rows: depth, columns: seed, metric: seconds, x: 1}]}\n",
        5,
        "unknown key 'x'; allowed: rows, columns, metric",
    ),
    (HEAD + GRID + "report: {pivots: [depth x seed x seconds]}\n", 5, "expected {rows: depth, columns: shortcut,"),
    (HEAD + GRID + "report: {pivots: [{rows: depth, columns: depth, metric: seconds}]}\n", 5, "must differ, not both"),
    (HEAD + GRID + "report: {pivots: [{rows: depth, columns: seed, metric: accuracy}]}\n", 5, "is not one of"),
    (
        HEAD + GRID + "report: {figures: [figure-2]}\n",
        5,
        "is not one of curves, figure-1, figure-4, figure-6, figure-7",
    ),
    (HEAD + GRID + "report: {table: [table]}\n", 5, "unknown key 'table'; did you mean 'tables'?"),
    (HEAD + GRID + "report: {tables: [table, table]}\n", 5, "report: table is given twice; keep one"),
    (
        HEAD + GRID + "report: [table]\n",
        5,
        "report: expected {tables: [...], figures: [...], pivots: [...]}, got a list",
    ),
    (HEAD + GRID + "name: other\n", 5, "name: given twice, first at line 1"),
    (HEAD + "matrix: {depth: [020]}\n", 4, "020 has a leading zero; write 20"),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=range(len(BAD)))
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    def say_problem(say: str) -> str | None:
        return "'?' is no comparison; use < or >" if "?" in say else None

    with pytest.raises(StudyError) as caught:
        study(tmp_path, text, known_claims={"DEG-01", "DEG-02"}, say_problem=say_problem)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/s.yaml:{line}: ")
    assert words in message
    assert message.isprintable()


AXES_OF_TEN = ("warmup_lr", "lr", "drop_factor", "momentum", "weight_decay", "warmup_until_error")
HUGE = [
    (
        ", ".join(f"recipe.{name}: [{', '.join(str((at + 1) / 101) for at in range(100))}]" for name in AXES_OF_TEN),
        "1,000,000,000,000",
    ),
    (
        f"depth: [{', '.join(str(8 + 6 * at) for at in range(100))}], width: [{', '.join(map(str, range(1, 102)))}]",
        "10,100",
    ),
    ("depth: [20], seeds: [1000, 999, 998, 997, 996, 995, 994, 993, 992, 991, 990]", "10,945"),
    ("depth: [20, 26], s: [{seeds: 1000}, {}, {seeds: 1000}, {seeds: 1000}, {seeds: 1000}, {seeds: 1000}]", "10,002"),
]


@pytest.mark.parametrize(("axes", "number"), HUGE)
def test_a_huge_grid_is_counted_not_expanded(tmp_path: Path, axes: str, number: str) -> None:
    path = write(tmp_path, HEAD + f"matrix: {{{axes}}}\n")
    started = time.monotonic()
    with pytest.raises(StudyError, match=rf"s.yaml:4: matrix: {number} trials; at most 10,000 in one study"):
        load(path)
    assert time.monotonic() - started < 1


def test_too_many_includes_are_named_too(tmp_path: Path) -> None:
    text = HEAD + "seeds: 1000\ninclude:\n" + "".join(f"  - {{depth: {8 + 6 * at}}}\n" for at in range(11))
    with pytest.raises(StudyError, match=r"s\.yaml:5: include: 11,000 trials"):
        study(tmp_path, text)


def test_an_axis_longer_than_any_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"matrix\.depth: 10,001 values; at most 10,000"):
        study(tmp_path, HEAD + f"matrix: {{depth: [{'20, ' * 10_001}]}}\n")


def test_a_field_of_pydantic_without_words_of_ours_keeps_its_own() -> None:
    assert worded({"type": "new_kind", "loc": ("a",), "msg": "Something new", "input": 1}) == "Something new"
    assert choice("a", ["b"]) == "'a' is not one of b"


BAD_OVERRIDES = [
    ("recipe.lr", "expected name=value, as recipe.lr=0.03"),
    ("recipe.lr=fast", "expected a number, got 'fast'"),
    ("recipe.lr=", "expected a number, got nothing"),
    ("recipe.lr=-1", "must be above 0, not -1"),
    ("recipe.lr=[", "not YAML"),
    ("recipe.iterations=0400", "leading zero; write 400"),
    ("recipe.lrr=1", "'recipe.lrr' cannot be set; did you mean 'recipe.lr'?; names are network.data"),
    ("lr=0.1", "'lr' cannot be set; did you mean 'recipe.lr'?"),
    ("network.lr=0.1", "did you mean 'recipe.lr'?"),
    ("seeds=3", "seeds are given by --seeds"),
    ("network.depth=21", "depth must be 6n + 2"),
    ("network.stride=3x3", "stride 3x3 changes nothing"),
    ("network.shortcut=D", "'D' is not one of none, A, B, C"),
    ("network.padding=split", "padding split is for shortcut A, not none"),
    ("network.block_layers='1'", "expected a whole number, got '1'; write 1 without quotes"),
    ("network.grown_from=20", "must be below the depth, 20, not 20"),
    ("recipe.batch=50001", "larger than the 50,000 training images"),
    ("recipe.evaluate_every=7", "multiple of record_every (200), not 7"),
    ("recipe.record_every=7", "multiple of record_every (7), not 400"),
]


@pytest.mark.parametrize(("override", "words"), BAD_OVERRIDES)
def test_a_wrong_override_names_itself(override: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        load("cifar10-depth", overrides=[override])
    assert str(caught.value).startswith(f"--set {override}: ")
    assert words in str(caught.value)


def test_an_override_may_be_given_once_and_must_leave_the_arms_apart() -> None:
    with pytest.raises(StudyError, match=r"--set recipe\.lr=2: recipe\.lr is given twice; keep one"):
        load("cifar10-depth", overrides=["recipe.lr=1", "recipe.lr=2"])
    with pytest.raises(StudyError, match=r"arm cifar10-plain-20 is given twice with --set network.depth=20, first by"):
        load("cifar10-depth", overrides=["network.depth=20"])


@pytest.mark.parametrize("seeds", [0, -1, 1001])
def test_a_wrong_number_of_seeds_names_its_option(seeds: int) -> None:
    with pytest.raises(StudyError, match=f"--seeds: must be 1 to 1,000, not {seeds}"):
        load("digits-depth", seeds=seeds)


UNKNOWN = [
    ("cifar-depth", "did you mean 'cifar10-depth'?"),
    ("zzz", "these ship: cifar10-construction, cifar10-depth, cifar10-jpeg-20"),
    ("", "no study '' ships"),
    ("x" * 5000, "no study 'xxx"),
    ("a\0b", "a\\x00b"),
    ("./zzz", "No such file or directory"),
    ("zzz.yaml", "No such file or directory"),
]


@pytest.mark.parametrize(("source", "words"), UNKNOWN)
def test_an_unknown_study_suggests_one_that_ships(source: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(source)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_file_may_stand_beside_without_an_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text(HEAD + GRID)
    assert names(load("mine")) == ["cifar10-plain-20"]


def test_the_product_is_in_order_its_last_axis_fastest(tmp_path: Path) -> None:
    text = (
        HEAD
        + "matrix: {network: [{shortcut: none}, {shortcut: A, init: fan_in}], depth: [20, 32]}\ninclude: [{depth: 8}]\n"
    )
    expected = ["plain-20", "plain-32", "resnet-20-A-fan_in", "resnet-32-A-fan_in", "plain-8"]
    assert names(study(tmp_path, text)) == [f"cifar10-{name}" for name in expected]


def test_an_arm_may_depart_from_the_papers_architecture(tmp_path: Path) -> None:
    """In the matrix, in an include, by default in an exclude, and for every arm with --set."""
    text = HEAD + "matrix: {depth: [20, 56], shortcut: [A], padding: [appended, split, duplicate, average]}\n"
    text += "exclude: [{padding: average, depth: 20}, {padding: split, block_layers: 2}]\n"
    text += "include: [{depth: 20}, {depth: 56, grown_from: 20}, {depth: 20, shortcut: C, block_layers: 1}]\n"
    expected = ["resnet-20-A", "resnet-20-A-duplicate", "resnet-56-A", "resnet-56-A-duplicate", "resnet-56-A-average"]
    expected += ["plain-20", "plain-56-from20", "resnet-20-C-one-layer"]
    found = study(tmp_path, text)
    assert names(found) == [f"cifar10-{name}" for name in expected]
    assert [arm.network.grown_from for arm in found.arms] == [None] * 6 + [20, None]
    given = ["network.padding=split", "network.block_layers=1"]
    arms = study(tmp_path, HEAD + "matrix: {depth: [32, 56], shortcut: [A]}\n", overrides=given).arms
    assert [arm.name for arm in arms] == [f"cifar10-resnet-{depth}-A-split-one-layer" for depth in (32, 56)]


def test_exclude_sees_defaults_and_comes_before_include(tmp_path: Path) -> None:
    text = (
        "name: x\nquestion: q\nmatrix: {data: [cifar10, imagenet], depth: [20, 34], shortcut: [none, B]}\n"
        "exclude: [{data: cifar10, depth: 34}, {recipe: imagenet, depth: 20}, {recipe.batch: 256, shortcut: none}]\n"
        "include: [{data: imagenet, depth: 34}]\n"
    )
    expected = ["cifar10-plain-20", "cifar10-resnet-20-B", "imagenet-resnet-34-B", "imagenet-plain-34"]
    assert names(study(tmp_path, text)) == expected
    by_default = "name: x\nquestion: q\nmatrix: {net: [{depth: 20, data: digits}, {depth: 26, data: cifar10}]}\n"
    for excluded in ("{width: 16, depth: 20}", "{init: fan_out, depth: 20}", "{seeds: 1, recipe: {batch: 64}}"):
        assert names(study(tmp_path, by_default + f"exclude: [{excluded}]\n")) == ["cifar10-plain-26"]


def test_each_arm_gets_its_data_sets_recipe_unless_one_is_named(tmp_path: Path) -> None:
    text = "name: x\nquestion: q\nmatrix: {net: [{data: digits, depth: 20}, {data: cifar10, depth: 20}]}\n"
    assert [arm.recipe.batch for arm in study(tmp_path, text).arms] == [64, 128]
    assert [arm.recipe.batch for arm in study(tmp_path, text + "recipe: cifar\n").arms] == [128, 128]
    assert [arm.recipe.lr for arm in study(tmp_path, text + "recipe: {lr: 1}\n").arms] == [1.0, 1.0]
    named = HEAD + "recipe: {name: cifar, lr: 0.5}\nmatrix: {depth: [20], recipe: [digits]}\n"
    assert study(tmp_path, named).arms[0].recipe.lr == 0.03


NAMES = [
    ("recipe.lr: [0.1, 0.03]", ["+lr=0.1", "+lr=0.03"]),
    ("recipe: [{lr: 0.1}, {lr: 1e-5, batch: 64}]", ["", "+batch=64+lr=1e-05"]),
    ("recipe: [cifar, digits], recipe.iterations: [400]", ["+cifar", "+digits"]),
    ("recipe: [cifar, {name: digits, pad: 3}]", ["+cifar", "+digits+pad=3"]),
    ("recipe.drops: [[], [0.5], [0.5, 0.75]]", ["+drops=none", "+drops=0.5", "+drops=0.5_0.75"]),
    ("recipe.warmup_from_depth: [null, 20]", ["+warmup_from_depth=none", "+warmup_from_depth=20"]),
    ("recipe.augmentation: [none, pad-crop-flip]", ["+augmentation=none", "+augmentation=pad-crop-flip"]),
    ("recipe.lr: [0.5]", [""]),
    ("recipe.schedule_multiplier: [1, 3]", ["+iterations=64000", "+iterations=192000"]),
    ("recipe.nesterov: [false, true]", ["+nesterov=False", "+nesterov=True"]),
    ("recipe.probe_at: [[], [0, 1]]", ["+probe_at=none", "+probe_at=0.0_1.0"]),
]


@pytest.mark.parametrize(("axis", "suffixes"), NAMES)
def test_arms_that_differ_in_recipe_only_say_how(tmp_path: Path, axis: str, suffixes: list[str]) -> None:
    found = names(study(tmp_path, HEAD + f"matrix: {{depth: [20], {axis}}}\n"))
    assert found == [f"cifar10-plain-20{suffix}" for suffix in suffixes]


def test_a_long_arm_name_is_cut_and_still_its_own(tmp_path: Path) -> None:
    rows = [[(at + shift) / 100 for at in range(1, 17)] for shift in (0, 0.1, 0.2)]
    axis = f"recipe: [{', '.join(f'{{drops: {row}, weight_decay: 0.{9 * row[0]:.0f}1234567890123}}' for row in rows)}]"
    found = names(study(tmp_path, HEAD + f"matrix: {{depth: [20], {axis}}}\n"))
    assert len(set(found)) == 3
    assert max(map(len, found)) < 140


def test_seeds_of_an_arm_are_its_own_and_capped_from_outside(tmp_path: Path) -> None:
    text = HEAD + "seeds: 5\nmatrix: {depth: [20, 26]}\ninclude: [{depth: 32, seeds: 1}, {depth: 38, seeds: 9}]\n"
    assert [arm.seeds for arm in study(tmp_path, text).arms] == [5, 5, 1, 9]
    assert [arm.seeds for arm in study(tmp_path, text, seeds=2).arms] == [2, 2, 1, 2]
    assert [arm.seeds for arm in study(tmp_path, text, seeds=7).arms] == [7, 7, 1, 7]
    assert study(tmp_path, text, seeds=7, overrides=["recipe.lr=1"]).overrides == ("recipe.lr=1", "seeds=7")


def test_overrides_reach_every_arm() -> None:
    found = load(
        "cifar10-depth", overrides=["recipe.iterations=400", "recipe.drops=[0.5]", "network.data=cifar10-jpeg"]
    )
    assert {(arm.recipe.iterations, arm.recipe.drops, arm.network.data) for arm in found.arms} == {
        (400, (0.5,), "cifar10-jpeg")
    }
    assert len(found.arms) == 11


MULTIPLIED = [
    ("matrix: {depth: [20], recipe.schedule_multiplier: [3]}\n", 192_000),
    ("matrix: {depth: [20]}\nrecipe: {iterations: 400, schedule_multiplier: 3}\n", 1200),
    ("include: [{depth: 20, recipe: {name: digits, schedule_multiplier: 2}}]\n", 300),
    ("include: [{depth: 20, recipe.schedule_multiplier: 2}]\nrecipe: {iterations: 400}\n", 800),
]


@pytest.mark.parametrize(("text", "iterations"), MULTIPLIED)
def test_a_schedule_multiplier_is_iterations_and_nothing_else(tmp_path: Path, text: str, iterations: int) -> None:
    """Drops are shares, so they scale; the arm is the one that says its iterations."""
    (arm,) = study(tmp_path, HEAD + text).arms
    assert arm.recipe.iterations == iterations
    assert arm.recipe.drop_iterations == (iterations // 2, iterations * 3 // 4)
    name = "digits" if "digits" in text else "cifar"
    written = f"include: [{{depth: 20, recipe: {{name: {name}, iterations: {iterations}}}}}]\n"
    assert study(tmp_path, HEAD + written).arms[0].recipe == arm.recipe


def test_a_schedule_multiplier_may_be_set_and_excluded(tmp_path: Path) -> None:
    text = HEAD + "matrix: {depth: [20], recipe.schedule_multiplier: [1, 3]}\n"
    excluded = study(tmp_path, text + "exclude: [{recipe.schedule_multiplier: 1}]\n")
    assert [arm.recipe.iterations for arm in excluded.arms] == [192_000]
    by_default = HEAD + "matrix: {depth: [20, 26]}\nexclude: [{depth: 20, recipe.schedule_multiplier: 1}]\n"
    assert names(study(tmp_path, by_default)) == ["cifar10-plain-26"]
    three = load("cifar10-depth", overrides=["recipe.schedule_multiplier=3", "recipe.iterations=100"])
    assert {arm.recipe.iterations for arm in three.arms} == {300}
    with pytest.raises(StudyError, match=r"--set recipe\.schedule_multiplier=0: must be 1 to 100, not 0"):
        load("cifar10-depth", overrides=["recipe.schedule_multiplier=0"])


def test_the_study_keeps_its_text_and_its_claims(tmp_path: Path) -> None:
    text = HEAD + GRID + "source: sec. 4\nclaims: [DEG-01, {id: own, say: a > b, text: c}]\nreport: {tables: []}\n"
    found = study(tmp_path, "\ufeff" + text)
    assert (found.name, found.question, found.source, found.text) == ("mine", "Why?", "sec. 4", "\ufeff" + text)
    assert [(claim.id, claim.say, claim.text) for claim in found.claims] == [("DEG-01", "", ""), ("own", "a > b", "c")]
    assert (found.report.tables, found.report.figures, found.report.pivots) == ((), ("curves",), ())
    assert (REPORT_TABLES[0], REPORT_FIGURES[0]) == ("table", "curves")


def test_the_template_loads_and_its_name_is_checked(tmp_path: Path) -> None:
    assert len(study(tmp_path, template("mine")).arms) == 5
    assert study(tmp_path, template("mine")).name == "mine"
    with pytest.raises(StudyError, match=r"'\.\./x' is not a name"):
        template("../x")


AXIS_VALUES: dict[str, list[Any]] = {
    "depth": [8, 20, 32],
    "shortcut": ["none", "A", "C"],
    "init": ["fan_in", "fan_out"],
    "width": [4, 8, 32],
    "recipe.lr": [0.1, 1, 1e-3],
    "recipe.batch": [32, 64],
    "data": ["cifar10", "digits"],
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.fixed_dictionaries(
        {"depth": st.just([8, 20])},
        optional={
            name: st.lists(st.sampled_from(values), unique=True, min_size=1)
            for name, values in AXIS_VALUES.items()
            if name != "depth"
        },
    ),
    exclude=st.lists(st.sampled_from([{"depth": 8}, {"shortcut": "A"}, {"init": "fan_out", "depth": 20}]), max_size=1),
)
def test_expansion_is_that_of_nested_loops(
    tmp_path: Path, axes: dict[str, list[Any]], exclude: list[dict[str, Any]]
) -> None:
    given = {"name": "x", "question": "q", "data": "cifar10", "matrix": axes, "exclude": exclude}
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    defaults = {"shortcut": "none", "init": "fan_out"}
    kept = [
        arm for arm in combinations if not any({**defaults, **arm, **each} == {**defaults, **arm} for each in exclude)
    ]
    text = yaml.safe_dump(given, sort_keys=False).replace("1.0e-", "1e-")
    if not kept or (exclude and len(kept) == len(combinations)):
        with pytest.raises(StudyError):
            study(tmp_path, text)
        return
    found = study(tmp_path, text).arms
    assert [_as_given(arm, axes) for arm in found] == kept


def _as_given(arm: Any, axes: dict[str, list[Any]]) -> dict[str, Any]:
    recipe = {f"recipe.{name}": value for name, value in asdict(arm.recipe).items()}
    return {name: recipe[name] if name in recipe else getattr(arm.network, name) for name in axes}


MUTATIONS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["cut", "put", "swap", "line"]),
        st.text(max_size=4)
        | st.sampled_from(
            [
                "\t",
                "\0",
                "- ",
                ": ",
                "{",
                "[",
                "&a",
                "*a",
                "!!x",
                "1e-4",
                "no",
                "null",
                "020",
                "[]",
                "{}",
                "- 1\n",
                "\n---\n",
            ]
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["cifar10-depth", "digits-depth", "full-grid"]), mutations=MUTATIONS)
def test_a_mutated_study_loads_or_is_refused(
    tmp_path: Path, name: str, mutations: list[tuple[float, str, str]]
) -> None:
    text = load(name).text
    for share, kind, word in mutations:
        text = _mutated(text, share, kind, word)
    (tmp_path / "s.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert load(str(tmp_path / "s.yaml")).arms
    except StudyError as error:
        assert str(error).isprintable()  # noqa: PT017  (either outcome is fine)


def _mutated(text: str, share: float, kind: str, word: str) -> str:
    at = int(share * len(text))
    if kind == "line":
        lines = text.splitlines(keepends=True) or [""]
        return "".join(line for index, line in enumerate(lines) if index != int(share * (len(lines) - 1)))
    return {
        "cut": text[:at] + text[at + 7 :],
        "put": text[:at] + word + text[at:],
        "swap": text[:at] + word + text[at + 1 :],
    }[kind]


def test_reading_a_study_loads_nothing_heavy() -> None:
    """A plan starts in a moment: no torch, ray, mlflow or numpy on its way."""
    code = (
        "import sys, json, ablations.study, ablations.trials;"
        "ablations.trials.trials(ablations.study.load('cifar10-depth'));"
        "print(json.dumps([m for m in ('torch', 'ray', 'mlflow', 'numpy', 'pandas', 'reports') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_fields_are_those_of_an_arm() -> None:
    assert Fields.model_validate({"depth": 20, "recipe": {"name": "cifar", "lr": 1}, "recipe.pad": 2}).flat() == {
        "recipe": "cifar",
        "recipe.lr": 1.0,
        "depth": 20,
        "recipe.pad": 2,
    }


def test_shipped_names_are_sorted() -> None:
    assert shipped() == sorted(shipped())


def test_a_value_that_changes_nothing_anywhere_is_refused(tmp_path: Path) -> None:
    """With --set, where it was surely meant to change something; in a file it may serve some of the arms."""
    text = HEAD + "matrix: {depth: [20, 110], shortcut: [A]}\n"
    assert study(tmp_path, text, overrides=["recipe.warmup_iterations=400"]).arms
    shallow = HEAD + "matrix: {depth: [20, 56], shortcut: [A]}\n"
    with pytest.raises(StudyError) as refused:
        study(tmp_path, shallow, overrides=["recipe.warmup_iterations=400"])
    expected = "--set recipe.warmup_iterations=400: changes nothing in any arm of this study; leave it out"
    assert str(refused.value) == expected


def test_two_arms_that_are_the_same_work_are_one(tmp_path: Path) -> None:
    """Though their recipes read otherwise."""
    text = HEAD + "matrix: {depth: [20], shortcut: [A]}\ninclude: [{depth: 20, shortcut: A, recipe.patience: 3}]\n"
    with pytest.raises(StudyError, match=r"is given twice, first by .* or with other values that change nothing"):
        study(tmp_path, text)


def test_a_grown_network_has_no_stochastic_depth(tmp_path: Path) -> None:
    """Its blocks would survive with other probabilities than its parent's, so it would not be what it grew from."""
    text = HEAD + "recipe: {name: cifar, stochastic_depth: 0.5}\n"
    text += "include: [{depth: 20, shortcut: A}, {depth: 56, shortcut: A, grown_from: 20}]\n"
    with pytest.raises(StudyError, match=r"include\[1\].grown_from: under stochastic_depth a block's chance"):
        study(tmp_path, text)
