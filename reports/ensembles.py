"""Several trials as one classifier, and how sure a difference in error is that was measured on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Gap:
    """A difference of two errors on the same images, in points, and what other images would have made of it."""

    value: float
    resampled: NDArray[np.float64]
    """The difference over images drawn with replacement, (resamples,)."""
    exact: tuple[float, float] | None = None
    """One-sided p values of no difference (sign test), against above and against below, of two single runs."""

    @cached_property
    def _interval(self) -> tuple[float, float]:
        low, high = np.quantile(self.resampled, [0.025, 0.975])
        return float(low), float(high)

    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the resamples. It tells of the images, not of other seeds."""
        return self._interval

    @property
    def low(self) -> float:
        return self._interval[0]

    @property
    def high(self) -> float:
        return self._interval[1]

    def p_above(self, margin: float = 0.0) -> float:
        """How likely a value so far above the margin is if the true one is at it."""
        if not margin and self.exact is not None:
            return self.exact[0]
        return (1 + int((self.resampled <= margin).sum())) / (1 + len(self.resampled))

    def p_below(self, margin: float = 0.0) -> float:
        """How likely a value so far below the margin is if the true one is at it."""
        if not margin and self.exact is not None:
            return self.exact[1]
        return (1 + int((self.resampled >= margin).sum())) / (1 + len(self.resampled))

    def moved(self, by: float) -> "Gap":
        """What it is above a margin, or beside a number."""
        return replace(self, value=self.value + by, resampled=self.resampled + by, exact=None) if by else self

    def turned(self) -> "Gap":
        """The other minus the one."""
        exact = None if self.exact is None else (self.exact[1], self.exact[0])
        return replace(self, value=-self.value, resampled=-self.resampled, exact=exact)

    def with_more(self, seeds: int) -> "Gap":  # noqa: ARG002 - the images stay the same
        return self

    def __str__(self) -> str:
        return f"{self.value:+z.2f} ({self.low:+z.2f} to {self.high:+z.2f})".replace("-", "−")


def bootstrap(
    one: NDArray[np.bool_] | NDArray[np.float64],
    other: NDArray[np.bool_] | NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Gap:
    """The error of `one` minus that of `other`, each (N,) mistakes on the same N images, resampled in pairs.

    Of several seeds they are shares: how many of the runs were mistaken. The difference on an image has few values, so
    the counts of N images drawn with replacement are one multinomial draw.
    """
    if one.shape != other.shape or not one.size:
        raise ValueError(
            f"mistakes on {one.size} and on {other.size} images; they must be the same images, at least one"
        )
    apart = np.round(one.astype(np.float64) - other.astype(np.float64), 12)
    values, counts = np.unique(apart, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(apart), counts / len(apart), size=resamples)
    single = one.dtype == other.dtype == np.bool_
    return Gap(
        value=100 * float(apart.mean()),
        resampled=100 * (drawn @ values) / len(apart),
        exact=_sign_tests(int((apart > 0).sum()), int((apart < 0).sum())) if single else None,
    )


def _sign_tests(worse: int, better: int) -> tuple[float, float]:
    """Of the images on which one alone is mistaken, how likely so many are mistakes of the first, and of the other
    (McNemar, exact)."""
    from scipy.special import bdtrc

    both = worse + better
    one, other = (1.0 if not count else float(bdtrc(count - 1, both, 0.5)) for count in (worse, better))
    return one, other
