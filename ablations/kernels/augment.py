"""The paper's augmentation of a batch in one pass on the CPU, to the bit what PyTorch's operations make of it."""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablations.kernels.compiler import NoCompilerError, library

SOURCE = Path(__file__).with_name("augment.c")

Augment = Callable[[Tensor, Tensor, Tensor, float, int], Tensor]


def kernel() -> Augment | None:
    """The kernel, or None where there is no compiler."""
    try:
        _function()
    except NoCompilerError:
        return None
    return augment


def augment(pixels: Tensor, draws: Tensor, mean: Tensor, scale: float, pad: int) -> Tensor:
    """Of all `pixels` (N, H, W, C), bytes, those that `draws` (4, B) choose, minus `mean` (H, W, C), times `scale`.

    Returns (B, C, H, W) in channels-last memory.
    """
    _, height, width, channels = pixels.shape
    draws = draws.contiguous()
    images = torch.empty(draws.shape[1], height, width, channels)
    _function()(
        pixels.data_ptr(), *(row.data_ptr() for row in draws), mean.data_ptr(), scale, images.data_ptr(), len(images),
        height, width, channels, pad,
    )  # fmt: skip
    return images.permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _function() -> Any:
    function = library(SOURCE).augment
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_float, ctypes.c_void_p] + [ctypes.c_long] * 5
    function.restype = None
    return function
