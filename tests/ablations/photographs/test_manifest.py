"""The manifest of a prepared set: what goes in comes back, and nothing damaged is believed."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.data.errors import DataError, NotThereError
from ablations.data.photographs.manifest import (
    FILE,
    Manifest,
    Remark,
    Source,
    Split,
    Storage,
    fingerprint,
    read,
    write,
)


def split(name: str) -> Split:
    return Split(file=f"{name}.beton", images=3, bytes=100, sha256="0" * 64, largest=500)


MANIFEST = Manifest(
    name="birds-raw400",
    title="Birds",
    size=96,
    classes=("jay", "wren"),
    fingerprint="sha256:12",
    storage=Storage.parse("raw400"),
    splits={"train": split("train"), "test": split("test")},
    source=Source(path="birds", kind="folder", digest="sha256:34"),
    mean_sha256="1" * 64,
    converted=(Remark(image="train/jay/1.JPEG", reason="CMYK"),),
    left_out=(Remark(image="train/wren/2.JPEG", reason="0 bytes"),),
    versions={"pillow": "12.0"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST)
    assert read(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    said = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert said["kind"] == "ablate-photographs"
    assert said["format"] == 1


def test_none_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"no prepared data set is here \(manifest.json is missing\); `ablate data"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda _: "[1, 2]", "damaged (it is not of kind ablate-photographs)"),
        (lambda _: "{}", "damaged (it is not of kind ablate-photographs)"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "of format 2, where this Ablate reads 1; use"),
        (lambda text: text.replace("wren", "owl"), "damaged (its checksum differs)"),
        (lambda text: text.replace('"size": 96', '"size": 97'), "damaged (its checksum differs)"),
        (lambda _: "\x00\xff", "damaged"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    write(tmp_path, MANIFEST)
    path = tmp_path / FILE
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@given(st.sampled_from(["jpeg", "mixed", "raw"]), st.integers(1, 9999), st.integers(1, 100))
def test_a_storage_is_its_text(mode: str, side: int, quality: int) -> None:
    storage = Storage(mode=mode, shorter_side=side, quality=None if mode == "raw" else quality)
    assert Storage.parse(storage.suffix) == storage
    assert Storage.parse(str(storage)) == storage


def test_the_texts_of_storages() -> None:
    assert [Storage.parse(text).suffix for text in ("original", "jpeg480q90", "raw400", "mixed480q90")] == [
        *("", "jpeg480q90", "raw400", "mixed480q90")
    ]
    for text in ("", "png", "raw", "raw400q90", "jpeg480", "jpeg480q0", "jpeg480q101", "jpeg0q90", "raw400 "):
        with pytest.raises(ValueError, match="is no storage; write original, or as in jpeg480q90, raw400, mixed480q90"):
            Storage.parse(text)


SAMPLES = {"train": [(0, "aa", 10, 20), (1, "bb", 10, 20)], "test": [(1, "cc", 10, 20)]}


def test_a_fingerprint_is_of_content_alone() -> None:
    original = Storage()
    first = fingerprint(["jay", "wren"], original, SAMPLES)
    assert first.startswith("sha256:")
    assert (
        fingerprint(("jay", "wren"), replace(original), {name: iter(each) for name, each in SAMPLES.items()}) == first
    )
    others = [
        fingerprint(["wren", "jay"], original, SAMPLES),
        fingerprint(["jay", "wren"], Storage.parse("raw400"), SAMPLES),
        fingerprint(["jay", "wren"], original, {**SAMPLES, "train": SAMPLES["train"][::-1]}),
        fingerprint(["jay", "wren"], original, {"train": SAMPLES["train"] + SAMPLES["test"], "test": []}),
        fingerprint(["jay", "wren"], original, {**SAMPLES, "test": [(1, "cc", 20, 10)]}),
        fingerprint(["jay", "wren"], original, {**SAMPLES, "test": [(0, "cc", 10, 20)]}),
    ]
    assert len({first, *others}) == 7


def test_it_is_read_without_numpy() -> None:
    """Planning reads it, and must stay fast."""
    code = "import sys, ablations.data.photographs.manifest; print({'numpy', 'torch', 'PIL'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "set()"
