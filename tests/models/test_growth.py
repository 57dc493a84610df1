"""A deeper network that is grown from a shallower one computes the same (DEG-09), and learns from there."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.blocks import Block
from models.convolution import BatchNorm
from models.growth import grow, stage_statistics
from models.networks import build, initialise
from models.spec import Network

GROWN = [
    Network(depth=20, width=4, size=8, grown_from=8),
    Network(depth=56, width=4, size=8, grown_from=20),
    Network(depth=20, width=4, size=8, shortcut="A", grown_from=8),
    Network(depth=20, width=4, size=8, shortcut="B", grown_from=8),
    Network(depth=20, width=4, size=8, shortcut="C", grown_from=8),
    Network(depth=20, width=4, size=8, shortcut="A", block_layers=1, padding="average", grown_from=8),
    Network(data="imagenet", layout="imagenet", depth=34, width=8, size=64, shortcut="none", grown_from=18),
    Network(data="imagenet", layout="imagenet", depth=34, width=8, size=64, shortcut="B", grown_from=18),
]
every_kind = pytest.mark.parametrize("network", GROWN, ids=lambda network: network.name)


def images(network: Network, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, network.channels, network.size, network.size, generator=generator)


def parent_of(network: Network) -> nn.Sequential:
    """The parent as if trained: random gammas and betas, and running statistics of images."""
    assert network.parent
    module, generator = build(network.parent), torch.Generator().manual_seed(1)
    initialise(module, network.parent, generator)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, BatchNorm):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.2, generator=generator)
    set_running_statistics(module, images(network, 32, seed=9))
    return module


def grown(network: Network, parent: nn.Sequential, batches: Sequence[Tensor]) -> nn.Sequential:
    module = build(network)
    initialise(module, network, torch.Generator().manual_seed(2))
    grow(module, network, parent.state_dict(), stage_statistics(parent, batches))
    return module


def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    """Largest of the logits' differences, where the logits say something."""
    with torch.no_grad():
        ours, theirs = one(x), other(x)
    assert theirs.isfinite().all()
    assert theirs.std(dim=0).min() > 0.05
    return (ours - theirs).abs().max().item()


