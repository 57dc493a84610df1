"""Our own reading of baseline JPEGs beside libjpeg's, which stands behind it: equal to the bit, and to the status.

Both are compiled from `decode.c`, once without `baseline.c`'s part.
"""

import random
import tarfile
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs_made import SAMPLES, encoded, photograph
from test_decode import FINE, UNREADABLE, Pixels, clipped, crops, inside

from ablations.data.photographs.decode import Decoder, decoder, kernel

pytestmark = pytest.mark.skipif(decoder().compiled is None, reason="no C compiler, or no headers of libjpeg")


@cache
def ours() -> Decoder:
    return kernel()


@cache
def libjpeg() -> Decoder:
    return kernel("LIBJPEG_ALONE")


def same(images: list[bytes], sizes: list[tuple[int, int]], boxes: list[Any]) -> list[int]:
    """Both give equal statuses, and equal pixels where nothing is wrong; returns the statuses."""
    (one, told), (other, expected) = (crops(by(), images, sizes, boxes, (41, 37)) for by in (ours, libjpeg))
    assert told == expected
    for at, status in enumerate(told):
        assert status != FINE or np.array_equal(one[at], other[at]), (sizes[at], boxes[at])
    return told


SHAPES = st.tuples(st.integers(1, 120), st.integers(1, 120))
OPTIONS = st.fixed_dictionaries(
    {"quality": st.integers(5, 100), "subsampling": st.sampled_from([0, 1, 2]), "optimize": st.booleans()},
    optional={"restart_marker_blocks": st.integers(1, 9), "progressive": st.just(True)},
)


@given(SHAPES, OPTIONS, st.booleans(), st.integers(0, 10**6))
@settings(max_examples=400, deadline=None)
def test_every_kind_of_jpeg_and_every_window(
    size: tuple[int, int], options: dict[str, Any], grey: bool, seed: int
) -> None:
    """Sampling of colours, quality, tables, restarts; windows anywhere, the whole image among them."""
    picture = photograph(seed, *size)
    if grey:
        image = encoded(
            picture.convert("L"), **{name: value for name, value in options.items() if name != "subsampling"}
        )
    else:
        image = encoded(picture, **options)
    generator = np.random.default_rng(seed)
    boxes = [(0, 0, *size), *(clipped(inside(generator, *size), *size) for _ in range(3))]
    assert same([image] * 4, [size] * 4, boxes) == [FINE] * 4


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({"subsampling": 0}, True),
        ({"subsampling": 1}, True),
        ({"subsampling": 2}, True),
        ({"optimize": True}, True),
        ({"restart_marker_blocks": 3}, True),
        ({"progressive": True}, False),
    ],
)
def test_it_reads_what_it_is_for(options: dict[str, Any], read: bool) -> None:
    """If all were left to libjpeg, nothing else here would fail."""
    alone = kernel("BASELINE_ALONE")
    _, statuses = crops(alone, [encoded(photograph(0, 96, 80), **options)], [(96, 80)], [(8, 8, 40, 40)])
    assert statuses == [FINE if read else UNREADABLE]


def damaged(image: bytes, draw: random.Random) -> bytes:
    """Bits and bytes changed, left out or put in, or the end cut off, at a few places."""
    found = bytearray(image)
    for _ in range(draw.randint(1, 4)):
        at, kind = draw.randrange(len(found)), draw.random()
        if kind < 0.5:
            found[at] ^= 1 << draw.randrange(8)
        elif kind < 0.7:
            found[at] = draw.randrange(256)
        elif kind < 0.8:
            del found[at : at + draw.randint(1, 30)]
        elif kind < 0.9:
            found[at:at] = draw.randbytes(3)
        else:
            del found[at + 1 :]
        if len(found) < 4:
            break
    return bytes(found)


