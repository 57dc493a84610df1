"""The parts of a rule: each a comparison that speaks for a claim or against it, as surely as its p values say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from reports.noise import Difference, RankCorrelation, spearman
from reports.samples import Comparison, Sample
from reports.verdicts import Answer, Part, exceeds, whether

LEVEL = 0.05
"""A verdict stands if its p value, corrected for the number of claims that were tested, is not above this."""
MOST_SEEDS = 100
"""More seeds than these are not asked for: a gap that needs them is small beside its noise."""
STRONG = 0.8
"""What the rules ask of a rank correlation."""


@dataclass(frozen=True, kw_only=True)
class Above:
    """A difference that must exceed its noise and the margin; it fails where noise cannot explain that it is not."""

    gap: Difference
    arms: tuple[str, ...]
    """Whose seeds the difference counts."""
    margin: float = 0.0

    @property
    def answer(self) -> Answer:
        return exceeds(self.gap, self.margin)

    @property
    def p_for(self) -> float:
        return self.gap.p_above()

    @property
    def p_against(self) -> float:
        return self.gap.p_below(self.margin)

    def further(self, level: float) -> Mapping[str, int] | None:
        return _fewest(self, level)


class Gap(Protocol):
    """A difference, over seeds or over images, that knows how sure it is."""

    @property
    def value(self) -> float: ...
    def interval(self) -> tuple[float, float]: ...
    def p_above(self, margin: float = 0.0) -> float: ...
    def p_below(self, margin: float = 0.0) -> float: ...
    def with_more(self, seeds: int) -> "Gap": ...


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """A difference whose 95 % interval must lie above the margin; it fails where the interval lies below."""

    gap: Gap
    arms: tuple[str, ...]
    margin: float = 0.0
    wanted: Mapping[str, int] | None = None
    """Seeds more of each arm after which seeds rather than images decide it; none where they never do, None where they
    do already."""

    @property
    def answer(self) -> Answer:
        low, high = self.gap.interval()
        if low > self.margin:
            return Answer.HOLDS
        return Answer.FAILS if high < self.margin else Answer.UNDECIDED

    @property
    def p_for(self) -> float:
        return self.gap.p_above(self.margin)

    @property
    def p_against(self) -> float:
        return self.gap.p_below(self.margin)

    def further(self, level: float) -> Mapping[str, int] | None:
        return _more(self, level)


@dataclass(frozen=True, kw_only=True)
class Alike:
    """A difference whose 95 % interval must lie within plus and minus the margin: two one-sided tests."""

    gap: Gap
    arms: tuple[str, ...]
    margin: float
    wanted: Mapping[str, int] | None = None
    """As of Beyond."""

    @property
    def answer(self) -> Answer:
        low, high = self.gap.interval()
        if -self.margin < low and high < self.margin:
            return Answer.HOLDS
        return Answer.FAILS if low > self.margin or high < -self.margin else Answer.UNDECIDED

    @property
    def p_for(self) -> float:
        return max(self.gap.p_above(-self.margin), self.gap.p_below(self.margin))

    @property
    def p_against(self) -> float:
        return min(self.gap.p_above(self.margin), self.gap.p_below(-self.margin))

    def further(self, level: float) -> Mapping[str, int] | None:
        return _more(self, level)


@dataclass(frozen=True, kw_only=True)
class NotAbove:
    """A difference that must not exceed its noise: the rule asks for no evidence that it does not, and it fails where
    noise alone says that it does, which chance may explain."""

    gap: Difference
    arms: tuple[str, ...]

    @property
    def answer(self) -> Answer:
        return whether(self.gap.value <= self.gap.noise)

    @property
    def p_for(self) -> None:
        return None

    @property
    def p_against(self) -> float:
        return self.gap.p_above()

    def further(self, level: float) -> Mapping[str, int] | None:
        return {} if self.answer is Answer.HOLDS else _fewest(self, level)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The one of several comparisons that speaks most for a claim: evidence for it counts once for each of them."""

    part: Above
    of: int

    @property
    def answer(self) -> Answer:
        return self.part.answer

    @property
    def p_for(self) -> float:
        return min(1.0, self.of * self.part.p_for)

    @property
    def p_against(self) -> float:
        return self.part.p_against

    def further(self, level: float) -> Mapping[str, int] | None:
        return self.part.further(level / self.of)


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A rank correlation that must exceed 0.8, in the direction of the sign."""

    found: RankCorrelation | None
    """None where it is not defined."""
    sign: int
    p_below: float | None = None
    """What the rule asks of the two-sided p value."""

    @property
    def answer(self) -> Answer:
        if self.found is None:
            return Answer.UNDECIDED
        if self.sign * self.found.rho > STRONG and (self.p_below is None or self.found.p < self.p_below):
            return Answer.HOLDS
        return (
            Answer.FAILS if max(self.sign * self.found.low, self.sign * self.found.high) < STRONG else Answer.UNDECIDED
        )

    @property
    def p_for(self) -> float | None:
        """Of no correlation, one-sided."""
        if self.found is None:
            return None
        return self.found.p / 2 if self.sign * self.found.rho > 0 else 1 - self.found.p / 2

    @property
    def p_against(self) -> float | None:
        """Of a correlation of 0.8 (Fisher's z)."""
        if self.found is None:
            return None
        from scipy.special import ndtr

        rho = self.sign * self.found.rho
        if self.found.error == 0:
            return 0.0 if rho < STRONG else 1.0
        return float(ndtr((math.atanh(rho) - math.atanh(STRONG)) / self.found.error))

    def further(self, level: float) -> Mapping[str, int] | None:  # noqa: ARG002 - more seeds tell little of a trend
        return {} if self.answer is not Answer.UNDECIDED else None

    @property
    def numbers(self) -> dict[str, float]:
        found = self.found
        return {} if found is None else {"rho": found.rho, "p": found.p, "rho_low": found.low, "rho_high": found.high}

    def __str__(self) -> str:
        if self.found is None:
            return "rho is not defined"
        return f"rho {self.found.rho:+.2f}".replace("-", "−") + f", p {self.found.p:.1g}"


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A comparison that the rule makes without noise: of a mean with a limit, of two counts."""

    answer: Answer
    p_for: float | None = None
    p_against: float | None = None

    def further(self, level: float) -> Mapping[str, int] | None:  # noqa: ARG002 - seeds do not sharpen it
        return {} if self.answer is not Answer.UNDECIDED else None


def trend_of(samples: Sequence[Sample]) -> RankCorrelation | None:
    """Of depth against what was measured, over all runs."""
    depths = [each.arm.network.depth for each in samples for _ in each.values]
    return spearman(depths, [value for each in samples for value in each.values])


def above(pair: Comparison, margin: float = 0.0) -> Above:
    return Above(gap=pair.gap, arms=(pair.high.arm.arm.name, pair.low.arm.arm.name), margin=margin)


def not_above(pair: Comparison) -> NotAbove:
    return NotAbove(gap=pair.gap, arms=(pair.high.arm.arm.name, pair.low.arm.arm.name))


def alike(pair: Comparison, margin: float) -> Alike:
    return Alike(gap=pair.gap, arms=(pair.high.arm.arm.name, pair.low.arm.arm.name), margin=margin)


def plain(condition: bool) -> Plain:
    return Plain(answer=whether(condition))


def p_value(parts: Sequence[Part], answer: Answer) -> float | None:
    """Of all parts together. A claim holds where every part does, so the least sure part counts; it fails where one
    part does, so the surest counts, once for each part that could have been it. None where what decides has no noise.
    """
    against = answer is Answer.FAILS
    if against and any(part.answer is Answer.FAILS and part.p_against is None for part in parts):
        return None
    values = [part.p_against if against else part.p_for for part in parts]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return min(1.0, len(known) * min(known)) if against else max(known)


def further(parts: Sequence[Part], level: float) -> Mapping[str, int] | None:
    """Seeds more of each arm after which every part would be decided; None where one would not be."""
    most: dict[str, int] = {}
    for part in parts:
        found = part.further(level)
        if found is None:
            return None
        for arm, seeds in found.items():
            most[arm] = max(most.get(arm, 0), seeds)
    return most


def _settles(part: Part, level: float) -> bool:
    p = part.p_against if part.answer is Answer.FAILS else part.p_for
    return part.answer is not Answer.UNDECIDED and p is not None and p <= level


def _more(part: Beyond | Alike, level: float) -> Mapping[str, int] | None:
    """Where images decide, seeds that do so instead; else as few as decide it."""
    if part.wanted is None:
        return _fewest(part, level)
    return {} if _settles(part, level) else part.wanted or None


def _fewest(part: Above | Beyond | Alike | NotAbove, level: float) -> Mapping[str, int] | None:
    for seeds in range(MOST_SEEDS + 1):
        if _settles(replace(part, gap=part.gap.with_more(seeds)), level):  # pyright: ignore[reportArgumentType]
            return dict.fromkeys(part.arms, seeds) if seeds else {}
    return None
