"""Means, spreads, and how sure a difference is. Every error is in percent, every difference in points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import StatisticsError, correlation, fmean, stdev

from orchestrator.runs import Curve


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
    """A difference of two means, in points, and what its standard error is made of."""

    value: float
    terms: tuple[tuple[float, int], ...]
    """Variance and number of the values of each mean: of both, or of the differences of pairs alone."""

    @property
    def error(self) -> float:
        """Standard error: sqrt(s1^2/n1 + s2^2/n2) of independent runs (Welch)."""
        return math.sqrt(sum(variance / n for variance, n in self.terms))

    @property
    def noise(self) -> float:
        """Two standard errors: what every rule of the claims calls noise."""
        return 2 * self.error

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error (Welch and Satterthwaite); of pairs, one less than there are."""
        parts = [(variance / n, n - 1) for variance, n in self.terms]
        below = sum(part**2 / (n or math.nan) for part, n in parts if part)
        return self.error**4 / below if below else math.inf

    def p_above(self, margin: float = 0.0) -> float:
        """How likely a value so far above the margin is if the true one is at it: one-sided t test."""
        from scipy.special import stdtr

        if not self.error:
            return 0.0 if self.value > margin else 1.0
        return float(stdtr(self.freedom, (margin - self.value) / self.error))

    def p_below(self, margin: float = 0.0) -> float:
        """How likely a value so far below the margin is if the true one is at it."""
        return replace(self, value=-self.value).p_above(-margin)

    def interval(self) -> tuple[float, float]:
        """95 % t-interval of the difference (Welch)."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, 0.975)) * self.error if self.error else 0.0
        return self.value - half, self.value + half

    def with_more(self, seeds: int) -> "Difference":
        """What it would be with so many seeds more of each arm, were means and spreads the same."""
        return replace(self, terms=tuple((variance, n + seeds) for variance, n in self.terms))

    def __str__(self) -> str:
        return f"{self.value:+z.2f} ± {self.noise:.2f}".replace("-", "−")


def difference(high: Sequence[float], low: Sequence[float]) -> Difference:
    """mean(high) - mean(low) of independent runs."""
    terms = tuple((stdev(each) ** 2, len(each)) for each in (high, low))
    return Difference(value=fmean(high) - fmean(low), terms=terms)


def from_number(values: Sequence[float], number: float) -> Difference:
    """mean(values) - number, which has no noise."""
    return Difference(value=fmean(values) - number, terms=((stdev(values) ** 2, len(values)),))


def paired(high: Sequence[float], low: Sequence[float]) -> Difference:
    """Mean of high - low over pairs of runs that share a seed."""
    each = [a - b for a, b in zip(high, low, strict=True)]
    return Difference(value=fmean(each), terms=((stdev(each) ** 2, len(each)),))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p value as it stands among all (Holm): by chance alone, 5 % of families have one below 0.05."""
    result, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        result[index] = highest
    return result


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A straight line through points by least squares."""

    slope: float
    error: float
    """Standard error of the slope."""
    low: float
    high: float
    """95 % t-interval of the slope."""


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Through at least three points that are not all above one another. Raises ValueError for fewer."""
    if len(x) < 3 or len(set(x)) < 2:
        raise ValueError(f"a line needs 3 points over 2 places, not {len(x)} over {len(set(x))}")
    from scipy.special import stdtrit

    middle_x, middle_y = fmean(x), fmean(y)
    wide = sum((each - middle_x) ** 2 for each in x)
    slope = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / wide
    left = sum((b - middle_y - slope * (a - middle_x)) ** 2 for a, b in zip(x, y, strict=True))
    error = math.sqrt(left / (len(x) - 2) / wide)
    half = float(stdtrit(len(x) - 2, 0.975)) * error
    return Fit(slope=slope, error=error, low=slope - half, high=slope + half)


def mean_of(curves: Sequence[Curve]) -> dict[int, float]:
    """Mean over curves at the iterations that all of them have."""
    points = [dict(zip(curve.iterations, curve.values, strict=True)) for curve in curves]
    shared = sorted(set.intersection(*[set(each) for each in points])) if points else []
    return {at: fmean(each[at] for each in points) for at in shared}


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
    error: float
    """Standard error of atanh(rho); 0 where every pair agrees."""


def spearman(x: Sequence[float], y: Sequence[float]) -> RankCorrelation | None:
    """None where it is not defined: fewer than four pairs, or one side constant."""
    if len(x) < 4:
        return None
    try:
        rho = max(-1.0, min(1.0, correlation(ranks(x), ranks(y))))
    except StatisticsError:
        return None
    if 1 - abs(rho) < 1e-12:
        return RankCorrelation(rho=rho, p=0.0, low=rho, high=rho, error=0.0)
    from scipy.special import stdtr

    t = abs(rho) * math.sqrt((len(x) - 2) / (1 - rho**2))
    error = 1.06 / math.sqrt(len(x) - 3)
    half = 1.96 * error
    return RankCorrelation(
        rho=rho,
        p=2 * float(stdtr(len(x) - 2, -t)),
        low=math.tanh(math.atanh(rho) - half),
        high=math.tanh(math.atanh(rho) + half),
        error=error,
    )
