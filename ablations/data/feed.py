"""Batches of a resident data set, augmented on the device: a function of (seed, iteration) and of nothing before it."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ablations.data.draws import draw, order
from ablations.data.images import Images
from ablations.recipes import Recipe


class Feed:
    """Training batches and test batches, (B, C, H, W) in channels-last memory, with labels (B,)."""

    def __init__(self, images: Images, recipe: Recipe, seed: int, device: torch.device) -> None:
        self.recipe, self.seed, self.device = recipe, seed, device
        self.pixels = torch.from_numpy(images.train).to(device)
        self.labels = torch.from_numpy(images.train_labels).to(device)
        self.test_pixels = torch.from_numpy(images.test).to(device)
        self.test_labels = torch.from_numpy(images.test_labels).to(device)
        mean, scale = _moments(images.train, recipe)
        self.mean, self.scale = torch.from_numpy(mean).to(device), scale
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The batch of SGD update `iteration`, counted from 0. Epochs follow each other without a short batch."""
        count, size = len(self.labels), self.recipe.batch
        start = iteration * size
        spans = []
        while size:
            epoch, offset = divmod(start, count)
            take = min(size, count - offset)
            spans.append(self._epoch(epoch)[:, offset : offset + take])
            start, size = start + take, size - take
        index, dy, dx, flip = spans[0] if len(spans) == 1 else torch.cat(spans, dim=1)
        return self._augment(self._normalise(self.pixels[index]), dy, dx, flip), self.labels[index]

    def test_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every test image once, unaugmented, in a fixed order."""
        for start in range(0, len(self.test_labels), size):
            pixels = self._normalise(self.test_pixels[start : start + size])
            yield pixels.permute(0, 3, 1, 2), self.test_labels[start : start + size]

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
        table = np.stack([index, *(part.astype(np.int64) for part in (rows, columns, flips))])
        return torch.from_numpy(table).to(self.device)


def _moments(pixels: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, float]:
    """What is subtracted, (H, W, C) or (1, 1, 1), and what is multiplied after; whole-number sums, so exact."""
    if recipe.normalisation == "pixel-mean":
        return (pixels.sum(axis=0, dtype=np.int64) / len(pixels)).astype(np.float32), 1 / 255
    counts, levels = np.bincount(pixels.ravel(), minlength=256), np.arange(256)
    mean = float(counts @ levels) / pixels.size
    variance = float(counts @ levels**2) / pixels.size - mean**2
    return np.full((1, 1, 1), mean, dtype=np.float32), variance**-0.5
