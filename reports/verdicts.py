"""What the check of a claim says: holds, fails or undecided, with the numbers that say so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from reports.noise import Difference


class Answer(StrEnum):
    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    """Too few seeds, missing runs, or a gap within the noise."""


class Part(Protocol):
    """What every part of a rule can say."""

    @property
    def answer(self) -> Answer:
        """By the rule alone."""
        ...

    @property
    def p_for(self) -> float | None:
        """How likely so much evidence for it is if it is false; None of what has no noise."""
        ...

    @property
    def p_against(self) -> float | None:
        """How likely so much evidence against it is if it is true."""
        ...

    def further(self, level: float) -> Mapping[str, int] | None:
        """Seeds more of each arm that would decide it at this level, were means and spreads the same.

        Empty where it is decided; None where no number up to MOST_SEEDS would.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found, before it is put beside the claim's text."""

    answer: Answer
    statistic: str
    """One line with the numbers."""
    n: int
    """Runs that were used; 0 for a claim about structure."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    """Why it is undecided."""
    caveats: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    measured: str = ""
    """What the runs are, where they are not the paper's recipe: `measured on digits, 150 iterations`."""
    parts: tuple[Part, ...] = ()
    """What the answer rests on; empty where nothing has noise."""
    wanted: Mapping[str, int] = field(default_factory=dict)
    """Seeds more of each arm without which nothing can be said."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim and what the runs say of it."""

    id: str
    text: str
    source: str
    """Where in the paper; `this study` for the study's own."""
    verdict: Answer
    """By the rule, and corrected for the number of claims that were tested beside it."""
    statistic: str
    numbers: Mapping[str, Any]
    n: int
    reason: str
    caveats: tuple[str, ...]
    rule: str
    """What decides, in words or as the study wrote it."""
    paper_value: str = ""
    arms: tuple[str, ...] = ()
    measured: str = ""
    """Of a claim of the paper that was tested on other arms than the paper's: what they are."""
    raw: Answer = Answer.UNDECIDED
    """By the rule alone."""
    p: float | None = None
    """How likely evidence as strong is by chance; None where the rule knows no noise, or nothing was tested."""
    p_corrected: float | None = None
    """The same among all claims that were tested (Holm)."""
    tested: int = 0
    """How many these are."""
    further: Mapping[str, int] | None = field(default_factory=dict)
    """Seeds more of each arm, by its name, that would decide it at the means and spreads seen; None where no number
    of seeds would."""


class NotInStudyError(Exception):
    """An arm that a check needs is not among the arms it was given; the text is the reason to print."""


class NotEnoughError(Exception):
    """An arm that a check needs lacks runs; the text is the reason to print.

    `wanted` are seeds more of each arm, where these are too few even when all have run.
    """

    def __init__(self, message: str, wanted: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.wanted = wanted or {}


def all_of(answers: Iterable[Answer]) -> Answer:
    """Holds where every part holds, fails where one fails."""
    given = set(answers)
    if Answer.FAILS in given:
        return Answer.FAILS
    return Answer.UNDECIDED if Answer.UNDECIDED in given else Answer.HOLDS


def exceeds(gap: Difference, margin: float = 0.0) -> Answer:
    """Whether a gap is above its noise and above `margin`; it fails only where noise cannot explain that it is not."""
    if gap.value > gap.noise and gap.value > margin:
        return Answer.HOLDS
    return Answer.FAILS if gap.value + gap.noise < margin else Answer.UNDECIDED


def whether(condition: bool) -> Answer:
    """For a rule that is a plain comparison."""
    return Answer.HOLDS if condition else Answer.FAILS


WITHIN_NOISE = "the gap is within the noise of 2 standard errors"
