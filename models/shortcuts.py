"""What runs beside a block's layers: the shortcut options of sec. 3.3 and 4.1, each (N, C, H, W) -> (N, C', H/s, W/s).

Option A pads where the width grows; B projects there; C projects everywhere. Elsewhere A and B are the identity.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from models.convolution import BatchNorm, Convolution
from models.layers import BuildingBlock


class Padding(nn.Module):
    """Option A: every s-th row and column, and zeros for the new channels. No parameters.

    The paper does not say where the zeros go: here last. Another place only permutes the channels of what follows.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.zeros = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.zeros))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, zeros={self.zeros}"


class Projection(nn.Sequential):
    """Options B and C: W_s x of eq. (2), a 1x1 convolution, and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                conv=Convolution(inputs, outputs, 1, stride),
                bn=BatchNorm(outputs),
            )
        )


def shortcut(block: BuildingBlock) -> nn.Module | None:
    """The module beside `block`; None in a plain network."""
    match block.shortcut:
        case "none":
            return None
        case "identity":
            return nn.Identity()
        case "padding":
            return Padding(block.inputs, block.outputs, block.stride)
        case "projection":
            return Projection(block.inputs, block.outputs, block.stride)
