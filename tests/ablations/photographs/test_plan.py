"""The plan of an epoch: whatever is random, beside a slow literal implementation in Pillow and torchvision."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from ablations.data.photographs.plan import (
    EIGENVALUES,
    EIGENVECTORS,
    MIXED,
    NEIGHBOURS,
    Plan,
    Rows,
    area_boxes,
    centres,
    quasi,
    resized,
    scale_boxes,
)
from ablations.recipes import IMAGENET, Recipe

COUNT = 500


def sizes(count: int = COUNT) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    return generator.integers(60, 700, count), generator.integers(60, 700, count)


def plan(seed: int = 0, count: int = COUNT, size: int = 224, **values: Any) -> Plan:
    widths, heights = sizes(count)
    recipe: Recipe = replace(IMAGENET, batch=64, bn_batch=None, iterations=100, **values)
    return Plan(recipe, seed, np.arange(count), widths, heights, size)


def same(one: Rows, other: Rows) -> bool:
    names = ("index", "boxes", "flips", "colours")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def agree(found: NDArray[Any], expected: Any) -> bool:
    """Whether Kolmogorov and Smirnov see no difference to a sample, or to a distribution."""
    told: Any = stats.kstest(found, expected)
    return told.pvalue > 1e-3


# A function of seed and iteration


def test_whatever_was_asked_before_a_batch_is_the_same() -> None:
    asked, fresh = plan(), plan()
    backwards = [asked.rows(iteration) for iteration in (20, 3, 8, 7, 3)]
    assert same(backwards[1], backwards[4])
    for iteration, rows in zip((20, 3, 8, 7, 3), backwards, strict=True):
        assert same(rows, fresh.rows(iteration))
        assert len(rows) == 64


def test_epochs_are_permutations_that_follow_each_other_without_a_short_batch() -> None:
    one = plan()
    seen = np.concatenate([one.rows(iteration).index for iteration in range(125)])  # 16 epochs
    epochs = seen.reshape(-1, COUNT)
    assert all(np.array_equal(np.sort(epoch), np.arange(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == len(epochs)


def test_an_image_is_cut_and_coloured_by_its_index_wherever_the_batch_begins() -> None:
    """Another batch size leaves each image of an epoch its box, its mirror and its colour."""
    widths, heights = sizes()
    found = []
    for batch in (50, 125):
        recipe = replace(IMAGENET, batch=batch, bn_batch=None)
        one = Plan(recipe, 7, np.arange(COUNT), widths, heights, 224)
        rows = [one.rows(iteration) for iteration in range(COUNT // batch)]
        index = np.concatenate([each.index for each in rows])
        boxes = np.concatenate([np.column_stack([each.boxes, each.flips, each.colours]) for each in rows])
        found.append(boxes[np.argsort(index)])
    assert np.array_equal(*found)


@pytest.mark.parametrize("augmentation", ["scale-crop-flip-colour", "area-crop-flip-colour"])
def test_seeds_and_epochs_draw_anew(augmentation: str) -> None:
    """Seed 0 in epoch 1 is not seed 1 in epoch 0, as in FFCV's own order."""
    every = [plan(seed, augmentation=augmentation).rows(8 * epoch).boxes for seed in (0, 1) for epoch in (0, 1)]
    assert len({boxes.tobytes() for boxes in every}) == 4


def test_held_out_images_are_never_drawn() -> None:
    widths, heights = sizes()
    kept = np.arange(0, COUNT, 2)
    one = Plan(replace(IMAGENET, batch=50, bn_batch=None), 0, kept, widths, heights, 224)
    seen = np.concatenate([one.rows(iteration).index for iteration in range(5)])
    assert np.array_equal(np.sort(seen), kept)


def test_sizes_share_the_iterations() -> None:
    one = plan(sizes=(128, 160, 192, 224))
    assert [one.side(at) for at in (0, 24, 25, 49, 50, 74, 75, 99)] == [128, 128, 160, 160, 192, 192, 224, 224]
    rows = one.rows(30)
    assert (rows.height, rows.width) == (160, 160)
    assert plan().side(50) == 224


