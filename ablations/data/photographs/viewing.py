"""Stored images as a test sees them: the centre, the square of which ten crops are cut, and the whole at a scale."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ablations.data.feed import EVERY
from ablations.data.photographs.ahead import Ahead
from ablations.data.photographs.backends import Pixels, Threads
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.plan import SCALES, TEN_CROP_SIDE, Rows, centres, plain, resized

Seen = Iterator[tuple[Pixels, NDArray[np.int64]]]
"""Pixels (B, H, W, 3) and the places of these images in their file, (B,)."""
Places = NDArray[np.int64]
AHEAD = 2


class Viewer:
    """The images of one file, unaugmented, for a network that gets squares of `size` pixels.

    Of all batches those of `part` are decoded, and no other.
    """

    def __init__(self, source: Beton, size: int, workers: int) -> None:
        self._source, self._size, self._threads = source, size, Threads(source, workers)
        self._widths, self._heights = source.widths.astype(np.int64), source.heights.astype(np.int64)

    def centres(self, places: Places, batch: int, part: slice = EVERY) -> Seen:
        """The crop in the middle at shorter side 256, where the crop has 224."""
        return self._seen((self._centred(some, self._size) for some in _pieces(places, batch)), part)

    def squares(self, batch: int, part: slice = EVERY) -> Seen:
        """The square in the middle at shorter side 256, all of it: of it AlexNet cut its ten crops."""
        side = round(self._size * TEN_CROP_SIDE)
        every = np.arange(len(self._source))
        return self._seen((self._centred(some, side) for some in _pieces(every, batch)), part)

    def scales(self) -> tuple[int, ...]:
        """Shorter sides of the fully convolutional test: 224, 256, 384, 480 and 640."""
        return tuple(round(self._size * scale) for scale in SCALES)

    def whole(self, shorter: int, pixels: int, part: slice = EVERY) -> Seen:
        """Whole images at this shorter side, those of one shape together: as many as have about so many pixels."""
        return self._seen(self._of_one_shape(shorter, pixels), part)

    def _of_one_shape(self, shorter: int, pixels: int) -> Iterator[Rows]:
        wide, high = resized(self._widths, self._heights, shorter)
        shapes, kind = np.unique(np.stack([high, wide], axis=1), axis=0, return_inverse=True)
        for number, (height, width) in enumerate(shapes.tolist()):
            for some in _pieces(np.flatnonzero(kind.ravel() == number), max(1, pixels // (height * width))):
                boxes = np.zeros((len(some), 4))
                boxes[:, 2], boxes[:, 3] = self._widths[some], self._heights[some]
                yield plain(some, boxes, height, width)

    def _centred(self, places: Places, side: int) -> Rows:
        shorter = round(self._size * TEN_CROP_SIDE)
        return centres(places, self._widths[places], self._heights[places], shorter, side)

    def _seen(self, tables: Iterator[Rows], part: slice) -> Seen:
        mine = islice(tables, part.start, part.stop, part.step)
        ahead = Ahead(((self._threads.pixels(rows), rows.index) for rows in mine), AHEAD)
        try:
            yield from ahead
        finally:
            ahead.close()


def _pieces(places: Places, size: int) -> Iterator[Places]:
    for start in range(0, len(places), size):
        yield places[start : start + size]
