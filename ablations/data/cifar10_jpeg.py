"""CIFAR-10 as a folder of JPEG files, `train/<class>/NNNN.jpg`, or the `.tar.xz` of that folder.

The pixels are not CIFAR-10's: published weights that reach 8.2 % on the original reach 19 % on these.
"""

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ablations.data.images import DataError, Images

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPLITS = {"train": 50_000, "test": 10_000}


def find(folder: Path) -> Path | None:
    """The image folder or archive in `folder`, whichever is there."""
    for candidate in (folder / "cifar10-jpeg", folder / "cifar10-jpeg.tar.xz"):
        if candidate.is_file() or (candidate / "train").is_dir():
            return candidate
    return None


def read(source: Path) -> Images:
    """Decode every image, in the order of split, class and file name.

    Raises DataError, naming the file, for a damaged image and for a wrong count of images.
    """
    files = dict(_archived(source) if source.is_file() else _loose(source))
    pixels: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for split, kind, name in sorted(files):
        pixels[split].append(_decode(files[split, kind, name], f"{source}: {split}/{kind}/{name}"))
        labels[split].append(CLASSES.index(kind))
    for split, count in SPLITS.items():
        if len(labels[split]) != count:
            raise DataError(
                f"{source}: {len(labels[split]):,} images in {split}/, not {count:,}; is the copy complete?"
            )
    return Images(
        train=np.stack(pixels["train"]),
        train_labels=np.array(labels["train"], dtype=np.int64),
        test=np.stack(pixels["test"]),
        test_labels=np.array(labels["test"], dtype=np.int64),
    )


def _address(path: Path) -> tuple[str, str, str] | None:
    """(split, class, file name) of an image's path, None for anything else."""
    if path.suffix.lower() not in (".jpg", ".jpeg") or len(path.parts) < 3:
        return None
    split, kind, name = path.parts[-3:]
    return (split, kind, name) if split in SPLITS and kind in CLASSES else None


def _archived(archive: Path) -> Iterator[tuple[tuple[str, str, str], bytes]]:
    try:
        with tarfile.open(archive, mode="r|*") as members:
            for member in members:
                address = _address(Path(member.name))
                opened = members.extractfile(member) if address and member.isfile() else None
                if address and opened:
                    yield address, opened.read()
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); copy it again") from error


def _loose(folder: Path) -> Iterator[tuple[tuple[str, str, str], bytes]]:
    for path in folder.glob("*/*/*"):
        if address := _address(path):
            yield address, path.read_bytes()


def _decode(data: bytes, name: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (32, 32):
                raise DataError(f"{name}: {image.width}x{image.height} pixels, not 32x32; copy it again")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: not a readable image ({error}); copy it again") from error
