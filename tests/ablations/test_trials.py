"""A study as trials with keys and prices, and as the record from which a report is made."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablations import keys
from ablations.recipes import CIFAR, DIGITS, IMAGENET, Recipe
from ablations.study import Study, StudyError, load
from ablations.trials import deviations, recorded, trials
from models.spec import Network
from orchestrator.trial import Resources

HEAD = "name: mine\nquestion: Why?\ndata: cifar10\n"


def study(folder: Path, text: str, **given: Any) -> Study:
    path = folder / "s.yaml"
    path.write_text(text)
    return load(str(path), **given)


def test_a_trial_says_what_it_is_and_what_it_costs(tmp_path: Path) -> None:
    found = trials(study(tmp_path, HEAD + "matrix: {depth: [20], shortcut: [A]}\nseeds: 4\n"), gpus=0.25)
    assert [trial.name for trial in found] == [f"cifar10-resnet-20-A.s{seed}" for seed in range(4)]
    last = found[3]
    assert (last.arm, last.seed, last.iterations, last.blocked) == ("cifar10-resnet-20-A", 3, 64_000, None)
    assert (last.parameters, last.multiply_adds) == (269_722, 40_551_040)
    assert last.work == 3 * 40_551_040 * 128 * 64_000
    assert last.launches == 64_000 * 20
    assert last.resources == Resources(cpus=1, gpus=0.25)
    assert last.key == keys.key(last.params)
    assert keys.from_params(last.params)[2] == 3


def test_no_two_trials_of_a_study_share_a_key_or_a_name(tmp_path: Path) -> None:
    text = HEAD + "seeds: 3\nmatrix: {depth: [20, 26], recipe.lr: [0.1, 0.03], init: [fan_in, fan_out]}\n"
    found = trials(study(tmp_path, text))
    assert len({trial.key for trial in found}) == len({trial.name for trial in found}) == len(found) == 24


def test_imagenet_is_priced_and_blocked(tmp_path: Path) -> None:
    text = "name: x\nquestion: q\ndata: imagenet\nmatrix: {depth: [50], shortcut: [B]}\n"
    (trial,) = trials(study(tmp_path, text))
    assert trial.blocked is not None
    assert trial.blocked == "imagenet is not prepared in data/ (ablate data prepare imagenet)"
    assert trial.multiply_adds == pytest.approx(3.858e9, rel=1e-3)
    assert recorded(study(tmp_path, text)).arms[0].blocked == trial.blocked


def test_the_record_holds_all_that_a_report_needs(tmp_path: Path) -> None:
    text = HEAD + "seeds: 2\nmatrix: {depth: [20, 1202], recipe: [{drops: [0.5]}, {}]}\n"
    text += "claims: [DEG-01, {id: own, say: a > b}, {id: two, say: c > d, text: e}]\nreport: {tables: [table-6]}\n"
    asked = study(tmp_path, text, overrides=["recipe.precision=bf16"], seeds=1)
    found = recorded(asked)
    assert (found.name, found.question, found.text, found.sha256) == ("mine", "Why?", text, asked.sha256)
    assert (found.tables, found.figures) == (["table-6"], ["curves"])
    assert found.overrides == ["recipe.precision=bf16", "seeds=1"]
    assert found.claims == [
        {"id": "DEG-01"},
        {"id": "own", "say": "a > b", "text": "a > b"},
        {"id": "two", "say": "c > d", "text": "e"},
    ]
    assert [arm.name for arm in found.arms] == [arm.name for arm in asked.arms]
    first = found.arms[0]
    assert first.deviations == ["drops [0.5] (paper [0.5, 0.75])", "precision bf16 (paper fp32)"]
    assert first.recipe["drops"] == [0.5]
    assert first.network["depth"] == 20
    assert (first.parameters, first.multiply_adds) == (269_722, 40_551_040)
    assert [pair for arm in found.arms for pair in arm.trials] == [(t.seed, t.key) for t in trials(asked)]


PLAIN_56, PLAIN_110 = Network(depth=56), Network(depth=110)
RESNET_A = Network(depth=56, shortcut="A")
JPEG = Network(data="cifar10-jpeg", depth=56)
RESNET_50 = Network(data="imagenet", layout="imagenet", classes=1000, size=224, width=64, depth=50, shortcut="B")
DEVIATIONS: list[tuple[Network, Recipe, list[str]]] = [
    (PLAIN_56, CIFAR, []),
    (PLAIN_110, CIFAR, []),
    (RESNET_50, IMAGENET, []),
    (PLAIN_56, Recipe(lr=0.03), ["lr 0.03 (paper 0.1)"]),
    (PLAIN_56, Recipe(iterations=400, record_every=10), ["iterations 400 (paper 64000)"]),
    (PLAIN_56, Recipe(weight_decay_scope="all"), ["weight_decay_scope all (paper does not say)"]),
    (PLAIN_56, Recipe(augmentation="none", pad=0), ["augmentation none (paper pad-crop-flip)"]),
    (PLAIN_56, Recipe(pad=2), ["pad 2 (paper 4)"]),
    (PLAIN_56, Recipe(warmup_from_depth=None, warmup_lr=0.5), []),
    (PLAIN_56, Recipe(warmup_from_depth=20, warmup_lr=0.5), ["warm-up 0.5 until 80 % (paper none)"]),
    (PLAIN_110, Recipe(warmup_from_depth=None), ["warm-up none (paper 0.01 until 80 %)"]),
    (PLAIN_110, Recipe(warmup_lr=0.02), ["warm-up 0.02 until 80 % (paper 0.01 until 80 %)"]),
    (PLAIN_110, Recipe(warmup_until_error=70), ["warm-up 0.01 until 70 % (paper 0.01 until 80 %)"]),
    (PLAIN_110, Recipe(warmup_iterations=400), ["warm-up 0.01 for 400 iterations (paper 0.01 until 80 %)"]),
    (
        PLAIN_110,
        Recipe(warmup_iterations=400, warmup_until_error=70),
        ["warm-up 0.01 for 400 iterations (paper 0.01 until 80 %)"],
    ),
    (PLAIN_56, Recipe(warmup_iterations=400), []),
    (PLAIN_56, Recipe(nesterov=True), ["nesterov true (paper false)"]),
    (PLAIN_56, Recipe(deterministic=False, compiled=True), []),
    (PLAIN_56, Recipe(clean_every=800, probe_at=(0, 1), probe_batches=9, precise_bn=10_000), []),
    (PLAIN_56, Recipe(held_out=5000), ["held_out 5000 (paper does not say)"]),
    (PLAIN_56, Recipe(bn_batch=64), ["bn_batch 64 (paper does not say)"]),
    (
        PLAIN_56,
        Recipe(dropout=0.2, stochastic_depth=0.5),
        ["dropout 0.2 (paper 0.0)", "stochastic_depth 0.5 (paper 0.0)"],
    ),
    (PLAIN_56, Recipe(patience=5), []),
    (
        PLAIN_56,
        Recipe(schedule="plateau", patience=5, held_out=5000, drops=()),
        [
            "schedule plateau (paper iterations)",
            "patience 5 (paper does not say)",
            "held_out 5000 (paper does not say)",
        ],
    ),
    (
        RESNET_50,
        dataclasses.replace(IMAGENET, schedule="plateau", held_out=50_000),
        ["held_out 50000 (paper does not say)"],
    ),
    (JPEG, CIFAR, ["data cifar10-jpeg (paper cifar10)"]),
    (
        dataclasses.replace(PLAIN_56, width=32, init="fan_in"),
        CIFAR,
        ["width 32 (paper 16)", "init fan_in (paper does not say)"],
    ),
    (dataclasses.replace(RESNET_50, stride="3x3"), IMAGENET, ["stride 3x3 (paper 1x1)"]),
    (RESNET_A, CIFAR, []),
    (dataclasses.replace(RESNET_A, padding="split"), CIFAR, ["padding split (paper does not say)"]),
    (dataclasses.replace(RESNET_A, padding="duplicate"), CIFAR, ["padding duplicate (paper zeros)"]),
    (dataclasses.replace(RESNET_A, padding="average"), CIFAR, ["padding average (paper zeros)"]),
    (dataclasses.replace(RESNET_A, block_layers=1), CIFAR, ["block_layers 1 (paper 2)"]),
    (dataclasses.replace(PLAIN_56, grown_from=20), CIFAR, ["grown_from 20 (paper random weights)"]),
    (RESNET_50, dataclasses.replace(IMAGENET, batch=64), ["batch 64 (paper 256)"]),
    (RESNET_50, dataclasses.replace(IMAGENET, bn_batch=None), ["bn_batch none (paper does not say)"]),
]


@pytest.mark.parametrize(("network", "recipe", "expected"), DEVIATIONS, ids=range(len(DEVIATIONS)))
def test_departures_from_the_paper_are_listed(network: Network, recipe: Recipe, expected: list[str]) -> None:
    assert deviations(network, recipe) == expected


def test_the_demonstration_is_far_from_the_paper() -> None:
    network = Network(data="digits", channels=1, size=8, depth=20)
    assert deviations(network, DIGITS)[:2] == ["data digits (paper cifar10)", "iterations 150 (paper 64000)"]


def _keys(of: Study) -> set[str]:
    return {trial.key for trial in trials(of)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    depths=st.lists(st.sampled_from([8, 20, 32]), unique=True, min_size=1),
    shortcuts=st.lists(st.sampled_from(["none", "A", "B"]), unique=True, min_size=1),
    lr=st.sampled_from([0.1, 1, 0.03]),
    order=st.randoms(use_true_random=False),
    explicit=st.booleans(),
)
def test_how_a_study_is_written_does_not_change_its_keys(
    tmp_path: Path, depths: list[int], shortcuts: list[str], lr: float, order: Any, explicit: bool
) -> None:
    """Not its name, the order of its keys, comments, values at their default, nor matrix against include."""
    recipe = {"name": "cifar", "lr": lr}
    arms = [{"depth": depth, "shortcut": shortcut} for depth in depths for shortcut in shortcuts]
    order.shuffle(arms)
    one = {"name": "one", "question": "q", "data": "cifar10", "recipe": recipe, "seeds": 2}
    one["matrix"] = {"depth": depths, "shortcut": shortcuts}
    defaults = {"init": "fan_out", "width": 16, "stride": "1x1", "recipe.momentum": 0.9} if explicit else {}
    other = {
        "name": "two",
        "question": "other",
        "source": "here",
        "include": [{**arm, **defaults, "data": "cifar10", "recipe.lr": float(lr), "seeds": 2} for arm in arms],
    }
    entries = list(other.items())
    order.shuffle(entries)
    first = study(tmp_path, yaml.safe_dump(one, sort_keys=False))
    second = study(tmp_path, "# another\n" + yaml.safe_dump(dict(entries), sort_keys=False))
    assert _keys(first) == _keys(second)
    assert len(_keys(first)) == 2 * len(arms)


def test_more_seeds_or_arms_are_a_set_difference(tmp_path: Path) -> None:
    grid = HEAD + "matrix: {depth: [20, 26]}\n"
    few = _keys(study(tmp_path, grid + "seeds: 2\n"))
    assert few < _keys(study(tmp_path, grid + "seeds: 3\n"))
    assert few < _keys(study(tmp_path, grid + "seeds: 2\ninclude: [{depth: 32}]\n"))
    assert few.isdisjoint(_keys(study(tmp_path, grid + "seeds: 2\n", overrides=["recipe.lr=0.2"])))


@pytest.fixture
def _grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of 26 layers are grown from those of 20."""

    def parent(network: Network) -> Network | None:
        return dataclasses.replace(network, depth=20) if network.depth == 26 else None

    monkeypatch.setattr(Network, "parent", property(parent), raising=False)


