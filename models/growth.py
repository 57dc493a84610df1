"""A deeper network that computes what a trained shallower one does: identity blocks are inserted (sec. 1 and 3.1).

"There exists a solution by construction to the deeper model: the added layers are identity mapping, and the other
layers are copied from the learned shallower model." The blocks of each stage beyond the parent's are the inserted ones.

A residual block is the identity where F = 0: the gamma and beta of its last batch normalisation are 0. Where nothing
runs beside its layers, a block is the identity where each layer is. Its input has passed a ReLU, so another changes
nothing, and batch normalisation is undone where gamma and beta are the s.d. and mean of what it normalises.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.blocks import Block
from models.convolution import BatchNorm, Convolution
from models.spec import Network

Statistics = tuple[Tensor, Tensor]
"""Mean and biased variance of each channel, over images and pixels: (C,) each."""


@torch.no_grad()
def grow(
    module: nn.Sequential, network: Network, parent_state: Mapping[str, Tensor], stage_outputs: Sequence[Statistics]
) -> None:
    """Give `module`, built from `network` and initialised, the parent's weights, and make the other blocks identities.

    `parent_state` is the state dict of `network.parent`, and `stage_outputs` are its `stage_statistics`. Then `module`
    computes in evaluation what the parent does, and in training, as far as a batch has these statistics.
    """
    if network.parent is None:
        raise ValueError(f"{network.name} is not grown from another network; give it `grown_from`, as 8")
    inserted = _inserted(network, network.parent)
    _load(module, network.parent, parent_state, [name for names in inserted for name in names])
    for names, statistics in zip(inserted, stage_outputs, strict=True):
        for name in names:
            _make_identity(module.get_submodule(name), statistics)


@torch.no_grad()
def stage_statistics(module: nn.Sequential, batches: Iterable[Tensor]) -> list[Statistics]:
    """Mean and variance of what each stage puts out in evaluation mode, over all batches of images (N, C, H, W)."""
    was_training = module.training
    module.eval()
    sums: dict[str, Tensor] = {}
    for batch in batches:
        x = batch
        for name, part in module.named_children():
            x = part(x)
            if name.startswith("stage"):
                sums[name] = sums.get(name, 0) + _sums(x)
    module.train(was_training)
    if not sums:
        raise ValueError("0 batches to take statistics of; give at least one")
    return [_statistics(each) for each in sums.values()]


def _sums(x: Tensor) -> Tensor:
    """(3, C) in double precision: for each channel of (N, C, H, W) the number of values, their sum, and of squares."""
    values = x.transpose(0, 1).flatten(1).double()
    number = torch.full_like(values[:, 0], values.shape[1])
    return torch.stack([number, values.sum(1), values.square().sum(1)])


def _statistics(sums: Tensor) -> Statistics:
    number, total, squares = sums
    mean = total / number
    return mean, (squares / number - mean.square()).clamp(min=0)  # below 0 by rounding, where a channel is constant


def _inserted(network: Network, parent: Network) -> list[list[str]]:
    """Names of the blocks that the parent lacks, for each stage."""
    numbers = zip(parent.blocks, network.blocks, strict=True)
    return [[f"stage{stage}.{at}" for at in range(*between)] for stage, between in enumerate(numbers, start=1)]


def _load(module: nn.Module, parent: Network, state: Mapping[str, Tensor], inserted: Sequence[str]) -> None:
    blocks = tuple(f"{name}." for name in inserted)
    expected = {name for name in module.state_dict() if not name.startswith(blocks)}
    other = sorted(expected ^ state.keys())
    if other:
        raise ValueError(
            f"the weights to grow from differ from those of {parent.name} in {len(other)} names, first {other[0]};"
            " give the state dict of that network"
        )
    module.load_state_dict(state, strict=False)


def _make_identity(block: nn.Module, statistics: Statistics) -> None:
    assert isinstance(block, Block)
    if block.shortcut is None:
        _each_layer_an_identity(block, statistics)
        return
    nn.init.zeros_(block.last_norm.weight)
    nn.init.zeros_(block.last_norm.bias)
    _each_layer_an_identity(block.shortcut, statistics)  # of option C, a projection


def _each_layer_an_identity(part: nn.Module, statistics: Statistics) -> None:
    for layer in part.modules():
        match layer:
            case Convolution():
                nn.init.dirac_(layer.weight)
            case BatchNorm():
                _undo(layer, statistics)


def _undo(norm: BatchNorm, statistics: Statistics) -> None:
    """Batch normalisation of values with these statistics, as the identity; also of a dead channel, always 0."""
    mean, variance = statistics
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance, gamma = _cancelling(variance.to(norm.running_var), norm.eps)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(gamma)
    norm.bias.copy_(mean)


def _cancelling(variance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """A variance at most some bits from the given one, and the gamma that cancels it: gamma / sqrt(var + eps) = 1.

    Rounded, that is 1 for most variances and off by 6e-8 for others. Every inserted layer would err alike: 12 in each
    of three stages, as from 20 to 56 layers, were measured to move the logits by 1e-5, which is all that DEG-09 allows.
    """
    bits = torch.arange(32, device=variance.device, dtype=variance.dtype)[:, None]
    near = variance * (1 + bits * torch.finfo(variance.dtype).eps)
    inverse = (near + eps).rsqrt()
    gamma = inverse.reciprocal()
    first = (gamma * inverse == 1).int().argmax(0, keepdim=True)
    return near.gather(0, first)[0], gamma.gather(0, first)[0]
