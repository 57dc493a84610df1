"""What the check of a claim says: holds, fails or undecided, with the numbers that say so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reports.noise import Difference


class Answer(StrEnum):
    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    """Too few seeds, missing runs, or a gap within the noise."""


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


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim and what the runs say of it."""

    id: str
    text: str
    source: str
    """Where in the paper; `this study` for the study's own."""
    verdict: Answer
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


class NotInStudyError(Exception):
    """An arm that a check needs is not among the arms it was given; the text is the reason to print."""


class NotEnoughError(Exception):
    """An arm that a check needs lacks runs; the text is the reason to print."""


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
