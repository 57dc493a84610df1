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
from models.convolution import BatchNorm

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
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.fused = fused
        elif isinstance(part, Block):
            part.fork = fork
    return "fused"


def fused(norm: BatchNorm, x: Tensor, plus: Tensor | None, rectify: bool, follow: bool) -> Tensor | None:
    """relu(BN(x) + plus), all (N, C, H, W); None where the kernel is not made for these, and PyTorch must do it.

    With `follow`, the moving averages take the batch up.
    """
    if not _fits(norm, x):
        return None
    x = x.contiguous(memory_format=torch.channels_last)
    if plus is not None:
        plus = plus.to(x.dtype).contiguous(memory_format=torch.channels_last)
    if norm.training:
        return _Fused.apply(x, plus, norm.weight, norm.bias, norm, rectify, follow)  # pyright: ignore[reportReturnType]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return _normalise(x, plus, scale, norm.bias - norm.running_mean * scale, rectify)


def fork(x: Tensor) -> tuple[Tensor, Tensor]:
    """x twice, (N, C, H, W), for what a block and its shortcut do with it: their gradients are summed in one pass."""
    if x.device.type != "cpu" or x.dtype not in _SUFFIXES or x.shape[1] % LANES or not x.requires_grad:
        return x, x
    return _Fork.apply(x)  # pyright: ignore[reportReturnType]


def _fits(norm: BatchNorm, x: Tensor) -> bool:
    """Images of a known type and width on a CPU, several values of each channel; in evaluation, no gradient."""
    if x.device.type != "cpu" or x.dtype not in _SUFFIXES or x.shape[1] % LANES or x.shape[1] > MOST_CHANNELS:
        return False
    return x.numel() > x.shape[1] if norm.training else not torch.is_grad_enabled()


class _Fused(torch.autograd.Function):
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
    ) -> Tensor:
        of_channels = x.new_empty(4, x.shape[1], dtype=torch.float32)
        mean, inverse, scale, offset = of_channels
        moving = (norm.running_mean, norm.running_var) if follow else (None, None)
        _functions(x.dtype)["statistics"](
            _pointer(x), *_shape(x), _pointer(weight), _pointer(bias), norm.eps, norm.momentum,
            *map(_pointer, (*moving, mean, inverse, scale, offset)),
        )  # fmt: skip
        y = _normalise(x, plus, scale, offset, rectify)
        ctx.rectify, ctx.masks_plus = rectify, rectify and plus is not None
        ctx.added = plus is not None
        ctx.save_for_backward(x, y if ctx.masks_plus else None, of_channels)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y, of_channels = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        masked = torch.empty_like(x) if ctx.masks_plus else None
        of_weights = torch.empty_like(of_channels[:2])
        dgamma, dbeta = of_weights
        _functions(x.dtype)["backward"](
            *map(_pointer, (dy, x, y, dx, masked)), *_shape(x), *map(_pointer, of_channels), int(ctx.rectify),
            _pointer(dgamma), _pointer(dbeta),
        )  # fmt: skip
        dplus = masked if ctx.masks_plus else dy if ctx.added else None
        return dx, dplus, dgamma, dbeta, None, None, None


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
        one, other = (each.contiguous(memory_format=torch.channels_last) for each in (one, other))
        total = torch.empty_like(one)
        _functions(total.dtype)["add"](*map(_pointer, (one, other, total)), total.numel())
        return total


def _normalise(x: Tensor, plus: Tensor | None, scale: Tensor, offset: Tensor, rectify: bool) -> Tensor:
    y = torch.empty_like(x)
    pointers = map(_pointer, (x, plus, y))
    _functions(x.dtype)["normalise"](*pointers, *_shape(x), _pointer(scale), _pointer(offset), int(rectify))
    return y


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
        "backward": [pointer] * 5 + [number] * 2 + [pointer] * 4 + [flag] + [pointer] * 2,
        "add": [pointer] * 3 + [number],
    }
    found = {}
    for name, types in arguments.items():
        found[name] = getattr(compiled, f"{name}_{suffix}")
        found[name].argtypes, found[name].restype = types, None
    return found
