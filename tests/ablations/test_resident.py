"""Batches: a function of seed and iteration, with the paper's augmentation to the bit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ablations.data.draws import draw, order
from ablations.data.images import Images
from ablations.data.resident import Resident
from ablations.recipes import CIFAR, Recipe

CPU = torch.device("cpu")


def images(count: int = 37, size: int = 6, channels: int = 3, test: int = 11) -> Images:
    """Random pixels; a label is the index of its image."""
    generator = np.random.default_rng(0)
    return Images(
        train=generator.integers(0, 256, (count, size, size, channels), dtype=np.uint8),
        train_labels=np.arange(count, dtype=np.int64),
        test=generator.integers(0, 256, (test, size, size, channels), dtype=np.uint8),
        test_labels=np.arange(test, dtype=np.int64),
    )


def recipe(**values: Any) -> Recipe:
    """The paper's, but for these values."""
    return replace(CIFAR, **{"batch": 10, **values})


def feed(of: Images | None = None, seed: int = 0, **values: Any) -> Resident:
    return Resident(of or images(), recipe(**values), seed, CPU)


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


# A function of seed and iteration


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), asked=st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_a_batch_depends_on_seed_and_iteration_alone(seed: int, asked: list[int]) -> None:
    """In whatever order batches are asked for, and however often, each is the one that a new one gives first."""
    used = feed(seed=seed)
    for iteration in asked:
        assert same(used.batch(iteration), feed(seed=seed).batch(iteration))


def test_another_seed_gives_other_batches() -> None:
    """Order and augmentation both change."""
    first, second = feed(seed=0).batch(0), feed(seed=1).batch(0)
    assert not torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


