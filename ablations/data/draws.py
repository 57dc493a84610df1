"""All randomness of training, as functions of (seed, purpose, epoch): nothing here has a history.

Philox's raw stream is fixed for ever by NumPy's compatibility policy, unlike `permutation` or `integers` on top of it.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def draw(seed: int, purpose: str, epoch: int, count: int) -> NDArray[np.uint64]:
    """`count` independent 64-bit words for one epoch of one purpose."""
    digest = hashlib.sha256(f"{purpose}:{seed}:{epoch}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The permutation in which an epoch visits its `count` images."""
    return np.argsort(draw(seed, "order", epoch, count), kind="stable")


def split(images: int, held_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the images that are trained on, in their order, and of those kept out: the same for all seeds."""
    mixed = np.argsort(draw(0, "held out", 0, images), kind="stable")
    return np.sort(mixed[held_out:]), np.sort(mixed[:held_out])
