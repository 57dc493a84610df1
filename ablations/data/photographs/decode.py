"""Crops out of stored images: by our kernel over libjpeg-turbo, or by Pillow where that cannot be compiled.

A box of an image is resized by the antialiased triangle filter of Pillow's BILINEAR: along rows, rounded to bytes, then
along columns. Both decoders give the same pixels. (Pillow up to 12 does so too; Pillow 13 filters columns first where
that is less work, which rounds otherwise, by 0.2/255 on average.) The paper's augmentation, a resize of the shorter
side to S followed by a crop (sec. 3.4), is such a box, to 0.01/255.
"""

import ctypes
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablations import kernels
from ablations.data.photographs.beton import JPEG, LARGEST_SIDE, RAW
from ablations.kernels.compiler import NoCompilerError, library

FINE, WARNED, UNREADABLE, COLOURS = range(4)
"""Of an image: decoded; decoded with warnings; unreadable (cut off, of another format or size); neither RGB nor grey.

Pillow tells damage that it sees as unreadable, and sees less of it.
"""
SOURCE = Path(kernels.__file__).with_name("decode.c")
FLAGS = ("-ffp-contract=off", "-pthread")
"""A fused multiplication would round some weights of the filter otherwise than Pillow does."""
LINKS = ("-ljpeg",)
HINT = "it needs libjpeg-turbo's headers: install libjpeg-dev"


@dataclass(frozen=True, eq=False)
class Batch:
    """What `Decoder.crops` is given, checked; arrays are contiguous and of the types that are named there."""

    data: NDArray[np.uint8]
    pointers: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    modes: NDArray[np.uint8]
    heights: NDArray[np.uint16]
    widths: NDArray[np.uint16]
    boxes: NDArray[np.float64]
    flips: NDArray[np.bool_]
    out: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Decoder:
    """Decodes and crops. `name`: which one it is, in words, for the record of an attempt.

    `decode` crops a batch by so many threads. `compiled` is the C function for one image, which FFCV's pipeline calls.
    """

    name: str
    decode: Callable[[Batch, int], NDArray[np.uint8]]
    compiled: Any | None = None

    def crops(
        self,
        data: NDArray[np.uint8],
        pointers: NDArray[np.uint64],
        sizes: NDArray[np.uint64],
        modes: NDArray[np.uint8],
        heights: NDArray[np.uint16],
        widths: NDArray[np.uint16],
        boxes: NDArray[np.float64],
        flips: NDArray[np.bool_],
        out: NDArray[np.uint8],
        threads: int = 1,
    ) -> NDArray[np.uint8]:
        """Crop B images that are stored in `data` (bytes,) into `out` (B, h, w, 3), RGB; return their statuses (B,).

        `pointers` and `sizes` (B,), byte ranges of `data`; `modes` (B,), 0 for JPEG and 1 for raw RGB; `heights` and
        `widths` (B,), as they were recorded, in pixels; `boxes` (B, 4), x0, y0, x1, y1 in pixels of the stored image;
        `flips` (B,), whether mirrored. Pixels whose status is not FINE mean nothing. The result does not depend on
        `threads`. Raises ValueError for a box that has no area or leaves its image, and for arrays of another shape.
        """
        if out.ndim != 4 or out.shape[3] != 3 or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"crops go to contiguous uint8 (B, h, w, 3), not to {out.dtype} {out.shape}")
        if max(out.shape[1:3]) > LARGEST_SIDE or min(out.shape[1:3]) < 1:
            raise ValueError(f"crops of {out.shape[2]}x{out.shape[1]} pixels: a side has 1 to {LARGEST_SIDE:,}")
        count = len(out)
        batch = Batch(
            data=_like(data, np.uint8, len(data)),
            pointers=_like(pointers, np.uint64, count),
            sizes=_like(sizes, np.uint64, count),
            modes=_like(modes, np.uint8, count),
            heights=_like(heights, np.uint16, count),
            widths=_like(widths, np.uint16, count),
            boxes=_like(boxes, np.float64, count, 4),
            flips=_like(flips, np.bool_, count),
            out=out,
        )
        _check_boxes(batch)
        return self.decode(batch, max(1, threads))


@lru_cache(maxsize=1)
def decoder() -> Decoder:
    """The kernel, or Pillow where it cannot be had, with the reason in its name."""
    try:
        return kernel()
    except NoCompilerError as error:
        return Decoder(f"Pillow, whole images ({error})", _by_pillow)


def kernel(*defines: str) -> Decoder:
    """libjpeg-turbo's window decode and our resize, in C; damage below the window of a JPEG is not looked at.

    Raises NoCompilerError.
    """
    one, many = _functions(defines)

    def decode(batch: Batch, threads: int) -> NDArray[np.uint8]:
        count, height, width, _ = batch.out.shape
        statuses = np.full(count, UNREADABLE, dtype=np.uint8)
        arrays = (
            batch.pointers, batch.sizes, batch.modes, batch.heights, batch.widths, batch.boxes, batch.flips, batch.out,
            statuses,
        )  # fmt: skip
        addresses = [each.ctypes.data for each in arrays]
        many(batch.data.ctypes.data, batch.data.nbytes, *addresses, count, height, width, threads)
        return statuses

    return Decoder("the kernel over libjpeg-turbo", decode, one)