def set_running_statistics(module: nn.Module, x: Tensor) -> None:
    """To those of the batch `x`, so that evaluation on it is training on it."""

    def take(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        norm.running_var.copy_(inputs[0].var((0, 2, 3), correction=0))

    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    hooks = [norm.register_forward_pre_hook(take) for norm in norms]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    with torch.no_grad():
        module.train()(x)
    for norm, hook, momentum in zip(norms, hooks, momenta, strict=True):
        norm.momentum = momentum
        hook.remove()


@every_kind
def test_a_grown_network_computes_what_its_parent_does(network: Network) -> None:
    """In evaluation, of any images, not those of the statistics alone: DEG-09 asks for 1e-5."""
    parent = parent_of(network)
    module = grown(network, parent, [images(network, 4)])
    assert len(list(module.parameters())) > len(list(parent.parameters()))
    assert difference(module.eval(), parent.eval(), images(network, 16, seed=3)) <= 1e-5


def test_rounding_does_not_add_up_over_the_inserted_layers() -> None:
    """36 of them; with gamma as the rounded s.d. the logits moved by 1.2e-5."""
    parent = parent_of(GROWN[1])
    module = grown(GROWN[1], parent, [images(GROWN[1], 4)])
    assert difference(module.eval(), parent.eval(), images(GROWN[1], 16, seed=3)) <= 1e-6


@every_kind
def test_and_so_it_does_in_training_where_the_batch_has_these_statistics(network: Network) -> None:
    """The first loss of the deeper network is the last of the shallower one."""
    parent, x = parent_of(network), images(network, 16)
    set_running_statistics(parent, x)
    module = grown(network, parent, [x])
    assert difference(module.train(), parent.train(), x) <= 1e-4


def test_with_identity_shortcuts_it_does_so_in_training_on_any_batch() -> None:
    """F = 0 whatever the statistics; and to the bit."""
    network = GROWN[2]
    parent = parent_of(network)
    module = grown(network, parent, [images(network, 4)])
    assert difference(module.train(), parent.train(), images(network, 16, seed=3)) == 0


def test_without_the_statistics_a_plain_network_would_start_elsewhere_in_training() -> None:
    """Why they are needed: with batch normalisation as `initialise` leaves it, the inserted layers move the logits."""
    network = GROWN[0]
    parent, x = parent_of(network), images(network, 16)
    set_running_statistics(parent, x)
    module = build(network)
    initialise(module, network, torch.Generator().manual_seed(2))
    nothing = [(torch.zeros(4 * 2**at), torch.ones(4 * 2**at)) for at in range(3)]
    grow(module, network, parent.state_dict(), nothing)
    assert difference(module.eval(), parent.eval(), x) <= 1e-5
    assert difference(module.train(), parent.train(), x) > 0.1


@pytest.mark.parametrize("network", [GROWN[0], GROWN[4]], ids=lambda network: network.name)
def test_a_dead_channel_stays_dead_and_harms_nothing(network: Network) -> None:
    """A channel that is 0 everywhere has variance 0: no division by it, in evaluation, training or backward."""
    parent, x = parent_of(network), images(network, 16)
    for at in range(1, 4):
        block = parent.get_submodule(f"stage{at}.0")
        assert isinstance(block, Block)
        norms = [part for name, part in block.named_modules() if name in ("bn2", "shortcut.bn")]
        with torch.no_grad():
            for norm in norms:
                assert isinstance(norm, BatchNorm)
                norm.weight[:2], norm.bias[:2] = 0, -1
    set_running_statistics(parent, x)
    assert [(variance == 0).sum() for _, variance in stage_statistics(parent, [x])] == [2, 2, 2]
    module = grown(network, parent, [x])
    assert difference(module.eval(), parent.eval(), x) <= 1e-5
    assert difference(module.train(), parent.train(), x) <= 1e-4
    module(x).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("network", GROWN[:5], ids=lambda network: network.name)
def test_inserted_blocks_learn(network: Network) -> None:
    """The first gradient reaches each, so that SGD can leave the identity."""
    parent, x = parent_of(network), images(network, 16)
    module = grown(network, parent, [x])
    nn.functional.cross_entropy(module(x), torch.arange(16) % 10).backward()
    for name, part in module.named_modules():
        if isinstance(part, Block):
            gradient = part.last_norm.weight.grad
            assert gradient is not None, name
            assert gradient.abs().max() > 0, name


def test_only_the_last_blocks_of_a_stage_are_inserted_and_only_what_must_be_is_changed() -> None:
    """The parent's tensors are where they were, and a residual block keeps its random weights beside F = 0."""
    network = GROWN[2]
    parent, module = parent_of(network), build(network)
    initialise(module, network, torch.Generator().manual_seed(2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    grow(module, network, parent.state_dict(), stage_statistics(parent, [images(network, 4)]))
    after, theirs = module.state_dict(), parent.state_dict()
    for name, value in after.items():
        zeroed = name.endswith(("bn2.weight", "bn2.bias"))
        expected = theirs[name] if name in theirs else torch.zeros_like(value) if zeroed else before[name]
        assert torch.equal(value, expected), name
    inserted = {name.rpartition(".")[0][:8] for name in after.keys() - theirs.keys()}
    assert inserted == {f"stage{stage}.{at}" for stage, at in itertools.product((1, 2, 3), (1, 2))}


def test_statistics_are_of_all_images_and_pixels_and_change_nothing() -> None:
    """Against the outputs of all batches at once; the module's mode, weights and running statistics stay."""
    network = GROWN[3]
    parent = parent_of(network)
    parent.train()
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    batches = [images(network, count, seed=count) for count in (7, 2, 16)]
    found = stage_statistics(parent, iter(batches))
    assert parent.training
    assert all(torch.equal(value, before[name]) for name, value in parent.state_dict().items())
    assert len(found) == 3
    parent.eval()
    for at, (mean, variance) in enumerate(found, start=1):
        end = list(dict(parent.named_children())).index(f"stage{at}") + 1
        with torch.no_grad():
            outputs = parent[:end](torch.cat(batches)).double()
        assert mean.dtype == variance.dtype == torch.float64
        torch.testing.assert_close(mean, outputs.mean((0, 2, 3)))
        torch.testing.assert_close(variance, outputs.var((0, 2, 3), correction=0))
    stage_statistics(parent, batches)
    assert not parent.training


def test_what_cannot_be_grown_is_refused_in_one_line() -> None:
    """No parent, another network's weights, no batch; and the module is left as it was."""
    network = GROWN[0]
    parent, module = parent_of(network), build(network)
    statistics = stage_statistics(parent, [images(network, 2)])
    incomplete = parent.state_dict()
    del incomplete["fc.bias"]
    differ = (
        "the weights to grow from differ from those of cifar10-plain-8-w4 in {}; give the state dict of that network"
    )
    refused: list[tuple[str, Callable[[], object]]] = [
        (
            "cifar10-plain-20-w4 is not grown from another network; give it `grown_from`, as 8",
            lambda: grow(module, replace(network, grown_from=None), parent.state_dict(), statistics),
        ),
        (differ.format("1 names, first fc.bias"), lambda: grow(module, network, incomplete, statistics)),
        (
            differ.format("60 names, first stage1.1.bn1.bias"),
            lambda: grow(module, network, module.state_dict(), statistics),
        ),
        ("0 batches to take statistics of; give at least one", lambda: stage_statistics(parent, [])),
    ]
    for message, call in refused:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()
    assert all(value.isnan().all() for name, value in module.state_dict().items() if "conv" in name)
