"""A study's own claims, written as one comparison: `train_error(plain, 56) > train_error(plain, 20) + 1`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from models.spec import VARIANT, Shortcut
from orchestrator.ledger import LedgerError
from reports.arms import MeasuredArm, Pool, families, pools
from reports.cells import Metric
from reports.evidence import Above, Beyond
from reports.noise import from_number
from reports.paired import FILES, error_over_images, missing_seeds, of_images, over_images
from reports.samples import Sample, compare, sample
from reports.verdicts import WITHIN_NOISE, Answer, Finding, NotEnoughError

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


def _samples(pool: Pool, sentence: Sentence) -> tuple[Sample, ...]:
    """Of its one or two networks, with one seed at least."""

    def found(term: Term) -> Sample:
        variant = term.variant if sentence.names_variants else None
        return sample(pool, SHORTCUTS[term.shortcut], term.depth, METRICS[term.metric], variant, fewest=1)

    return tuple(found(each) for each in (sentence.left, sentence.right) if isinstance(each, Term))


def _offset(sentence: Sentence) -> float:
    """What is added to the measured difference, left minus right."""
    right = sentence.right.plus if isinstance(sentence.right, Term) else sentence.right
    return sentence.left.plus - right


def _over_seeds(sentence: Sentence, used: Sequence[Sample]) -> tuple[Above, str, dict[str, Any]]:
    """Whether the difference that should be positive is above two standard errors."""
    sign = 1 if sentence.relation == ">" else -1
    if len(used) == 1:
        gap = from_number(used[0].values, -_offset(sentence))
        gap = replace(gap, value=sign * gap.value)
    else:
        gap = compare(*used).gap
        gap = replace(gap, value=sign * (gap.value + _offset(sentence)))
    numbers = {"difference": gap.value, "two_standard_errors": gap.noise}
    return Above(gap=gap, arms=_names(used)), str(gap), numbers


def _over_images(sentence: Sentence, used: Sequence[Sample]) -> tuple[Beyond, str, dict[str, Any]]:
    """Whether its 95 % interval over the images is, where an arm has one seed alone."""
    try:
        gap, images = error_over_images(*used) if len(used) == 1 else over_images(*used)
    except (LedgerError, ValueError) as error:
        raise _too_few(used, str(error)) from None
    gap = gap.moved(_offset(sentence))
    gap = gap if sentence.relation == ">" else gap.turned()
    numbers = {"difference": gap.value, "low": gap.low, "high": gap.high, "images": images}
    part = Beyond(gap=gap, arms=_names(used), wanted=missing_seeds(2, *used))
    return part, f"{gap} over {images:,} images", numbers


def _too_few(used: Sequence[Sample], why: str) -> NotEnoughError:
    """Which arm needs more seeds, and of photographs why predictions do not stand for them."""
    few = next(each for each in used if each.n < 2)
    words = [f"needs at least 2 seeds of {few.label} to know the noise, not {few.n}", *few.caveats]
    if few.metric in FILES and few.arm.network.layout == "imagenet":
        words.append(f"or what was predicted for each image: {why}")
    return NotEnoughError("; ".join(words), missing_seeds(2, *used))


def _names(used: Sequence[Sample]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.arm.arm.name for each in used))


def decide(pool: Pool, sentence: Sentence) -> Finding:
    """Holds if the difference exceeds 2 standard errors, fails if it is below minus 2, else undecided.

    Where an arm has one seed, and each arm kept what it predicted, the noise is that of the images, whose 95 % interval
    decides.
    """
    used = _samples(pool, sentence)
    single = min(each.n for each in used) < 2
    part, told, numbers = (_over_images if single else _over_seeds)(sentence, used)
    caveats = [caveat for each in used for caveat in each.caveats] + ([of_images(*used)] if single else [])
    return Finding(
        answer=part.answer,
        statistic=f"{', '.join(f'{each} ({each.n})' for each in used)}; difference {told}",
        n=sum({each.arm.arm.name: each.n for each in used}.values()),
        numbers={**numbers, "samples": [{"arm": each.arm.arm.name, **each.numbers} for each in used]},
        reason=WITHIN_NOISE if part.answer is Answer.UNDECIDED else "",
        caveats=tuple(dict.fromkeys(caveats)),
        arms=_names(used),
        parts=(part,),
    )
