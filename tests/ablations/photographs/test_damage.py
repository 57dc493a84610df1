"""Damaged inputs through the command itself: each is a clear line or a converted image, none is read as good pixels."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photographs_made import class_folders, encoded, jpeg, photograph
from PIL import Image

from ablations.cli import main
from ablations.data.errors import DataError
from ablations.data.photographs import beton
from ablations.data.photographs.inspection import inspect, strict
from ablations.data.photographs.manifest import Storage
from ablations.data.photographs.prepare import Request, prepare
from ablations.data.photographs.verify import verify

Ablate = Callable[..., tuple[int, str, str]]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    env = {**os.environ, "PYTHONPATH": str(Path(beton.__file__).parents[3])}
    command = [sys.executable, "-m", "ablations.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)


@pytest.fixture
def ablate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ablate:
    """The command in this process: its exit code and what it says."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ablate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


# Images of a source

WHOLE = jpeg(7, 128, 96)


def changed(at: float, count: int, value: int | None = None) -> bytes:
    """`count` bytes from a share of the entropy-coded data on: flipped, or set to a value."""
    data = bytearray(WHOLE)
    begin = WHOLE.index(b"\xff\xda") + 14
    begin += int(at * (len(data) - begin - count - 2))
    for index in range(begin, begin + count):
        data[index] = data[index] ^ 0x55 if value is None else value
    return bytes(data)


def without(marker: bytes) -> bytes:
    """A JPEG whose segment of this kind is gone."""
    at = WHOLE.index(marker)
    return WHOLE[:at] + WHOLE[at + 2 + int.from_bytes(WHOLE[at + 2 : at + 4], "big") :]


