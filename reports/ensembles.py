"""Several trials as one classifier, and how sure a difference in error is that was measured on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.ledger import LedgerError
from orchestrator.predictions import Predictions, read
from orchestrator.runs import Run

RESAMPLES = 10_000
SEED = 0
"""Of the resamples: the same predictions give the same interval."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A trial that votes."""

    name: str
    arm: str
    key: str
    wrong_top1: NDArray[np.bool_]
    """(N,): its own mistakes, one by one."""
    wrong_top5: NDArray[np.bool_]

    @property
    def top1(self) -> float:
        """Error, percent."""
        return 100 * float(self.wrong_top1.mean())

    @property
    def top5(self) -> float:
        """Error, percent."""
        return 100 * float(self.wrong_top5.mean())


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Trials whose softmax outputs are averaged (sec. 4.1, Table 5); without members there are no predictions."""

    members: tuple[Member, ...]
    absent: tuple[str, ...]
    """Why a trial has no vote, one per such trial."""
    predictions: Predictions | None

    @property
    def seen(self) -> bool:
        """Whether any trial kept the file, readable or not."""
        return bool(self.members or self.absent)


def ensemble(runs: Sequence[Run], file: str) -> Ensemble:
    """Of all runs that kept this file, in their order. Labels must be those of the first: the same images in order.

    One file is in memory at a time, and the sum in float64, in which float16 adds up exactly in any order.
    """
    members: list[Member] = []
    absent: list[str] = []
    total: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
    for run in runs:
        if file not in run.kept:
            continue
        try:
            own = read(run, file)
        except LedgerError as error:
            absent.append(str(error))
            continue
        if total is None or labels is None:
            total, labels = np.zeros(own.probabilities.shape), own.labels
        if own.probabilities.shape != total.shape or not np.array_equal(own.labels, labels):
            absent.append(f"{run.name}: its test images are not those of {members[0].name}")
            continue
        total += own.probabilities
        members.append(_member(run, own))
    if total is None or labels is None:
        return Ensemble(members=(), absent=tuple(absent), predictions=None)
    total /= len(members)
    averaged = Predictions(probabilities=total, labels=labels)
    return Ensemble(members=tuple(members), absent=tuple(absent), predictions=averaged)


def _member(run: Run, own: Predictions) -> Member:
    return Member(name=run.name, arm=run.arm, key=run.key, wrong_top1=own.wrong(), wrong_top5=own.wrong(5))


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A difference of two errors on the same images, in points, and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+z.2f} ({self.low:+z.2f} to {self.high:+z.2f})".replace("-", "−")


def bootstrap(one: NDArray[np.bool_], other: NDArray[np.bool_], *, resamples: int = RESAMPLES, seed: int = SEED) -> Gap:
    """The error of `one` minus that of `other`, each (N,) mistakes on the same N images, resampled in pairs.

    On an image the difference is -1, 0 or 1, so the counts of N images drawn with replacement are one multinomial draw.
    The interval holds the middle 95 % of the resamples. It tells of the images, not of other seeds.
    """
    if one.shape != other.shape or not one.size:
        raise ValueError(
            f"mistakes on {one.size} and on {other.size} images; they must be the same images, at least one"
        )
    count = len(one)
    better, worse = int((other & ~one).sum()), int((one & ~other).sum())
    shares = [better / count, worse / count, (count - better - worse) / count]
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    low, high = np.quantile(100 * (drawn[:, 1] - drawn[:, 0]) / count, [0.025, 0.975])
    return Gap(value=100 * (worse - better) / count, low=float(low), high=float(high))
