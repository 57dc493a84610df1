"""What is kept, what is converted, and what is damaged; nothing damaged is ever taken for an image."""

import io
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from photographs_made import encoded, jpeg, photograph
from PIL import Image

from ablations.data.photographs import inspection
from ablations.data.photographs.inspection import DamagedError, inspect, strict
from ablations.kernels.compiler import NoCompilerError

needs_strict = pytest.mark.skipif(not strict(), reason="no C compiler, or no headers of libjpeg")
PHOTOGRAPH = photograph(0)


@pytest.fixture(params=["strict", "Pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two ways to decode a JPEG."""
    if request.param == "Pillow":

        def none() -> None:
            raise NoCompilerError

        monkeypatch.setattr(inspection, "_function", none)
    elif not strict():
        pytest.skip("no C compiler, or no headers of libjpeg")
    return request.param


KEPT = {
    "RGB": encoded(PHOTOGRAPH),
    "greyscale": encoded(PHOTOGRAPH.convert("L")),
    "progressive": encoded(PHOTOGRAPH, progressive=True),
    "4:4:4": encoded(PHOTOGRAPH, subsampling=0),
    "turned by EXIF": encoded(PHOTOGRAPH, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "with damaged EXIF": encoded(PHOTOGRAPH, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff"),
    "with bytes behind its end": encoded(PHOTOGRAPH) + b"\0" * 100,
    "one pixel": encoded(photograph(1, 1, 1)),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_clean_jpeg_is_kept(name: str, decoder: str) -> None:
    found = inspect(KEPT[name])
    assert found.converted is None
    assert found.image.mode == "RGB"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF
        literal = np.asarray(Image.open(io.BytesIO(KEPT[name])).convert("RGB")).astype(int)
    assert found.image.size == literal.shape[1::-1]
    assert np.abs(np.asarray(found.image) - literal).mean() < (1 if decoder == "strict" else 1e-9)


def sixteen() -> Image.Image:
    return Image.fromarray((np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16))


CONVERTED = {
    "JPEG in CMYK": encoded(PHOTOGRAPH.convert("CMYK")),
    "PNG in RGB": encoded(PHOTOGRAPH, "PNG"),
    "PNG in L": encoded(PHOTOGRAPH.convert("L"), "PNG"),
    "PNG in 1": encoded(PHOTOGRAPH.convert("1"), "PNG"),
    "PNG in P": encoded(PHOTOGRAPH.convert("P"), "PNG"),
    "PNG in RGBA": encoded(PHOTOGRAPH.convert("RGBA"), "PNG"),
    "PNG in LA": encoded(PHOTOGRAPH.convert("LA"), "PNG"),
    "PNG in I;16": encoded(sixteen(), "PNG"),
    "GIF in P": encoded(PHOTOGRAPH.convert("P"), "GIF"),
    "BMP in RGB": encoded(PHOTOGRAPH, "BMP"),
    "WEBP in RGB": encoded(PHOTOGRAPH, "WEBP", lossless=True),
    "TIFF in RGB": encoded(PHOTOGRAPH, "TIFF"),
    "PPM in RGB": encoded(PHOTOGRAPH, "PPM"),
}


@pytest.mark.parametrize("reason", CONVERTED)
def test_what_is_no_such_jpeg_is_converted(reason: str, decoder: str) -> None:
    found = inspect(CONVERTED[reason])
    assert found.converted == reason
    assert found.image.mode == "RGB"
    assert found.image.size == (64, 48)
    if reason != "PNG in I;16":
        far = {"PNG in 1": 140, "PNG in P": 40, "GIF in P": 40, "JPEG in CMYK": 20, "PNG in L": 60, "PNG in LA": 60}
        apart = np.abs(np.asarray(found.image).astype(int) - np.asarray(PHOTOGRAPH)).mean()
        assert apart <= far.get(reason, 0)


def test_sixteen_bits_are_scaled() -> None:
    """Not clipped: 65535 is white, 32896 is 128."""
    found = np.asarray(inspect(CONVERTED["PNG in I;16"]).image)[..., 0]
    assert np.array_equal(found, (np.asarray(sixteen()).astype(int) + 128) // 257)
    assert found.max() > 200


def header_of(width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    data = bytearray(jpeg(0))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def png_with(place: int) -> bytes:
    """A PNG with one bit of its pixels flipped."""
    data = bytearray(encoded(PHOTOGRAPH, "PNG"))
    data[data.index(b"IDAT") + 4 + place] ^= 4
    return bytes(data)


def png_bomb() -> bytes:
    """A PNG that claims 60,000 times 60,000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


DAMAGED = {
    "0 bytes": (b"", "0 bytes"),
    "text": (b"<html>404 Not Found</html>" * 20, "no format that can be read"),
    "zeros": (bytes(4000), "no format that can be read"),
    "the first two bytes": (b"\xff\xd8", ""),
    "a PNG cut in two": (encoded(PHOTOGRAPH, "PNG")[:3000], ""),
    "a PNG with a flipped bit": (png_with(500), ""),
    "a GIF cut in two": (encoded(PHOTOGRAPH.convert("P"), "GIF")[:900], ""),
    "a WEBP cut in two": (encoded(PHOTOGRAPH, "WEBP")[:300], ""),
    "a TIFF cut in two": (encoded(PHOTOGRAPH, "TIFF")[:3000], ""),
    "a BMP cut in two": (encoded(PHOTOGRAPH, "BMP")[:3000], ""),
    "32 bits a pixel": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "TIFF in F: 32 bits a pixel"),
    "a PNG of 3.6 gigapixels": (png_bomb(), ""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_read_is_told(name: str, decoder: str) -> None:
    data, words = DAMAGED[name]
    with pytest.raises(DamagedError) as error:
        inspect(data)
    assert words in str(error.value)
    assert str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(65_500, 65_500), (20_000, 20_000)])
def test_a_header_cannot_ask_for_all_memory(size: tuple[int, int], decoder: str) -> None:
    with pytest.raises(DamagedError, match="pixels"):
        inspect(header_of(*size))


def test_a_cut_jpeg_is_never_taken(decoder: str) -> None:
    """Nor is one whose size in the header is too large: the rest would be grey."""
    whole = jpeg(3, 128, 96)
    for cut in np.linspace(2, len(whole) - 200, 40).astype(int).tolist():
        with pytest.raises(DamagedError):
            inspect(whole[:cut])


@needs_strict
def test_the_last_byte_counts() -> None:
    whole = jpeg(3, 128, 96)
    for cut in (1, 2, 3, 10, 50):
        with pytest.raises(DamagedError, match="Premature end of JPEG file"):
            inspect(whole[:-cut])
    with pytest.raises(DamagedError, match=r"premature end|[Pp]remature"):
        inspect(header_of(64, 480))


@needs_strict
def test_a_zeroed_part_is_seen() -> None:
    data = bytearray(jpeg(3, 128, 96))
    data[len(data) // 2 : len(data) // 2 + 1000] = bytes(1000)
    with pytest.raises(DamagedError, match="Corrupt JPEG data"):
        inspect(bytes(data))


@needs_strict
def test_most_of_what_pillow_overlooks_is_seen() -> None:
    """32 changed bytes in a row: Pillow has nothing to say of most. What decodes to its end by luck, nobody can see."""
    seen = overlooked = 0
    for seed in range(40):
        data = bytearray(jpeg(seed, 128, 96))
        begin = data.index(b"\xff\xda") + 20 + 37 * seed
        for at in range(begin, begin + 32):
            data[at] ^= 0x55
        try:
            inspect(bytes(data))
        except DamagedError:
            seen += 1
        try:
            Image.open(io.BytesIO(bytes(data))).load()
            overlooked += 1
        except OSError:
            pass
    assert seen >= 30
    assert overlooked >= 30


def test_this_machine_can_check_strictly_where_it_has_what_is_needed() -> None:
    """Else every test above of the strict decoder would be skipped for a mistake of ours."""
    if shutil.which("cc") is None or not Path("/usr/include/jpeglib.h").exists():
        pytest.skip("no C compiler, or no headers of libjpeg")
    assert strict()
