"""Boxes of stored images, resized: by our own decoder, compiled when it is first needed, or by torchvision's."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ablations.data.photographs.beton import RAW
from ablations.kernels.compiler import NoCompilerError, library

SOURCE = Path(__file__).parents[2] / "kernels" / "decode.c"
FINE, WARNED, UNREADABLE, COLOURS = range(4)
"""Of an image: decoded; decoded with warnings; unreadable; neither RGB nor greyscale."""


class Decoder(Protocol):
    """Cuts boxes out of images that lie in a file."""

    @property
    def name(self) -> str:
        """In words, for the record of an attempt."""
        ...

    @property
    def compiled(self) -> Any | None:
        """The C function for one image, as FFCV's pipeline calls it; None where there is none."""
        ...

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
        threads: int,
    ) -> NDArray[np.uint8]:
        """Fill `out` (B, h, w, 3) with the boxes (B, 4) of B images, each resized as Pillow does it with its bilinear
        filter, and mirrored where `flips` (B,) says so. Returns the status of each, (B,)."""
        ...


class Kernel:
    """The decoder in C, which decodes no more of a JPEG than the box needs."""

    name = "C decoder over libjpeg"

    def __init__(self, of: ctypes.CDLL) -> None:
        self.compiled: Any = of.decode_crop
        self.compiled.argtypes = [
            ctypes.c_void_p, ctypes.c_uint64, *[ctypes.c_uint32] * 3, *[ctypes.c_double] * 4, *[ctypes.c_uint32] * 3,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.compiled.restype = None
        self._crops: Any = of.decode_crops
        self._crops.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_long] * 4
        self._crops.restype = None

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
        threads: int,
    ) -> NDArray[np.uint8]:
        statuses = np.empty(len(out), dtype=np.uint8)
        given = [data, pointers, sizes, modes, heights, widths, boxes, flips, out, statuses]
        kinds = ("u1", "u8", "u8", "u1", "u2", "u2", "f8", "?", "u1", "u1")
        arrays = [np.ascontiguousarray(array, dtype=kind) for array, kind in zip(given, kinds, strict=True)]
        assert arrays[8] is out
        assert arrays[9] is statuses
        self._crops(*(each.ctypes.data for each in arrays), len(out), out.shape[1], out.shape[2], threads)
        return statuses


class Portable:
    """The same boxes by torchvision's decoder and Pillow's resizing, where nothing can be compiled."""

    name = "torchvision's decoder and Pillow (slower: the C decoder could not be built)"
    compiled = None

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
        threads: int,
    ) -> NDArray[np.uint8]:
        from concurrent.futures import ThreadPoolExecutor

        def one(at: int) -> int:
            begin = int(pointers[at])
            stored = data[begin : begin + int(sizes[at])]
            shape = (int(heights[at]), int(widths[at]))
            return _portably(stored, int(modes[at]), shape, tuple(boxes[at]), bool(flips[at]), out[at])

        with ThreadPoolExecutor(threads) as pool:
            return np.fromiter(pool.map(one, range(len(out))), dtype=np.uint8, count=len(out))


@lru_cache(maxsize=1)
def decoder() -> Decoder:
    """The one in C where it can be compiled."""
    try:
        return Kernel(library(SOURCE, links=("-ljpeg", "-lpthread", "-lm")))
    except NoCompilerError:
        return Portable()


def _portably(
    stored: NDArray[np.uint8],
    mode: int,
    shape: tuple[int, int],
    box: tuple[float, ...],
    flip: bool,
    out: NDArray[np.uint8],
) -> int:
    from PIL import Image

    status, pixels = (FINE, stored.reshape(*shape, 3)) if mode == RAW else _decoded(stored)
    if status != FINE or pixels.shape[:2] != shape:
        return status or UNREADABLE
    size = (out.shape[1], out.shape[0])
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=_inside(box, shape)))
    out[...] = resized[:, ::-1] if flip else resized
    return FINE


def _decoded(stored: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    nothing = np.empty((0, 0, 3), dtype=np.uint8)
    try:
        decoded: Any = decode_jpeg(torch.from_numpy(stored.copy()), mode=ImageReadMode.UNCHANGED)
    except RuntimeError:
        return UNREADABLE, nothing
    pixels = decoded.numpy()
    if pixels.shape[0] == 4:
        return COLOURS, nothing
    return FINE, np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))


def _inside(box: tuple[float, ...], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Pillow refuses a box that a rounding error puts outside."""
    return box[0], box[1], min(box[2], shape[1]), min(box[3], shape[0])
