"""Means, spreads, and how sure a difference is. Every error is in percent, every difference in points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import StatisticsError, correlation, fmean, stdev


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None below two values."""
    return stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % t-interval of the mean; None below two values."""
    deviation = spread(values)
    if deviation is None:
        return None
    from scipy.special import stdtrit  # 0.2 s to import, and not every command needs it

    half = float(stdtrit(len(values) - 1, 0.975)) * deviation / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of two means, in points, and its standard error."""

    value: float
    error: float

    @property
    def noise(self) -> float:
        """Two standard errors: what every rule of the claims calls noise."""
        return 2 * self.error

    def __str__(self) -> str:
        return f"{self.value:+z.2f} ± {self.noise:.2f}".replace("-", "−")


def difference(high: Sequence[float], low: Sequence[float]) -> Difference:
    """mean(high) - mean(low) of independent runs, with sqrt(s1^2/n1 + s2^2/n2) (Welch)."""
    error = math.sqrt(stdev(high) ** 2 / len(high) + stdev(low) ** 2 / len(low))
    return Difference(value=fmean(high) - fmean(low), error=error)


def paired(high: Sequence[float], low: Sequence[float]) -> Difference:
    """Mean of high - low over pairs of runs that share a seed."""
    each = [a - b for a, b in zip(high, low, strict=True)]
    return Difference(value=fmean(each), error=stdev(each) / math.sqrt(len(each)))


def ranks(values: Sequence[float]) -> list[float]:
    """1-based ranks; ties share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    place = 0
    for _, group in groupby(order, key=values.__getitem__):
        tied = list(group)
        for index in tied:
            result[index] = place + (len(tied) + 1) / 2
        place += len(tied)
    return result


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman's rho, its two-sided p value, and its 95 % interval (Fisher's z)."""

    rho: float
    p: float
    low: float
    high: float


def spearman(x: Sequence[float], y: Sequence[float]) -> RankCorrelation | None:
    """None where it is not defined: fewer than four pairs, or one side constant."""
    if len(x) < 4:
        return None
    try:
        rho = max(-1.0, min(1.0, correlation(ranks(x), ranks(y))))
    except StatisticsError:
        return None
    if 1 - abs(rho) < 1e-12:
        return RankCorrelation(rho=rho, p=0.0, low=rho, high=rho)
    from scipy.special import stdtr

    t = abs(rho) * math.sqrt((len(x) - 2) / (1 - rho**2))
    half = 1.96 * 1.06 / math.sqrt(len(x) - 3)
    return RankCorrelation(
        rho=rho,
        p=2 * float(stdtr(len(x) - 2, -t)),
        low=math.tanh(math.atanh(rho) - half),
        high=math.tanh(math.atanh(rho) + half),
    )
