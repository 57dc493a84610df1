"""What is known of each data set without reading it. Imports nothing that reads data.

Those that are built in stand here. A set of photographs that `ablate data prepare` wrote is known by its manifest, in
the data folder.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ablations.data.errors import DataError, NotThereError, UnfitError
from ablations.data.photographs import manifest
from models.spec import Layout

FOLDER_VARIABLE = "ABLATE_DATA"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set by name. `fingerprint` identifies the pixels and labels; it is checked when they are read."""

    name: str
    title: str
    layout: Layout
    channels: int
    classes: int
    size: int
    train_images: int
    test_images: int
    fingerprint: str
    recipe: str
    """Name of the recipe that a study gets when it names none."""
    paper: bool
    """Whether the paper trained on these very images; if not, no result on them is put beside its numbers as equal."""
    blocked: str | None = None
    """Why no trial can be trained on it yet."""
    stored_bytes: int = 0
    """Of the file that training images are read from batch by batch; 0: they are decoded once, and stay in memory."""


SETS: Mapping[str, DataSet] = {
    each.name: each
    for each in (
        DataSet(
            name="digits",
            title="scikit-learn's handwritten digits, 8x8",
            layout="cifar",
            channels=1,
            classes=10,
            size=8,
            train_images=1437,
            test_images=360,
            fingerprint="sha256:3ec41850a22a767fc47da06ec6c251e36c300eb8ee13071fb9add337cdee053e",
            recipe="digits",
            paper=False,
        ),
        DataSet(
            name="cifar10",
            title="CIFAR-10",
            layout="cifar",
            channels=3,
            classes=10,
            size=32,
            train_images=50_000,
            test_images=10_000,
            fingerprint="md5:c58f30108f718f92721af3b95e74349a",
            recipe="cifar",
            paper=True,
        ),
        DataSet(
            name="cifar10-jpeg",
            title="CIFAR-10, re-encoded as lossy JPEG",
            layout="cifar",
            channels=3,
            classes=10,
            size=32,
            train_images=50_000,
            test_images=10_000,
            fingerprint="sha256:7da6a56bd03fb1254927be66bfb87c469e201af7309af6d03d3a1c2f00259e5d",
            recipe="cifar",
            paper=False,
        ),
        DataSet(
            name="imagenet",
            title="ImageNet, ILSVRC 2012",
            layout="imagenet",
            channels=3,
            classes=1000,
            size=224,
            train_images=1_281_167,
            test_images=50_000,
            fingerprint="ilsvrc2012:1281167+50000",
            recipe="imagenet",
            paper=True,
        ),
    )
}
"""The data sets that are built in."""


def folder() -> Path:
    """Where data sets are looked for: `ABLATE_DATA`, or `data/` where the user stands."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "data")


def names() -> list[str]:
    """The data sets that are built in, then those that were prepared."""
    found = sorted(path.parent.name for path in folder().glob(f"*/{manifest.FILE}"))
    return [*SETS, *(name for name in found if name not in SETS)]


def of_photographs(name: str) -> bool:
    """Whether a set stays where it was prepared, and is too large to be copied beside results."""
    return name not in SETS or SETS[name].layout == "imagenet"


def known(name: str) -> DataSet:
    """The data set of this name. Raises DataError for one that is neither built in nor prepared."""
    built_in = SETS.get(name)
    if built_in is not None and built_in.layout != "imagenet":
        return built_in
    path = folder() / name / manifest.FILE
    try:
        return _prepared(path, path.stat().st_mtime_ns)
    except (FileNotFoundError, NotThereError):
        if built_in is None:
            raise DataError(
                f"data set {name[:60]!r} is neither built in ({', '.join(SETS)}) nor prepared in {folder()}"
            ) from None
        return replace(
            built_in,
            blocked=f"{name} is not prepared in {folder()}/ (ablate data prepare {name})",
        )


@lru_cache(maxsize=64)
def _prepared(path: Path, _: int) -> DataSet:
    """What its manifest says, as it was at that time."""
    said = manifest.read(path.parent)
    if said.name != path.parent.name:
        raise UnfitError(
            f"{path.parent}: holds the set {said.name!r}, and a set's folder has its name; rename the folder, or"
            " prepare it under another --name"
        )
    return DataSet(
        name=said.name,
        title=said.title,
        layout="imagenet",
        channels=3,
        classes=len(said.classes),
        size=said.size,
        train_images=said.splits["train"].images,
        test_images=said.splits["test"].images,
        fingerprint=said.fingerprint,
        recipe="imagenet",
        paper=said.name in SETS and said.fingerprint == SETS[said.name].fingerprint,
        stored_bytes=said.splits["train"].bytes,
    )
