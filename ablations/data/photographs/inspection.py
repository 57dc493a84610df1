"""One image of a source, decoded whole and strictly: kept as it is, to be converted, or damaged.

libjpeg goes on where data are damaged, and delivers wrong pixels; Pillow and torchvision do not tell. A small compiled
decoder counts its warnings. Without a C compiler or libjpeg's headers Pillow decodes, which sees less: truncation, but
not every flipped bit.
"""

import ctypes
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ablations.kernels.compiler import NoCompilerError, library

SOURCE = Path(__file__).parents[2] / "kernels" / "inspect_jpeg.c"
MOST_PIXELS = 178_956_970
"""Of one image: Pillow's own limit. A damaged header may ask for more than there is memory."""
LARGEST_SIDE = 65_535
QUALITY = 95
"""Of what is converted to JPEG, with a colour for every pixel."""
_DAMAGED, _UNREADABLE = 1, 2
_MESSAGE_BYTES = 256
"""At least JMSG_LENGTH_MAX of libjpeg."""


class DamagedError(Exception):
    """The image is damaged, or cannot be read. Its text is the reason, as `0 bytes`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inspected:
    """Pixels in RGB, and `converted`: why the source's bytes cannot be stored as they are, None if they can."""

    image: Image.Image
    converted: str | None


def strict() -> bool:
    """Whether the compiled decoder is at hand."""
    try:
        _function()
    except NoCompilerError:
        return False
    return True


def inspect(data: bytes) -> Inspected:
    """Decode an image whole. Raises DamagedError where that cannot be done without a doubt."""
    if not data:
        raise DamagedError("0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of EXIF data, which nothing here looks at
            return _jpeg(data) if data[:2] == b"\xff\xd8" else _other(data)
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, OverflowError, TypeError) as error:
        raise DamagedError(_one_line(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DamagedError(_one_line(error)) from error


def encode(image: Image.Image, quality: int, *, subsampling: str) -> bytes:
    """A JPEG; `4:4:4` keeps a colour for every pixel, `4:2:0` one for four."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


def _jpeg(data: bytes) -> Inspected:
    if not strict():
        return _jpeg_by_pillow(data)
    facts, message = (ctypes.c_int * 3)(), ctypes.create_string_buffer(_MESSAGE_BYTES)
    status = _function()(data, len(data), None, facts, message)
    if status == _UNREADABLE:
        raise DamagedError(_said(message))
    width, height, components = facts
    _see_size(width, height)
    pixels = np.empty((height, width, 4 if components == 4 else 3), dtype=np.uint8)
    status = _function()(data, len(data), pixels.ctypes.data, facts, message)
    if status in (_DAMAGED, _UNREADABLE):
        raise DamagedError(_said(message))
    if components == 4:
        return _jpeg_by_pillow(data)
    return Inspected(image=Image.fromarray(pixels), converted=None)


def _jpeg_by_pillow(data: bytes) -> Inspected:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        _see_size(*image.size)
        image.load()
        plain = image.mode in ("RGB", "L")
        return Inspected(image=image.convert("RGB"), converted=None if plain else f"JPEG in {image.mode}")


def _other(data: bytes) -> Inspected:
    """Any other format that Pillow reads: its first frame, 16 bits scaled to 8, transparency dropped."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _see_size(*image.size)
            image.verify()
    except Image.UnidentifiedImageError:
        raise DamagedError("no format that can be read") from None
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        reason = f"{image.format} in {image.mode}"
        if image.mode.startswith("I;16"):
            grey = np.asarray(image).astype(np.uint32)
            return Inspected(
                image=Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB"), converted=reason
            )
        if image.mode in ("I", "F"):
            raise DamagedError(f"{reason}: 32 bits a pixel, whose range is not known")
        return Inspected(image=image.convert("RGB"), converted=reason)


def _see_size(width: int, height: int) -> None:
    if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
        raise DamagedError(f"{width}x{height} pixels, more than the {MOST_PIXELS:,} that are read")
    if min(width, height) < 1:
        raise DamagedError(f"{width}x{height} pixels")


def _said(message: Any) -> str:
    return _one_line(message.value.decode("utf-8", errors="replace") or "libjpeg says no more")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@lru_cache(maxsize=1)
def _function() -> Any:
    function = library(SOURCE, links=("-ljpeg",)).inspect_jpeg
    function.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p]
    function.restype = ctypes.c_int
    return function
