"""The building blocks of Fig. 5, plain or residual: (N, C, H, W) -> (N, C', H/s, W/s).

Batch normalisation follows each convolution, and ReLU each batch normalisation; a residual sum comes before the last
ReLU. Sum and ReLU are done by the batch normalisation before them, so that one kernel can do all three.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from models.convolution import BatchNorm, Convolution, averages_held
from models.layers import BuildingBlock
from models.shortcuts import shortcut


@dataclass(frozen=True, slots=True)
class Noise:
    """What is left out of a block at random in training; the paper leaves out nothing."""

    dropout: float = 0.0
    """Probability of each value before the last convolution."""
    survival: float = 1.0
    """Probability that F is computed in a training step, for the whole batch [Huang et al., 2016]."""


QUIET = Noise()


@contextmanager
def nothing_dropped(module: nn.Module) -> Iterator[None]:
    """Passes in training mode in which every block is computed whole."""
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    before = [block.noise for block in blocks]
    for block in blocks:
        block.noise = QUIET
    try:
        yield
    finally:
        for block, noise in zip(blocks, before, strict=True):
            block.noise = noise


class Block(nn.Module, ABC):
    """y = relu(F(x) + shortcut(x)), eq. (1) and (2). Plain is the same without the sum: y = relu(F(x)).

    Draws are torch's global generator's: dropout's that of the device, survival's that of the CPU, once per batch.
    """

    shortcut: nn.Module | None
    fork: Callable[[Tensor], tuple[Tensor, Tensor]] = staticmethod(lambda x: (x, x))
    """x for F and x for the shortcut; a kernel may take its place, which sums their two gradients faster."""
    recompute: bool = False
    """Keep x alone for the backward pass and compute the block again there: less memory, more time, the same bits."""
    lot: Tensor | None = None
    """(), uniform in [0, 1): F is computed in this training step if it is below `survival`. Replicas that share a batch
    are given the same; None: drawn here."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise

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
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._once, x, use_reentrant=False, context_fn=lambda: (nullcontext(), averages_held()))  # pyright: ignore[reportReturnType]
        return self._once(x)

    def _once(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            return self.last_norm(self.inner(x), rectify=True)
        survival = self.noise.survival
        if survival < 1 and not self.training:
            return functional.relu(survival * self.residual(x) + self.shortcut(x))
        if survival < 1 and self._drawn().item() >= survival:
            return functional.relu(self.shortcut(x))
        x, beside = self.fork(x)
        return self.last_norm(self.inner(x), self.shortcut(beside), rectify=True)

    def _drawn(self) -> Tensor:
        # On the CPU, whatever the device: a draw that the device made would have to be waited for.
        return torch.rand((), device="cpu") if self.lot is None else self.lot

    def drop(self, x: Tensor) -> Tensor:
        """Dropout, for the input of the last convolution; nothing at all where none is asked for."""
        return functional.dropout(x, self.noise.dropout, self.training) if self.noise.dropout else x


class OneLayer(Block):
    """One 3x3 convolution: y = relu(BN(W x) + x), which sec. 3.2 found without advantage."""

    def __init__(self, block: BuildingBlock, noise: Noise = QUIET) -> None:
        super().__init__(noise)
        self.conv1 = Convolution(block.inputs, block.outputs, 3, block.stride)
        self.bn1 = BatchNorm(block.outputs)
        self.shortcut = shortcut(block)

    @property
    def last_norm(self) -> BatchNorm:
        return self.bn1

    def inner(self, x: Tensor) -> Tensor:
        return self.conv1(self.drop(x))


class Basic(Block):
    """Two 3x3 convolutions (Fig. 5, left); the first strides."""

    def __init__(self, block: BuildingBlock, noise: Noise = QUIET) -> None:
        super().__init__(noise)
        self.conv1 = Convolution(block.inputs, block.outputs, 3, block.stride)
        self.bn1 = BatchNorm(block.outputs)
        self.conv2 = Convolution(block.outputs, block.outputs, 3)
        self.bn2 = BatchNorm(block.outputs)
        self.shortcut = shortcut(block)

    @property
    def last_norm(self) -> BatchNorm:
        return self.bn2

    def inner(self, x: Tensor) -> Tensor:
        return self.conv2(self.drop(self.bn1(self.conv1(x), rectify=True)))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide (Fig. 5, right).

    The paper's authors stride in the first 1x1, torchvision in the 3x3.
    """

    def __init__(self, block: BuildingBlock, stride: Literal["1x1", "3x3"], noise: Noise = QUIET) -> None:
        super().__init__(noise)
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
        return self.conv3(self.drop(self.bn2(self.conv2(x), rectify=True)))
