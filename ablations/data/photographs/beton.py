"""FFCV's file layout, version 2: read and checked, and written sample by sample.

A file is a header, two field descriptors (`image`, `label`), a record for each sample, images in pages, and a table of
where each image lies. Stock FFCV reads what is written here. It checks nothing: a damaged file gives wrong pictures or
ends the process, so `read` looks at all that can be seen without touching the images.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ablations.data.errors import DataError, NotThereError

VERSION = 2
JPEG, RAW = 0, 1
PAGE = 8 << 20
"""Bytes of a page, which is larger where an image needs it; no image straddles two."""
SMALLEST_PAGE, LARGEST_PAGE = 2 << 20, 1 << 31
LARGEST_SIDE = 65_535

HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
FIELD = np.dtype([("type", "u1"), ("name", "S16"), ("arguments", "u1", 1024)])
IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
SAMPLE = np.dtype([("image", IMAGE), ("label", "<i8")], align=True)
ENTRY = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("size", "<u8")])
FIELDS = ((2, b"image"), (1, b"label"))
"""FFCV's type numbers of RGBImageField and IntField, and the names of the fields."""
BEGIN = HEADER.itemsize + len(FIELDS) * FIELD.itemsize
"""Where the records of the samples begin."""
AGAIN = "copy it again, or prepare it again with `ablate data prepare`"


@dataclass(frozen=True, kw_only=True, eq=False)
class Beton:
    """An open file of N samples: image i is `data[pointers[i] : pointers[i] + sizes[i]]`.

    modes (N,) uint8, 0 for JPEG and 1 for raw RGB pixels (H, W, 3); widths, heights (N,) uint16 in pixels; pointers,
    sizes (N,) uint64 in bytes; labels (N,) int64; data (file's bytes,) uint8, a read-only memory map.
    """

    path: Path
    modes: NDArray[np.uint8]
    widths: NDArray[np.uint16]
    heights: NDArray[np.uint16]
    pointers: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    labels: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def stored(self, index: int) -> NDArray[np.uint8]:
        """The stored bytes of an image, without a copy."""
        begin = int(self.pointers[index])
        return self.data[begin : begin + int(self.sizes[index])]


