"""A study's own claims, written as one comparison: `train_error(plain, 56) > train_error(plain, 20) + 1`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from models.spec import VARIANT, Shortcut
from reports.arms import MeasuredArm, Pool, families, pools
from reports.cells import Metric
from reports.evidence import Above
from reports.noise import Difference, from_number
from reports.samples import Sample, compare, sample
from reports.verdicts import WITHIN_NOISE, Answer, Finding

METRICS: Mapping[str, Metric] = {
    "train_error": Metric.TAIL_TRAIN,
    "test_error": Metric.LAST_TEST,
    "best_test_error": Metric.BEST_TEST,
    "clean_train_error": Metric.LAST_CLEAN_TRAIN,
    "validation_error": Metric.LAST_VALIDATION,
    "precise_test_error": Metric.LAST_PRECISE_TEST,
    "clean_train_top5_error": Metric.LAST_CLEAN_TRAIN_TOP5,
    "validation_top5_error": Metric.LAST_VALIDATION_TOP5,
    "test_top5_error": Metric.LAST_TEST_TOP5,
    "precise_test_top5_error": Metric.LAST_PRECISE_TEST_TOP5,
    "ten_crop_error": Metric.LAST_TEN_CROP,
    "ten_crop_top5_error": Metric.LAST_TEN_CROP_TOP5,
    "multi_scale_error": Metric.LAST_MULTI_SCALE,
    "multi_scale_top5_error": Metric.LAST_MULTI_SCALE_TOP5,
}
"""What a claim may speak of, in percent: training error is the mean of the last 10/64, best the lowest, others last."""
SHORTCUTS: Mapping[str, Shortcut] = {"plain": "none", "A": "A", "B": "B", "C": "C"}

_TERM = re.compile(
    r"(?P<metric>\w+)\s*\(\s*(?P<shortcut>\w+)\s*,\s*(?P<depth>\w+)\s*(?:,\s*(?P<variant>[\w-]+)\s*)?\)"
    r"(?:\s*\+\s*(?P<plus>\d+(?:\.\d+)?))?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
FORM = (
    "write it as METRIC(SHORTCUT, DEPTH) > METRIC(SHORTCUT, DEPTH) + NUMBER, or METRIC(SHORTCUT, DEPTH) < NUMBER;"
    " METRIC(SHORTCUT, DEPTH, VARIANT) is a network that departs from the paper's"
)


@dataclass(frozen=True, kw_only=True)
class Term:
    """`train_error(plain, 20) + 1`, `test_error(A, 34, duplicate)`."""

    metric: str
    shortcut: str
    depth: int
    variant: str = ""
    """`Network.variant`; empty for the paper's architecture."""
    plus: float = 0.0

    def __str__(self) -> str:
        name = f"{self.metric}({self.shortcut}, {self.depth}{f', {self.variant}' if self.variant else ''})"
        return f"{name} + {_plain(self.plus)}" if self.plus else name


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """`left > right` or `left < right`."""

    left: Term
    relation: Literal["<", ">"]
    right: Term | float

    def __str__(self) -> str:
        right = self.right if isinstance(self.right, Term) else _plain(self.right)
        return f"{self.left} {self.relation} {right}"

    @property
    def names_variants(self) -> bool:
        """Whether it compares across the network's options; without, both networks have the same ones, any."""
        return bool(self.left.variant or (isinstance(self.right, Term) and self.right.variant))


def _plain(number: float) -> str:
    """Without exponent: `0.00001`, `1`."""
    return f"{number:.12f}".rstrip("0").rstrip(".")


def _one_of(what: str, given: str, allowed: Sequence[str], say: str) -> str:
    if given not in allowed:
        raise ValueError(f"{what} of a claim is one of {', '.join(allowed)}, not {_short(given)}, in {_short(say)}")
    return given


def _short(text: str) -> str:
    """Quoted, on one line, of bearable length."""
    return repr(text if len(text) <= 120 else f"{text[:117]}...")


def _term(text: str, say: str) -> Term:
    match = _TERM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a claim cannot be read: {_short(say)}; {FORM}")
    depth = match["depth"]
    if not (depth.isascii() and depth.isdigit() and len(depth) <= 5 and int(depth) > 0):
        raise ValueError(f"the depth of a claim is a whole number of layers, not {_short(depth)}, in {_short(say)}")
    variant = match["variant"] or ""
    if variant and not re.fullmatch(VARIANT, variant, re.ASCII):
        raise ValueError(
            f"the variant of a claim is what a network's name ends with, as duplicate, from20 or fan_in-one-layer, not"
            f" {_short(variant)}, in {_short(say)}"
        )
    return Term(
        metric=_one_of("the metric", match["metric"], tuple(METRICS), say),
        shortcut=_one_of("the shortcut", match["shortcut"], tuple(SHORTCUTS), say),
        depth=int(depth),
        variant=variant,
        plus=float(match["plus"] or 0),
    )


def parse_claim(say: str) -> Sentence:
    """The comparison that a study wrote. Raises ValueError, in one line, for what is none."""
    sides = re.split(r"([<>])", say)
    if len(sides) != 3:
        raise ValueError(f"a claim has one < or one >: {_short(say)}; {FORM}")
    left, relation, right = sides
    return Sentence(
        left=_term(left, say),
        relation="<" if relation == "<" else ">",
        right=float(right) if _NUMBER.fullmatch(right.strip()) else _term(right, say),
    )


def comparable(arms: Sequence[MeasuredArm], sentence: Sentence) -> tuple[Pool, ...]:
    """The sets of arms over which it can be decided; the paper's architecture comes before its variants."""
    if sentence.names_variants:
        return families(arms)
    return tuple(sorted(pools(arms), key=lambda pool: bool(pool.arms[0].network.variant)))


def _against(pool: Pool, sentence: Sentence) -> tuple[Difference, tuple[Sample, ...]]:
    """The difference that should be positive, and what it was computed from."""

    def found(term: Term) -> Sample:
        variant = term.variant if sentence.names_variants else None
        return sample(pool, SHORTCUTS[term.shortcut], term.depth, METRICS[term.metric], variant)

    left = found(sentence.left)
    sign = 1 if sentence.relation == ">" else -1
    if not isinstance(sentence.right, Term):
        gap = from_number(left.values, sentence.right - sentence.left.plus)
        return replace(gap, value=sign * gap.value), (left,)
    right = found(sentence.right)
    gap = compare(left, right).gap
    return replace(gap, value=sign * (gap.value + sentence.left.plus - sentence.right.plus)), (left, right)


def decide(pool: Pool, sentence: Sentence) -> Finding:
    """Holds if the difference exceeds 2 standard errors, fails if it is below minus 2, else undecided."""
    gap, used = _against(pool, sentence)
    names = tuple(dict.fromkeys(each.arm.arm.name for each in used))
    part = Above(gap=gap, arms=names)
    return Finding(
        answer=part.answer,
        statistic=f"{', '.join(f'{each} ({each.n})' for each in used)}; difference {gap}",
        n=sum(each.n for each in {each.arm.arm.name: each for each in used}.values()),
        numbers={
            "difference": gap.value,
            "two_standard_errors": gap.noise,
            "samples": [{"arm": each.arm.arm.name, **each.numbers} for each in used],
        },
        reason=WITHIN_NOISE if part.answer is Answer.UNDECIDED else "",
        caveats=tuple(dict.fromkeys(caveat for each in used for caveat in each.caveats)),
        arms=names,
        parts=(part,),
    )
