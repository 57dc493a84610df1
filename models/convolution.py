"""A convolution and the batch normalisation that follows each ("right after each convolution", sec. 3.4)."""

import math
from typing import Any

from torch import Tensor, nn


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
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        assert self.momentum is not None, "a cumulative average needs the counter; set momentum to 1 / batches so far"
        return super().forward(input)

    def reset_running_stats(self) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Not through nn.BatchNorm2d, which adds a counter to a state dict that has none and then finds it unexpected.
        state_dict.pop(prefix + "num_batches_tracked", None)
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args, **kwargs)
