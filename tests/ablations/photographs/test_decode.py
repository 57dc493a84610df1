"""Crops out of stored images: by both decoders what Pillow makes of them, whatever the box, and never out of damage."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from photographs_made import SAMPLES, encoded, photograph
from PIL import Image

from ablations.data.photographs import decode
from ablations.data.photographs.beton import JPEG, RAW
from ablations.data.photographs.decode import COLOURS, FINE, UNREADABLE, WARNED, Decoder, decoder, portable, whole
from ablations.kernels.compiler import NoCompilerError

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
DECODERS = (decoder(), portable())
both = pytest.mark.parametrize("by", DECODERS, ids=["kernel", "Pillow"])
ENCODINGS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True, "quality": 30},
}


def crops(
    by: Decoder,
    stored: Sequence[bytes],
    sizes: Sequence[tuple[int, int]],
    boxes: Sequence[Box],
    size: tuple[int, int] = (24, 24),
    *,
    modes: Sequence[int] | None = None,
    flips: Sequence[bool] | None = None,
    threads: int = 1,
) -> tuple[Pixels, list[int]]:
    """Of images of `sizes` (width, height): crops of `size` (width, height) and their statuses."""
    lengths = np.array([len(each) for each in stored], dtype=np.uint64)
    out = np.full((len(stored), size[1], size[0], 3), 77, dtype=np.uint8)
    statuses = by.crops(
        np.frombuffer(b"".join(stored), dtype=np.uint8),
        np.cumsum(lengths) - lengths,
        lengths,
        np.array(modes or [JPEG] * len(stored), dtype=np.uint8),
        np.array([height for _, height in sizes], dtype=np.uint16),
        np.array([width for width, _ in sizes], dtype=np.uint16),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(flips or [False] * len(stored)),
        out,
        threads,
    )
    return out, statuses.tolist()


def of(by: Decoder, image: bytes, size: tuple[int, int], box: Box, to: tuple[int, int] = (24, 24)) -> Pixels:
    out, statuses = crops(by, [image], [size], [box], to)
    assert statuses == [FINE]
    return out[0]


def by_pillow(image: Image.Image, box: Box, size: tuple[int, int]) -> NDArray[np.int64]:
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=box)).astype(np.int64)


def full(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image)).convert("RGB")


def inside(generator: np.random.Generator, width: int, height: int) -> Box:
    x0, y0 = generator.uniform(0, width * 0.7), generator.uniform(0, height * 0.7)
    return x0, y0, generator.uniform(x0 + 1, width + 0.999), generator.uniform(y0 + 1, height + 0.999)


def clipped(box: Box, width: int, height: int) -> Box:
    return box[0], box[1], min(box[2], width), min(box[3], height)


def test_this_machine_has_the_kernel() -> None:
    """What follows would else test Pillow twice."""
    assert decoder().name == "the kernel over libjpeg-turbo"
    assert decoder().compiled is not None
    assert portable().name.startswith("Pillow")
    assert portable().compiled is None


@both
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [(97, 61), (64, 48), (33, 130), (17, 16)])
def test_a_crop_is_what_pillow_makes_of_it(by: Decoder, encoding: str, size: tuple[int, int]) -> None:
    """Boxes of any place and scale: pixels differ in rounding alone, for Pillow may filter columns first."""
    image = encoded(photograph(sum(size), *size), **ENCODINGS[encoding])
    generator = np.random.default_rng(sum(size))
    boxes = [clipped(inside(generator, *size), *size) for _ in range(12)]
    boxes += [(0, 0, *size), (0, 0, 1, 1), (size[0] - 1, size[1] - 1, *size), (0, size[1] - 2, size[0], size[1])]
    out, statuses = crops(by, [image] * len(boxes), [size] * len(boxes), boxes)
    assert statuses == [FINE] * len(boxes)
    for box, pixels in zip(boxes, out, strict=True):
        difference = abs(pixels - by_pillow(full(image), box, (24, 24)))
        assert difference.max() <= 1
        assert difference.mean() <= 0.5


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_window_is_the_same_as_out_of_the_whole_image(encoding: str) -> None:
    """Pixels as they are stored, cut at every place of a block: equal to the bit to a full decode."""
    size = (83, 77)
    image = encoded(photograph(5, *size), **ENCODINGS[encoding])
    wanted = np.asarray(full(image))
    boxes = [(x, y, x + 9, y + 11) for x in range(0, 74, 3) for y in range(0, 66, 5)]
    boxes += [(x, 0, x + 9, 11) for x in range(74)] + [(0, y, 9, y + 11) for y in range(66)]
    out, statuses = crops(decoder(), [image] * len(boxes), [size] * len(boxes), boxes, (9, 11))
    assert set(statuses) == {FINE}
    for (x0, y0, x1, y1), pixels in zip(boxes, out, strict=True):
        assert np.array_equal(pixels, wanted[y0:y1, x0:x1])


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    to=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    encoding=st.sampled_from([*ENCODINGS, "grey", "raw"]),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
    flip=st.booleans(),
)
def test_both_decoders_give_the_same_pixels(
    size: tuple[int, int],
    to: tuple[int, int],
    encoding: str,
    shares: tuple[float, float, float, float],
    flip: bool,
) -> None:
    """Of any image, box and size: equal to the bit, and near to what Pillow makes of them in one call."""
    image = photograph(size[0], *size)
    stored = image.tobytes() if encoding == "raw" else kept(size, encoding)
    seen = image if encoding == "raw" else full(stored)
    x0, y0 = shares[0] * size[0] * 0.99, shares[1] * size[1] * 0.99
    box = (x0, y0, x0 + max(shares[2] * (size[0] - x0), 1e-3), y0 + max(shares[3] * (size[1] - y0), 1e-3))
    modes = [RAW if encoding == "raw" else JPEG]
    one, other = (crops(by, [stored], [size], [clipped(box, *size)], to, modes=modes, flips=[flip]) for by in DECODERS)
    assert one[1] == other[1] == [FINE]
    assert np.array_equal(one[0], other[0])
    straight = one[0][0][:, ::-1] if flip else one[0][0]
    assert abs(straight - by_pillow(seen, clipped(box, *size), to)).max() <= 1


@cache
def kept(size: tuple[int, int], encoding: str) -> bytes:
    image = photograph(size[0], *size)
    return encoded(image.convert("L") if encoding == "grey" else image, **ENCODINGS.get(encoding, {}))


@both
def test_a_mirrored_crop_is_the_crop_mirrored(by: Decoder) -> None:
    image, box = kept((40, 30), "4:2:0"), (3.3, 2.2, 33.1, 28.7)
    out, _ = crops(by, [image] * 2, [(40, 30)] * 2, [box] * 2, (21, 13), flips=[False, True])
    assert np.array_equal(out[0], out[1][:, ::-1])
    assert not np.array_equal(out[0], out[1])


@both
def test_a_grey_image_has_three_equal_colours(by: Decoder) -> None:
    pixels = of(by, kept((40, 30), "grey"), (40, 30), (0, 0, 40, 30))
    assert (pixels == pixels[..., :1]).all()
    assert pixels.std() > 10


@both
def test_unusual_sampling_of_colours(by: Decoder) -> None:
    """Colours at a quarter of the columns, or of the rows: no window is taken of those, and pixels are right."""
    for factors in (b"\x41", b"\x14", b"\x12", b"\x21"):
        image = resampled(factors)
        box = (10.0, 7.0, 30.0, 25.0)
        assert abs(of(by, image, (40, 32), box) - by_pillow(full(image), box, (24, 24))).max() <= 1


def resampled(factors: bytes) -> bytes:
    """A JPEG whose frame says that brightness has other factors than it was written with: odd pixels, and valid."""
    image = bytearray(encoded(photograph(3, 40, 32), subsampling=0))
    frame = image.index(b"\xff\xc0")
    image[frame + 11 : frame + 12] = factors
    return bytes(image)


@both
def test_many_threads_make_no_difference(by: Decoder) -> None:
    generator = np.random.default_rng(1)
    sizes = [(30 + each, 40 + each * 3 % 17) for each in range(30)]
    stored = [encoded(photograph(each, *size)) for each, size in enumerate(sizes)]
    boxes = [clipped(inside(generator, *size), *size) for size in sizes]
    alone, _ = crops(by, stored, sizes, boxes)
    for threads in (2, 5, 64):
        out, statuses = crops(by, stored, sizes, boxes, threads=threads)
        assert statuses == [FINE] * 30
        assert np.array_equal(out, alone)


@both
def test_a_whole_image(by: Decoder) -> None:
    out = np.empty((31, 45, 3), dtype=np.uint8)
    image = np.frombuffer(kept((40, 30), "4:2:0"), dtype=np.uint8)
    assert whole(by, image, JPEG, 30, 40, out) == FINE
    assert abs(out - by_pillow(full(image.tobytes()), (0, 0, 40, 30), (45, 31))).max() <= 1
    same = np.empty((30, 40, 3), dtype=np.uint8)
    assert whole(by, image, JPEG, 30, 40, same) == FINE
    assert np.array_equal(same, np.asarray(full(image.tobytes())))
    assert whole(by, image[:200], JPEG, 30, 40, out) != FINE


# Damage ---------------------------------------------------------------------------------------------------------------


def broken() -> dict[str, tuple[bytes, int, int]]:
    """Stored bytes that are no image, how they are said to be stored, and the kernel's status of them."""
    image = encoded(photograph(1, 64, 48))
    other = io.BytesIO()
    photograph(1, 64, 48).save(other, "PNG")
    return {
        "empty": (b"", JPEG, UNREADABLE),
        "zeros": (bytes(len(image)), JPEG, UNREADABLE),
        "cut in its header": (image[:100], JPEG, UNREADABLE),
        "cut in its pixels": (image[: len(image) // 2], JPEG, WARNED),
        "ended in its pixels": (image[:800] + b"\xff\xd9" + image[802:], JPEG, WARNED),
        "PNG": (other.getvalue(), JPEG, UNREADABLE),
        "CMYK": (encoded(photograph(1, 64, 48).convert("CMYK")), JPEG, COLOURS),
        "of another size": (encoded(photograph(1, 63, 48)), JPEG, UNREADABLE),
        "raw and short": (bytes(64 * 48 * 3 - 1), RAW, UNREADABLE),
        "raw and long": (bytes(64 * 48 * 3 + 1), RAW, UNREADABLE),
        "in no known mode": (image, 2, UNREADABLE),
    }


@pytest.mark.parametrize("damage", broken())
def test_what_is_damaged_is_told(damage: str) -> None:
    """Of one image, while its neighbours are decoded as ever. Where libjpeg warns, Pillow may say nothing."""
    stored, mode, status = broken()[damage]
    good = encoded(photograph(2, 64, 48))
    boxes: list[Box] = [(1, 1, 60, 47)] * 3
    for by in DECODERS:
        out, statuses = crops(by, [good, stored, good], [(64, 48)] * 3, boxes, modes=[JPEG, mode, JPEG])
        assert [statuses[0], statuses[2]] == [FINE, FINE]
        assert np.array_equal(out[0], out[2])
        if by is DECODERS[0]:
            assert statuses[1] == status
        elif damage != "ended in its pixels":
            assert statuses[1] == (COLOURS if status == COLOURS else UNREADABLE)


def test_damage_below_the_window_is_not_looked_at() -> None:
    """The pixels that are wanted are right; `ablate data verify` is there for the rest."""
    image = encoded(photograph(1, 64, 200))
    out, statuses = crops(decoder(), [image[: len(image) * 3 // 4]], [(64, 200)], [(0, 0, 64, 60)])
    assert statuses == [FINE]
    assert np.array_equal(out[0], of(decoder(), image, (64, 200), (0, 0, 64, 60)))


def test_a_table_of_another_image_is_not_borrowed() -> None:
    """A JPEG without its own tables must not be read with those of the image before it."""
    image = encoded(photograph(1, 64, 48))
    start = image.index(b"\xff\xdb")
    length = int.from_bytes(image[start + 2 : start + 4], "big")
    bare = image[:start] + image[start + 2 + length :]
    _, statuses = crops(decoder(), [image, bare, image], [(64, 48)] * 3, [(0, 0, 64, 48)] * 3)
    assert statuses == [FINE, UNREADABLE, FINE]


@both
def test_bytes_outside_the_file_are_not_read(by: Decoder) -> None:
    stored = np.frombuffer(kept((40, 30), "4:2:0"), dtype=np.uint8)
    size = len(stored)
    pointers = np.array([size - 10, size + 1, 2**64 - 1, 0], dtype=np.uint64)
    out = np.empty((4, 8, 8, 3), dtype=np.uint8)
    statuses = by.crops(
        stored, pointers, np.array([11, 1, 2, size + 1], dtype=np.uint64), np.zeros(4, dtype=np.uint8),
        np.full(4, 30, dtype=np.uint16), np.full(4, 40, dtype=np.uint16), np.array([[0.0, 0, 40, 30]] * 4),
        np.zeros(4, dtype=np.bool_), out,
    )  # fmt: skip
    assert statuses.tolist() == [UNREADABLE] * 4


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*ENCODINGS, "grey"]), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8))
def test_bytes_that_were_changed_anywhere(encoding: str, changes: list[tuple[float, int]]) -> None:
    """Any status, and no crash; the next image is not the worse for it."""
    image = bytearray(kept((40, 30), encoding))
    for where, value in changes:
        image[int(where * (len(image) - 1))] = value
    good = kept((40, 30), encoding)
    out, statuses = crops(decoder(), [bytes(image), good], [(40, 30)] * 2, [(5.5, 4, 39, 29)] * 2)
    assert statuses[0] in (FINE, WARNED, UNREADABLE, COLOURS)
    assert statuses[1] == FINE
    assert np.array_equal(out[1], of(decoder(), good, (40, 30), (5.5, 4, 39, 29)))


def test_thousands_of_damaged_images_under_sanitisers(tmp_path: Path) -> None:
    """The decoder reads and writes its own memory alone, and libjpeg the rows that it is given."""
    program, source = tmp_path / "fuzz", Path(__file__).with_name("fuzz_decode.c")
    sanitisers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    command = ["cc", "-std=gnu11", "-O1", "-march=native", f"-I{decode.SOURCE.parent}", *decode.FLAGS]
    made = subprocess.run([*command, *sanitisers, source, "-o", program, *decode.LINKS], capture_output=True, text=True)
    if "asan" in made.stderr:
        pytest.skip("this compiler has no sanitisers")
    assert made.returncode == 0, made.stderr
    images = {f"{name}.jpg": encoded(photograph(1, 130, 90), **options) for name, options in ENCODINGS.items()}
    images["grey.jpg"] = encoded(photograph(1, 70, 50).convert("L"))
    images["cmyk.jpg"] = encoded(photograph(1, 70, 50).convert("CMYK"))
    for name, image in images.items():
        (tmp_path / name).write_bytes(image)
    ended = subprocess.run([program, "4000", "1", *images], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    counts = [int(each) for each in ended.stdout.split()]
    assert sum(counts) == 4000
    assert min(counts) > 20


def test_a_progressive_image_of_thousands_of_scans_is_refused() -> None:
    """Each would go over the whole image again."""
    image = encoded(photograph(1, 64, 48), progressive=True)
    last = image.rindex(b"\xff\xda")
    scan = image[last:-2]
    _, statuses = crops(decoder(), [image[:-2] + scan * 2000 + image[-2:]], [(64, 48)], [(0, 0, 64, 48)])
    assert statuses[0] in (WARNED, UNREADABLE)


@both
@pytest.mark.parametrize(
    "box", [(0, 0, 41, 30), (0, 0, 40, 30.1), (-0.1, 0, 40, 30), (5, 5, 5, 9), (9, 9, 5, 12), (0, 0, float("nan"), 9)]
)
def test_a_box_that_is_no_part_of_its_image(by: Decoder, box: Box) -> None:
    with pytest.raises(ValueError, match="is no part of an image of 40x30 pixels; crop inside it"):
        crops(by, [kept((40, 30), "4:2:0")], [(40, 30)], [box])


def test_a_box_that_a_rounding_error_puts_outside() -> None:
    for by in DECODERS:
        assert of(by, kept((40, 30), "4:2:0"), (40, 30), (0, 0, 40 + 1e-9, 30 + 1e-9)).any()


@both
def test_arrays_of_another_shape(by: Decoder) -> None:
    image = kept((40, 30), "4:2:0")
    with pytest.raises(ValueError, match=r"an array of shape \(1, 4\) is wanted here, not \(2, 4\)"):
        crops(by, [image], [(40, 30)], [(0, 0, 9, 9)] * 2)
    with pytest.raises(ValueError, match="crops of 0x24 pixels: a side has 1 to 65,535"):
        crops(by, [image], [(40, 30)], [(0, 0, 9, 9)], (0, 24))
    with pytest.raises(ValueError, match=r"crops go to contiguous uint8 \(B, h, w, 3\), not to float64 \(1, 8, 8, 3\)"):
        whole(by, np.frombuffer(image, dtype=np.uint8), JPEG, 30, 40, np.empty((8, 8, 3)))  # type: ignore[arg-type]


# Where it runs --------------------------------------------------------------------------------------------------------


def test_without_a_compiler_pillow_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And says why."""
    monkeypatch.setenv("PATH", str(tmp_path))
    decode.library.cache_clear()
    decoder.cache_clear()
    try:
        assert decoder().name.startswith("Pillow, whole images (none of cc, gcc, clang is on the PATH")
        assert decoder().compiled is None
    finally:
        decoder.cache_clear()
        decode.library.cache_clear()


@pytest.mark.parametrize("lacking", ["header", "library"])
def test_without_libjpeg_it_says_what_to_install(lacking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No header to compile with, or no library to link to."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path))
    if lacking == "header":
        shutil.copy(decode.SOURCE.with_name("baseline.c"), tmp_path)
        source = tmp_path / "decode.c"
        source.write_text(decode.SOURCE.read_text().replace("<jpeglib.h>", "<jpeglib-of-nobody.h>"))
        monkeypatch.setattr(decode, "SOURCE", source)
    else:
        monkeypatch.setattr(decode, "LINKS", ("-ljpeg-of-nobody",))
    with pytest.raises(NoCompilerError, match="it needs libjpeg-turbo's headers: install libjpeg-dev"):
        decode.kernel()


def test_without_vector_instructions_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX-512, AVX2 and plain C. The processor that runs this is asked for no more than it has."""
    image, boxes = kept((40, 30), "4:2:0"), [(1.5, 2.5, 39, 28), (0.0, 0.0, 40.0, 30.0), (3.0, 3.0, 9.5, 8.5)]
    wanted, _ = crops(decoder(), [image] * 3, [(40, 30)] * 3, boxes, (57, 23))
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    if "avx2" not in flags:
        pytest.skip("this processor has no AVX2")
    for off in (("-mno-avx512f",), ("-mno-avx2",)):
        monkeypatch.setattr(decode, "FLAGS", ("-ffp-contract=off", "-pthread", *off))
        out, statuses = crops(decode.kernel(), [image] * 3, [(40, 30)] * 3, boxes, (57, 23))
        assert statuses == [FINE] * 3
        assert np.array_equal(out, wanted)


def test_no_warning_of_the_compiler(tmp_path: Path) -> None:
    command = ["cc", "-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-c", str(decode.SOURCE), "-o", "decode.o"]
    assert not subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stderr


# Real photographs -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/data/imagenet-samples.tar, which is not there")
def test_real_photographs_are_cropped_as_the_paper_says() -> None:
    """Shorter side resized to S, then a crop of 224, literally in Pillow: at most 0.5/255 from our one box."""
    generator = np.random.default_rng(0)
    with tarfile.open(SAMPLES) as tar:
        members = [each for each in tar.getmembers() if each.isfile()][::10]
        stored = [file.read() for member in members if (file := tar.extractfile(member))]
    assert len(stored) > 30
    sizes, boxes, wanted = [], [], []
    for image in stored:
        decoded = full(image)
        width, height = decoded.size
        shorter = int(generator.integers(256, 481))
        wide, high = (shorter, shorter * height // width) if width < height else (shorter * width // height, shorter)
        left, top = int(generator.integers(0, wide - 223)), int(generator.integers(0, high - 223))
        resized = decoded.resize((wide, high), Image.Resampling.BILINEAR)
        wanted.append(np.asarray(resized.crop((left, top, left + 224, top + 224))).astype(np.int64))
        across, down = width / wide, height / high
        boxes.append((left * across, top * down, (left + 224) * across, (top + 224) * down))
        sizes.append((width, height))
    out, statuses = crops(decoder(), stored, sizes, boxes, (224, 224), threads=2)
    assert statuses == [FINE] * len(stored)
    means = [abs(ours - theirs).mean() for ours, theirs in zip(out, wanted, strict=True)]
    assert np.mean(means) < 0.1
    assert max(means) < 0.5
    some = slice(0, 6)
    again, _ = crops(portable(), stored[some], sizes[some], boxes[some], (224, 224))
    assert np.array_equal(again, out[some])
