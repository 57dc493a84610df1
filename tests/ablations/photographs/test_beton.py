"""FFCV's file layout: what we write is read by stock FFCV, and what is damaged is never read."""

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ablations.data.errors import DataError, NotThereError
from ablations.data.photographs import beton
from ablations.data.photographs.beton import ENTRY, HEADER, JPEG, PAGE, RAW, SAMPLE, Sample, Writer

needs_ffcv = pytest.mark.skipif(importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed")

samples = st.lists(
    st.tuples(st.sampled_from([JPEG, RAW]), st.integers(1, 40), st.integers(1, 40), st.integers(0, 999)),
    min_size=1,
    max_size=30,
)


def pixels(index: int, width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


def write(path: Path, count: int = 6) -> list[NDArray[np.uint8]]:
    """A file of JPEG and raw images in turn, and the pixels that a reader should see."""
    seen = []
    with Writer(path, count) as writer:
        for index in range(count):
            image = pixels(index, 24 + index, 20)
            stored = image.tobytes() if index % 2 else jpeg(image)
            seen.append(image if index % 2 else np.asarray(Image.open(io.BytesIO(stored))))
            writer.append(stored, RAW if index % 2 else JPEG, 24 + index, 20, index % 3)
        writer.finish()
    return seen


def test_what_is_written_is_read(tmp_path: Path) -> None:
    seen = write(tmp_path / "a.beton")
    found = beton.read(tmp_path / "a.beton")
    assert len(found) == 6
    assert found.modes.tolist() == [JPEG, RAW] * 3
    assert found.widths.tolist() == [24, 25, 26, 27, 28, 29]
    assert found.heights.tolist() == [20] * 6
    assert found.labels.tolist() == [0, 1, 2] * 2
    assert [found.modes.dtype, found.widths.dtype, found.labels.dtype] == [np.uint8, np.uint16, np.int64]
    assert found.pointers.dtype == found.sizes.dtype == np.uint64
    for index in range(1, 6, 2):
        assert np.array_equal(found.stored(index).reshape(20, -1, 3), seen[index])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found.stored(0).tobytes()))), seen[0])
    with pytest.raises(ValueError, match="read-only"):
        found.data[0] = 1


@settings(max_examples=25, deadline=None)
@given(samples, st.integers(0, 30), st.data())
def test_a_round_trip_and_a_resumed_one(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int, int, int]], cut: int, data: st.DataObject
) -> None:
    """Whatever the sizes: what comes back is what went in, and a writer that was stopped writes the same bytes."""
    folder = tmp_path_factory.mktemp("beton")
    images = [
        (
            data.draw(st.binary(min_size=3 * w * h, max_size=3 * w * h))
            if mode == RAW and w * h < 30
            else bytes(3 * w * h)
        )
        for mode, w, h, _ in asked
    ]
    with Writer(folder / "whole", len(asked) + 3) as writer:
        for image, each in zip(images, asked, strict=True):
            writer.append(image, *each)
        writer.finish()
    found = beton.read(folder / "whole")
    assert [found.stored(index).tobytes() for index in range(len(found))] == images
    assert list(zip(found.modes, found.widths, found.heights, found.labels, strict=True)) == asked

    cut = min(cut, len(asked))
    with Writer(folder / "part", len(asked) + 3) as writer:
        for image, each in zip(images[: cut + 1], asked, strict=False):
            writer.append(image, *each)
        writer.sync()
    written = [
        Sample(mode=m, width=w, height=h, label=label, size=len(image))
        for image, (m, w, h, label) in zip(images[:cut], asked, strict=False)
    ]
    with Writer(folder / "part", len(asked) + 3, written) as writer:
        assert len(writer) == cut
        for image, each in zip(images[cut:], asked[cut:], strict=True):
            writer.append(image, *each)
        writer.finish()
    assert (folder / "part").read_bytes() == (folder / "whole").read_bytes()


