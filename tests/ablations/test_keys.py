"""Equal work has an equal key; whatever can change a result changes it, and nothing else does."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import keys
from ablations.recipes import CIFAR, IMAGENET, RECIPES, Recipe, effective
from models.spec import Network

PLAIN_20 = Network(depth=20)
RESNET_20 = Network(depth=20, shortcut="A")
RESNET_56 = Network(depth=56, shortcut="A")
RESNET_50 = Network(
    data="imagenet", layout="imagenet", classes=1000, size=224, width=64, depth=50, shortcut="B", stride="3x3"
)


def key(network: Network = PLAIN_20, recipe: Recipe = CIFAR, seed: int = 0) -> str:
    return keys.key(keys.params(network, recipe, seed))


GOLDEN = [
    (PLAIN_20, CIFAR, 0, "93cc5541bdffa50c", "2bf41b262ad84b2c"),
    (PLAIN_20, CIFAR, 4, "ee71d1805d90f519", "6d955950cbccd683"),
    (RESNET_56, CIFAR, 0, "a4a24804e243c36e", "f7ba9435a6d86da9"),
    (
        RESNET_56,
        Recipe(iterations=400, lr=0.03, drops=(0.5,), warmup_from_depth=None),
        1,
        "75b92a0f9c46b017",
        "c1f5c9f7b540bce7",
    ),
    (RESNET_50, dataclasses.replace(IMAGENET, precise_bn=0, views=()), 0, "9dcabecc5f896b69", "a7600bb0e945c07c"),
]


@pytest.mark.parametrize(("network", "recipe", "seed", "before", "now"), GOLDEN)
def test_keys_never_change(network: Network, recipe: Recipe, seed: int, before: str, now: str) -> None:
    """Every finished trial is found by its key: one that changes trains it again. Raise SEMANTICS on purpose only.

    Version 2 of the semantics no longer tells values apart that change nothing.
    """
    assert key(network, recipe, seed) == now
    assert keys.key({**keys.params(network, recipe, seed), "semantics": 1}) == before


def test_a_key_is_16_hexadecimal_digits() -> None:
    assert len(key()) == 16
    assert set(key()) <= set("0123456789abcdef")


OTHER_RECIPES = {
    "iterations": 63_999,
    "batch": 64,
    "lr": 0.03,
    "drops": (0.5,),
    "drop_factor": 0.2,
    "warmup_lr": 0.02,
    "warmup_until_error": 70.0,
    "warmup_from_depth": 8,
    "momentum": 0.8,
    "weight_decay": 0.0,
    "weight_decay_scope": "all",
    "augmentation": "none",
    "pad": 3,
    "normalisation": "mean-std",
    "precision": "bf16",
    "record_every": 100,
    "evaluate_every": 800,
    "nesterov": True,
    "deterministic": False,
    "compiled": True,
    "schedule": "plateau",
    "patience": 5,
    "held_out": 5000,
    "warmup_iterations": 400,
    "bn_batch": 64,
    "precise_bn": 10_000,
    "dropout": 0.2,
    "stochastic_depth": 0.5,
    "clean_every": 4000,
    "probe_at": (0, 0.5, 1),
    "probe_batches": 20,
    "shorter_side": (256, 320),
    "colour_noise": 0.2,
    "sizes": (128, 224),
    "order": "quasi-random",
    "views": ("ten-crop",),
}
WARM: dict[str, Any] = {"warmup_from_depth": 20}
NEEDED: dict[str, dict[str, Any]] = {
    "schedule": {"held_out": 4000},
    "patience": {"held_out": 4001, "schedule": "plateau"},
    "warmup_lr": WARM,
    "warmup_until_error": WARM,
    "warmup_iterations": WARM,
    "probe_batches": {"probe_at": (0.25,)},
    "shorter_side": {"augmentation": "scale-crop-flip-colour"},
    "colour_noise": {"augmentation": "area-crop-flip-colour"},
}
"""What a value needs beside it to change anything."""
OTHER_NETWORKS = {
    "data": "cifar10-jpeg",
    "depth": 26,
    "shortcut": "B",
    "channels": 1,
    "classes": 100,
    "size": 8,
    "width": 32,
    "stride": "3x3",
    "init": "fan_in",
    "padding": "split",
    "block_layers": 1,
    "grown_from": 8,
}
"""Each is allowed in RESNET_20; padding and block_layers are not in a plain network."""


def test_every_field_is_covered_here() -> None:
    assert OTHER_RECIPES.keys() == {field.name for field in dataclasses.fields(Recipe)}
    assert {*OTHER_NETWORKS, "layout", "bottlenecks"} == {field.name for field in dataclasses.fields(Network)}


def test_blocks_without_bottlenecks_have_a_key_of_their_own() -> None:
    """Allowed in networks of 50 layers alone."""
    assert key(dataclasses.replace(RESNET_50, bottlenecks=False)) != key(RESNET_50)


def test_changing_any_one_thing_changes_the_key() -> None:
    found = [key(), key(seed=1), key(RESNET_20), key(RESNET_56), key(RESNET_50)]
    found += [key(recipe=Recipe(**{**NEEDED.get(name, {}), name: value})) for name, value in OTHER_RECIPES.items()]
    found += [key(dataclasses.replace(RESNET_20, **{name: value})) for name, value in OTHER_NETWORKS.items()]
    imagenet = dataclasses.replace(PLAIN_20, layout="imagenet", depth=18)
    found += [key(imagenet), key(dataclasses.replace(PLAIN_20, depth=8))]
    assert len(set(found)) == len(found)


SAME_WORK: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    (20, {}, {"warmup_lr": 0.5, "warmup_until_error": 50.0, "warmup_iterations": 9}),
    (20, {}, {"warmup_from_depth": None}),
    (20, {"warmup_from_depth": 8}, {"warmup_from_depth": 20}),
    (110, {}, {"warmup_from_depth": 20}),
    (110, {"warmup_iterations": 400}, {"warmup_iterations": 400, "warmup_until_error": 50.0}),
    (20, {}, {"patience": 3}),
    (20, {"schedule": "plateau", "held_out": 9}, {"schedule": "plateau", "held_out": 9, "drops": (0.1,)}),
    (20, {"drops": ()}, {"drops": (), "drop_factor": 0.3}),
    (20, {"augmentation": "none"}, {"augmentation": "none", "pad": 7}),
    (20, {"weight_decay": 0.0}, {"weight_decay": 0.0, "weight_decay_scope": "all"}),
    (20, {}, {"bn_batch": 128}),
    (20, {}, {"probe_batches": 3}),
]


@pytest.mark.parametrize(("depth", "one", "other"), SAME_WORK)
def test_what_changes_nothing_is_not_in_the_key(depth: int, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal work has an equal key; where the value does change something, the keys differ."""
    assert key(Network(depth=depth), Recipe(**one)) == key(Network(depth=depth), Recipe(**other))


