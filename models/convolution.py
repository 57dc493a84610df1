"""A convolution and the batch normalisation that follows each ("right after each convolution", sec. 3.4)."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Conv2d):
    """A square convolution without bias, since batch normalisation follows: (N, C, H, W) -> (N, C', H/s, W/s).

    Its weights are NaN until `initialise` or a state dict sets them: to forget both shows in the first loss.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, math.nan)


_averages_held = False
"""One for the process, where one network is in training: a compiler traces it, as it does not a context variable, and a
backward pass on another thread sees it too."""


@contextmanager
def averages_held() -> Iterator[None]:
    """Passes in training mode that leave no trace in moving averages: to look, or to compute activations again."""
    global _averages_held
    before, _averages_held = _averages_held, True
    try:
        yield
    finally:
        _averages_held = before


FusedBatchNorm = Callable[["BatchNorm", Tensor, Tensor | None, bool, bool], Tensor | None]
"""Given the layer, its input, what is added, whether ReLU follows, and whether the moving averages do; None for images
that it is not made for."""


class BatchNorm(nn.BatchNorm2d):
    """gamma (x - mean) / sqrt(var + eps) + beta, over (N, H, W), without torch's counter of batches.

    The counter costs a kernel per layer and step, and serves only a cumulative average (`momentum=None`), which this
    therefore refuses. It is dropped from state dicts that hold one, such as torchvision's.

    What follows it in a block, the sum with the shortcut and ReLU, is part of it: on a CPU these are bound by memory,
    and one kernel that does all three reads and writes half as much. `fused` is such a kernel, where there is one.
    """

    fused: "FusedBatchNorm | None" = None
    replica: int | None = None
    """Images over which statistics are taken in training; None: the batch. As when a batch is split over several GPUs,
    the moving averages follow the first of its shares."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def forward(self, input: Tensor, plus: Tensor | None = None, *, rectify: bool = False) -> Tensor:  # noqa: A002 - torch's name
        """relu(BN(input) + plus), either left out where it is not asked for; all (N, C, H, W)."""
        assert self.momentum is not None, "a cumulative average needs the counter; set momentum to 1 / batches so far"
        follow = self.training and not _averages_held
        if not self.training or self.replica is None or self.replica == len(input):
            return self._over(input, plus, rectify, follow)
        shares = input.split(self.replica)
        beside = [None] * len(shares) if plus is None else plus.split(self.replica)
        over = [
            self._over(share, added, rectify, follow and at == 0)
            for at, (share, added) in enumerate(zip(shares, beside, strict=True))
        ]
        return torch.cat(over)

    def _over(self, x: Tensor, plus: Tensor | None, rectify: bool, follow: bool) -> Tensor:
        """`forward` over images that share their statistics; with `follow`, the moving averages take them up."""
        if self.fused is not None and (y := self.fused(self, x, plus, rectify, follow)) is not None:
            return y
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        mean, variance = self.running_mean, self.running_var
        if self.training and not follow:  # thrown away, but passed: autograd must see the same call in both passes
            mean, variance = mean.clone(), variance.clone()
        y = functional.batch_norm(x, mean, variance, self.weight, self.bias, self.training, self.momentum, self.eps)
        if plus is not None:
            y += plus
        return functional.relu(y, inplace=True) if rectify else y

    def reset_running_stats(self) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Not through nn.BatchNorm2d, which adds a counter to a state dict that has none and then finds it unexpected.
        state_dict.pop(prefix + "num_batches_tracked", None)
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args, **kwargs)


class RectifiedBatchNorm(BatchNorm):
    """Batch normalisation and ReLU, as after conv1: (N, C, H, W) -> (N, C, H, W)."""

    def forward(self, input: Tensor, plus: Tensor | None = None, *, rectify: bool = True) -> Tensor:  # noqa: A002
        return super().forward(input, plus, rectify=rectify)
