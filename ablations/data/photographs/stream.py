"""Batches of photographs, decoded from a prepared file as training goes along: functions of (seed, iteration) alone."""

from collections.abc import Iterator
from itertools import takewhile

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from ablations.data.draws import order, split
from ablations.data.feed import EVERY, Batch, Draws
from ablations.data.photographs.ahead import Ahead
from ablations.data.photographs.backends import Pixels, Threads
from ablations.data.photographs.choice import backend
from ablations.data.photographs.plan import MIXED, Plan, Rows, joined
from ablations.data.photographs.prepared import Prepared
from ablations.data.photographs.readahead import Readahead
from ablations.data.photographs.viewing import Viewer
from ablations.recipes import Recipe

STRETCH = 256
"""Batches that a backend is given at a time."""
AHEAD = 3
"""Batches that are ready before they are asked for."""
CLEAN_IMAGES = 50_000
"""Training images on which a network is evaluated without augmentation: as many as ImageNet has to validate with."""


class Stream:
    """Training batches of one replica, and the images of a test; `size` is the side that the network gets.

    `workers` threads decode; they change nothing but the time.
    """

    def __init__(
        self,
        of: Prepared,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        size: int,
        *,
        workers: int = 1,
        rank: int = 0,
        count: int = 1,
    ) -> None:
        self.recipe, self.device = recipe, device
        self.viewer, self.labels = Viewer(of.test, size, workers), of.test.labels
        """The test images, and their labels (N,)."""
        self._train, self._trainer = of.train, Viewer(of.train, size, workers)
        self._kept, self._held_out = split(len(of.train), recipe.held_out)
        self._plan = Plan(recipe, seed, self._kept, of.train.widths, of.train.heights, size)
        self._share = slice(rank * recipe.batch // count, (rank + 1) * recipe.batch // count)
        mixed = recipe.order == "quasi-random"
        self._readahead = Readahead(of.train) if mixed else None
        self._stretch = max(1, min(STRETCH, MIXED // recipe.batch)) if mixed else STRETCH
        self._backend = backend(of.train, recipe.batch // count, workers)
        self._threads = Threads(of.train, workers)
        self.loader = self._backend.name
        """What decodes, in words."""
        mean = of.mean if recipe.normalisation == "pixel-mean" else of.mean.mean(axis=(0, 1), keepdims=True)
        self._mean = torch.from_numpy(mean).to(device)
        self._ahead: Ahead[Draws] | None = None
        self._next = 0

    def draws(self, iteration: int) -> Draws:
        """Pixels (B, S, S, 3) as bytes, labels (B,) and colours (B, 3), on the device."""
        if self._ahead is None or iteration != self._next:
            self.close()
            self._ahead = Ahead(self._from(iteration), AHEAD)
        found = next(self._ahead)
        self._next = iteration + 1
        return self._on_device(found)

    def drawn(self, draws: Draws) -> Batch:
        """Subtract the mean and add the colours (sec. 3.4)."""
        pixels, labels, colours = draws
        return self.normalised(pixels, colours), labels

    def batch(self, iteration: int) -> Batch:
        """The whole batch, of all replicas, decoded here and now: what is read ahead stays as it is."""
        rows = self._plan.rows(iteration)
        return self.drawn(self._on_device(self._tensors(rows, self._threads.pixels(rows))))

    def test_batches(self, size: int, part: slice = EVERY) -> Iterator[Batch]:
        """The crop in the centre at shorter side 256, where the crop has 224, as for the curves of Figure 4."""
        return self._centres(self.viewer, self.labels, np.arange(len(self.labels)), size, part)

    def validation_batches(self, size: int, part: slice = EVERY) -> Iterator[Batch]:
        return self._centres(self._trainer, self._train.labels, self._held_out, size, part)

    def clean_batches(self, size: int, images: int | None = None, part: slice = EVERY) -> Iterator[Batch]:
        """The centre of training images, always the same ones."""
        chosen = order(0, 0, len(self._kept))[: CLEAN_IMAGES if images is None else images]
        return self._centres(self._trainer, self._train.labels, self._kept[chosen], size, part)

    def normalised(self, pixels: Tensor, colours: Tensor | None = None) -> Tensor:
        """(B, H, W, 3) bytes as the network gets them: (B, 3, H, W) in channels-last memory, on a scale of 1/255."""
        x = (pixels.float() - self._mean_of(pixels.shape[1], pixels.shape[2])) / 255
        if colours is not None:
            x += colours[:, None, None, :]
        return x.permute(0, 3, 1, 2)

    def close(self) -> None:
        """End the thread that reads ahead; asking for a batch starts another."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _from(self, iteration: int) -> Iterator[Draws]:
        while True:
            side = self._plan.side(iteration)
            same = takewhile(lambda at, of=side: self._plan.side(at) == of, range(iteration, iteration + self._stretch))
            stretch = [self._plan.rows(at).part(self._share) for at in same]
            if self._readahead is not None:
                self._readahead.ask(joined(stretch).index)
            for rows, pixels in zip(stretch, self._backend.batches(stretch), strict=True):
                yield self._tensors(rows, pixels)
            iteration += len(stretch)

    def _on_device(self, draws: Draws) -> Draws:
        return tuple(each.to(self.device, non_blocking=True) for each in draws)

    def _tensors(self, rows: Rows, pixels: Pixels) -> Draws:
        arrays = (pixels, self._train.labels[rows.index], rows.colours)
        tensors = tuple(torch.from_numpy(each) for each in arrays)
        if self.device.type != "cuda":
            return tensors
        with torch.cuda.device(self.device):  # this thread's is the first GPU, which may be another replica's
            return tuple(each.pin_memory() for each in tensors)

    def _mean_of(self, height: int, width: int) -> Tensor:
        """The mean image at this size; of what is no crop, the mean colour: a whole image has no places in it."""
        if self._mean.shape[:2] in ((1, 1), (height, width)):
            return self._mean
        if height != width or height > self._mean.shape[0]:
            return self._mean.mean(dim=(0, 1), keepdim=True)
        image = self._mean.permute(2, 0, 1)[None]
        return F.interpolate(image, (height, width), mode="bilinear", antialias=True)[0].permute(1, 2, 0)

    def _centres(
        self, viewer: Viewer, labels: NDArray[np.int64], places: NDArray[np.int64], size: int, part: slice
    ) -> Iterator[Batch]:
        for pixels, some in viewer.centres(places, size, part):
            x = self.normalised(torch.from_numpy(pixels).to(self.device))
            yield x, torch.from_numpy(labels[some]).to(self.device)
