"""Batches of a resident data set, augmented on the device: a function of (seed, iteration) and of nothing before it."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ablations.data.draws import draw, order, split
from ablations.data.feed import EVERY, Batch, Draws
from ablations.data.images import Images
from ablations.kernels.augment import kernel
from ablations.recipes import Recipe


class Resident:
    """Training batches, and the same images and the test's as they are; every pixel stays on the device as uint8.

    Of several replicas, each has its own, which gives the share of `rank`.
    """

    loader = ""

    def __init__(
        self, images: Images, recipe: Recipe, seed: int, device: torch.device, *, rank: int = 0, count: int = 1
    ) -> None:
        self.recipe, self.seed, self.device = recipe, seed, device
        self._share = slice(rank * recipe.batch // count, (rank + 1) * recipe.batch // count)
        kept, held_out = split(len(images.train_labels), recipe.held_out)
        train = images.train if recipe.held_out == 0 else images.train[kept]
        self.pixels = torch.from_numpy(train).to(device)
        self.labels = torch.from_numpy(images.train_labels[kept]).to(device)
        self._held_out = _resident(images.train[held_out], images.train_labels[held_out], device)
        self._test = _resident(images.test, images.test_labels, device)
        mean, scale = _moments(train, recipe)
        self.mean, self.scale = torch.from_numpy(mean).to(device), scale
        self._kernel = kernel() if device.type == "cpu" else None
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, iteration: int) -> Batch:
        """The whole batch of SGD update `iteration`, counted from 0, of all replicas. Epochs follow each other without
        a short batch."""
        return self.drawn((self._of_batch(iteration),))

    def draws(self, iteration: int) -> Draws:
        """What is random in this replica's share of that batch: one tensor (4, B), on the device."""
        return (self._of_batch(iteration)[:, self._share],)

    def _of_batch(self, iteration: int) -> Tensor:
        count, size = len(self.labels), self.recipe.batch
        start = iteration * size
        spans = []
        while size:
            epoch, offset = divmod(start, count)
            take = min(size, count - offset)
            spans.append(self._epoch(epoch)[:, offset : offset + take])
            start, size = start + take, size - take
        return spans[0] if len(spans) == 1 else torch.cat(spans, dim=1)

    def drawn(self, draws: Draws) -> Batch:
        """The augmented training images that these draws choose: tensors in, tensors out, no wait."""
        (chosen,) = draws
        index, dy, dx, flip = chosen
        if self._kernel is not None and self.recipe.augmentation == "pad-crop-flip":
            mean = self.mean.expand(self.pixels.shape[1:]).contiguous()
            return self._kernel(self.pixels, chosen, mean, self.scale, self.recipe.pad), self.labels[index]
        return self._augment(self._normalise(self.pixels[index]), dy, dx, flip), self.labels[index]

    def close(self) -> None:
        """Nothing is open."""

    def test_batches(self, size: int, part: slice = EVERY) -> Iterator[Batch]:
        """Every test image once, unaugmented, in a fixed order."""
        return self._plain(*self._test, size, part)

    def validation_batches(self, size: int, part: slice = EVERY) -> Iterator[Batch]:
        """Every image that was kept out of training once, unaugmented."""
        return self._plain(*self._held_out, size, part)

    def clean_batches(self, size: int, images: int | None = None, part: slice = EVERY) -> Iterator[Batch]:
        """Training images unaugmented, each at most once: all in their order, or a number of them, mixed."""
        if images is None:
            return self._plain(self.pixels, self.labels, size, part)
        chosen = torch.from_numpy(order(0, 0, len(self.labels))[:images]).to(self.device)
        return self._plain(self.pixels[chosen], self.labels[chosen], size, part)

    def _plain(self, pixels: Tensor, labels: Tensor, size: int, part: slice) -> Iterator[Batch]:
        for start in range(0, len(labels), size)[part]:
            yield self._normalise(pixels[start : start + size]).permute(0, 3, 1, 2), labels[start : start + size]

    def _normalise(self, pixels: Tensor) -> Tensor:
        return (pixels.float() - self.mean) * self.scale

    def _augment(self, x: Tensor, dy: Tensor, dx: Tensor, flip: Tensor) -> Tensor:
        """Zero pad, crop and mirror (B, H, W, C) in one gather; returns (B, C, H, W)."""
        if self.recipe.augmentation == "none":
            return x.permute(0, 3, 1, 2)
        size, height, width, channels = x.shape
        pad = self.recipe.pad
        padded = x.new_zeros(size, height + 2 * pad, width + 2 * pad, channels)
        padded[:, pad : pad + height, pad : pad + width] = x
        columns = torch.arange(width, device=x.device)
        columns = torch.where(flip[:, None] == 1, width - 1 - columns, columns) + dx[:, None]
        rows = torch.arange(height, device=x.device) + dy[:, None]
        every = torch.arange(size, device=x.device)
        return padded[every[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _draw_epoch(self, epoch: int) -> Tensor:
        """(4, N): image index, crop row, crop column, mirrored or not, in the order of the epoch."""
        count = len(self.labels)
        index = order(self.seed, epoch, count)
        words = draw(self.seed, "augmentation", epoch, count)[index]
        places = np.uint64(2 * self.recipe.pad + 1)
        rows = (words & np.uint64(0xFFFFFF)) % places
        columns = (words >> np.uint64(24) & np.uint64(0xFFFFFF)) % places
        flips = words >> np.uint64(63)
        table = torch.from_numpy(np.stack([index, *(part.astype(np.int64) for part in (rows, columns, flips))]))
        if self.device.type == "cuda":
            return table.pin_memory().to(self.device, non_blocking=True)  # the step never waits for a copy
        return table


def _resident(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)


def _moments(pixels: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, float]:
    """What is subtracted, (H, W, C) or (1, 1, 1), and what is multiplied after; whole-number sums, so exact."""
    if recipe.normalisation == "pixel-mean":
        return (pixels.sum(axis=0, dtype=np.int64) / len(pixels)).astype(np.float32), 1 / 255
    if recipe.normalisation == "channel-mean":
        colour = pixels.sum(axis=(0, 1, 2), dtype=np.int64, keepdims=True)[0] / (pixels.size // pixels.shape[-1])
        return colour.astype(np.float32), 1 / 255
    counts, levels = np.bincount(pixels.ravel(), minlength=256), np.arange(256)
    mean = float(counts @ levels) / pixels.size
    variance = float(counts @ levels**2) / pixels.size - mean**2
    return np.full((1, 1, 1), mean, dtype=np.float32), variance**-0.5
