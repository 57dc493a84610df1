"""A data set in memory, and the fingerprint that says which one it is."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablations.data.errors import DataError

__all__ = ["DataError", "Images", "fingerprint"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """All images of a data set: pixels as uint8 (N, H, W, C), labels as int64 (N,)."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def fingerprint(images: Images) -> str:
    """`sha256:` of shapes, pixels and labels, so that equal fingerprints mean equal training."""
    digest = hashlib.sha256()
    for array in (images.train, images.train_labels, images.test, images.test_labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"
