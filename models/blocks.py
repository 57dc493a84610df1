"""The building blocks of Fig. 5, plain or residual: (N, C, H, W) -> (N, C', H/s, W/s).

Batch normalisation follows each convolution, and ReLU each batch normalisation; a residual sum comes before the last
ReLU. ReLU and sum overwrite the output of the batch normalisation before them, which its backward pass does not need;
a forward hook that keeps such an output must copy it.
"""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from models.convolution import BatchNorm, Convolution
from models.layers import BuildingBlock
from models.shortcuts import shortcut


class Block(nn.Module, ABC):
    """y = relu(F(x) + shortcut(x)), eq. (1) and (2). Plain is the same without the sum: y = relu(F(x))."""

    shortcut: nn.Module | None

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """F(x): all layers of the block but its last ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.residual(x)
        if self.shortcut is not None:
            y += self.shortcut(x)
        return relu(y)


class Basic(Block):
    """Two 3x3 convolutions (Fig. 5, left); the first strides."""

    def __init__(self, block: BuildingBlock) -> None:
        super().__init__()
        self.conv1 = Convolution(block.inputs, block.outputs, 3, block.stride)
        self.bn1 = BatchNorm(block.outputs)
        self.conv2 = Convolution(block.outputs, block.outputs, 3)
        self.bn2 = BatchNorm(block.outputs)
        self.shortcut = shortcut(block)

    def residual(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide (Fig. 5, right).

    The paper's authors stride in the first 1x1, torchvision in the 3x3.
    """

    def __init__(self, block: BuildingBlock, stride: Literal["1x1", "3x3"]) -> None:
        super().__init__()
        first, second = (block.stride, 1) if stride == "1x1" else (1, block.stride)
        self.conv1 = Convolution(block.inputs, block.width, 1, first)
        self.bn1 = BatchNorm(block.width)
        self.conv2 = Convolution(block.width, block.width, 3, second)
        self.bn2 = BatchNorm(block.width)
        self.conv3 = Convolution(block.width, block.outputs, 1)
        self.bn3 = BatchNorm(block.outputs)
        self.shortcut = shortcut(block)

    def residual(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        x = relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def relu(x: Tensor) -> Tensor:
    """max(x, 0), written over x."""
    return functional.relu(x, inplace=True)