@pytest.mark.usefixtures("_grown")
def test_a_grown_trial_comes_after_its_parent_under_the_same_recipe_and_seed(tmp_path: Path) -> None:
    asked = study(tmp_path, HEAD + "matrix: {depth: [26, 20], recipe.lr: [0.1, 0.03]}\nseeds: 2\n")
    found = {(trial.arm, trial.seed): trial for trial in trials(asked)}
    assert len(found) == 8
    for (arm, seed), trial in found.items():
        parent = found[arm.replace("-26", "-20"), seed]
        assert trial.after == (parent.key if "-26" in arm else None)


GROWN = [
    (
        "matrix:\n  depth: [26]\n",
        5,
        "depth[0]: cifar10-plain-26 is grown from cifar10-plain-20 under the same recipe, what it measures included",
    ),
    ("matrix:\n  depth: [26]\n", 5, "the study has no such arm; add {depth: 20, shortcut: none, seeds: 1}"),
    (
        "include:\n  - {depth: 20, seeds: 1}\n  - {depth: 26, seeds: 3}\n",
        6,
        "that arm has 1 of the 3 seeds; add {depth: 20, shortcut: none, seeds: 3}",
    ),
    ("include:\n  - {depth: 20, recipe.lr: 1}\n  - {depth: 26}\n", 6, "the study has no such arm"),
]


@pytest.mark.usefixtures("_grown")
@pytest.mark.parametrize(("text", "line", "words"), GROWN)
def test_a_grown_arm_needs_its_parent_with_as_many_seeds(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        study(tmp_path, HEAD + text)
    assert str(caught.value).startswith(f"{tmp_path}/s.yaml:{line}: ")
    assert words in str(caught.value)
