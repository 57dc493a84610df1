"""Ways to feed photographs under the paper's augmentation, each a process of its own that says what an epoch costs.

    python benchmarks/photographs.py CONTENDER FOLDER WORKERS EPOCHS

prints one JSON line: images, CPU seconds of all its processes and wall seconds over the epochs after the first, and CPU
seconds and resident memory up to the first batch.
"""

import io
import json
import os
import random
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

BATCH, SIDE = 64, 224
FILES = {"original": "original.beton", "jpeg480q90": "jpeg480q90.beton", "raw400": "raw400.beton"}
STOCK = "stock-jpeg500q90.beton"
"""Written by FFCV itself, as its own examples do: longest side 500, quality 90."""


def unpack(archive: Path, to: Path) -> int:
    """The photographs as class folders, and as files of each storage. Returns how many."""
    from ablations.data.photographs import beton

    with tarfile.open(archive) as tar:
        tar.extractall(to / "folder", filter="data")
    photographs = sorted((to / "folder").glob("*/*"))
    for name, file in FILES.items():
        with beton.Writer(to / file, len(photographs)) as writer:
            for label, path in enumerate(photographs):
                writer.append(*_stored(path.read_bytes(), name), label)
            writer.finish()
    return len(photographs)


def write_stock(to: Path) -> None:
    """The file that FFCV's own writer makes."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    photographs = [(path, label) for label, path in enumerate(sorted((to / "folder").glob("*/*")))]

    class Photographs:
        def __len__(self) -> int:
            return len(photographs)

        def __getitem__(self, at: int) -> tuple[Any, int]:
            path, label = photographs[at]
            return Image.open(path).convert("RGB"), label

    image = RGBImageField(write_mode="jpg", max_resolution=500, jpeg_quality=90)
    DatasetWriter(str(to / STOCK), {"image": image, "label": IntField()}, num_workers=2).from_indexed_dataset(
        Photographs()
    )


def _stored(data: bytes, storage: str) -> tuple[bytes, int, int, int]:
    """Bytes, mode, width and height."""
    from ablations.data.photographs.beton import JPEG, RAW

    image = Image.open(io.BytesIO(data)).convert("RGB")
    if storage == "original":
        return data, JPEG, image.width, image.height
    scale = {"jpeg480q90": 480, "raw400": 400}[storage] / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    if storage == "raw400":
        return image.tobytes(), RAW, image.width, image.height
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), JPEG, image.width, image.height


# The contenders: each makes epochs of batches, bytes in whatever layout is its own


def torchvision(folder: Path, workers: int) -> Callable[[], Iterator[int]]:
    """`ImageFolder` and `DataLoader`, with the paper's augmentation written down as it reads."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, PILToTensor, RandomCrop, RandomHorizontalFlip
    from torchvision.transforms.functional import resize

    def rescale(image: Image.Image) -> Any:
        return resize(image, random.randint(256, 480))  # type: ignore[arg-type]

    transform = Compose([rescale, RandomCrop(SIDE), RandomHorizontalFlip(), PILToTensor()])
    data = ImageFolder(str(folder / "folder"), transform)
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=True, pin_memory=False)
    torch.set_num_threads(1)
    return lambda: (len(labels) for _, labels in loader)


def stock(folder: Path, workers: int) -> Callable[[], Iterator[int]]:
    """FFCV as its users have it: random resized crop, mirror, tensor."""
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor

    steps: Any = [RandomResizedCropRGBImageDecoder((SIDE, SIDE)), RandomHorizontalFlip(), ToTensor()]
    loader = Loader(
        str(folder / STOCK), BATCH, workers, order=OrderOption.RANDOM, drop_last=False, pipelines={"image": steps}
    )
    return lambda: (len(images) for images, _ in loader)