def test_no_image_straddles_two_pages(tmp_path: Path) -> None:
    """Also where an image needs a larger page than those before it."""
    with Writer(tmp_path / "a.beton", 7) as writer:
        for megabytes in (3, 3, 3, 5, 9, 3, 20):
            writer.append(bytes(megabytes << 20), JPEG, 10, 10, 0)
        writer.finish()
    found = beton.read(tmp_path / "a.beton")
    page = int(np.frombuffer(found.data[: HEADER.itemsize].tobytes(), HEADER)["page"][0])
    assert page == 4 * PAGE
    first, last = found.pointers, found.pointers + found.sizes - np.uint64(1)
    assert np.array_equal(first // np.uint64(page), last // np.uint64(page))


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ((b"", JPEG, 4, 4, 0), "0 bytes"),
        ((b"x", JPEG, 0, 4, 0), "0x4"),
        ((b"x", JPEG, 65_536, 4, 0), "65536x4"),
        ((b"x", 2, 4, 4, 0), "mode 2"),
        ((b"x" * 47, RAW, 4, 4, 0), "4x4 pixels of three"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused(
    tmp_path: Path, sample: tuple[bytes, int, int, int, int], words: str
) -> None:
    with Writer(tmp_path / "a.beton", 1) as writer, pytest.raises(ValueError, match=words):
        writer.append(*sample)


def test_a_file_without_images_is_not_written(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.beton", 1) as writer, pytest.raises(ValueError, match="without images"):
        writer.finish()


def test_a_writer_sees_that_its_file_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "a.beton").write_bytes(b"short")
    written = [Sample(mode=JPEG, width=4, height=4, label=0, size=100)]
    with pytest.raises(DataError, match="is shorter than its journal says; remove it"):
        Writer(tmp_path / "a.beton", 1, written)


# Stock FFCV

STOCK = """
import hashlib, json, sys
import numpy as np
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.reader import Reader
path, os_cache = sys.argv[1], sys.argv[2] == "1"
reader = Reader(path)
decoder = CenterCropRGBImageDecoder((20, 20), 1)
loader = Loader(path, 2, 1, os_cache, OrderOption.SEQUENTIAL, pipelines={"image": [decoder], "label": [IntDecoder()]})
batches = [(np.array(images).tolist(), np.array(labels).ravel().tolist()) for images, labels in loader]
print(json.dumps({
    "fields": list(reader.handlers), "samples": int(reader.num_samples), "table": len(reader.alloc_table),
    "images": [image for images, _ in batches for image in images], "labels": [n for _, ls in batches for n in ls],
}))
"""


@needs_ffcv
@pytest.mark.parametrize("os_cache", ["1", "0"])
def test_stock_ffcv_reads_it(tmp_path: Path, os_cache: str) -> None:
    """In a process of its own: FFCV changes the number of threads, and hangs where it fails."""
    seen = write(tmp_path / "a.beton")
    command = [sys.executable, "-c", STOCK, str(tmp_path / "a.beton"), os_cache]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout)
    assert said["fields"] == ["image", "label"]
    assert said["samples"] == said["table"] == 6
    assert said["labels"] == [0, 1, 2] * 2
    for index, image in enumerate(said["images"]):
        left = (24 + index - 20) // 2
        ours = seen[index][:, left : left + 20].astype(int)
        apart = np.abs(np.array(image) - ours)
        assert apart.mean() <= (
            0 if index % 2 else 3
        )  # of noise, in another precision of libjpeg: other images are 85 apart


@needs_ffcv
def test_what_stock_ffcv_writes_is_read(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.writer import DatasetWriter
images = [(np.full((30, 20 + i, 3), i, dtype=np.uint8), i) for i in range(4)]
fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
DatasetWriter(sys.argv[1], fields, num_workers=1).from_indexed_dataset(images)
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.beton")], capture_output=True, check=True, timeout=200
    )
    found = beton.read(tmp_path / "a.beton")
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert [set(found.stored(index).tolist()) for index in range(4)] == [{0}, {1}, {2}, {3}]


# Damage


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        beton.read(path)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(str(path))
    assert "ablate data prepare" in said
    return said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"is missing; copy it again"):
        beton.read(tmp_path / "a.beton")


