"""Sets of small pictures for tests: generated, encoded as JPEG and written as `ablate data prepare` writes them."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ablations.data.photographs import beton, manifest
from ablations.data.photographs.manifest import Manifest, Source, Split, Storage

CLASSES = ("disc", "square", "stripes", "cross")


def picture(kind: int, seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """A shape of one kind on a noisy ground, (height, width, 3)."""
    generator = np.random.default_rng(seed * 10 + kind)
    y, x = np.mgrid[0:height, 0:width]
    centre = generator.uniform(0.3, 0.7, 2) * (height, width)
    size = generator.uniform(0.2, 0.3) * min(width, height)
    dy, dx = y - centre[0], x - centre[1]
    inside = (
        dy**2 + dx**2 < size**2,
        np.maximum(abs(dy), abs(dx)) < size,
        (np.maximum(abs(dy), abs(dx)) < 1.3 * size) & ((x // max(3, int(size / 3))) % 2 == 0),
        (np.minimum(abs(dy), abs(dx)) < size / 4) & (np.maximum(abs(dy), abs(dx)) < 1.3 * size),
    )[kind]
    ground, colour = generator.uniform(0, 110, 3), generator.uniform(140, 255, 3)
    pixels = np.where(inside[..., None], colour, ground) + generator.normal(0, 12, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_set(folder: Path, images: Mapping[str, int], size: int = 32, raw: bool = False) -> Manifest:
    """A prepared set of `images` pictures in each split, of all kinds and many shapes; every third one raw if asked."""
    folder.mkdir(parents=True, exist_ok=True)
    samples: dict[str, list[tuple[int, str, int, int]]] = {}
    splits = {}
    for number, (split, count) in enumerate(images.items()):
        path = folder / f"{split}.beton"
        samples[split] = []
        with beton.Writer(path, count) as writer:
            for at in range(count):
                kind, width, height = at % len(CLASSES), 40 + at * 7 % 50, 40 + at * 11 % 60
                pixels = picture(kind, at + 1000 * number, width, height)
                as_raw = raw and at % 3 == 0
                data = pixels.tobytes() if as_raw else jpeg(pixels)
                writer.append(data, beton.RAW if as_raw else beton.JPEG, width, height, kind)
                samples[split].append((kind, hashlib.sha256(data).hexdigest(), width, height))
            writer.finish()
        whole = path.read_bytes()
        splits[split] = Split(
            file=path.name, images=count, bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest(), largest=100
        )
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).uniform(60, 120, (size, size, 3)).astype(np.float32))
    (folder / manifest.MEAN).write_bytes(buffer.getvalue())
    made = Manifest(
        name=folder.name,
        title="Shapes",
        size=size,
        classes=CLASSES,
        fingerprint=manifest.fingerprint(CLASSES, Storage(), samples),
        storage=Storage(),
        splits=splits,
        source=Source(path="generated", kind="folder", digest="sha256:0"),
        mean_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
    )
    manifest.write(folder, made)
    return made
