"""What a trial predicted for each test image: kept beside its result, for ensembles and paired comparisons."""

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.ledger import LedgerError
from orchestrator.runs import MULTI_SCALE, TEN_CROP, TEST, Run

__all__ = ["MULTI_SCALE", "TEN_CROP", "TEST", "Predictions", "pack", "read", "unpack"]

_ROWS = 4096
"""Images that are looked at together: a copy of all of them would be large."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Softmax outputs for the N test images, in the order of the test file, and which class each of them is."""

    probabilities: NDArray[np.floating]
    """(N, classes); a trial keeps them as float16."""
    labels: NDArray[np.int64]
    """(N,), from 0."""

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """(N,): how many classes are likelier than the image's own. Of equally likely ones the first comes first."""
        starts = range(0, len(self.labels), _ROWS)
        return np.concatenate([self._ranks(slice(start, start + _ROWS)) for start in starts])

    def _ranks(self, rows: slice) -> NDArray[np.int64]:
        each, labels = self.probabilities[rows].astype(np.float64), self.labels[rows, None]
        own = np.take_along_axis(each, labels, axis=1)
        earlier = np.arange(each.shape[1]) < labels
        return ((each > own) | ((each == own) & earlier)).sum(axis=1)

    def wrong(self, top: int = 1) -> NDArray[np.bool_]:
        """(N,): whether the image's class is not among the `top` likeliest."""
        return self.ranks >= top

    def error(self, top: int = 1) -> float:
        """Percent of the images."""
        return 100 * float(self.wrong(top).mean())


def pack(predictions: Predictions) -> bytes:
    """The file that a trial keeps; the same bytes for the same predictions."""
    file = io.BytesIO()
    np.savez(file, probabilities=predictions.probabilities.astype(np.float16), labels=predictions.labels)
    return file.getvalue()


def read(run: Run, name: str) -> Predictions:
    """What the run kept under one of the names above. Raises LedgerError if it kept none, or it is damaged."""
    if name not in run.kept:
        raise LedgerError(f"{run.name}: kept no {name}")
    return unpack(run.kept[name](), f"{run.name}: {name}")


def unpack(data: bytes, told: str) -> Predictions:
    """The predictions in a kept file. Raises LedgerError, which begins as told, if there are none."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return _checked(found["probabilities"], found["labels"])
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise LedgerError(f"{told} holds no predictions ({error})") from error


def _checked(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Predictions:
    """Raises ValueError for arrays that are not as `Predictions` says."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not labels.size:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} do not fit")
    if probabilities.dtype.kind != "f" or labels.dtype.kind != "i":
        raise ValueError(f"probabilities are {probabilities.dtype} and labels {labels.dtype}")
    if not (labels.min() >= 0 and labels.max() < probabilities.shape[1]):
        raise ValueError(f"labels {labels.min()} to {labels.max()} of {probabilities.shape[1]} classes")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities that are no numbers")
    return Predictions(probabilities=probabilities, labels=labels)