def read(path: Path) -> Beton:
    """Open a file and check its layout; the images themselves are not looked at.

    Raises NotThereError where there is none, and DataError where it is cut, damaged or of another kind.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except FileNotFoundError:
        raise NotThereError(f"{path}: is missing; {AGAIN}") from None
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise DataError(f"{path}: cannot be read ({error}); {AGAIN}") from error
    if problem := _problem_of_header(data):
        raise DataError(f"{path}: {problem}; {AGAIN}")
    header = data[: HEADER.itemsize].view(HEADER)[0]
    count, table_at = int(header["samples"]), int(header["table"])
    samples = data[BEGIN : BEGIN + count * SAMPLE.itemsize].view(SAMPLE)
    table = np.frombuffer(data[table_at:].tobytes(), dtype=ENTRY)
    if problem := _problem_of_samples(samples, table, table_at, int(header["page"])):
        raise DataError(f"{path}: {problem}; {AGAIN}")
    sizes = np.empty(count, dtype=np.uint64)
    sizes[table["sample"].astype(np.int64)] = table["size"]
    image = samples["image"]
    return Beton(
        path=path,
        modes=image["mode"].copy(),
        widths=image["width"].astype(np.uint16),
        heights=image["height"].astype(np.uint16),
        pointers=image["pointer"].astype(np.uint64),
        sizes=sizes,
        labels=samples["label"].astype(np.int64),
        data=np.asarray(data),
    )


def _problem_of_header(data: NDArray[np.uint8]) -> str | None:
    if len(data) < BEGIN:
        return f"is cut off after {len(data):,} bytes, in its header"
    header = data[: HEADER.itemsize].view(HEADER)[0]
    if header["version"] != VERSION:
        return f"is no .beton of version {VERSION} (its header says {header['version']})"
    fields = data[HEADER.itemsize : BEGIN].view(FIELD)
    found = tuple((int(each["type"]), bytes(each["name"])) for each in fields)
    if header["fields"] != len(FIELDS) or found != FIELDS:
        return "has other fields than an image and a label"
    count, table, page = int(header["samples"]), int(header["table"]), int(header["page"])
    if not SMALLEST_PAGE <= page <= LARGEST_PAGE or page & (page - 1):
        return f"has pages of {page:,} bytes, which is no power of two from {SMALLEST_PAGE:,}"
    if count == 0:
        return "has no images: it was not written to its end"
    if not BEGIN + count * SAMPLE.itemsize <= table <= len(data):
        return f"its table of {count:,} images should be at byte {table:,} of {len(data):,}: it is cut off or damaged"
    if len(data) - table != count * ENTRY.itemsize:
        return f"its table has {len(data) - table:,} bytes, not the {count * ENTRY.itemsize:,} of {count:,} images"
    return None


def _problem_of_samples(samples: NDArray[np.void], table: NDArray[np.void], table_at: int, page: int) -> str | None:
    """The first check that fails, with the index of the first image that fails it."""
    count, image = len(samples), samples["image"]
    if (table["sample"] >= count).any() or (np.bincount(table["sample"].astype(np.int64), minlength=count) != 1).any():
        return "its table does not have each image once"
    by_sample = np.empty_like(table)
    by_sample[table["sample"].astype(np.int64)] = table
    begin, size = by_sample["pointer"], by_sample["size"]
    area = 3 * image["height"].astype(np.uint64) * image["width"]
    inside = (size > 0) & (size <= table_at) & (begin <= table_at) & (begin >= BEGIN + count * SAMPLE.itemsize)
    inside &= begin + size <= table_at
    checks = (
        ("is neither JPEG nor raw", (image["mode"] != JPEG) & (image["mode"] != RAW)),
        ("has no pixels", area == 0),
        ("has a label below 0", samples["label"] < 0),
        ("is not where its table says", image["pointer"] != begin),
        ("lies outside the file's images", ~inside),
        ("is raw and has not three bytes a pixel", (image["mode"] == RAW) & (size != area)),
        ("straddles two pages", begin // np.uint64(page) != (begin + size - np.uint64(1)) // np.uint64(page)),
    )
    for what, wrong in checks:
        if wrong.any():
            return f"image {int(np.argmax(wrong)):,} {what}"
    order = np.argsort(begin, kind="stable")
    overlaps = begin[order][1:] < (begin + size)[order][:-1]
    return f"image {int(order[1:][np.argmax(overlaps)]):,} overlaps another" if overlaps.any() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """An image as it is stored, without its bytes: what `Writer` needs to go on after it. `size` in bytes."""

    mode: int
    width: int
    height: int
    label: int
    size: int


class Writer:
    """Writes a file from the front to the back; `finish` makes it valid. Where images lie follows from their sizes.

    `capacity` is the most samples that can come. With `written`, the samples that are in the file already (its
    caller's journal), it goes on behind them, and cuts off what else is there. Raises DataError where the file is
    shorter than these, ValueError for a sample that the layout cannot hold, OSError.
    """

    def __init__(self, path: Path, capacity: int, written: Iterable[Sample] = ()) -> None:
        self._samples = np.zeros(capacity, dtype=SAMPLE)
        self._table = np.zeros(capacity, dtype=ENTRY)
        self._count = 0
        self._page = PAGE
        self._end = -(-(BEGIN + capacity * SAMPLE.itemsize) // PAGE) * PAGE
        first = self._end
        for sample in written:
            self._place(sample)
        self._file = path.open("r+b" if self._count else "wb")
        if self._file.seek(0, os.SEEK_END) < self._end and self._count:
            self._file.close()
            raise DataError(f"{path}: is shorter than its journal says; remove it and its journal, and prepare again")
        self._file.truncate(self._end if self._count else first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def append(self, image: bytes, mode: int, width: int, height: int, label: int) -> None:
        """The bytes of a JPEG, or of raw RGB pixels (height, width, 3)."""
        if mode == RAW and len(image) != 3 * width * height:
            raise ValueError(f"{len(image):,} bytes are not {width}x{height} pixels of three")
        self._file.seek(self._place(Sample(mode=mode, width=width, height=height, label=label, size=len(image))))
        self._file.write(image)

    def sync(self) -> None:
        """See to it that what was appended is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write table, records and header, in this order, and close."""
        if not self._count:
            raise ValueError("a file without images cannot be written")
        header = np.zeros(1, dtype=HEADER)
        header[0] = (VERSION, len(FIELDS), self._page, self._count, self._end)
        fields = np.zeros(len(FIELDS), dtype=FIELD)
        fields["type"], fields["name"] = zip(*FIELDS, strict=True)
        self._file.seek(self._end)
        self._file.write(self._table[: self._count].tobytes())
        self._file.truncate()
        self._file.seek(0)
        self._file.write(header.tobytes() + fields.tobytes() + self._samples[: self._count].tobytes())
        self.sync()
        self._file.close()

    def _place(self, sample: Sample) -> int:
        """Where the next image goes. A page that doubles keeps the images before it inside their pages."""
        if not 0 < sample.size <= LARGEST_PAGE or min(sample.width, sample.height) < 1:
            raise ValueError(f"an image of {sample.size:,} bytes, {sample.width}x{sample.height}, cannot be stored")
        if max(sample.width, sample.height) > LARGEST_SIDE or sample.mode not in (JPEG, RAW):
            raise ValueError(f"an image of {sample.width}x{sample.height} in mode {sample.mode} cannot be stored")
        while sample.size > self._page:
            self._page *= 2
        left = self._page - self._end % self._page
        begin = self._end if sample.size <= left else self._end + left
        self._samples[self._count] = ((sample.mode, sample.width, sample.height, begin), sample.label)
        self._table[self._count] = (self._count, begin, sample.size)
        self._count += 1
        self._end = begin + sample.size
        return begin
