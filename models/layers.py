"""A network as a list of its layers, for counting and for naming them: no tensors, and nothing here imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.spec import Network, NewChannels

ShortcutKind = Literal["none", "identity", "padding", "projection"]
"""What runs beside one block; an option of sec. 4.1 chooses it for each block of a network."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One weighted layer: a convolution, which batch normalisation follows, or the classifier."""

    name: str
    """Name of its module in the network that `build` makes, such as `stage2.0.conv1`."""
    inputs: int
    outputs: int
    """Channels."""
    kernel: int
    """Height and width of the filter; the classifier counts as 1x1 on a 1x1 map."""
    stride: int
    size: int
    """Height and width of the output map."""
    norm: str | None
    """Name of the batch normalisation that follows; None for the classifier, which has a bias instead."""
    shortcut: bool = False
    """Whether it is a projection shortcut, which does not count as depth."""


@dataclass(frozen=True, slots=True)
class BuildingBlock:
    """A building block of Fig. 5: `inputs` channels to `outputs` channels, by way of `width` in a bottleneck."""

    stage: int
    """From 1; stage 1 of an ImageNet network is conv2_x of Table 1."""
    index: int
    """From 0, within the stage."""
    inputs: int
    width: int
    outputs: int
    stride: int
    shortcut: ShortcutKind
    padding: NewChannels
    """What is in the new channels where `shortcut` is `padding`."""

    @property
    def name(self) -> str:
        return f"stage{self.stage}.{self.index}"


def building_blocks(network: Network) -> Iterator[BuildingBlock]:
    """The blocks from input to output: each stage has twice the width of the last on a map of half its size."""
    inputs = network.width
    for stage, blocks in enumerate(network.blocks):
        width = network.width * 2**stage
        outputs = 4 * width if network.bottleneck else width
        for index in range(blocks):
            yield BuildingBlock(
                stage=stage + 1,
                index=index,
                inputs=inputs,
                width=width,
                outputs=outputs,
                stride=2 if stage > 0 and index == 0 else 1,
                shortcut=_shortcut(network, grows=inputs != outputs),
                padding=network.padding,
            )
            inputs = outputs


def _shortcut(network: Network, *, grows: bool) -> ShortcutKind:
    """What options A, B and C of sec. 4.1 put beside a block; width grows wherever the map shrinks."""
    if network.shortcut == "none":
        return "none"
    if network.shortcut == "C" or (network.shortcut == "B" and grows):
        return "projection"
    return "padding" if grows else "identity"


def layers(network: Network) -> tuple[Layer, ...]:
    """Every weighted layer, in the order in which the module holds them: a projection after the layers it bypasses."""
    if network.layout == "imagenet":
        found = [_convolution("conv1", network.channels, network.width, 7, 2, network.size)]
        size = _shrunk(found[0].size, 2)  # pool1
    else:
        found = [_convolution("conv1", network.channels, network.width, 3, 1, network.size)]
        size = found[0].size
    outputs = network.width
    for block in building_blocks(network):
        outputs = block.outputs
        body = _body(network, block, size)
        found += body
        if block.shortcut == "projection":
            found.append(_convolution(f"{block.name}.shortcut.conv", block.inputs, outputs, 1, block.stride, size))
        size = body[-1].size
    found.append(Layer("fc", outputs, network.classes, 1, 1, 1, None))
    return tuple(found)


def _body(network: Network, block: BuildingBlock, size: int) -> list[Layer]:
    """The layers that a shortcut bypasses."""
    if network.bottleneck:
        return _bottleneck(block, network.stride, size)
    first = _convolution(f"{block.name}.conv1", block.inputs, block.outputs, 3, block.stride, size)
    if network.block_layers == 1:
        return [first]
    return [first, _convolution(f"{block.name}.conv2", block.outputs, block.outputs, 3, 1, first.size)]


def _bottleneck(block: BuildingBlock, stride: Literal["1x1", "3x3"], size: int) -> list[Layer]:
    strides = (block.stride, 1) if stride == "1x1" else (1, block.stride)
    first = _convolution(f"{block.name}.conv1", block.inputs, block.width, 1, strides[0], size)
    second = _convolution(f"{block.name}.conv2", block.width, block.width, 3, strides[1], first.size)
    return [first, second, _convolution(f"{block.name}.conv3", block.width, block.outputs, 1, 1, second.size)]


def _convolution(name: str, inputs: int, outputs: int, kernel: int, stride: int, size: int) -> Layer:
    """A convolution on a map of `size`."""
    norm = "bn".join(name.rsplit("conv", 1))
    return Layer(name, inputs, outputs, kernel, stride, _shrunk(size, stride), norm, ".shortcut." in name)


def _shrunk(size: int, stride: int) -> int:
    """size / stride, rounded up: every kernel is odd and padded by half."""
    return -(-size // stride)
