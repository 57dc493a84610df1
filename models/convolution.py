"""A convolution and the batch normalisation that follows each ("right after each convolution", sec. 3.4)."""

import math
from collections.abc import Callable
from typing import Any

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


class BatchNorm(nn.BatchNorm2d):
    """gamma (x - mean) / sqrt(var + eps) + beta, over (N, H, W), without torch's counter of batches.

    The counter costs a kernel per layer and step, and serves only a cumulative average (`momentum=None`), which this
    therefore refuses. It is dropped from state dicts that hold one, such as torchvision's.

    What follows it in a block, the sum with the shortcut and ReLU, is part of it: on a CPU these are bound by memory,
    and one kernel that does all three reads and writes half as much. `fused` is such a kernel, where there is one.
    """

    fused: Callable[["BatchNorm", Tensor, Tensor | None, bool], Tensor] | None = None

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def forward(self, input: Tensor, plus: Tensor | None = None, *, rectify: bool = False) -> Tensor:  # noqa: A002 - torch's name
        """relu(BN(input) + plus), either left out where it is not asked for; all (N, C, H, W)."""
        assert self.momentum is not None, "a cumulative average needs the counter; set momentum to 1 / batches so far"
        if self.fused is not None and self.training:
            return self.fused(self, input, plus, rectify)
        y = super().forward(input)
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