def test_none_is_the_centre() -> None:
    widths, heights = sizes()
    rows = plan(augmentation="none").rows(0)
    assert same(rows, centres(rows.index, widths[rows.index], heights[rows.index], 256, 224))


# The paper's crops (sec. 3.4)


def literal(scale: float, across: float, down: float, picture: Image.Image, side: int = 224) -> Image.Image:
    """Resize to the drawn shorter side, then crop: two steps, as the paper says it."""
    shorter = 256 + int(scale * 225)
    width, height = picture.size
    if height >= width:
        whole = picture.resize((shorter, max(shorter * height // width, shorter)), Image.Resampling.BILINEAR)
    else:
        whole = picture.resize((max(shorter * width // height, shorter), shorter), Image.Resampling.BILINEAR)
    left, top = int(across * (whole.width - side + 1)), int(down * (whole.height - side + 1))
    return whole.crop((left, top, left + side, top + side))


@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(40, 600),
    st.integers(40, 600),
)
@settings(max_examples=60, deadline=None)
def test_one_box_is_the_resized_image_cropped(scale: float, across: float, down: float, wide: int, high: int) -> None:
    """To 0.3 of 255 in the mean: what is left is that the two steps round their size to whole pixels between them."""
    generator = np.random.default_rng(wide * high)
    small = generator.integers(0, 255, (high // 8 + 2, wide // 8 + 2, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((wide, high), Image.Resampling.BICUBIC)
    first, second, third = (np.array([each]) for each in (scale, across, down))
    (box,) = scale_boxes(first, second, third, np.array([wide]), np.array([high]), 224, (256, 480))
    assert (box[:2] >= 0).all()
    assert box[2] <= wide + 1e-9
    assert box[3] <= high + 1e-9
    inside = tuple(np.minimum(box, [wide, high, wide, high]))
    fused = picture.resize((224, 224), Image.Resampling.BILINEAR, box=inside)
    expected = np.asarray(literal(scale, across, down, picture), dtype=float)
    assert abs(np.asarray(fused, dtype=float) - expected).mean() < 0.3


def test_the_shorter_side_is_uniform_from_256_to_480_and_the_place_over_the_image() -> None:
    """Against 20,000 draws of torchvision's own operations, by Kolmogorov and Smirnov."""
    count, wide, high = 20_000, 500, 375
    widths, heights = np.full(count, wide), np.full(count, high)
    recipe = replace(IMAGENET, batch=count, bn_batch=None)
    boxes = Plan(recipe, 3, np.arange(count), widths, heights, 224).rows(0).boxes
    generator = np.random.default_rng(1)
    shorter = generator.integers(256, 481, count)
    wider = shorter * wide // high
    left = np.array([generator.integers(0, each - 224 + 1) for each in wider])
    top = np.array([generator.integers(0, each - 224 + 1) for each in shorter])
    expected = np.stack([left * wide / wider, top * high / shorter, 224 * wide / wider], axis=1)
    found = np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)
    for column in range(3):
        assert agree(found[:, column], expected[:, column])
    sides = np.rint(224 * high / (boxes[:, 3] - boxes[:, 1])).astype(int)
    assert {sides.min(), sides.max()} == {256, 480}


def test_crops_of_another_size_see_the_same_part() -> None:
    """64 pixels are cut at shorter sides 73 to 137, which are 256 to 480 of 224."""
    one = np.linspace(0, 0.999, 50)
    half = np.full(50, 0.5)
    wide, high = np.full(50, 640), np.full(50, 480)
    small = scale_boxes(one, half, half, wide, high, 64, (256, 480))
    large = scale_boxes(one, half, half, wide, high, 224, (256, 480))
    assert abs(small - large).max() < 8


def test_mirrors_and_colours_have_the_papers_distribution() -> None:
    count = 40_000
    widths, heights = np.full(count, 300), np.full(count, 300)
    rows = Plan(replace(IMAGENET, batch=count, bn_batch=None), 0, np.arange(count), widths, heights, 224).rows(0)
    assert abs(rows.flips.mean() - 0.5) < 0.01
    alphas = rows.colours @ EIGENVECTORS / EIGENVALUES
    for component in range(3):
        assert agree(alphas[:, component] / 0.1, stats.norm.cdf)
    assert abs(np.corrcoef(alphas.T) - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(rows.flips, rows.boxes[:, 0])[0, 1]) < 0.03
    assert abs(EIGENVECTORS @ EIGENVECTORS.T - np.eye(3)).max() < 1e-3


def test_no_noise_is_no_noise() -> None:
    assert not plan(colour_noise=0.0).rows(0).colours.any()


# Crops by their area


def test_areas_are_those_of_torchvision() -> None:
    """Width, height and place of 8,000 of its crops of one image, by Kolmogorov and Smirnov."""
    count, wide, high = 8_000, 500, 375
    draws = v2.RandomResizedCrop(224, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), antialias=True)
    picture = np.zeros((high, wide), dtype=np.uint8)
    asked = [draws.make_params([Image.fromarray(picture)]) for _ in range(count)]
    expected = np.array([[each["left"], each["top"], each["width"], each["height"]] for each in asked])
    generator = np.random.default_rng(2)
    words = generator.integers(0, 2**64, (count, 10), dtype=np.uint64, endpoint=False)
    boxes = area_boxes(
        words, generator.random(count), generator.random(count), np.full(count, wide), np.full(count, high)
    )
    found = np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=1)
    for column in range(4):
        assert agree(found[:, column], expected[:, column])


def test_an_image_that_no_area_fits_gives_its_centre() -> None:
    words = np.full((1, 10), 2**64 - 1, dtype=np.uint64)
    (box,) = area_boxes(words, np.zeros(1), np.zeros(1), np.array([1000]), np.array([10]))
    assert box.tolist() == [493, 0, 506, 10]


# Sizes and centres


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(8, 700))
@settings(max_examples=200, deadline=None)
def test_resized_as_torchvision_does(wide: int, high: int, shorter: int) -> None:
    found = resized(np.array([wide]), np.array([high]), shorter)
    expected = v2.functional.resize(torch.empty(1, high, wide, device="meta"), [shorter], antialias=False)
    assert (int(found[1][0]), int(found[0][0])) == tuple(expected.shape[1:])


@pytest.mark.parametrize(("wide", "high"), [(500, 375), (333, 500), (300, 300), (257, 911)])
def test_the_centre_is_torchvisions(wide: int, high: int) -> None:
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 255, (9, 9, 3), dtype=np.uint8)).resize((wide, high))
    expected = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])(picture)
    rows = centres(np.zeros(1, dtype=np.int64), np.array([wide]), np.array([high]), 256, 224)
    fused = picture.resize((224, 224), Image.Resampling.BILINEAR, box=tuple(rows.boxes[0]))
    assert abs(np.asarray(fused, dtype=float) - np.asarray(expected, dtype=float)).mean() < 0.3


