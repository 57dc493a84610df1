"""Dropout and stochastic depth: what is left out at random in training, and what evaluation makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
import torch
from torch import Tensor, nn

from models.blocks import Block
from models.convolution import BatchNorm, Convolution
from models.networks import build, initialise
from models.spec import Network, Shortcut

RESNET = Network(depth=14, shortcut="B", width=4, size=8)
BOTTLENECK = Network(data="imagenet", layout="imagenet", depth=50, shortcut="B", width=4, size=32)
KINDS = [RESNET, replace(RESNET, shortcut="A"), replace(RESNET, block_layers=1), BOTTLENECK]


def made(network: Network, **noise: float) -> nn.Sequential:
    module = build(network, **noise)
    initialise(module, network, torch.Generator().manual_seed(0))
    return module


def images(network: Network, count: int = 8) -> Tensor:
    return torch.randn(count, 3, network.size, network.size, generator=torch.Generator().manual_seed(1))


def blocks_of(module: nn.Module) -> list[Block]:
    return [part for part in module.modules() if isinstance(part, Block)]


T = TypeVar("T")


def seeded(seed: int, call: Callable[[], T]) -> T:
    """The call's result with torch's global generator at this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return call()


def computed_blocks(module: nn.Module, x: Tensor, seed: int) -> list[bool]:
    """Which blocks compute F in one training step."""
    computed = [False] * len(blocks_of(module))

    def saw(at: int) -> Any:
        def hook(*_: Any) -> None:
            computed[at] = True

        return hook

    hooks = [cast(Any, block).conv1.register_forward_hook(saw(at)) for at, block in enumerate(blocks_of(module))]
    seeded(seed, lambda: module.train()(x))
    for hook in hooks:
        hook.remove()
    return computed


@pytest.mark.parametrize("network", KINDS, ids=lambda network: network.name)
def test_noise_changes_no_name_and_no_first_weight(network: Network) -> None:
    """So a state dict loads whatever the noise, and the seed starts the same network."""
    quiet, noisy = made(network).state_dict(), made(network, dropout=0.3, stochastic_depth=0.5).state_dict()
    assert list(quiet) == list(noisy)
    assert all(torch.equal(quiet[name], noisy[name]) for name in quiet)


def test_without_noise_nothing_is_drawn() -> None:
    """Neither in building nor in training; and dropout is no module."""
    module = made(RESNET, dropout=0.0, stochastic_depth=0.0)
    state = torch.get_rng_state()
    module(images(RESNET))
    assert torch.equal(torch.get_rng_state(), state)
    assert [str(part) for part in made(RESNET, dropout=0.3).modules()] == [str(part) for part in module.modules()]


@pytest.mark.parametrize("noise", [{"dropout": 0.3}, {"stochastic_depth": 0.5}], ids=str)
def test_the_global_generator_decides_in_training_and_evaluation_draws_nothing(noise: dict[str, float]) -> None:
    """One seed gives the same bits each time, another seed others."""
    module, x = made(RESNET, **noise), images(RESNET)
    one, again, *others = (seeded(seed, lambda: module.train()(x)) for seed in (3, 3, 4, 5, 6))
    assert torch.equal(one, again)
    assert not all(torch.equal(one, other) for other in others)
    state = torch.get_rng_state()
    module.eval()(x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("network", KINDS, ids=lambda network: network.name)
def test_a_lot_that_is_given_decides_instead(network: Network) -> None:
    """Replicas leave out the same blocks, whatever their generators hold: those whose lot is not below survival."""
    module, x = made(network, stochastic_depth=0.5), images(network)
    blocks = blocks_of(module)
    for at, block in enumerate(blocks):
        assert block.noise.survival < 1
        block.lot = torch.tensor(block.noise.survival + (-0.01 if at % 2 else 0.01))
    expected = [at % 2 == 1 for at in range(len(blocks))]
    assert computed_blocks(module, x, 3) == computed_blocks(module, x, 4) == expected


@pytest.mark.parametrize("network", [*KINDS, Network(depth=14, width=4, size=8)], ids=lambda network: network.name)
def test_dropout_is_on_what_the_last_convolution_of_every_block_reads(network: Network) -> None:
    """A share of 0.3 is zero there, the rest is divided by 0.7, and no other convolution's input is touched."""
    quiet, noisy, x = made(network), made(network, dropout=0.3), images(network)
    for block, same in zip(blocks_of(noisy), blocks_of(quiet), strict=True):
        read: dict[Block, list[Tensor]] = {block: [], same: []}
        for each, inputs in read.items():
            for part in each.children():
                if isinstance(part, Convolution):
                    part.register_forward_hook(lambda _, given, __, inputs=inputs: inputs.append(given[0]))
        x = x.new_empty(8, next(block.parameters()).shape[1], 9, 9).uniform_(1, 2)
        seeded(0, lambda block=block, x=x: block(x))
        seeded(0, lambda same=same, x=x: same(x))
        *before, last = read[block]
        *expected_before, expected = read[same]
        assert len(before) == {True: 2, False: network.block_layers - 1}[network.bottleneck]
        assert all(torch.equal(one, other) for one, other in zip(before, expected_before, strict=True))
        alive = expected != 0
        assert (last[alive] == 0).double().mean().item() == pytest.approx(0.3, abs=0.06)
        kept = last != 0
        torch.testing.assert_close(last[kept], expected[kept] / 0.7)


def test_evaluation_knows_no_dropout() -> None:
    """The values were divided by the share that is kept, so nothing is left to correct."""
    quiet, noisy = made(RESNET).eval(), made(RESNET, dropout=0.3).eval()
    assert torch.equal(quiet(images(RESNET)), noisy(images(RESNET)))


def test_a_block_survives_with_a_probability_that_falls_with_its_place() -> None:
    """1 - l/L * 0.5 for block l of 6: from 0.917 to 0.5; within four standard errors in 400 steps."""
    module, x = made(RESNET, stochastic_depth=0.5), images(RESNET, 2)
    steps = [computed_blocks(module, x, seed) for seed in range(400)]
    for place, survived in enumerate(zip(*steps, strict=True), start=1):
        expected = 1 - place / 6 * 0.5
        error = (expected * (1 - expected) / 400) ** 0.5
        assert sum(survived) / 400 == pytest.approx(expected, abs=4 * error)
    assert len({tuple(step) for step in steps}) > 20, "blocks are drawn one by one"


def test_one_number_is_drawn_for_each_block_and_batch() -> None:
    """Whatever is dropped: six blocks move the generator as six draws do, so a block's fate is its place's alone."""
    module, x = made(RESNET, stochastic_depth=0.5), images(RESNET)
    draws = seeded(5, lambda: [torch.rand(()).item() for _ in range(7)])
    assert computed_blocks(module, x, 5) == [draw < 1 - place / 6 * 0.5 for place, draw in enumerate(draws[:6], 1)]

    def after_a_step() -> float:
        module(x)
        return torch.rand(()).item()

    assert seeded(5, after_a_step) == draws[6]


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_a_dropped_block_is_its_shortcut_and_learns_nothing(shortcut: Shortcut) -> None:
    """relu(shortcut(x)), by hand; F is not computed, so neither its gradients nor its running statistics move."""
    module = made(replace(RESNET, shortcut=shortcut), stochastic_depth=0.99)
    last = blocks_of(module)[-2]  # survives with probability 0.175
    assert last.shortcut is not None
    before = {name: value.clone() for name, value in last.state_dict().items()}
    x = torch.randn(4, 16, 4, 4, generator=torch.Generator().manual_seed(2))[:, : cast(Any, last).conv1.in_channels]
    x.requires_grad_()
    y = seeded(0, lambda: last(x))
    assert seeded(0, lambda: torch.rand(()).item()) > 0.175
    y.sum().backward()
    assert cast(Any, last).conv1.weight.grad is None
    state = last.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in state if ".bn" not in name)
    assert torch.equal(y, last.shortcut(x).relu())


