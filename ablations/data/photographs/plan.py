"""All that is random in batches of photographs: order, boxes, mirrors, colours, as functions of (seed, epoch, index).

Scale augmentation fuses: to draw the shorter side S and then a crop of the resized image (sec. 3.4) is to draw one box
of the stored image and to resize that box alone. So a batch is a table with one row for each image, and whatever
decodes it obeys the table: any number of workers, replicas or restarts gives the same pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablations.data.draws import draw, order
from ablations.recipes import CROP, Recipe

EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
"""Principal components of ImageNet's colours on a scale of 0 to 1, as fb.resnet.torch has them for AlexNet's noise."""
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
"""Of the crop that is drawn by its area."""
TRIES = 10
"""Draws of such a crop before the largest in the centre is taken, as in torchvision."""
NEIGHBOURS = 64
"""Images that a quasi-random order reads in sequence: about 7 MB of ImageNet's."""
MIXED = 512 * NEIGHBOURS
"""Images that it mixes with each other."""
TEN_CROP_SIDE = 8 / 7
"""Shorter side of a test image over the side of the crop: 256 to 224."""
SCALES = (1.0, 8 / 7, 12 / 7, 15 / 7, 20 / 7)
"""The same for the fully convolutional test: 224, 256, 384, 480 and 640 (sec. 3.4), so maps of 7, 8, 12, 15 and 20."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is to be cut out of which images, B of them."""

    index: NDArray[np.int64]
    """Their places in the file, (B,)."""
    boxes: NDArray[np.float64]
    """x0, y0, x1, y1 in pixels of the stored image, (B, 4)."""
    flips: NDArray[np.bool_]
    """Whether to mirror, (B,)."""
    colours: NDArray[np.float32]
    """What is added to red, green and blue, on a scale of 0 to 1, (B, 3)."""
    height: int
    """Of what each box becomes."""
    width: int

    def __len__(self) -> int:
        return len(self.index)

    def part(self, of: slice) -> "Rows":
        """Some of the rows, in their order."""
        return Rows(
            index=self.index[of],
            boxes=self.boxes[of],
            flips=self.flips[of],
            colours=self.colours[of],
            height=self.height,
            width=self.width,
        )


class Plan:
    """The batches of one trial over the images `kept` of a file, whose sizes are given; `size` is the network's."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        kept: NDArray[np.int64],
        widths: NDArray[np.integer],
        heights: NDArray[np.integer],
        size: int,
    ) -> None:
        self._recipe, self._seed, self._kept, self._size = recipe, seed, kept, size
        self._widths, self._heights = widths, heights
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._words = lru_cache(maxsize=2)(self._draw_words)
        self._areas = lru_cache(maxsize=2)(self._draw_areas)

    def rows(self, iteration: int) -> Rows:
        """Of the whole batch of SGD update `iteration`. Epochs follow each other without a short batch."""
        side, parts = self.side(iteration), []
        start, left = iteration * self._recipe.batch, self._recipe.batch
        while left:
            epoch, offset = divmod(start, len(self._kept))
            take = min(left, len(self._kept) - offset)
            parts.append(self._of_epoch(epoch, slice(offset, offset + take), side))
            start, left = start + take, left - take
        return joined(parts)

    def side(self, iteration: int) -> int:
        """Of the crops of this update: progressive resizing changes it."""
        sizes = self._recipe.sizes
        return sizes[min(iteration * len(sizes) // self._recipe.iterations, len(sizes) - 1)] if sizes else self._size

    def _of_epoch(self, epoch: int, places: slice, side: int) -> Rows:
        chosen = self._order(epoch)[places]
        index, words = self._kept[chosen], self._words(epoch)[chosen]
        widths, heights = self._widths[index].astype(np.int64), self._heights[index].astype(np.int64)
        low, high = _halves(words)  # each (B, 4), uniform in [0, 1)
        match self._recipe.augmentation:
            case "scale-crop-flip-colour":
                boxes = scale_boxes(low[:, 0], low[:, 1], high[:, 1], widths, heights, side, self._recipe.shorter_side)
            case "area-crop-flip-colour":
                boxes = area_boxes(self._areas(epoch)[chosen], low[:, 1], high[:, 1], widths, heights)
            case _:
                return centres(index, widths, heights, round(side * TEN_CROP_SIDE), side)
        return Rows(
            index=index,
            boxes=boxes,
            flips=high[:, 0] >= 0.5,
            colours=self._colours(low[:, 2:], high[:, 2:]),
            height=side,
            width=side,
        )

    def _colours(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float32]:
        """AlexNet's noise [Krizhevsky et al., 2012]: alpha ~ N(0, 0.1) for each component, one draw for each image."""
        radius, angle = np.sqrt(-2 * np.log1p(-low)), 2 * np.pi * high  # Box and Muller
        normal = np.concatenate([radius * np.cos(angle), radius[:, :1] * np.sin(angle[:, :1])], axis=1)
        return ((normal * self._recipe.colour_noise * EIGENVALUES) @ EIGENVECTORS.T).astype(np.float32)

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        count = len(self._kept)
        return order(self._seed, epoch, count) if self._recipe.order == "random" else quasi(self._seed, epoch, count)

    def _draw_words(self, epoch: int) -> NDArray[np.uint64]:
        return draw(self._seed, "photographs", epoch, 4 * len(self._kept)).reshape(-1, 4)

    def _draw_areas(self, epoch: int) -> NDArray[np.uint64]:
        return draw(self._seed, "areas", epoch, TRIES * len(self._kept)).reshape(-1, TRIES)


