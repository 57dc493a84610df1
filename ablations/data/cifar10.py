"""CIFAR-10 itself, through torchvision, which checks the MD5 of every file before it reads one."""

import socket
import tarfile
from http.client import HTTPException
from pathlib import Path

import numpy as np

from ablations.data.images import DataError, Images

SILENCE_SECONDS = 60
"""How long a download waits for a server that says nothing."""


def find(folder: Path) -> Path | None:
    """The folder that holds `cifar-10-batches-py`: `folder` itself or `folder/cifar10`."""
    for candidate in (folder, folder / "cifar10"):
        if (candidate / "cifar-10-batches-py").is_dir():
            return candidate
    return None


def download(folder: Path) -> Path:
    """Fetch and unpack the archive (170 MB) into `folder/cifar10`.

    Raises DataError when it cannot be fetched or its checksum differs.
    """
    from torchvision.datasets import CIFAR10

    target, before = folder / "cifar10", socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        target.mkdir(parents=True, exist_ok=True)
        CIFAR10(str(target), download=True)
    except (OSError, EOFError, RuntimeError, HTTPException, tarfile.TarError) as error:
        raise DataError(
            f"cifar10: cannot be downloaded to {target} ({error}); put the unpacked cifar-10-batches-py there by hand"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return target


def read(source: Path) -> Images:
    """50,000 training and 10,000 test images. Raises DataError for a missing or changed file."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = CIFAR10(str(source), train=True), CIFAR10(str(source), train=False)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{source}: not the CIFAR-10 that is distributed: a file of cifar-10-batches-py is missing or has another"
            " checksum; remove the folder and fetch it again"
        ) from error
    return Images(
        train=train.data,
        train_labels=np.array(train.targets, dtype=np.int64),
        test=test.data,
        test_labels=np.array(test.targets, dtype=np.int64),
    )
