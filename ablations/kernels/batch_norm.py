"""Batch normalisation, sum and ReLU in one kernel on the CPU: what `models.convolution.BatchNorm.fused` is given."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ablations.kernels.compiler import NoCompilerError, library
from models.blocks import Block
from models.convolution import BatchNorm, RectifiedBatchNorm

SOURCE = Path(__file__).with_name("batch_norm.c")
LANES, MOST_CHANNELS = 16, 4096
"""As in the source: channels come in multiples of the one, up to the other."""
_SUFFIXES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def install(module: nn.Module) -> str:
    """Give every batch normalisation the kernel, where it can be had; returns what will compute them, in words."""
    try:
        for dtype in _SUFFIXES:
            _functions(dtype)
    except NoCompilerError as error:
        return f"PyTorch's: {error}"
    residual = [part for part in module.modules() if isinstance(part, Block) and part.shortcut is not None]
    feeding = {block.last_norm for block in residual}  # what these put out, the next block uses twice
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.fused = (
                fused_twice if part in feeding or (residual and isinstance(part, RectifiedBatchNorm)) else fused
            )
    for block in residual:
        block.fork = fork
    return "fused"


def fused(norm: BatchNorm, x: Tensor, plus: Tensor | None, rectify: bool, follow: bool) -> Tensor | None:
    """relu(BN(x) + plus), all (N, C, H, W); None where the kernel is not made for these, and PyTorch must do it.

    With `follow`, the moving averages take the batch up.
    """
    if not _fits(norm, x):
        return None
    return _trained(norm, x, plus, rectify, follow)[0] if norm.training else _evaluated(norm, x, plus, rectify)


def fused_twice(norm: BatchNorm, x: Tensor, plus: Tensor | None, rectify: bool, follow: bool) -> Tensor | None:
    """As `fused`, for a layer that feeds a residual block: `fork` finds the second use of its output on the first."""
    if not _fits(norm, x):
        return None
    if not norm.training:
        return _evaluated(norm, x, plus, rectify)
    y, beside = _trained(norm, x, plus, rectify, follow)
    y.beside = beside  # pyright: ignore[reportAttributeAccessIssue]
    return y


def fork(x: Tensor) -> tuple[Tensor, Tensor]:
    """x twice, (N, C, H, W), for what a block and its shortcut do with it: their gradients are summed in one pass.

    By the backward pass of the layer that made x, where it is ready for two.
    """
    if (beside := getattr(x, "beside", None)) is not None:
        return x, beside
    if x.device.type != "cpu" or x.dtype not in _SUFFIXES or x.shape[1] % LANES or not x.requires_grad:
        return x, x
    return _Fork.apply(x)  # pyright: ignore[reportReturnType]


def _fits(norm: BatchNorm, x: Tensor) -> bool:
    """Images of a known type and width on a CPU, several values of each channel; in evaluation, no gradient."""
    if x.device.type != "cpu" or x.dtype not in _SUFFIXES or x.shape[1] % LANES or x.shape[1] > MOST_CHANNELS:
        return False
    return x.numel() > x.shape[1] if norm.training else not torch.is_grad_enabled()


def _trained(norm: BatchNorm, x: Tensor, plus: Tensor | None, rectify: bool, follow: bool) -> tuple[Tensor, Tensor]:
    return _Fused.apply(_image(x), _beside(plus, x), norm.weight, norm.bias, norm, rectify, follow)  # pyright: ignore[reportReturnType]


def _evaluated(norm: BatchNorm, x: Tensor, plus: Tensor | None, rectify: bool) -> Tensor:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    offset = norm.bias - norm.running_mean * scale
    x = _image(x)
    y = torch.empty_like(x)
    plus = _beside(plus, x)
    _functions(x.dtype)["normalise"](
        x.data_ptr(), _pointer(plus), y.data_ptr(), *_shape(x), scale.data_ptr(), offset.data_ptr(), int(rectify)
    )
    return y


def _image(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _beside(plus: Tensor | None, x: Tensor) -> Tensor | None:
    return None if plus is None else _image(plus.to(x.dtype))


class _Fused(torch.autograd.Function):
    """y twice, so that its two uses send back a gradient each."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        plus: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: BatchNorm,
        rectify: bool,
        follow: bool,
    ) -> tuple[Tensor, Tensor]:
        functions, (rows, channels) = _functions(x.dtype), _shape(x)
        of_channels = torch.empty(4, channels)
        first = of_channels.data_ptr()
        rest = [first + 4 * channels * row for row in range(4)]  # mean, inverse, scale, offset
        moving = [_pointer(norm.running_mean), _pointer(norm.running_var)] if follow else [None, None]
        functions["statistics"](
            x.data_ptr(), rows, channels, weight.data_ptr(), bias.data_ptr(), norm.eps, norm.momentum, *moving, *rest
        )
        y = torch.empty_like(x)
        functions["normalise"](x.data_ptr(), _pointer(plus), y.data_ptr(), rows, channels, *rest[2:], int(rectify))
        ctx.set_materialize_grads(False)
        ctx.rectify, ctx.added = rectify, plus is not None
        ctx.save_for_backward(x, y if rectify and plus is not None else None, of_channels)
        # Not a view: it would hold y, and y holds it, until the next garbage collection.
        return y, torch.empty(0, dtype=y.dtype).set_(y)  # pyright: ignore[reportArgumentType]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, other: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if dy is None:
            dy, other = other, None
        if dy is None:
            return (None,) * 7
        dy, other = _image(dy), None if other is None else _image(other)
        if ctx.added and not ctx.rectify and other is not None:
            dy, other = _sum(dy, other), None  # what `plus` gets, too
        x, y, of_channels = ctx.saved_tensors
        rows, channels = _shape(x)
        first = of_channels.data_ptr()
        dx, of_weights = torch.empty_like(x), torch.empty(2, channels)
        masked = None if y is None else torch.empty_like(x)
        _functions(x.dtype)["backward"](
            dy.data_ptr(), _pointer(other), x.data_ptr(), _pointer(y), dx.data_ptr(), _pointer(masked), rows, channels,
            *(first + 4 * channels * row for row in range(4)), int(ctx.rectify),
            of_weights.data_ptr(), of_weights.data_ptr() + 4 * channels,
        )  # fmt: skip
        dplus = dy if ctx.added and masked is None else masked
        return dx, dplus, of_weights[0], of_weights[1], None, None, None


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return x.view_as(x), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(_: Any, one: Tensor | None, other: Tensor | None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if one is None or other is None:
            return other if one is None else one
        return _sum(_image(one), _image(other))


def _sum(one: Tensor, other: Tensor) -> Tensor:
    total = torch.empty_like(one)
    _functions(total.dtype)["add"](one.data_ptr(), other.data_ptr(), total.data_ptr(), total.numel())
    return total


def _shape(x: Tensor) -> tuple[int, int]:
    """Rows and channels."""
    return x.numel() // x.shape[1], x.shape[1]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@lru_cache(maxsize=len(_SUFFIXES))
def _functions(dtype: torch.dtype) -> dict[str, Any]:
    suffix, pointer, number, flag = _SUFFIXES[dtype], ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    compiled = library(SOURCE, *(["BF16"] if suffix == "bf16" else []))
    arguments = {
        "statistics": [pointer] + [number] * 2 + [pointer] * 2 + [ctypes.c_double] * 2 + [pointer] * 6,
        "normalise": [pointer] * 3 + [number] * 2 + [pointer] * 2 + [flag],
        "backward": [pointer] * 6 + [number] * 2 + [pointer] * 4 + [flag] + [pointer] * 2,
        "add": [pointer] * 3 + [number],
    }
    found = {}
    for name, types in arguments.items():
        found[name] = getattr(compiled, f"{name}_{suffix}")
        found[name].argtypes, found[name].restype = types, None
    return found
