"""Photographs that tests make: smooth fields with noise, so that JPEG finds in them what it finds in real ones."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("jay", "wren")
SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "imagenet-samples.tar"
"""Real photographs beside the repository, where they are."""


def photograph(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + generator.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return file.getvalue()


@cache
def jpeg(seed: int, width: int = 64, height: int = 48) -> bytes:
    return encoded(photograph(seed, width, height))


def class_folders(root: Path, train: int = 3, test: int = 2, classes: Sequence[str] = CLASSES) -> Path:
    """`train/CLASS/N.JPEG` and `val/CLASS/N.JPEG`, of many sizes."""
    for label, name in enumerate(classes):
        for split, count in (("train", train), ("val", test)):
            for number in range(count):
                path = root / split / name / f"{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = label * 1000 + number + (500 if split == "val" else 0)
                path.write_bytes(jpeg(seed, 50 + seed % 13, 40 + seed % 7))
    return root
