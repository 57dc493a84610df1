"""Who decodes a batch: FFCV's pipeline, or our own threads where FFCV is not installed. Both obey the same rows.

They share the decoder, so their pixels are equal to the bit, and so is what is trained on them.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ablations.data.errors import DataError
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.decode import Decoder, decoder
from ablations.data.photographs.plan import Rows

Pixels = NDArray[np.uint8]
"""(B, H, W, 3)."""
SAID = {1: "decodes with warnings", 2: "cannot be decoded", 3: "is neither RGB nor greyscale"}
"""What a decoder's status says of an image."""


class Backend(Protocol):
    """Decodes batches of one file."""

    @property
    def name(self) -> str:
        """In words, for the record of an attempt."""
        ...

    def batches(self, stretch: Sequence[Rows]) -> Iterator[Pixels]:
        """Pixels for each of the tables, which are all of one size, in their order; each array is the taker's own.

        Raises DataError for an image that cannot be decoded.
        """
        ...


class Threads:
    """The decoder by itself, over its own threads."""

    def __init__(self, source: Beton, workers: int, by: Decoder | None = None) -> None:
        self._source, self._workers, self._decoder = source, workers, by or decoder()

    @property
    def name(self) -> str:
        return self._decoder.name

    def batches(self, stretch: Sequence[Rows]) -> Iterator[Pixels]:
        for rows in stretch:
            yield self.pixels(rows)

    def pixels(self, rows: Rows) -> Pixels:
        """Of one table."""
        source, index = self._source, rows.index
        out = np.empty((len(rows), rows.height, rows.width, 3), dtype=np.uint8)
        statuses = self._decoder.crops(
            source.data,
            source.pointers[index],
            source.sizes[index],
            source.modes[index],
            source.heights[index],
            source.widths[index],
            rows.boxes,
            rows.flips,
            out,
            self._workers,
        )
        refuse_damaged(source, index, statuses)
        return out


def refuse_damaged(source: Beton, index: NDArray[np.int64], statuses: NDArray[np.uint8]) -> None:
    """Raises DataError for the first image whose status is not 0: no training goes on over a picture that is none."""
    if statuses.any():
        first = int(np.flatnonzero(statuses)[0])
        raise DataError(
            f"{source.path}: image {int(index[first]):,} {SAID.get(int(statuses[first]), 'cannot be decoded')};"
            " `ablate data verify` lists all that are damaged, `ablate data prepare` writes the file anew"
        )