def ours(storage: str, ffcv: bool, augmentation: str) -> Callable[[Path, int], Callable[[], Iterator[int]]]:
    """The plan's rows through a backend of ours."""

    def make(folder: Path, workers: int) -> Callable[[], Iterator[int]]:
        from dataclasses import replace

        from ablations.data.photographs.backends import Threads
        from ablations.data.photographs.beton import read
        from ablations.data.photographs.decode import decoder
        from ablations.data.photographs.plan import Plan
        from ablations.recipes import IMAGENET

        source = read(folder / (STOCK if storage == "stock" else FILES[storage]))
        recipe = replace(IMAGENET, batch=BATCH, bn_batch=None, augmentation=augmentation)
        plan = Plan(recipe, 0, np.arange(len(source)), source.widths, source.heights, SIDE)
        if ffcv:
            from ablations.data.photographs.through_ffcv import ThroughFFCV

            backend: Any = ThroughFFCV(source, BATCH, workers, decoder())
        else:
            backend = Threads(source, workers)
        per_epoch = -(-len(source) // BATCH)
        starts = iter(range(0, 10**6, per_epoch))

        def epoch() -> Iterator[int]:
            start = next(starts)
            stretch = [plan.rows(at) for at in range(start, start + per_epoch)]
            return (len(pixels) for pixels in backend.batches(stretch))

        return epoch

    return make


def alone(storage: str, whole: bool) -> Callable[[Path, int], Callable[[], Iterator[int]]]:
    """libjpeg-turbo without resizing: the whole image, or the window of the paper's crops; one thread, in memory."""

    def make(folder: Path, workers: int) -> Callable[[], Iterator[int]]:
        from dataclasses import replace

        from ablations.data.photographs import decode
        from ablations.data.photographs.backends import Threads
        from ablations.data.photographs.beton import read
        from ablations.data.photographs.plan import Plan
        from ablations.recipes import IMAGENET

        by = decode.kernel("DECODE_ALONE", "LIBJPEG_ALONE")
        source = read(folder / FILES[storage])
        plan = Plan(
            replace(IMAGENET, batch=len(source), bn_batch=None), 0, np.arange(len(source)), source.widths,
            source.heights, SIDE,
        )  # fmt: skip

        def epoch() -> Iterator[int]:
            rows = plan.rows(0)
            if whole:
                rows.boxes[:] = 0
                rows.boxes[:, 2], rows.boxes[:, 3] = source.widths[rows.index], source.heights[rows.index]
            yield len(Threads(source, workers, by).pixels(rows))

        return epoch

    return make


SCALE, AREA = "scale-crop-flip-colour", "area-crop-flip-colour"
CONTENDERS: dict[str, Callable[[Path, int], Callable[[], Iterator[int]]]] = {
    "torchvision": torchvision,
    "stock FFCV, jpeg500q90": stock,
    "ours through FFCV, stock's file and crops": ours("stock", True, AREA),
    "ours by threads, stock's file and crops": ours("stock", False, AREA),
    **{f"ours through FFCV, {name}": ours(name, True, SCALE) for name in FILES},
    **{f"ours by threads, {name}": ours(name, False, SCALE) for name in FILES},
    **{f"libjpeg alone, {name}, whole": alone(name, True) for name in ("original", "jpeg480q90")},
    **{f"libjpeg alone, {name}, window": alone(name, False) for name in ("original", "jpeg480q90")},
}


def spent() -> float:
    """CPU seconds of this process and of those it started, which live."""
    children = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return time.process_time() + sum(each.user + each.system for each in children)


def resident() -> float:
    """MiB, now, of this process and of those it started; what is shared counts for each."""
    every = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(each.memory_info().rss for each in every) / 2**20


def main(contender: str, folder: Path, workers: int, epochs: int) -> None:
    begun = spent()
    epoch = CONTENDERS[contender](folder, workers)
    first = epoch()
    next(first)
    told = {"first_batch_cpu_seconds": spent() - begun, "first_batch_mib": resident()}
    for _ in first:
        pass
    cpu, wall, images = spent(), time.perf_counter(), 0
    for _ in range(epochs):
        images += sum(epoch())
    told |= {"images": images, "cpu_seconds": spent() - cpu, "wall_seconds": time.perf_counter() - wall}
    sys.stdout.write(json.dumps({**told, "mib": resident()}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # FFCV's threads are not waited for


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
