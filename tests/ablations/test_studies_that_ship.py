"""The studies that ship are what the paper did, as their files say."""

import csv
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

import reports
from ablations.study import Study, load, schema, shipped, template
from ablations.trials import recorded, trials

SIZES = {
    "cifar10-construction": (7, 35),
    "cifar10-protocol": (24, 120),
    "cifar10-regularisation": (8, 24),
    "cifar10-depth": (11, 51),
    "cifar10-jpeg-depth": (11, 51),
    "cifar10-shortcuts": (9, 45),
    "cifar10-warmup": (4, 20),
    "digits-depth": (16, 48),
    "full-grid": (44, 44),
    "imagenet-degradation": (4, 4),
    "imagenet-depth": (9, 9),
    "imagenet-ensemble": (5, 6),
    "imagenet-short": (4, 4),
    "imagenet-shortcuts": (4, 4),
}


def test_these_ship_among_others() -> None:
    assert SIZES.keys() <= set(shipped())


@pytest.mark.parametrize("name", SIZES)
def test_a_study_has_as_many_arms_and_trials(name: str) -> None:
    assert (len(load(name).arms), len(trials(load(name)))) == SIZES[name]


@pytest.mark.parametrize("name", shipped())
def test_a_study_has_its_name_and_no_trial_twice(name: str) -> None:
    study = load(name)
    found = trials(study)
    assert study.name == name
    assert len({trial.key for trial in found}) == len({trial.name for trial in found}) == len(found)


@pytest.mark.parametrize("name", shipped())
def test_a_study_reads_as_a_page(name: str) -> None:
    lines = load(name).text.splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 120
    assert len(lines) <= 80


def _lenient(text: str) -> object:
    """PyYAML's own reading, enough for files without the values that it reads differently."""
    return yaml.safe_load(text)


@pytest.mark.parametrize("name", shipped())
def test_the_schema_accepts_what_ships(name: str) -> None:
    jsonschema.validate(_lenient(load(name).text), schema())


REFUSED_BY_SCHEMA = [
    {"name": "x"},
    {"name": "X Y", "question": "q"},
    {"name": "x", "question": "q", "depht": 1},
    {"name": "x", "question": "q", "matrix": {"depth": 20}},
    {"name": "x", "question": "q", "matrix": {"depth": ["20"]}},
    {"name": "x", "question": "q", "matrix": {"net": [{"depht": 20}]}},
    {"name": "x", "question": "q", "recipe": "cifr"},
    {"name": "x", "question": "q", "recipe": {"lr": 0}},
    {"name": "x", "question": "q", "include": [{"shortcut": "D"}]},
    {"name": "x", "question": "q", "claims": ["own"]},
    {"name": "x", "question": "q", "report": {"tables": ["table-99"]}},
    {"name": "x", "question": "q", "report": {"pivots": [{"rows": "dept", "columns": "seed", "metric": "seconds"}]}},
    {"name": "x", "question": "q", "seeds": 0},
]


@pytest.mark.parametrize("given", REFUSED_BY_SCHEMA, ids=range(len(REFUSED_BY_SCHEMA)))
def test_the_schema_refuses_what_the_loader_refuses(given: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given, schema())


def test_the_schema_is_one_and_accepts_every_form() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(_lenient(template("mine")), schema())
    forms = {
        "name": "x",
        "question": "q",
        "recipe": {"name": "cifar", "lr": 0.03, "drops": [0.5], "warmup_from_depth": None},
        "matrix": {"recipe": ["cifar", {"lr": 1}], "recipe.drops": [[], [0.5]], "net": [{"recipe.lr": 1, "depth": 20}]},
        "claims": ["SC-05", {"id": "own", "say": "a > b"}],
        "report": {"pivots": [{"rows": "recipe.lr", "columns": "variant", "metric": "multiply_adds"}]},
    }
    jsonschema.validate(forms, schema())


def _arms(study: Study) -> dict[tuple[str, int], int]:
    return {(arm.network.shortcut, arm.network.depth): arm.seeds for arm in study.arms}


def test_the_protocol_departs_in_one_point_at_a_time() -> None:
    """From the first arm of its network: one value, but for the plateau, which needs images to watch."""
    arms = load("cifar10-protocol").arms
    for shortcut in ("none", "A"):
        first, *others = (arm for arm in arms if arm.network.shortcut == shortcut)
        departures = [
            {name for name, value in vars(first.recipe).items() if getattr(arm.recipe, name) != value}
            | {name for name, value in vars(first.network).items() if getattr(arm.network, name) != value}
            for arm in others
        ]
        assert all(len(each) == 1 or each == {"schedule", "held_out", "patience"} for each in departures)
    assert len({arm.name for arm in arms}) == 24


def test_the_construction_s_parents_are_its_own_arms() -> None:
    """A grown network begins where the arm of 20 layers of its seed ends."""
    found = trials(load("cifar10-construction"))
    names = {trial.key: trial.name for trial in found}
    after = {trial.name: names[trial.after] for trial in found if trial.after}
    parent = "cifar10-plain-20+iterations=64000"
    assert after == {f"cifar10-plain-56-from20.s{seed}": f"{parent}.s{seed}" for seed in range(5)}