PNG = encoded(photograph(7, 128, 96), "PNG")
BAD: dict[str, bytes] = {
    "no bytes": b"",
    "one byte": b"\xff",
    "its start alone": WHOLE[:2],
    "its header alone": WHOLE[:300],
    **{f"cut at {share:.0%}": WHOLE[: int(share * len(WHOLE))] for share in (0.2, 0.4, 0.6, 0.8, 0.95)},
    "the last byte cut": WHOLE[:-1],
    "without quantisation": without(b"\xff\xdb"),
    "without a scan": without(b"\xff\xda"),
    "without a frame": without(b"\xff\xc0"),
    "zeros from the middle on": WHOLE[: len(WHOLE) // 2] + bytes(len(WHOLE) // 2),
    "flipped in the middle": changed(0.5, 64),
    "flipped near the end": changed(0.9, 64),
    "ones in the middle": changed(0.5, 64, 0xFF),
    "two halves of two images": WHOLE[: len(WHOLE) // 2] + jpeg(8, 128, 96)[700:],
    "a page of a website": b"<!DOCTYPE html><title>404</title>" * 9,
    "text": b"n01440764_18.JPEG\n" * 50,
    "a PNG, cut": PNG[: len(PNG) // 2],
    "a PNG, a bit flipped": PNG[:4000] + bytes((PNG[4000] ^ 1,)) + PNG[4001:],
    "a header that asks for 3.9 gigapixels": WHOLE.replace(
        b"\xff\xc0\0\x11\x08\0\x60\0\x80", b"\xff\xc0\0\x11\x08\xf4\x24\xf4\x24"
    ),
}
NEED_STRICT = {"flipped in the middle", "flipped near the end", "ones in the middle", "two halves of two images"} | {
    *("the last byte cut", "zeros from the middle on")
}
"""What Pillow alone does not see."""
CONVERTED = {
    "CMYK": encoded(photograph(20).convert("CMYK"), quality=95),
    "PNG": encoded(photograph(21), "PNG"),
    "16 bits": encoded(Image.fromarray(np.asarray(photograph(22).convert("L")).astype(np.uint16) * 257), "PNG"),
    "grey PNG": encoded(photograph(23).convert("L"), "PNG"),
    "palette": encoded(photograph(24).quantize(255), "PNG"),
    "transparent": encoded(photograph(25).convert("RGBA"), "PNG"),
    "GIF": encoded(photograph(26).quantize(255), "GIF"),
    "BMP": encoded(photograph(27), "BMP"),
}


def test_there_are_forty() -> None:
    """Beside the 20 places where a `.beton` is cut, and the 20 where a bit of it is flipped."""
    assert len(BAD) >= 23
    assert len(set(BAD.values())) == len(BAD)
    assert len(CONVERTED) == 8


def test_damaged_images_are_named_and_never_stored(tmp_path: Path) -> None:
    bad = {name: data for name, data in BAD.items() if strict() or name not in NEED_STRICT}
    root = class_folders(tmp_path / "birds", train=4)
    for name, data in bad.items():
        (root / "train" / "wren" / f"{name}.JPEG").write_bytes(data)
    command = ("data", "prepare", "imagefolder", "--from", root, "--to", tmp_path / "to", "--size", "32")
    refused = run(*command, "--json")
    assert refused.returncode == 5
    assert refused.stderr.count("\n") == 1
    assert f"{len(bad)} of {len(bad) + 12} images cannot be read" in refused.stderr
    named = {each["image"]: each["reason"] for each in json.loads(refused.stdout)["damaged"]}
    assert set(named) == {f"train/wren/{name}.JPEG" for name in bad}
    assert all(named.values())
    assert not (tmp_path / "to" / "birds").exists()
    shown = run(*command)
    assert shown.returncode == 5
    assert all(f"train/wren/{name}.JPEG: " in shown.stderr for name in sorted(bad)[:15])
    assert f"and {len(bad) - 20} more; --json names all" in shown.stderr

    without = run(*command, "--leave-out-damaged")
    assert without.returncode == 0, without.stderr
    assert "left out: train/wren/no bytes.JPEG (0 bytes)" in without.stdout
    found = beton.read(tmp_path / "to" / "birds" / "train.beton")
    good = {(root / "train" / kind / f"{n}.JPEG").read_bytes() for kind in ("jay", "wren") for n in range(4)}
    assert {found.stored(index).tobytes() for index in range(len(found))} == good


def test_what_is_no_jpeg_becomes_one(tmp_path: Path) -> None:
    """With the pixels that it shows; all of them are called `.JPEG`."""
    root = class_folders(tmp_path / "birds")
    for name, data in CONVERTED.items():
        (root / "train" / "jay" / f"{name}.JPEG").write_bytes(data)
    done = run("data", "prepare", "imagefolder", "--from", root, "--to", tmp_path / "to", "--size", "32", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (about,) = json.loads(done.stdout)["sets"]
    assert [each["image"] for each in about["converted"]] == sorted(f"train/jay/{name}.JPEG" for name in CONVERTED)
    found = beton.read(tmp_path / "to" / "birds" / "train.beton")
    stored = [Image.open(io.BytesIO(found.stored(index).tobytes())) for index in range(len(found))]
    assert {image.mode for image in stored} == {"RGB"}
    pixels = [np.asarray(image).astype(int) for image in stored if image.size == (64, 48)]
    for data in CONVERTED.values():
        shown = np.asarray(inspect(data).image).astype(int)
        assert min(np.abs(shown - image).mean() for image in pixels if image.shape == shown.shape) < 6


@pytest.mark.parametrize("make", [lambda root: None, lambda root: (root / "train" / "jay").mkdir(parents=True)])
def test_a_folder_without_images(tmp_path: Path, make: Callable[[Path], None], ablate: Ablate) -> None:
    (tmp_path / "birds").mkdir()
    make(tmp_path / "birds")
    code, said, error = ablate("data", "prepare", "imagefolder", "--from", tmp_path / "birds", "--to", tmp_path / "to")
    assert (code, said) == (2, "")
    assert "there is no image in it" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "to").exists()


# Prepared sets


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    storages = (Storage(), Storage.parse("mixed32q90"))
    source = class_folders(folder / "birds", train=6)
    prepare(Request(source=source, to=folder, name="set", title="Set", size=32, storages=storages), lambda *_: None)
    return folder


@pytest.fixture(params=["set", "set-mixed32q90"])
def prepared(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> Path:
    """A copy that may be written."""
    shutil.copytree(whole / request.param, tmp_path / request.param, copy_function=shutil.copyfile)
    return tmp_path / request.param


def told(folder: Path, ablate: Ablate) -> str:
    """What `verify` says of a damaged set."""
    code, said, error = ablate("data", "verify", folder)
    assert code == 5
    assert error.count("\n") == 1
    assert "copy it again, or remove it and prepare it again" in error
    assert "Traceback" not in said + error
    return said


def test_a_whole_set_passes(prepared: Path, ablate: Ablate) -> None:
    code, said, error = ablate("data", "verify", prepared)
    assert (code, error) == (0, "")
    assert said == f"{prepared.name}: all 16 images are as they were prepared\n"
    code, said, _ = ablate("data", "verify", prepared, "--json")
    assert code == 0
    assert json.loads(said)["problems"] == []


def test_a_beton_cut_anywhere_is_seen(prepared: Path, ablate: Ablate) -> None:
    """By `verify`, and by every reader: a cut file cannot be opened."""
    path = prepared / "train.beton"
    data = path.read_bytes()
    for cut in np.linspace(0, len(data) - 1, 20).astype(int).tolist():
        path.write_bytes(data[:cut])
        assert "train.beton: its sha256 is not the manifest's" in told(prepared, ablate)
        with pytest.raises(DataError):
            beton.read(path)


@pytest.mark.parametrize("place", range(20))
def test_a_flipped_bit_anywhere_is_seen(prepared: Path, place: int, ablate: Ablate) -> None:
    """A quarter each in the head, the records, the images and the table; of an image its index is said."""
    path = prepared / "train.beton"
    found = beton.read(path)
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(place)
    table = len(data) - 24 * len(found)
    records = beton.BEGIN + 24 * len(found)
    image = int(generator.integers(len(found)))
    begin = int(found.pointers[image])
    regions = [(0, beton.BEGIN), (beton.BEGIN, records), (begin, begin + int(found.sizes[image])), (table, len(data))]
    at = int(generator.integers(*regions[place % 4]))
    data[at] ^= 1 << int(generator.integers(8))
    path.write_bytes(data)
    said = told(prepared, ablate)
    assert "train.beton: its sha256 is not the manifest's" in said
    if place % 4 == 2:
        assert re.findall(r"image (\d+): damaged", said) == [str(image)]


def test_every_damaged_image_is_named(prepared: Path, ablate: Ablate) -> None:
    path = prepared / "train.beton"
    found = beton.read(path)
    data = bytearray(path.read_bytes())
    for index in range(0, 12, 3):
        data[int(found.pointers[index]) + int(found.sizes[index]) // 2] ^= 16
    path.write_bytes(data)
    code, said, _ = ablate("data", "verify", prepared, "--json")
    assert code == 5
    problems = json.loads(said)["problems"]
    assert [each["image"] for each in problems] == [None, 0, 3, 6, 9]
    assert {each["file"] for each in problems} == {"train.beton"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "test.beton").unlink(), "test.beton: cannot be read (No such file or directory)"),
        (lambda folder: (folder / "mean.npy").unlink(), "mean.npy: cannot be read (No such file or directory)"),
        (lambda folder: (folder / "mean.npy").write_bytes(b"x"), "mean.npy: its sha256 is not the manifest's"),
        (lambda folder: (folder / "checksums.npz").unlink(), "and checksums.npz cannot be read"),
        (
            lambda folder: shutil.copy(folder / "test.beton", folder / "train.beton"),
            "train.beton: 4 images, where the manifest has 12 and checksums.npz 12",
        ),
    ],
)
def test_a_file_that_is_gone_or_another(
    prepared: Path, change: Callable[[Path], object], words: str, ablate: Ablate
) -> None:
    change(prepared)
    assert words in told(prepared, ablate)


def test_a_label_that_no_class_has(prepared: Path) -> None:
    path = prepared / "train.beton"
    data = bytearray(path.read_bytes())
    data[beton.BEGIN + 16] = 7
    path.write_bytes(data)
    assert "train.beton: image 0: label 7 of 2 classes" in [
        str(each) for each in verify(prepared, lambda *_: None).problems
    ]


def test_a_record_that_is_not_the_image_s(prepared: Path) -> None:
    """Stock FFCV would decode into a buffer of another size."""
    path = prepared / "train.beton"
    found = beton.read(path)
    index = int(np.flatnonzero(found.modes == beton.JPEG)[0])
    data = bytearray(path.read_bytes())
    data[beton.BEGIN + 24 * index + 1] += 1
    path.write_bytes(data)
    width, height = int(found.widths[index]), int(found.heights[index])
    words = f"train.beton: image {index}: is {width}x{height}, and its record says {width + 1}x{height}"
    assert words in [str(each) for each in verify(prepared, lambda *_: None).problems]


def test_a_set_that_is_not_there(tmp_path: Path, ablate: Ablate) -> None:
    code, said, error = ablate("data", "verify", tmp_path)
    assert (code, said) == (4, "")
    assert "no prepared data set is here" in error
    (tmp_path / "manifest.json").write_text("{")
    assert ablate("data", "verify", tmp_path)[0] == 5
