"""What defines an architecture, as a value: no tensors, and nothing here imports torch."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

Shortcut = Literal["none", "A", "B", "C"]
Layout = Literal["cifar", "imagenet"]
NewChannels = Literal["appended", "split", "duplicate", "average"]

SHORTCUTS: tuple[Shortcut, ...] = ("none", "A", "B", "C")
CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)
"""Table 6; any 6n + 2 is a network, these are the paper's."""
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Table 1: blocks in conv2_x .. conv5_x for each depth."""
BOTTLENECK_DEPTHS = (50, 101, 152)
BASIC_BLOCKS = {50: (4, 5, 9, 6)}
"""Blocks of two 3x3 layers at a depth where the paper has bottlenecks; it names no such network. These are the blocks
of 34 layers, each stage made longer by about the same share."""
_DEPARTURE = rf"w\d+|stride3x3|fan_in|{'|'.join(get_args(NewChannels)[1:])}|one-layer|basic|from\d+"
VARIANT = rf"(?:{_DEPARTURE})(?:-(?:{_DEPARTURE}))*"
"""A regular expression for every `Network.variant` that is not empty."""
_ALLOWED: dict[str, tuple[object, ...]] = {
    "layout": ("cifar", "imagenet"),
    "shortcut": SHORTCUTS,
    "stride": ("1x1", "3x3"),
    "init": ("fan_out", "fan_in"),
    "padding": get_args(NewChannels),
    "block_layers": (2, 1),
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """One architecture of the paper under one data set's input and classes.

    Raises ValueError where the paper's rules allow no such network.
    """

    data: str = "cifar10"
    """Name of the data set; it is part of the network's name."""
    layout: Layout = "cifar"
    """`cifar`: three stages, 6n + 2 layers (sec. 4.2). `imagenet`: four stages after conv1 and pool1 (Table 1)."""
    depth: int
    """Weighted layers: convolutions outside shortcuts, and the classifier."""
    shortcut: Shortcut = "none"
    """`none` is the plain network. `A`: identity, zero-padded where the width grows. `B`: projection where the
    width grows, identity elsewhere. `C`: every shortcut a projection (sec. 4.1)."""
    channels: int = 3
    classes: int = 10
    size: int = 32
    """Input height and width in pixels."""
    width: int = 16
    """Filters of the first stage; each later stage has twice as many (16, 32, 64; 64 to 512 on ImageNet)."""
    stride: Literal["1x1", "3x3"] = "1x1"
    """Where a bottleneck block strides: in its first 1x1 (the paper's) or in its 3x3 (torchvision's)."""
    init: Literal["fan_out", "fan_in"] = "fan_out"
    """He initialisation of the convolutions, std = sqrt(2 / fan); the paper does not say which fan."""
    padding: NewChannels = "appended"
    """What option A puts into the new channels, without a parameter in any. `appended`: zeros after the old ones.
    `split`: zeros, half of them before. `duplicate`: the old channels again, so that the new ones have something to
    learn a residual of (sec. 4.1). `average`: the same, of means over what is sub-sampled rather than single pixels."""
    block_layers: Literal[2, 1] = 2
    """Convolutions in a residual block that is no bottleneck. 1: y = relu(BN(W x) + x), "similar to a linear layer"
    and without advantage (sec. 3.2), in twice as many blocks, so that the depth is the same."""
    bottlenecks: bool = True
    """False: blocks of two 3x3 layers at a depth where the paper has bottlenecks, to measure what these save
    (sec. 4.1); for 50 layers."""
    grown_from: int | None = None
    """Depth of a shallower network of the same kind whose trained weights this one starts from; the blocks that are
    inserted start as the identity: the solution by construction of sec. 1 and 3.1."""

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}")
        for name in ("channels", "classes", "size", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        self._check_depth()
        self._check_blocks()
        if self.grown_from is not None:
            self._check_growth(self.grown_from)

    def _check_depth(self) -> None:
        if self.layout == "cifar" and (self.depth < 8 or self.depth % 6 != 2):
            below = max(8, (self.depth - 2) // 6 * 6 + 2)
            raise ValueError(
                f"depth must be 6n + 2 on {self.data} (20, 32, 44, 56, 110, 1202), not {self.depth};"
                f" nearest {below}, {below + 6}"
            )
        if self.layout == "imagenet" and self.depth not in IMAGENET_BLOCKS:
            raise ValueError(f"depth must be 18, 34, 50, 101 or 152 on {self.data}, not {self.depth}")

    def _check_blocks(self) -> None:
        if not self.bottlenecks and not (self.layout == "imagenet" and self.depth in BASIC_BLOCKS):
            raise ValueError(
                f"bottlenecks false is for 50 layers of photographs, not {self.depth} on {self.data}; leave it out"
            )
        if self.padding != "appended" and self.shortcut != "A":
            raise ValueError(f"padding {self.padding} is for shortcut A, not {self.shortcut}; leave it out or give A")
        if self.block_layers == 1 and self.bottleneck:
            raise ValueError(f"block_layers 1 is for 18 or 34 layers on {self.data}, not {self.depth}; leave it out")
        if self.block_layers == 1 and self.shortcut == "none":
            raise ValueError("block_layers 1 changes nothing in a plain network; leave it out or give a shortcut")

    def _check_growth(self, depth: int) -> None:
        if self.bottleneck:
            raise ValueError(f"grown_from is for 34 layers on {self.data}, not {self.depth}; leave it out")
        if depth >= self.depth:
            raise ValueError(f"grown_from must be below the depth, {self.depth}, not {depth}")
        try:
            self.parent  # noqa: B018 - a network of its own, with its own rules
        except ValueError as error:
            raise ValueError(f"grown_from is a smaller network's depth, and {error}") from None

    @property
    def family(self) -> Literal["plain", "resnet"]:
        return "plain" if self.shortcut == "none" else "resnet"

    @property
    def bottleneck(self) -> bool:
        """Whether the blocks are 1x1, 3x3, 1x1 (Fig. 5 right) rather than two 3x3 (Fig. 5 left)."""
        return self.layout == "imagenet" and self.depth in BOTTLENECK_DEPTHS and self.bottlenecks

    @property
    def name(self) -> str:
        """`cifar10-plain-56`, `imagenet-resnet-34-B`; departures from the paper's architecture are appended."""
        option = "" if self.shortcut == "none" else self.shortcut
        return "-".join(part for part in (self.data, self.family, str(self.depth), option, self.variant) if part)

    @property
    def variant(self) -> str:
        """`fan_in-from20`: the departures as they stand in a name; empty for the paper's architecture."""
        return "-".join(self.departures).replace(" ", "")

    @property
    def departures(self) -> tuple[str, ...]:
        """What sets this network apart from the paper's of its data, depth and shortcut, in words: `from 20`."""
        departs = {
            f"w{self.width}": self.width != (16 if self.layout == "cifar" else 64),
            "stride 3x3": self.stride != "1x1",
            self.init: self.init != "fan_out",
            self.padding: self.padding != "appended",
            "one-layer": self.block_layers != 2,
            "basic": not self.bottlenecks,
            f"from {self.grown_from}": self.grown_from is not None,
        }
        return tuple(word for word, does in departs.items() if does)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks in each stage: `n` thrice for 6n + 2 layers, Table 1 for ImageNet; of one layer, twice as many."""
        table = IMAGENET_BLOCKS if self.bottlenecks else BASIC_BLOCKS
        blocks = (self.depth // 6,) * 3 if self.layout == "cifar" else table[self.depth]
        return tuple(number * 2 // self.block_layers for number in blocks)

    @property
    def parent(self) -> "Network | None":
        """The shallower network that this one is grown from."""
        return None if self.grown_from is None else replace(self, depth=self.grown_from, grown_from=None)
