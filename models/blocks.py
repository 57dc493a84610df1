"""The building blocks of Fig. 5, plain or residual: (N, C, H, W) -> (N, C', H/s, W/s).

Batch normalisation follows each convolution, and ReLU each batch normalisation; a residual sum comes before the last
ReLU. Sum and ReLU are done by the batch normalisation before them, so that one kernel can do all three.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from models.convolution import BatchNorm, Convolution
from models.layers import BuildingBlock
from models.shortcuts import shortcut


class Block(nn.Module, ABC):
    """y = relu(F(x) + shortcut(x)), eq. (1) and (2). Plain is the same without the sum: y = relu(F(x))."""

    shortcut: nn.Module | None
    fork: Callable[[Tensor], tuple[Tensor, Tensor]] = staticmethod(lambda x: (x, x))
    """x for F and x for the shortcut; a kernel may take its place, which sums their two gradients faster."""

    @property
    @abstractmethod
    def last_norm(self) -> BatchNorm:
        """The batch normalisation that ends F."""

    @abstractmethod
    def inner(self, x: Tensor) -> Tensor:
        """F(x) up to its last convolution, before `last_norm`."""

    def residual(self, x: Tensor) -> Tensor:
        """F(x): all layers of the block but its last ReLU."""
        return self.last_norm(self.inner(x))

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            return self.last_norm(self.inner(x), rectify=True)
        x, beside = self.fork(x)
        return self.last_norm(self.inner(x), self.shortcut(beside), rectify=True)


class Basic(Block):
    """Two 3x3 convolutions (Fig. 5, left); the first strides."""

    def __init__(self, block: BuildingBlock) -> None:
        super().__init__()
        self.conv1 = Convolution(block.inputs, block.outputs, 3, block.stride)
        self.bn1 = BatchNorm(block.outputs)
        self.conv2 = Convolution(block.outputs, block.outputs, 3)
        self.bn2 = BatchNorm(block.outputs)
        self.shortcut = shortcut(block)

    @property
    def last_norm(self) -> BatchNorm:
        return self.bn2

    def inner(self, x: Tensor) -> Tensor:
        return self.conv2(self.bn1(self.conv1(x), rectify=True))


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

    @property
    def last_norm(self) -> BatchNorm:
        return self.bn3

    def inner(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x), rectify=True)
        return self.conv3(self.bn2(self.conv2(x), rectify=True))