def test_no_batch_touches_a_generator_or_depends_on_one() -> None:
    """PyTorch's and NumPy's global generators stand where they stood."""
    torch.manual_seed(1)
    first = feed().batch(5)
    torch.manual_seed(2)
    states = torch.get_rng_state(), np.random.get_state(legacy=False)
    assert same(feed().batch(5), first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert str(np.random.get_state(legacy=False)) == str(states[1])


def test_no_batch_changes_the_images() -> None:
    """They are shared by all trials of a warm worker."""
    shared = images()
    before = shared.train.copy(), shared.test.copy()
    one = feed(shared)
    for iteration in range(8):
        one.batch(iteration)[0].fill_(7)
    for pixels, _ in one.test_batches(4):
        pixels.fill_(7)
    assert np.array_equal(shared.train, before[0])
    assert np.array_equal(shared.test, before[1])


# Epochs


@pytest.mark.parametrize(("count", "batch"), [(37, 10), (37, 37), (37, 1), (40, 10), (7, 16), (5, 12)])
def test_every_epoch_visits_every_image_once(count: int, batch: int) -> None:
    """Also where the batch does not divide it, or is larger: epochs follow each other, and no batch is short."""
    one = feed(images(count), batch=batch)
    epochs = 4
    labels = [one.batch(iteration)[1] for iteration in range(-(-epochs * count // batch))]
    assert {len(each) for each in labels} == {batch}
    visited = torch.cat(labels)[: epochs * count].view(epochs, count)
    assert torch.equal(visited.sort().values, torch.arange(count).expand(epochs, count))
    for epoch in range(epochs):
        assert visited[epoch].tolist() == order(0, epoch, count).tolist()


def test_what_happens_to_an_image_does_not_depend_on_its_place() -> None:
    """In an epoch, crop and mirror of an image are the same in batches of any size, and other in the next epoch."""
    every = images()

    def epochs(batch: int) -> dict[tuple[int, int], Tensor]:
        one, found = feed(every, batch=batch), {}
        for iteration in range(-(-2 * 37 // batch)):
            for at, (pixels, label) in enumerate(zip(*one.batch(iteration), strict=True)):
                found[(iteration * batch + at) // 37, int(label)] = pixels
        return found

    expected = epochs(37)
    for batch in (1, 10, 16):
        found = epochs(batch)
        assert all(torch.equal(found[key], pixels) for key, pixels in expected.items())
    changed = [label for label in range(37) if not torch.equal(expected[0, label], expected[1, label])]
    assert len(changed) > 30


# Augmentation and normalisation


def literal(every: Images, values: Recipe, seed: int, iteration: int) -> NDArray[np.float32]:
    """Sec. 4.2 read slowly: subtract the mean image, pad with zeros, crop, mirror; one image at a time."""
    count, size = len(every.train), every.train.shape[1]
    mean = (every.train.astype(np.float64).sum(axis=0) / count).astype(np.float32)
    found, pad, places = [], values.pad, 2 * values.pad + 1
    for position in range(iteration * values.batch, (iteration + 1) * values.batch):
        epoch, offset = divmod(position, count)
        index = order(seed, epoch, count)[offset]
        word = int(draw(seed, "augmentation", epoch, count)[index])
        row, column, mirrored = word % 2**24 % places, (word >> 24) % 2**24 % places, word >> 63
        image = (every.train[index].astype(np.float32) - mean) * np.float32(1 / 255)
        image = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))[row : row + size, column : column + size]
        found.append((image[:, ::-1] if mirrored else image).transpose(2, 0, 1))
    return np.stack(found)


@pytest.mark.parametrize("pad", [0, 1, 4, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_is_the_paper_s_to_the_bit(pad: int, channels: int) -> None:
    """Zeros are padded after the mean is subtracted, so that they are the mean; also where the pad exceeds the size."""
    every, values = images(channels=channels), recipe(pad=pad)
    one = Resident(every, values, 3, CPU)
    for iteration in range(9):
        assert np.array_equal(one.batch(iteration)[0].numpy(), literal(every, values, 3, iteration))


@pytest.fixture(scope="module")
def draws_of_an_image() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, column and mirror of 20,000 crops at pad 4, read off images whose every pixel has a level of its own."""
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), (4000, 16, 16, 1))
    labels = np.zeros(4000, dtype=np.int64)
    every = Images(train=pixels.copy(), train_labels=labels, test=pixels[:1].copy(), test_labels=labels[:1])
    one = Resident(every, recipe(batch=4000, normalisation="mean-std"), 0, CPU)

    def levels() -> Iterator[NDArray[np.int64]]:
        for iteration in range(5):
            crops = one.batch(iteration)[0] / one.scale + one.mean.reshape(())
            yield crops[:, 0, 8, 7:9].round().long().numpy()

    left, right = np.concatenate(list(levels())).T
    mirrored = (left > right).astype(np.int64)
    # The pixel (8, 8) of a crop at (dy, dx) is (dy + 4, dx + 4) of the image; mirrored, (dy + 4, dx + 3).
    return right // 16 - 4, right % 16 - 4 + mirrored, mirrored


def test_crops_and_mirrors_are_equally_likely(
    draws_of_an_image: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """All 9 x 9 x 2 of them: chi-square with 161 degrees of freedom stays below its 99.9 % quantile."""
    row, column, mirrored = draws_of_an_image
    assert (row.min(), row.max(), column.min(), column.max()) == (0, 8, 0, 8)
    counts = np.bincount((row * 9 + column) * 2 + mirrored, minlength=162)
    expected = 20_000 / 162
    assert ((counts - expected) ** 2 / expected).sum() < 222.2


def test_half_of_the_images_are_mirrored(
    draws_of_an_image: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    """Within four standard errors of a half."""
    assert abs(draws_of_an_image[2].mean() - 0.5) < 4 * 0.5 / 20_000**0.5


def test_without_augmentation_images_stay_as_they_are() -> None:
    """Neither crop nor mirror, whatever the pad; the order is the same as with augmentation."""
    every = images()
    plain, labels = feed(every, augmentation="none").batch(2)
    assert torch.equal(labels, feed(every).batch(2)[1])
    mean = (every.train.astype(np.float64).sum(axis=0) / 37).astype(np.float32)
    expected = (every.train[labels.numpy()].astype(np.float32) - mean) * np.float32(1 / 255)
    assert np.array_equal(plain.numpy(), expected.transpose(0, 3, 1, 2))


def test_the_mean_image_is_that_of_the_training_images() -> None:
    """Subtracted from the test images as well, and nothing is divided by a standard deviation (sec. 4.2)."""
    every = images()
    one = feed(every)
    assert np.allclose(one.mean.numpy(), every.train.mean(axis=0), rtol=1e-6)
    ((test, _),) = one.test_batches(100)
    expected = (every.test - every.train.mean(axis=0)) / 255
    assert np.allclose(test.permute(0, 2, 3, 1).numpy(), expected, atol=1e-6)


def test_one_mean_and_one_deviation_make_training_pixels_standard() -> None:
    """Under `mean-std` all pixels of all training images have mean 0 and standard deviation 1."""
    every = images(count=50, channels=1)
    one = feed(every, batch=50, augmentation="none", normalisation="mean-std")
    assert float(one.mean) == pytest.approx(every.train.mean(), rel=1e-6)
    assert one.scale == pytest.approx(1 / every.train.std(), rel=1e-9)
    batch, _ = one.batch(0)
    assert float(batch.mean()) == pytest.approx(0, abs=1e-6)
    assert float(batch.std(correction=0)) == pytest.approx(1, rel=1e-6)


# Test batches and memory


@pytest.mark.parametrize("size", [1, 4, 11, 500])
def test_every_test_image_comes_once_and_in_order(size: int) -> None:
    """Whatever the batch, and the same images each time; the last batch may be short."""
    one = feed()
    first, second = list(one.test_batches(size)), list(one.test_batches(size))
    assert torch.cat([labels for _, labels in first]).tolist() == list(range(11))
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    ((whole, _),) = feed().test_batches(11)
    assert torch.equal(torch.cat([pixels for pixels, _ in first]), whole)


def test_images_are_channels_last_floats_and_labels_whole_numbers() -> None:
    """The layout in which convolutions are fastest, so that no layer converts."""
    one = feed()
    for pixels, labels in (one.batch(0), next(one.test_batches(4))):
        assert pixels.is_contiguous(memory_format=torch.channels_last)
        assert (pixels.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert pixels.shape[1:] == (3, 6, 6)
        assert not pixels.requires_grad
