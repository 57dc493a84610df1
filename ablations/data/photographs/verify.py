"""Whether a prepared set still is what was prepared: its checksums, its layout, and which of its images are damaged."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.data.errors import DataError
from ablations.data.photographs import beton, manifest
from ablations.data.photographs.beton import JPEG, Beton
from ablations.data.photographs.inspection import DamagedError, inspect
from ablations.data.photographs.manifest import Manifest, Split
from ablations.data.photographs.prepare import CHECKSUMS

BLOCK = 16 << 20

Watch = Callable[[str, int, int], None]
"""Told what is read, and how many bytes of how many."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """`image`: index in the file, None where it is the file as a whole."""

    file: str
    image: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {'' if self.image is None else f'image {self.image:,}: '}{self.what}"


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A set, and all that is wrong with it."""

    manifest: Manifest
    problems: tuple[Problem, ...]


def verify(folder: Path, watch: Watch) -> Verified:
    """Read every byte of a prepared set. Raises DataError where its manifest cannot be read."""
    about = manifest.read(folder)
    problems = [*_mean(folder, about)]
    for name, split in about.splits.items():
        problems += _split(folder, name, split, about, watch)
    return Verified(manifest=about, problems=tuple(problems))


def _mean(folder: Path, about: Manifest) -> Iterator[Problem]:
    path = folder / manifest.MEAN
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != about.mean_sha256:
            yield Problem(file=path.name, image=None, what="its sha256 is not the manifest's")
    except OSError as error:
        yield Problem(file=path.name, image=None, what=f"cannot be read ({error.strerror})")


def _split(folder: Path, name: str, split: Split, about: Manifest, watch: Watch) -> Iterator[Problem]:
    path = folder / split.file
    try:
        same = _sha256(path, split.bytes, watch) == split.sha256
    except OSError as error:
        yield Problem(file=split.file, image=None, what=f"cannot be read ({error.strerror})")
        return
    if not same:
        yield Problem(file=split.file, image=None, what="its sha256 is not the manifest's")
    try:
        found = beton.read(path)
    except DataError as error:
        yield Problem(file=split.file, image=None, what=str(error).removeprefix(f"{path}: "))
        return
    crcs = _checksums(folder, name)
    if len(found) != split.images or crcs is None or len(crcs) != len(found):
        yield Problem(
            file=split.file,
            image=None,
            what=f"{len(found):,} images, where the manifest has {split.images:,} and {CHECKSUMS}"
            f" {'cannot be read' if crcs is None else f'{len(crcs):,}'}",
        )
        return
    for index in range(len(found)):
        if what := _problem(found, index, int(crcs[index]), len(about.classes), decode=not same):
            yield Problem(file=split.file, image=index, what=what)


def _problem(found: Beton, index: int, crc: int, classes: int, *, decode: bool) -> str | None:
    """What is wrong with an image. Bytes as they were prepared were decoded then."""
    if found.labels[index] >= classes:
        return f"label {found.labels[index]} of {classes:,} classes"
    stored = found.stored(index)
    if zlib.crc32(stored.data) != crc:
        return _damage(found, index)
    if decode and found.modes[index] == JPEG:
        width, height = inspect(stored.tobytes()).image.size
        if (width, height) != (found.widths[index], found.heights[index]):
            return f"is {width}x{height}, and its record says {found.widths[index]}x{found.heights[index]}"
    return None


def _damage(found: Beton, index: int) -> str:
    if found.modes[index] == JPEG:
        try:
            inspect(found.stored(index).tobytes())
        except DamagedError as error:
            return f"damaged ({error})"
    return "damaged (it can be read, and other pixels are seen)"


def _checksums(folder: Path, name: str) -> NDArray[np.uint32] | None:
    try:
        with (folder / CHECKSUMS).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return kept[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _sha256(path: Path, size: int, watch: Watch) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            watch(path.name, done, max(size, done))
    return digest.hexdigest()
