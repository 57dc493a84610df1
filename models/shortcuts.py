"""What runs beside a block's layers: the shortcut options of sec. 3.3 and 4.1, each (N, C, H, W) -> (N, C', H/s, W/s).

Option A pads where the width grows; B projects there; C projects everywhere. Elsewhere A and B are the identity.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.convolution import BatchNorm, Convolution
from models.layers import BuildingBlock


class Padding(nn.Module):
    """Option A: every s-th row and column, and zeros for the new channels. No parameters.

    The paper does not say where the zeros go: here last. Another place only permutes the channels of what follows.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, before: int = 0) -> None:
        """`before` of the new channels come before the old ones."""
        super().__init__()
        self.stride = stride
        self.before, self.after = before, outputs - inputs - before

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(subsampled(x, self.stride), (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        zeros = f"{self.before}+{self.after}" if self.before else self.after
        return f"stride={self.stride}, zeros={zeros}"


class Repetition(nn.Module):
    """Option A with the old channels again, in turn, where the paper has zeros. No parameters.

    So the new channels too have something to learn a residual of. They hold what the old ones hold, or (`average`) the
    mean of each s x s square of which these hold one pixel, at an odd edge of what there is of it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, average: bool) -> None:
        super().__init__()
        self.stride, self.average = stride, average
        self.whole, self.rest = divmod(outputs - inputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        old = subsampled(x, self.stride)
        new = functional.avg_pool2d(x, self.stride, ceil_mode=True) if self.average else old
        return torch.cat([old, *[new] * self.whole, new[:, : self.rest]], dim=1)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, average={self.average}"


class Projection(nn.Sequential):
    """Options B and C: W_s x of eq. (2), a 1x1 convolution, and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                conv=Convolution(inputs, outputs, 1, stride),
                bn=BatchNorm(outputs),
            )
        )


def subsampled(x: Tensor, stride: int) -> Tensor:
    """Every s-th row and column: (N, C, H, W) -> (N, C, H/s, W/s)."""
    return x if stride == 1 else _Subsampling.apply(x, stride)  # pyright: ignore[reportReturnType]


class _Subsampling(torch.autograd.Function):
    """As indexing does it, but the gradient keeps the images' memory format: what it is added to need not be copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.like = stride, torch.empty_like(x, device="meta")
        return x[:, :, ::stride, ::stride]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        dx = torch.zeros_like(ctx.like, device=dy.device)
        dx[:, :, :: ctx.stride, :: ctx.stride] = dy
        return dx, None


def shortcut(block: BuildingBlock) -> nn.Module | None:
    """The module beside `block`; None in a plain network."""
    match block.shortcut:
        case "none":
            return None
        case "identity":
            return nn.Identity()
        case "padding":
            return _padding(block)
        case "projection":
            return Projection(block.inputs, block.outputs, block.stride)


def _padding(block: BuildingBlock) -> nn.Module:
    inputs, outputs, stride = block.inputs, block.outputs, block.stride
    match block.padding:
        case "appended":
            return Padding(inputs, outputs, stride)
        case "split":
            return Padding(inputs, outputs, stride, before=(outputs - inputs) // 2)
        case "duplicate" | "average":
            return Repetition(inputs, outputs, stride, average=block.padding == "average")
