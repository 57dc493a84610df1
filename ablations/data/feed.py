"""What training asks of its data, whether they are resident on the device or decoded from a file for each batch."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) in channels-last memory, and labels (B,)."""
Draws = tuple[Tensor, ...]
"""What an update needs of its batch, on the device; what the tensors are is the feed's own affair."""
EVERY = slice(None)
"""All batches of an evaluation. A replica asks for its part of them, and nothing is done for the others."""


class Feed(Protocol):
    """Batches as functions of (seed, iteration), whatever was asked before. A replica's feed gives its share alone."""

    loader: str
    """What decodes, in words, for the record of an attempt; empty where nothing has to be."""

    def draws(self, iteration: int) -> Draws:
        """What the SGD update `iteration`, counted from 0, is made from. It may wait for a disk, or for a decoder."""
        ...

    def drawn(self, draws: Draws) -> Batch:
        """The augmented training images of these draws: operations on the device alone, without a wait."""
        ...

    def batch(self, iteration: int) -> Batch:
        """The whole batch of that update, of all replicas: for a look at it, not for training."""
        ...

    def test_batches(self, size: int, part: slice = EVERY) -> Iterator[Batch]:
        """Every test image once, one unaugmented view each, in a fixed order."""
        ...

    def validation_batches(self, size: int, part: slice = EVERY) -> Iterator[Batch]:
        """Every image that was kept out of training once, unaugmented."""
        ...

    def clean_batches(self, size: int, images: int | None = None, part: slice = EVERY) -> Iterator[Batch]:
        """Training images unaugmented, each at most once: as many as an evaluation takes, or a number, mixed."""
        ...

    def close(self) -> None:
        """Let go of files and threads."""
        ...
