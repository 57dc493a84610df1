"""What `ablate data prepare` wrote: `manifest.json` of a prepared set. Reads nothing else, and imports no numpy."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from ablations.data.errors import DataError, NotThereError

FILE = "manifest.json"
MEAN = "mean.npy"
KIND = "ablate-photographs"
FORMAT = 1
SPLITS = ("train", "test")
STORE = re.compile(r"(jpeg|mixed)([1-9]\d{0,3})q([1-9]\d?|100)|(raw)([1-9]\d{0,3})")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How images are stored.

    `original`: the bytes of the source. `jpeg`: encoded again. `raw`: pixels. `mixed`: every other image raw, the rest
    as JPEG. Other than `original`, the shorter side is at most `shorter_side` pixels.
    """

    mode: str = "original"
    shorter_side: int | None = None
    quality: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `original`, `jpeg480q90`, `raw400`, `mixed480q90`. Raises ValueError for anything else."""
        if text == "original":
            return cls()
        found = STORE.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no storage; write original, or as in jpeg480q90, raw400, mixed480q90")
        mode, side, quality, raw, raw_side = found.groups()
        return cls(mode=mode or raw, shorter_side=int(side or raw_side), quality=int(quality) if quality else None)

    @property
    def suffix(self) -> str:
        """What follows the name of a set that is stored so: nothing for original bytes, else `jpeg480q90`."""
        if self.mode == "original":
            return ""
        return f"{self.mode}{self.shorter_side}" + (f"q{self.quality}" if self.quality else "")

    def __str__(self) -> str:
        return self.suffix or "original"


@dataclass(frozen=True, kw_only=True)
class Split:
    """A `.beton` beside the manifest. `largest`: pixels of the longest side of any image."""

    file: str
    images: int
    bytes: int
    sha256: str
    largest: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a set was prepared from. `digest`: sha256 over the names and sizes of its images."""

    path: str
    kind: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Remark:
    """An image of the source that is not stored as it was, and why."""

    image: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A prepared set. `size`: side of the square that a network gets. `classes`: names in the order of labels."""

    name: str
    title: str
    size: int = 224
    classes: tuple[str, ...]
    fingerprint: str
    storage: Storage
    splits: Mapping[str, Split]
    source: Source
    mean_sha256: str
    converted: tuple[Remark, ...] = ()
    left_out: tuple[Remark, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path) -> Manifest:
    """The manifest of a prepared set.

    Raises NotThereError where there is none, and DataError where it is damaged or of a newer version.
    """
    path = folder / FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotThereError(
            f"{folder}: no prepared data set is here ({FILE} is missing); `ablate data prepare` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(said, dict) or said.pop("kind", None) != KIND:
        raise _damaged(path, f"it is not of kind {KIND}")
    if (version := said.pop("format", None)) != FORMAT:
        raise DataError(
            f"{path}: of format {version!r}, where this Ablate reads {FORMAT}; use the version that wrote it,"
            " or prepare it again"
        )
    if said.pop("checksum", None) != _checksum(said):
        raise _damaged(path, "its checksum differs")
    try:
        return _manifest(said)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one atomic step. Raises OSError."""
    said = json.loads(json.dumps(asdict(manifest)))
    text = json.dumps({"kind": KIND, "format": FORMAT, "checksum": _checksum(said), **said}, indent=1)
    partial = folder / f"{FILE}.partial"
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / FILE)
    finally:
        partial.unlink(missing_ok=True)


def fingerprint(
    classes: Iterable[str], storage: Storage, samples: Mapping[str, Iterable[tuple[int, str, int, int]]]
) -> str:
    """`sha256:` of what a trial sees, and of no path or time.

    `samples`: for each split, in the order of its file: label, sha256 of the stored bytes, width and height in pixels.
    """
    digest = hashlib.sha256(json.dumps([*classes, str(storage)]).encode())
    for split in SPLITS:
        digest.update(f"\n{split}\n".encode())
        for label, sha256, width, height in samples[split]:
            digest.update(f"{label} {sha256} {width}x{height}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _manifest(said: dict[str, Any]) -> Manifest:
    return Manifest(
        **{
            **said,
            "classes": tuple(said["classes"]),
            "storage": Storage(**said["storage"]),
            "splits": {split: Split(**said["splits"][split]) for split in SPLITS},
            "source": Source(**said["source"]),
            "converted": tuple(Remark(**each) for each in said["converted"]),
            "left_out": tuple(Remark(**each) for each in said["left_out"]),
        }
    )


def _checksum(said: Mapping[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}"


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: damaged ({why}); prepare the data set again with `ablate data prepare`")