# Quasi-random order


def test_a_quasi_random_order_is_a_permutation_that_stays_near() -> None:
    """Of 5 windows' images, each is read in sequence by groups, and windows do not overlap."""
    count = 5 * MIXED + 17
    found = quasi(0, 0, count)
    assert np.array_equal(np.sort(found), np.arange(count))
    window = found[:MIXED]
    groups = np.unique(window // NEIGHBOURS)
    assert len(groups) <= MIXED // NEIGHBOURS + 1
    assert len(np.unique(window // (MIXED // 4))) > 10  # from all over the file
    assert abs(np.diff(window)).min() > 0
    assert not np.array_equal(found, quasi(0, 1, count))
    assert not np.array_equal(found, quasi(1, 0, count))


@given(st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_a_small_file_is_mixed_whole(count: int) -> None:
    assert np.array_equal(np.sort(quasi(0, 0, count)), np.arange(count))


def test_the_recipe_chooses_the_order() -> None:
    """Where all are in one window they are the same."""
    one, other = (plan(count=2 * MIXED, order=order).rows(0).index for order in ("quasi-random", "random"))
    assert not np.array_equal(one, other)
    assert len(np.unique(one // NEIGHBOURS)) <= MIXED // NEIGHBOURS
    assert same(plan(order="quasi-random").rows(0), plan().rows(0))
