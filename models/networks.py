"""Every network of the paper as a module (Table 1 and sec. 4.2), and the weights it starts from (sec. 3.4)."""

import math
from collections import OrderedDict
from functools import partial
from itertools import count, groupby

import torch
from torch import Tensor, nn

from models.blocks import Basic, Block, Bottleneck, Noise, OneLayer
from models.convolution import Convolution, RectifiedBatchNorm
from models.layers import BuildingBlock, building_blocks
from models.spec import Network


class Classifier(nn.Linear):
    """(N, C) -> (N, classes). Its weights are NaN until they are set, as a `Convolution`'s are."""

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, math.nan)
        nn.init.constant_(self.bias, math.nan)


def build(network: Network, *, dropout: float = 0.0, stochastic_depth: float = 0.0) -> nn.Sequential:
    """Images (N, channels, size, size) to logits (N, classes). Draws no random number: `initialise` sets the weights.

    CIFAR-10: conv1 3x3, three stages on maps of 32, 16 and 8 pixels, global average pool, classifier.
    ImageNet: conv1 7x7 / 2, max pool 3x3 / 2, four stages on maps of 56, 28, 14 and 7, global average pool, classifier.

    `dropout` is the probability of each value before the last convolution of every block. `stochastic_depth` is that of
    the last block to be its shortcut alone for a training step; an earlier one's is less, in proportion to its place
    [Huang et al., 2016]. Both draw from torch's global generator in training, and neither changes a tensor's name.
    """
    _check_probability("dropout", dropout)
    _check_probability("stochastic_depth", stochastic_depth)
    if stochastic_depth and network.shortcut == "none":
        raise ValueError(
            f"stochastic_depth {stochastic_depth} is for networks with shortcuts, not {network.name}; leave it out"
        )
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if network.layout == "imagenet":
        modules["conv1"] = Convolution(network.channels, network.width, 7, stride=2)
    else:
        modules["conv1"] = Convolution(network.channels, network.width, 3)
    modules["bn1"] = RectifiedBatchNorm(network.width)
    if network.layout == "imagenet":
        modules["pool1"] = nn.MaxPool2d(3, stride=2, padding=1)
    outputs = network.width
    place, last = count(1), sum(network.blocks)
    for stage, group in groupby(building_blocks(network), key=lambda block: block.stage):
        blocks = list(group)
        noises = [Noise(dropout, 1 - next(place) / last * stochastic_depth) for _ in blocks]
        modules[f"stage{stage}"] = nn.Sequential(*map(partial(_module, network), blocks, noises))
        outputs = blocks[-1].outputs
    modules["pool"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["fc"] = Classifier(outputs, network.classes)
    return nn.Sequential(modules)


def _check_probability(name: str, given: float) -> None:
    if not 0 <= given < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, not {given}")


def _module(network: Network, block: BuildingBlock, noise: Noise) -> Block:
    if network.bottleneck:
        return Bottleneck(block, network.stride, noise)
    return Basic(block, noise) if network.block_layers == 2 else OneLayer(block, noise)


@torch.no_grad()
def initialise(module: nn.Module, network: Network, generator: torch.Generator) -> None:
    """Weights from N(0, 2 / fan) [He et al., 2015, cited in sec. 3.4]; batch normalisation starts as the identity.

    Nothing but the state of `generator`, on the CPU, decides the bits: not the module's device, memory format or type.
    Projections draw last, so that one seed gives a plain network and options A, B and C the same weights elsewhere.
    """
    for _, part in sorted(module.named_modules(), key=lambda item: ".shortcut." in item[0]):
        match part:
            case nn.Conv2d():
                channels = part.in_channels if network.init == "fan_in" else part.out_channels
                _draw(part.weight, channels * part.kernel_size[0] * part.kernel_size[1], generator)
            case nn.Linear():
                # Always fan-in: fan-out is 10 on CIFAR-10 and would start the loss far off, ResNet-20 at 7.3, not 3.5.
                _draw(part.weight, part.in_features, generator)
                nn.init.zeros_(part.bias)
            case nn.BatchNorm2d():
                part.reset_parameters()


def _draw(weight: Tensor, fan: int, generator: torch.Generator) -> None:
    """N(0, 2 / fan), drawn in the order of a contiguous tensor."""
    values = torch.empty(weight.shape, dtype=torch.float32, device="cpu")
    weight.copy_(values.normal_(0, math.sqrt(2 / fan), generator=generator))