@pytest.mark.parametrize("network", KINDS, ids=lambda network: network.name)
def test_a_step_in_which_all_survive_is_the_step_without(network: Network) -> None:
    """The normal path, to the bit; a probability this small drops nothing."""
    quiet, noisy, x = made(network), made(network, stochastic_depth=1e-9), images(network)
    assert torch.equal(noisy(x), quiet(x))
    state = noisy.state_dict()
    assert all(torch.equal(state[name], value) for name, value in quiet.state_dict().items())


@pytest.mark.parametrize("network", KINDS, ids=lambda network: network.name)
def test_evaluation_takes_each_residual_times_its_survival_probability(network: Network) -> None:
    """relu(p F(x) + shortcut(x)), block by block; F is that of the same block without noise."""
    quiet, noisy, x = made(network).eval(), made(network, stochastic_depth=0.5).eval(), images(network)
    x = quiet[: 2 + (network.layout == "imagenet")](x)
    last = sum(network.blocks)
    for place, (block, same) in enumerate(zip(blocks_of(noisy), blocks_of(quiet), strict=True), start=1):
        assert same.shortcut is not None
        expected = ((1 - place / last * 0.5) * same.residual(x) + same.shortcut(x)).relu()
        x = block(x)
        torch.testing.assert_close(x, expected)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, not -0.1"),
        ({"stochastic_depth": 1}, "stochastic_depth must be at least 0 and below 1, not 1"),
        ({"stochastic_depth": float("nan")}, "stochastic_depth must be at least 0 and below 1, not nan"),
    ],
)
def test_what_is_no_probability_is_refused(noise: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(RESNET, **noise)


def test_stochastic_depth_needs_shortcuts() -> None:
    """A plain block that computes nothing would pass nothing on; dropout is for both."""
    plain = Network(depth=8)
    message = "stochastic_depth 0.5 is for networks with shortcuts, not cifar10-plain-8; leave it out"
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(plain, stochastic_depth=0.5)
    assert not any(isinstance(part, nn.Dropout) for part in build(plain, dropout=0.5).modules())


def test_batch_normalisation_of_a_surviving_block_still_does_the_sum_and_the_relu() -> None:
    """The one kernel that does all three is asked for them, with noise too."""
    asked: list[tuple[bool, bool]] = []

    def fused(norm: BatchNorm, x: Tensor, plus: Tensor | None, rectify: bool, follow: bool) -> Tensor:
        asked.append((plus is not None, rectify))
        y = nn.functional.batch_norm(x, None, None, training=True) + (0 if plus is None else plus)
        return y.relu() if rectify else y

    module = made(replace(RESNET, shortcut="A"), stochastic_depth=1e-9, dropout=0.1)
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.fused = fused
    module(images(RESNET))
    assert asked == [(False, True), *[(False, True), (True, True)] * 6]