def test_cifar10_depth_is_table_6_and_figure_6() -> None:
    study = load("cifar10-depth")
    expected = {(shortcut, depth): 5 for shortcut in ("none", "A") for depth in (20, 32, 44, 56, 110)} | {
        ("A", 1202): 1
    }
    assert _arms(study) == expected
    assert all(not arm.deviations for arm in recorded(study).arms)
    assert _arms(load("cifar10-jpeg-depth")) == expected
    assert {*map(tuple, (arm.deviations for arm in recorded(load("cifar10-jpeg-depth")).arms))} == {
        ("data cifar10-jpeg (paper cifar10)",)
    }


def test_equal_arms_of_two_studies_are_trained_once() -> None:
    depth, shortcuts, grid = (
        {t.key for t in trials(load(name))} for name in ("cifar10-depth", "cifar10-shortcuts", "full-grid")
    )
    assert len(depth & shortcuts) == 15
    assert len(depth & grid) == 11
    assert not depth & {trial.key for trial in trials(load("cifar10-jpeg-depth"))}


def test_half_of_the_study_of_warm_up_is_trained_for_table_6() -> None:
    """The arms that warm up are the paper's own."""
    depth, warmup = ({trial.key for trial in trials(load(name))} for name in ("cifar10-depth", "cifar10-warmup"))
    assert len(depth & warmup) == 10
    assert [arm.deviations for arm in recorded(load("cifar10-warmup")).arms].count([]) == 2


IMAGENET = ("imagenet-degradation", "imagenet-shortcuts", "imagenet-ensemble", "imagenet-depth", "full-grid")


def test_studies_on_imagenet_are_the_papers_own() -> None:
    """No arm of them departs from sec. 3.4, and each may be split as eight GPUs would have it."""
    for name in IMAGENET[:-1]:
        found = trials(load(name))
        assert all(not arm.deviations for arm in recorded(load(name)).arms)
        assert {(trial.iterations, trial.replica_counts) for trial in found} == {(600_000, (1, 2, 4, 8))}
        assert all(trial.params["recipe"]["views"] == ["centre", "ten-crop", "multi-scale"] for trial in found)


def test_networks_on_imagenet_are_trained_once_for_all_tables() -> None:
    """Nine networks are Tables 2, 3 and 4; Table 5 needs one trial more."""
    degradation, shortcuts, ensemble, depth, grid = ({t.key for t in trials(load(name))} for name in IMAGENET)
    assert degradation | shortcuts < depth < grid
    assert len(degradation & shortcuts) == 2
    (second,) = (trial.name for trial in trials(load("imagenet-ensemble")) if trial.key not in depth)
    assert second == "imagenet-resnet-152-B.s1"
    assert len(ensemble & depth) == 5


def test_the_ensemble_is_six_of_different_depth_two_of_152_layers() -> None:
    depths = [depth for (_, depth), seeds in _arms(load("imagenet-ensemble")).items() for _ in range(seeds)]
    assert depths == [18, 34, 50, 101, 152, 152]


def test_the_short_recipe_is_named_and_mixes_with_nothing() -> None:
    short, depth = load("imagenet-short"), {trial.key for trial in trials(load("imagenet-depth"))}
    assert not depth & {trial.key for trial in trials(short)}
    for arm in recorded(short).arms:
        assert arm.deviations[:1] == ["iterations 80000 (paper 600000)"]
        assert "sizes [128, 160, 192, 224] (paper [])" in arm.deviations
        assert "precision bf16 (paper fp32)" in arm.deviations
    assert all(not claim.of_the_paper for claim in short.claims)


def test_the_full_grid_is_every_network_of_the_paper() -> None:
    found = trials(load("full-grid"))
    assert sum(trial.blocked is not None for trial in found) == 20
    assert {trial.iterations for trial in found if trial.blocked} == {600_000}
    assert all(not arm.deviations for arm in recorded(load("full-grid")).arms)


def test_the_demonstration_says_that_it_is_one_and_tests_its_own_claims() -> None:
    study = load("digits-depth")
    assert "demonstration" in study.question
    assert all(not claim.of_the_paper and claim.text for claim in study.claims)
    assert 4 <= len(study.claims) <= 6


def test_the_papers_claims_exist() -> None:
    table = Path(reports.__file__).parent / "paper" / "claims.csv"
    if not table.exists():
        pytest.skip("the paper's claims are not beside the reports")
    with table.open(newline="", encoding="utf-8") as opened:
        known = {row["id"] for row in csv.DictReader(opened)}
    for name in shipped():
        load(name, known_claims=known)


def test_a_study_is_planned_in_a_moment() -> None:
    started = time.monotonic()
    for name in shipped():
        trials(load(name))
    assert time.monotonic() - started < 5