def test_thousands_of_damaged_images_are_told_as_libjpeg_tells_them() -> None:
    """Also where both take damage for pixels, they take it for the same ones: nothing depends on which one reads."""
    draw, images, sizes, boxes = random.Random(0), [], [], []
    generator = np.random.default_rng(0)
    for number in range(3000):
        size = (draw.randint(2, 90), draw.randint(2, 90))
        options: dict[str, Any] = {"quality": draw.randint(10, 100), "optimize": draw.random() < 0.5}
        if draw.random() < 0.3:
            options["restart_marker_blocks"] = draw.randint(1, 9)
        picture = photograph(number, *size)
        grey = draw.random() < 0.2
        image = (
            encoded(picture.convert("L"), **options)
            if grey
            else encoded(picture, subsampling=draw.choice([0, 1, 2]), **options)
        )
        images.append(damaged(image, draw))
        sizes.append(size)
        boxes.append(clipped(inside(generator, *size), *size))
    counts = np.bincount(same(images, sizes, boxes), minlength=3)
    assert counts.min() > 300


def twisted(image: bytes, marker: int, at: int, value: int) -> bytes:
    """With one byte of the segment of this marker changed."""
    begin = image.index(bytes([255, marker])) + 4
    return image[: begin + at] + bytes([value]) + image[begin + at + 1 :]


@pytest.mark.parametrize(
    ("marker", "at", "value"),
    [
        (0xE0, 5, 3),  # a version of JFIF that libjpeg warns of
        (0xC0, 0, 12),  # bits of a sample
        (0xC0, 7, 0x11),  # sampling
        (0xC0, 7, 0x41),
        (0xC0, 7, 0x01),
        (0xC0, 8, 3),  # a quantiser that is not there
        (0xC4, 0, 0x05),  # a table of codes beyond the fourth
        (0xC4, 1, 3),  # more codes of one bit than there are
        (0xDB, 0, 0x17),
        (0xDB, 1, 255),  # large steps
        (0xDA, 1, 9),  # another component
        (0xDA, 2, 0x33),  # tables that are not there
        (0xDA, 8, 7),  # part of a spectrum
    ],
)
def test_a_header_that_is_unusual_or_wrong(marker: int, at: int, value: int) -> None:
    image = twisted(encoded(photograph(3, 64, 48), subsampling=2), marker, at, value)
    same([image] * 2, [(64, 48)] * 2, [(0, 0, 64, 48), (9, 7, 33, 30)])


def test_colours_that_are_red_green_and_blue_in_the_file() -> None:
    """By Adobe's marker; libjpeg's."""
    image = encoded(photograph(3, 64, 48), subsampling=0)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    jfif = image.index(b"\xff\xe0")
    length = int.from_bytes(image[jfif + 2 : jfif + 4], "big")
    image = image[:jfif] + adobe + image[jfif + 2 + length :]
    assert same([image], [(64, 48)], [(0, 0, 64, 48)]) == [FINE]


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/data/imagenet-samples.tar, which is not there")
def test_real_photographs() -> None:
    """Four windows of each of 402, and the whole."""
    generator, images, sizes, boxes = np.random.default_rng(0), [], [], []
    for image, size in _samples():
        images += [image] * 5
        sizes += [size] * 5
        boxes += [(0, 0, *size), *(clipped(inside(generator, *size), *size) for _ in range(4))]
    assert set(same(images, sizes, boxes)) == {FINE}


def _samples() -> list[tuple[bytes, tuple[int, int]]]:
    from test_decode import full

    with tarfile.open(SAMPLES) as tar:
        files = [tar.extractfile(member) for member in tar.getmembers() if member.isfile()]
        images = [file.read() for file in files if file is not None]
    return [(image, full(image).size) for image in images]


def test_no_coefficient_is_trusted_beyond_libjpegs_sixteen_bits() -> None:
    """Steps of 255 for every frequency make sums that overflow there: such an image is libjpeg's, pixel for pixel."""
    image = bytearray(encoded(photograph(5, 80, 80), quality=100, subsampling=0))
    at = 0
    while (at := image.find(b"\xff\xdb", at)) >= 0:
        for place in range(at + 5, at + 69):
            image[place] = 255
        at += 2
    assert same([bytes(image)], [(80, 80)], [(0, 0, 80, 80)]) == [FINE]


def test_the_pixels_are_those_of_the_photograph(tmp_path: Any) -> None:
    """Not only equal to libjpeg's: within what quality 95 loses."""
    picture = photograph(8, 120, 90)
    (found,), _ = crops(
        ours(), [encoded(picture, quality=95, subsampling=0)], [(120, 90)], [(0, 0, 120, 90)], (120, 90)
    )
    pixels: Pixels = np.asarray(picture)
    assert abs(found.astype(int) - pixels).mean() < 4