def joined(parts: list[Rows]) -> Rows:
    """Rows of one size, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        index=np.concatenate([each.index for each in parts]),
        boxes=np.concatenate([each.boxes for each in parts]),
        flips=np.concatenate([each.flips for each in parts]),
        colours=np.concatenate([each.colours for each in parts]),
        height=parts[0].height,
        width=parts[0].width,
    )


def resized(
    widths: NDArray[np.int64], heights: NDArray[np.int64], shorter: NDArray[np.int64] | int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Width and height at this shorter side, aspect kept, the longer rounded down as torchvision's `Resize` does."""
    short, long = np.minimum(widths, heights), np.maximum(widths, heights)
    longer = np.maximum(shorter * long // short, shorter)
    portrait = heights >= widths
    return np.where(portrait, shorter, longer), np.where(portrait, longer, shorter)


def scale_boxes(
    scale: NDArray[np.float64],
    across: NDArray[np.float64],
    down: NDArray[np.float64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    side: int,
    shorter_side: tuple[int, ...],
) -> NDArray[np.float64]:
    """(B, 4): the shorter side uniform between the two, then a crop anywhere in the resized image (sec. 3.4).

    The first three are uniform in [0, 1); the shorter sides are those of a crop of 224.
    """
    least, most = (round(each * side / CROP) for each in shorter_side)
    shorter = least + (scale * (most - least + 1)).astype(np.int64)
    wide, high = resized(widths, heights, shorter)
    left = (across * (wide - side + 1)).astype(np.int64)
    top = (down * (high - side + 1)).astype(np.int64)
    return _in_source(left, top, side, wide, high, widths, heights)


def area_boxes(
    words: NDArray[np.uint64],
    across: NDArray[np.float64],
    down: NDArray[np.float64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(B, 4): area and aspect drawn until the crop fits, as torchvision's `RandomResizedCrop`; words are (B, tries)."""
    low, high = _halves(words)
    area = (AREA[0] + low * (AREA[1] - AREA[0])) * (widths * heights)[:, None]
    aspect = np.exp(np.log(ASPECT[0]) + high * np.log(ASPECT[1] / ASPECT[0]))
    wide, tall = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (wide >= 1) & (wide <= widths[:, None]) & (tall >= 1) & (tall <= heights[:, None])
    first, every = fits.argmax(axis=1), np.arange(len(words))
    w, h = wide[every, first], tall[every, first]
    left, top = np.floor(across * (widths - w + 1)), np.floor(down * (heights - h + 1))
    whole = _largest(widths, heights)
    drawn = np.stack([left, top, left + w, top + h], axis=1)
    return np.where(fits.any(axis=1)[:, None], drawn, whole)


def centres(
    index: NDArray[np.int64], widths: NDArray[np.int64], heights: NDArray[np.int64], shorter: int, side: int
) -> Rows:
    """The crop in the middle of each image at this shorter side, as torchvision's `CenterCrop` places it."""
    wide, high = resized(widths, heights, shorter)
    left, top = (np.rint((each - side) / 2).astype(np.int64) for each in (wide, high))
    return plain(index, _in_source(left, top, side, wide, high, widths, heights), side, side)


def plain(index: NDArray[np.int64], boxes: NDArray[np.float64], height: int, width: int) -> Rows:
    """Boxes as they are: not mirrored, nothing added."""
    return Rows(
        index=index,
        boxes=boxes,
        flips=np.zeros(len(index), dtype=np.bool_),
        colours=np.zeros((len(index), 3), dtype=np.float32),
        height=height,
        width=width,
    )


def quasi(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """A permutation in which neighbours stay near: groups of them are mixed, then the images of many groups."""
    groups = -(-count // NEIGHBOURS)
    place = np.empty(groups, dtype=np.int64)
    place[np.argsort(draw(seed, "groups", epoch, groups), kind="stable")] = np.arange(groups)
    window = np.repeat(place, NEIGHBOURS)[:count] * NEIGHBOURS // MIXED
    return np.lexsort((draw(seed, "order", epoch, count), window))


def _in_source(
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    side: int,
    wide: NDArray[np.int64],
    high: NDArray[np.int64],
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
) -> NDArray[np.float64]:
    """A crop of the resized image as a box of the stored one."""
    across, down = widths / wide, heights / high
    return np.stack([left * across, top * down, (left + side) * across, (top + side) * down], axis=1)


def _largest(widths: NDArray[np.int64], heights: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest crop in the centre whose aspect is allowed."""
    w = np.minimum(widths, np.rint(heights * ASPECT[1])).astype(np.int64)
    h = np.minimum(heights, np.rint(widths / ASPECT[0])).astype(np.int64)
    left, top = (widths - w) // 2, (heights - h) // 2
    return np.stack([left, top, left + w, top + h], axis=1).astype(np.float64)


def _halves(words: NDArray[np.uint64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two numbers in [0, 1) of each word."""
    low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    return low / 2.0**32, high / 2.0**32