def portable() -> Decoder:
    """Pillow: whole images decoded, then the same resize. It works wherever Pillow does."""
    return Decoder("Pillow, whole images", _by_pillow)


def whole(
    decoder: Decoder, stored: NDArray[np.uint8], mode: int, height: int, width: int, out: NDArray[np.uint8]
) -> int:
    """Decode one stored image (bytes,) of `height` x `width` pixels and resize all of it into `out` (h, w, 3).

    Returns its status.
    """
    one = np.array([[0.0, 0.0, width, height]])
    statuses = decoder.crops(
        stored, np.array([0], dtype=np.uint64), np.array([len(stored)], dtype=np.uint64),
        np.array([mode], dtype=np.uint8), np.array([height], dtype=np.uint16), np.array([width], dtype=np.uint16),
        one, np.array([False]), out[None],
    )  # fmt: skip
    return int(statuses[0])


def resized(image: Image.Image, box: Sequence[float], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The box of an RGB image, resized to `size` (width, height), as (height, width, 3): rows first in any Pillow."""
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float32).tolist()
    rows = image.resize((size[0], image.height), Image.Resampling.BILINEAR, box=(x0, 0, x1, image.height))
    return np.asarray(rows.resize(size, Image.Resampling.BILINEAR, box=(0, y0, size[0], y1)))


def _decoded(stored: NDArray[np.uint8], mode: int, width: int, height: int) -> Image.Image | int:
    """A stored image, or the status that says why there is none."""
    if mode == RAW:
        sound = len(stored) == 3 * width * height
        return Image.fromarray(stored.reshape(height, width, 3)) if sound else UNREADABLE
    if mode != JPEG:
        return UNREADABLE
    try:
        with Image.open(io.BytesIO(stored.tobytes()), formats=("JPEG",)) as image:
            if image.size != (width, height):
                return UNREADABLE
            return image.convert("RGB") if image.mode in ("RGB", "L") else COLOURS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return UNREADABLE


def _functions(defines: Sequence[str]) -> tuple[Any, Any]:
    """`decode_crop` and `decode_crops`, which hold no lock of Python's and trust the lengths that they are told."""
    try:
        compiled = library(SOURCE, *defines, flags=FLAGS, links=LINKS)
    except NoCompilerError as error:
        if "jpeg" not in str(error):
            raise
        raise NoCompilerError(f"{HINT} ({error})") from error
    address, size, number = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
    one, many = compiled.decode_crop, compiled.decode_crops
    one.argtypes = [address, size, *[number] * 3, *[ctypes.c_double] * 4, *[number] * 3, address, address]
    many.argtypes = [address, size, *[address] * 9, *[ctypes.c_long] * 4]
    one.restype = many.restype = None
    return one, many


def _by_pillow(batch: Batch, threads: int) -> NDArray[np.uint8]:
    height, width = batch.out.shape[1:3]
    within = (batch.pointers <= len(batch.data)) & (batch.sizes <= len(batch.data) - batch.pointers)

    def crop(i: int) -> int:
        if not within[i]:
            return UNREADABLE
        begin = int(batch.pointers[i])
        stored = batch.data[begin : begin + int(batch.sizes[i])]
        image = _decoded(stored, int(batch.modes[i]), int(batch.widths[i]), int(batch.heights[i]))
        if isinstance(image, int):
            return image
        pixels = resized(image, batch.boxes[i].tolist(), (width, height))
        batch.out[i] = pixels[:, ::-1] if batch.flips[i] else pixels
        return FINE

    with ThreadPoolExecutor(threads) as pool:  # Pillow holds no lock of Python's while it decodes and resizes
        return np.fromiter(pool.map(crop, range(len(batch.out))), dtype=np.uint8, count=len(batch.out))


def _check_boxes(batch: Batch) -> None:
    x0, y0, x1, y1 = batch.boxes.astype(np.float32).T  # as Pillow takes them; a rounding error outside goes
    good = (x0 >= 0) & (y0 >= 0) & (x0 < x1) & (y0 < y1)
    good &= (x1 <= batch.widths) & (y1 <= batch.heights)
    if not good.all():
        i = int(np.argmin(good))
        size = f"{batch.widths[i]}x{batch.heights[i]}"
        raise ValueError(f"box {batch.boxes[i].tolist()} is no part of an image of {size} pixels; crop inside it")


def _like(array: NDArray[Any], dtype: Any, *shape: int) -> NDArray[Any]:
    if array.shape != shape:
        raise ValueError(f"an array of shape {shape} is wanted here, not {array.shape}")
    return np.ascontiguousarray(array, dtype=dtype)
