"""A prepared set of photographs, opened: its manifest, its two files and its mean image."""

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.data.errors import DataError
from ablations.data.photographs import beton, manifest
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.manifest import Manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What training and tests read. `mean` is float32 (size, size, 3), in levels of 0 to 255."""

    folder: Path
    manifest: Manifest
    train: Beton
    test: Beton
    mean: NDArray[np.float32]


def open_prepared(folder: Path) -> Prepared:
    """The set that lies in the folder; its images are looked at when they are decoded.

    Raises DataError where it is not there, cut, damaged, or not what its manifest says.
    """
    said = manifest.read(folder)
    files = {}
    for split, of in said.splits.items():
        path = folder / of.file
        files[split] = beton.read(path)
        if (len(files[split]), path.stat().st_size) != (of.images, of.bytes):
            raise DataError(
                f"{path}: has {len(files[split]):,} images in {path.stat().st_size:,} bytes, not the {of.images:,} in"
                f" {of.bytes:,} of its manifest; {beton.AGAIN}"
            )
    return Prepared(folder=folder, manifest=said, mean=_mean(folder, said), **files)


def _mean(folder: Path, said: Manifest) -> NDArray[np.float32]:
    path = folder / manifest.MEAN
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {beton.AGAIN}") from error
    if hashlib.sha256(data).hexdigest() != said.mean_sha256:
        raise DataError(f"{path}: damaged (its checksum differs); {beton.AGAIN}")
    return np.load(io.BytesIO(data), allow_pickle=False)


def point(folder: Path, pointer: Path) -> None:
    """Leave word of where a set lies, for workers that are given another folder."""
    said = manifest.read(folder)
    partial = pointer.with_name(f".{pointer.name}.{os.getpid()}.part")
    pointer.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(
        json.dumps({"folder": str(folder.resolve()), "fingerprint": said.fingerprint}) + "\n", encoding="utf-8"
    )
    partial.replace(pointer)


def follow(pointer: Path, fingerprint: str) -> Prepared:
    """The set that word was left of. Raises DataError where it cannot be read here, or has other images by now."""
    try:
        said = json.loads(pointer.read_text(encoding="utf-8"))
        folder = Path(said["folder"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{pointer}: missing or damaged ({error}); run again, it is written anew") from error
    found = open_prepared(folder)
    if found.manifest.fingerprint != fingerprint:
        raise DataError(
            f"{folder}: has fingerprint {found.manifest.fingerprint[:19]}..., and the trial was asked on"
            f" {fingerprint[:19]}...; it was prepared anew since, so run the study again"
        )
    return found
