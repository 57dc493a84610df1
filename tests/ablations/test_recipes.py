"""A recipe checks itself, with neither pydantic nor YAML, and every value of it is described where users look."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from ablations.bounds import Bounds, Entries, check
from ablations.recipes import CIFAR, RECIPES, Recipe
from ablations.study import schema

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lr": True}, "lr must be a finite number, not True"),
    ({"lr": "0.1"}, "lr must be a finite number, not '0.1'"),
    ({"lr": float("nan")}, "lr must be a finite number, not nan"),
    ({"lr": float("inf")}, "lr must be a finite number, not inf"),
    ({"lr": 10**400}, f"lr must be a finite number, not 1{'0' * 56}..."),
    ({"lr": 0}, "lr must be above 0, not 0"),
    ({"batch": True}, "batch must be a whole number, not True"),
    ({"batch": 64.0}, "batch must be a whole number, not 64.0"),
    ({"iterations": 0}, "iterations must be 1 to 1,000,000,000, not 0"),
    ({"momentum": 1}, "momentum must be at least 0 and below 1, not 1"),
    ({"weight_decay": -1}, "weight_decay must be at least 0, not -1"),
    ({"warmup_until_error": 100}, "warmup_until_error must be above 0 and below 100, not 100"),
    ({"warmup_from_depth": False}, "warmup_from_depth must be a whole number, not False"),
    ({"nesterov": 1}, "nesterov must be true or false, not 1"),
    ({"nesterov": None}, "nesterov must be true or false, not None"),
    ({"precision": "fp16"}, "precision must be one of fp32, tf32, bf16, not 'fp16'"),
    ({"precision": ["fp32"]}, "precision must be one of fp32, tf32, bf16, not ['fp32']"),
    ({"drops": 0.5}, "drops must be a list, not 0.5"),
    ({"drops": "0.5"}, "drops must be a list, not '0.5'"),
    ({"drops": [0.5, 1]}, "drops must be above 0 and below 1, not 1"),
    ({"drops": [0.5] * 17}, "drops has 17 entries; at most 16"),
    ({"drops": [0.5, 0.5]}, "drops must rise strictly, as [0.5, 0.75], not [0.5, 0.5]"),
    ({"shorter_side": [256]}, "shorter_side is the least and the most, as [256, 480], not [256]"),
    ({"shorter_side": [480, 256]}, "shorter_side is the least and the most, as [256, 480], not [480, 256]"),
    ({"shorter_side": [200, 480]}, "shorter_side must be at least that of the crop, 224, not 200"),
    ({"sizes": [4]}, "sizes must be 8 to 4,096, not 4"),
    ({"views": ["ten-crop", "ten-crop"]}, "views must differ, not ['ten-crop', 'ten-crop']"),
    ({"views": ["five-crop"]}, "views must be one of centre, ten-crop, multi-scale, not 'five-crop'"),
    ({"probe_at": [1, 0]}, "probe_at must rise strictly, as [0, 0.5, 1], not [1.0, 0.0]"),
    ({"evaluate_every": 300}, "evaluate_every must be a multiple of record_every (200), not 300"),
    ({"clean_every": 300}, "clean_every must be a multiple of evaluate_every (400), not 300"),
    ({"bn_batch": 48}, "bn_batch must divide batch (128), not 48; give its share on one replica"),
    (
        {"schedule": "plateau"},
        "schedule plateau watches the validation error, and held_out is 0; give held_out too, as 5000",
    ),
]


@pytest.mark.parametrize(("values", "message"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_value_is_one_line_that_begins_with_its_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Recipe(**values)


def test_values_are_taken_as_json_has_them() -> None:
    """A whole number for a float, a list for a tuple; what comes out is the same whichever went in."""
    given = Recipe(lr=1, drops=[0.5, 0.75], probe_at=[0, 1])  # pyright: ignore[reportArgumentType]
    assert given == Recipe(lr=1.0, drops=(0.5, 0.75), probe_at=(0.0, 1.0))
    assert hash(given) == hash(Recipe(lr=1.0, probe_at=(0.0, 1.0)))
    assert (type(given.lr), type(given.probe_at), type(given.probe_at[0])) == (float, tuple, float)


def test_a_recipe_cannot_be_changed_nor_given_what_it_has_not() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CIFAR.lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    unknown: Any = {"lrr": 1.0}
    with pytest.raises(TypeError, match="lrr"):
        Recipe(**unknown)


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int | None, None, None),
        (tuple[int, ...], [1, 2], (1, 2)),
        (Literal["a", "b"], "b", "b"),
        (float, 2, 2.0),
        (bool, False, False),
    ],
)
def test_each_kind_of_value(hint: Any, value: Any, expected: Any) -> None:
    assert check(hint)(value) == expected


def test_bounds_admit_what_their_words_say() -> None:
    assert [Bounds(at_least=0, at_most=2).admits(each) for each in (-1, 0, 2, 3)] == [False, True, True, False]
    assert [Bounds(above=0, below=2).admits(each) for each in (0, 1, 2)] == [False, True, False]
    assert Bounds(at_least=0, at_most=2000).words == "0 to 2,000"
    assert Bounds(above=0, below=2).words == "above 0 and below 2"
    assert Entries(most=3) == Entries(most=3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, None),
        ({"precision": "bf16"}, None),
        ({"precision": "tf32"}, "precision tf32"),
        ({"compiled": True}, "compi"),
    ],
)
def test_what_needs_a_gpu_says_so(values: dict[str, Any], said: str | None) -> None:
    found = Recipe(**values).needs_gpu
    assert (found is None) if said is None else (found or "").startswith(said)


def test_a_recipe_needs_neither_pydantic_nor_yaml() -> None:
    code = (
        "import sys, json, ablations.keys;"
        "print(json.dumps([m for m in ('pydantic', 'annotated_types', 'yaml') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


FIELDS = [*(field.name for field in dataclasses.fields(Recipe)), "schedule_multiplier"]


@pytest.mark.parametrize("name", FIELDS)
def test_every_value_is_described_and_in_the_schema(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert any(f"`{name}`" in line.split("|")[1] for line in table)
    parts = schema()["$defs"]
    (choice,) = [each for each in parts["RecipeChoice"]["anyOf"] if "properties" in each]
    assert name in choice["properties"]
    assert f"recipe.{name}" in parts["Fields"]["properties"]


def test_the_named_recipes_are_valid_and_apart() -> None:
    assert len(set(RECIPES.values())) == len(RECIPES)
