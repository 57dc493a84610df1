"""From a data set's name to its images: found, checked against its fingerprint, and made ready for every worker.

Small images are decoded once and kept as arrays. Of photographs, which were prepared before, it is kept where they lie.
"""

import os
import zipfile
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from ablations.data import cifar10, cifar10_jpeg, digits
from ablations.data.errors import DataError
from ablations.data.images import Images, fingerprint
from ablations.data.photographs import prepared
from ablations.data.photographs.prepared import Prepared
from ablations.data.sets import SETS, of_photographs

ARRAYS = tuple(field.name for field in fields(Images))


def prepare(name: str, folder: Path, cache: Path) -> None:
    """See to it that `load` will find the data set: decode it, or download it where that is possible.

    Raises DataError where it is missing, damaged, or not what its fingerprint says.
    """
    if of_photographs(name):
        found = prepared.open_prepared(folder / name)
        prepared.point(found.folder, _pointer(name, found.manifest.fingerprint, cache))
        return
    if _cached(name, cache).exists():
        load(name, cache)  # damaged arrays are found here, not by fifty workers
        return
    if name == "digits":
        source, images = "scikit-learn", _digits(cache)
    elif name == "cifar10":
        source = cifar10.find(folder) or cifar10.download(folder)
        images = cifar10.read(source)
    else:
        source = cifar10_jpeg.find(folder)
        if source is None:
            raise DataError(
                f"{name}: neither a folder {name}/train nor {name}.tar.xz in {folder}; say where with --data FOLDER"
            )
        images = cifar10_jpeg.read(source)
    _check(name, images, fingerprint(images), str(source))
    _keep(images, _cached(name, cache))


@lru_cache(maxsize=2)
def photographs(name: str, expected: str, cache: Path) -> Prepared:
    """The photographs that have this fingerprint. A warm worker opens them once for all its trials."""
    return prepared.follow(_pointer(name, expected, cache), expected)


@lru_cache(maxsize=2)
def load(name: str, cache: Path) -> Images:
    """The small images of a prepared data set. A warm worker reads them once for all its trials."""
    if name == "digits" and not _cached(name, cache).exists():
        images = _digits(cache)
        found = fingerprint(images)
    else:
        images, found = _kept(_cached(name, cache), name)
    _check(name, images, found, str(cache))
    return images


def _digits(cache: Path) -> Images:
    try:
        return digits.read()
    except ModuleNotFoundError:
        raise DataError(
            f"digits: neither scikit-learn, which has the images, nor {_cached('digits', cache)} is here; where"
            " scikit-learn is, `ablate export STUDY --to FILE.json --data-to DIR` writes that file into DIR"
        ) from None


def _kept(path: Path, name: str) -> tuple[Images, str]:
    """Images as `_keep` kept them, and their fingerprint."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            images, kept = Images(**{key: arrays[key] for key in ARRAYS}), str(arrays["fingerprint"])
    except (OSError, ValueError, TypeError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"{name}: {path} is missing or damaged ({error}); remove it and run again") from error
    found = fingerprint(images)
    if found != kept:
        raise DataError(f"{name}: {path} is damaged (not the pixels that were kept); remove it and run again")
    return images, found


def _cached(name: str, cache: Path) -> Path:
    return cache / f"{name}-{SETS[name].fingerprint.split(':')[1][:12]}.npz"


def _pointer(name: str, expected: str, cache: Path) -> Path:
    """One for each content, so that a set that is prepared anew disturbs no trial on the old one."""
    return cache / f"{name}-{expected.split(':')[1][:12]}.json"


def _check(name: str, images: Images, found: str, where: str) -> None:
    """CIFAR-10's fingerprint is of its archive, whose files are checked when they are read; here its shapes are."""
    known = SETS[name]
    shapes = [(count, known.size, known.size, known.channels) for count in (known.train_images, known.test_images)]
    if name == "cifar10" and [images.train.shape, images.test.shape] != shapes:
        raise DataError(
            f"{name}: in {where} are {len(images.train):,} training and {len(images.test):,} test images, not"
            f" {known.train_images:,} and {known.test_images:,} of {known.size}x{known.size} pixels;"
            " remove them and fetch it again"
        )
    if name != "cifar10" and found != known.fingerprint:
        raise DataError(
            f"{name}: the images in {where} have fingerprint {found[:19]}..., not {known.fingerprint[:19]}...;"
            " they are other pixels, and no result on them may carry this name"
        )


def _keep(images: Images, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            arrays = {name: getattr(images, name) for name in ARRAYS}
            np.savez(file, fingerprint=np.array(fingerprint(images)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
