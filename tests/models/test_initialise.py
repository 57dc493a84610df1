"""The weights that training starts from."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from models.networks import build, initialise
from models.spec import SHORTCUTS, Network

WIDE = Network(depth=14, shortcut="C", width=64)
"""Wide enough for statistics."""


def started(network: Network, seed: int = 0) -> dict[str, Tensor]:
    module = build(network)
    initialise(module, network, torch.Generator().manual_seed(seed))
    return module.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("init", ["fan_out", "fan_in"])
def test_convolutions_start_from_he_s_normal_distribution(init: Literal["fan_out", "fan_in"]) -> None:
    """Mean 0 and s.d. sqrt(2 / fan), within five standard errors; the fan counts the channels on the side asked for."""
    network = replace(WIDE, init=init)
    for name, weight in started(network).items():
        if weight.dim() != 4:
            continue
        outputs, inputs, height, breadth = weight.shape
        fan = (outputs if init == "fan_out" else inputs) * height * breadth
        std = (2 / fan) ** 0.5
        assert abs(weight.mean().item()) < 5 * std / weight.numel() ** 0.5, name
        assert weight.std().item() == pytest.approx(std, rel=5 / (2 * weight.numel()) ** 0.5), name


@pytest.mark.parametrize("init", ["fan_out", "fan_in"])
def test_the_classifier_starts_from_fan_in_whatever_the_convolutions_do(init: Literal["fan_out", "fan_in"]) -> None:
    """s.d. sqrt(2 / C) and bias 0."""
    state = started(replace(WIDE, init=init))
    weight = state["fc.weight"]
    assert weight.std().item() == pytest.approx((2 / weight.shape[1]) ** 0.5, rel=5 / (2 * weight.numel()) ** 0.5)
    assert not state["fc.bias"].any()


def test_batch_normalisation_starts_as_the_identity() -> None:
    """gamma 1, beta 0, running mean 0 and variance 1, also where training had moved them."""
    module = build(WIDE)
    initialise(module, WIDE, torch.Generator().manual_seed(0))
    first = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 3)
    initialise(module, WIDE, torch.Generator().manual_seed(0))
    assert same(module.state_dict(), first)
    norms = {name: value for name, value in first.items() if ".bn" in name or name.startswith("bn")}
    assert norms
    for name, value in norms.items():
        expected = 1.0 if name.endswith(("weight", "running_var")) else 0.0
        assert (value == expected).all(), name


def test_every_weight_is_set() -> None:
    """`build` leaves NaN; nothing of it remains, at any depth or option."""
    for shortcut in SHORTCUTS:
        for value in started(Network(depth=20, shortcut=shortcut)).values():
            assert value.isfinite().all()


def test_a_seed_gives_the_same_bits_each_time_and_another_seed_others() -> None:
    """The generator's state decides."""
    assert same(started(WIDE, seed=3), started(WIDE, seed=3))
    assert not torch.equal(started(WIDE, seed=3)["conv1.weight"], started(WIDE, seed=4)["conv1.weight"])


def test_the_global_generator_neither_matters_nor_moves() -> None:
    """Two trials in one process cannot touch each other's weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        one = started(WIDE)
        torch.manual_seed(2)
        before = torch.get_rng_state()
        assert same(started(WIDE), one)
        assert torch.equal(torch.get_rng_state(), before)


def test_memory_format_type_and_device_context_do_not_matter() -> None:
    """Values are drawn in one order on the CPU, then copied to where the weights are."""
    expected = started(WIDE)
    last = build(WIDE).to(memory_format=torch.channels_last)
    initialise(last, WIDE, torch.Generator().manual_seed(0))
    assert same(last.state_dict(), expected)
    assert last.conv1.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]
    double = build(WIDE).double()
    with torch.device("meta"):
        initialise(double, WIDE, torch.Generator(device="cpu").manual_seed(0))
    assert same({name: value.float() for name, value in double.state_dict().items()}, expected)


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_one_seed_starts_plain_and_every_option_from_the_same_weights(layout: Literal["cifar", "imagenet"]) -> None:
    """Plain and option A are equal tensor by tensor; B and C add projections, and share all the rest."""
    depth = 20 if layout == "cifar" else 50
    plain = started(Network(depth=depth, layout=layout, width=8))
    for shortcut in SHORTCUTS[1:]:
        state = started(Network(depth=depth, layout=layout, width=8, shortcut=shortcut))
        assert same({name: value for name, value in state.items() if ".shortcut." not in name}, plain)
        assert (len(state) > len(plain)) == (shortcut != "A")


def test_the_first_loss_is_not_far_from_that_of_a_guess() -> None:
    """log 10 = 2.3 on ten classes. ResNet-20 starts at 3.5; with fan-out on the classifier it would at 7.3."""
    network = Network(depth=20, shortcut="A")
    module = build(network)
    initialise(module, network, torch.Generator().manual_seed(0))
    x = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    loss = nn.functional.cross_entropy(module(x), torch.arange(64) % 10)
    assert loss.item() < 5