@settings(max_examples=100, deadline=None)
@given(
    depth=st.sampled_from([20, 110]),
    names=st.sets(st.sampled_from(sorted(OTHER_RECIPES)), max_size=4),
)
def test_the_effective_recipe_is_its_own(depth: int, names: set[str]) -> None:
    """Taking away what changes nothing twice takes away nothing more."""
    recipe = Recipe(**{"held_out": 100, **{name: OTHER_RECIPES[name] for name in names}})
    assert effective(effective(recipe, depth), depth) == effective(recipe, depth)


@pytest.mark.parametrize("part", ["fingerprint", "semantics"])
def test_other_pixels_or_semantics_are_other_work(part: str) -> None:
    params = keys.params(PLAIN_20, CIFAR, 0)
    changed = (
        {**params, "semantics": keys.SEMANTICS + 1}
        if part == "semantics"
        else {**params, "data": {"name": "cifar10", part: "x"}}
    )
    assert keys.key(changed) != keys.key(params)


def test_params_survive_json_and_come_back_whole() -> None:
    for recipe in RECIPES.values():
        params = keys.params(RESNET_50, recipe, 3)
        assert json.loads(json.dumps(params)) == params
        assert keys.from_params(params) == (RESNET_50, recipe, 3)


NEW_NETWORK_FIELDS = ("init", "padding", "block_layers", "bottlenecks", "grown_from")


def test_a_new_field_with_a_neutral_default_keeps_old_keys() -> None:
    """Parameters that were written before a field was thought of are those with the field at its default."""
    params = keys.params(RESNET_56, CIFAR, 0)
    old: dict[str, Any] = {
        **params,
        "network": {name: value for name, value in params["network"].items() if name not in NEW_NETWORK_FIELDS},
        "recipe": {name: value for name, value in params["recipe"].items() if name != "precision"},
    }
    assert keys.key(old) == keys.key(params)


@settings(max_examples=50, deadline=None)
@given(
    lr=st.integers(1, 5),
    drops=st.sampled_from([[], [0.5], [0.25, 0.75]]),
    depth=st.sampled_from([20, 32]),
    order=st.randoms(use_true_random=False),
)
def test_how_a_value_is_written_makes_no_difference(lr: int, drops: list[float], depth: int, order: Any) -> None:
    params = keys.params(Network(depth=depth), Recipe(lr=float(lr), drops=tuple(drops), momentum=0.0), 0)
    recipe = {**params["recipe"], "lr": lr, "drops": tuple(drops), "momentum": -0.0}
    entries = list(recipe.items())
    order.shuffle(entries)
    assert keys.key({**dict(reversed(params.items())), "recipe": dict(entries)}) == keys.key(params)