def test_what_is_no_beton(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    path.write_bytes(b"")
    assert "cannot be read" in refused(path)
    path.write_bytes(b"JFIF" * 1000)
    assert "is no .beton of version 2" in refused(path)


def test_a_cut_file_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    write(path)
    whole = path.read_bytes()
    for cut in np.linspace(1, len(whole) - 1, 20).astype(int).tolist():
        path.write_bytes(whole[:cut])
        refused(path)


def test_a_file_that_was_never_finished_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    with Writer(path, 3) as writer:
        writer.append(b"x" * 100, JPEG, 4, 4, 0)
        writer.sync()
    refused(path)


@pytest.mark.parametrize("place", range(20))
def test_a_flipped_bit_is_seen(tmp_path: Path, place: int) -> None:
    """In header, descriptors, records and table: by the layout, or by the checksum that the manifest keeps."""
    path = tmp_path / "a.beton"
    write(path)
    whole = path.read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    generator = np.random.default_rng(place)
    table = len(whole) - 6 * ENTRY.itemsize
    regions = [(0, 24), (24, beton.BEGIN), (beton.BEGIN, beton.BEGIN + 6 * SAMPLE.itemsize), (table, len(whole))]
    at = int(generator.integers(*regions[place % 4]))
    damaged = bytearray(whole)
    damaged[at] ^= 1 << int(generator.integers(8))
    path.write_bytes(damaged)
    try:
        beton.read(path)
    except DataError:
        refused(path)
    else:
        assert hashlib.sha256(path.read_bytes()).hexdigest() != digest


RECORD = beton.BEGIN + 2 * SAMPLE.itemsize
"""Of the third image, which is a JPEG; the fourth is raw."""
RAW_RECORD = beton.BEGIN + 3 * SAMPLE.itemsize


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (2, b"\3", "has other fields"),
        (24, b"\5", "has other fields"),
        (4, b"\1\0\0\0", "has pages of 1 bytes"),
        (8, bytes(8), "has no images"),
        (8, b"\xff" * 8, "is cut off or damaged"),
        (8, b"\5", "its table has 144 bytes, not the 120 of 5 images"),
        (16, bytes(8), "its table of 6 images should be at byte 0"),
        (16, b"\xff" * 8, "is cut off or damaged"),
        (RECORD, b"\7", "image 2 is neither JPEG nor raw"),
        (RECORD + 1, b"\0\0", "image 2 has no pixels"),
        (RECORD + 5, bytes(8), "image 2 is not where its table says"),
        (RECORD + 16, b"\xff" * 8, "image 2 has a label below 0"),
        (RAW_RECORD + 1, b"\5\0", "image 3 is raw and has not three bytes a pixel"),
        (-ENTRY.itemsize, bytes(8), "its table does not have each image once"),
        (-ENTRY.itemsize, b"\xff" * 8, "its table does not have each image once"),
        (-8, bytes(8), "image 5 lies outside the file's images"),
        (-8, b"\xff" * 8, "image 5 lies outside the file's images"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, at: int, value: bytes, words: str) -> None:
    path = tmp_path / "a.beton"
    write(path)
    damaged = bytearray(path.read_bytes())
    at %= len(damaged)
    damaged[at : at + len(value)] = value
    path.write_bytes(damaged)
    assert words in refused(path)


def test_images_that_overlap_or_straddle_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    write(path)
    whole = path.read_bytes()
    found = beton.read(path)
    table = len(whole) - 6 * ENTRY.itemsize
    longer = bytearray(whole)
    longer[table + 16 : table + 24] = (int(found.sizes[0]) + 1).to_bytes(8, "little")
    path.write_bytes(longer)
    assert "image 1 overlaps another" in refused(path)
    with Writer(path, 2) as writer:
        writer.append(bytes(7 << 20), JPEG, 4, 4, 0)
        writer.append(bytes(7 << 20), JPEG, 4, 4, 0)
        writer.finish()
    straddling = bytearray(path.read_bytes())
    size = len(straddling) - 2 * ENTRY.itemsize + 16
    straddling[size : size + 8] = ((7 << 20) + (2 << 20)).to_bytes(8, "little")
    path.write_bytes(straddling)
    assert "image 0 straddles two pages" in refused(path)
