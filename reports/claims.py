"""The claims that a study names, judged over its runs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy
from reports.arms import MeasuredArm, Pool, gather, pools
from reports.checks import CHECKS, CHECKS_OF_ALL, CHECKS_OF_CLAIMS, caveats
from reports.checks.rules import OTHER_RECIPE
from reports.evidence import LEVEL, further, p_value
from reports.noise import holm
from reports.published import PaperClaim, paper_claims
from reports.sentences import comparable, decide, parse_claim
from reports.verdicts import Answer, Finding, NotEnoughError, NotInStudyError, Verdict

__all__ = ["PAPER_CLAIMS", "Answer", "Verdict", "judge", "parse_claim"]

PAPER_CLAIMS: tuple[str, ...] = tuple(paper_claims())
"""Ids of the claims of the paper, in the order of claims.csv."""

OWN_RULE = "holds if the difference exceeds 2 standard errors, fails if it is as far on the other side"


def _undecided(reason: str) -> Finding:
    return Finding(answer=Answer.UNDECIDED, statistic="", n=0, reason=reason)


def _try(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except NotEnoughError as error:
        return replace(_undecided(str(error)), wanted=error.wanted)
    except NotInStudyError as error:
        return _undecided(str(error))


def _over(comparable: Sequence[Pool], check: Callable[[Pool], Finding]) -> tuple[Finding, Pool]:
    """From the first pool that has the arms; the paper's own comes before all others."""
    for pool in comparable:
        try:
            return check(pool), pool
        except NotEnoughError as error:
            return replace(_undecided(str(error)), wanted=error.wanted), pool
        except NotInStudyError:
            continue
    return _try(lambda: check(comparable[0])), comparable[0]


def _seeds(claim: PaperClaim, arms: Sequence[MeasuredArm], found: Finding) -> tuple[str, ...]:
    """A caveat where an arm has fewer seeds than the claim asks for."""
    asked = re.search(r"(\d+) seeds(?! or paired)", claim.needs)
    used = [len(arm.finished) for arm in arms if arm.arm.name in found.arms]
    if asked is None or not used or min(used) >= int(asked[1]):
        return ()
    return (f"the claim asks for {asked[1]} seeds of each arm; the fewest here are {min(used)}",)


def _elsewhere(found: Finding, arms: Sequence[MeasuredArm]) -> str:
    """What was measured, where a check over every arm took arms whose data or recipe are not the paper's.

    Departures that the claim is about are none: the check does not tell of them.
    """
    used = [arm for arm in arms if arm.arm.name in found.arms]
    other = dict.fromkeys(
        arm.network.data for arm in used if any(each.startswith("data ") for each in arm.arm.deviations)
    )
    if other:
        return f"measured on {', '.join(other)}"
    told = [each.removeprefix(OTHER_RECIPE) for each in found.caveats if each.startswith(OTHER_RECIPE)]
    return f"measured with {'; '.join(told)}" if told else ""


def _check(claim: PaperClaim, arms: Sequence[MeasuredArm]) -> Finding:
    if claim.id in CHECKS_OF_CLAIMS:
        return CHECKS_OF_CLAIMS[claim.id](arms, lambda other, over: _check(paper_claims()[other], over))
    if claim.id in CHECKS_OF_ALL:
        found = _try(lambda: CHECKS_OF_ALL[claim.id](arms))
        return found if found.measured else replace(found, measured=_elsewhere(found, arms))
    if claim.id not in CHECKS:
        return _undecided("this version has no check for it")
    if not arms:
        return _undecided("the study has no arm")
    found, pool = _over(pools(arms), CHECKS[claim.id])
    if pool.paper or not found.arms:
        return found
    return replace(found, caveats=(*caveats(pool.deviations), *found.caveats), measured=pool.title)


Judged = tuple[Finding, Mapping[str, str]]
"""What a check found, and the words of the claim: the other fields of its verdict."""


def _of_the_paper(claim: PaperClaim, arms: Sequence[MeasuredArm]) -> Judged:
    found = _check(claim, arms)
    words = {
        "id": claim.id,
        "text": claim.text,
        "source": claim.source,
        "rule": claim.rule,
        "paper_value": claim.paper_value,
        "measured": found.measured,
    }
    return replace(found, caveats=(*found.caveats, *_seeds(claim, arms, found))), words


def _own(claim: Mapping[str, str], arms: Sequence[MeasuredArm]) -> Judged:
    say = claim["say"]
    words = {
        "id": claim["id"],
        "text": claim.get("text") or say,
        "source": "this study",
        "rule": f"{say}: {OWN_RULE}",
    }
    try:
        sentence = parse_claim(say)
    except ValueError as error:
        return _undecided(str(error)), words
    if not arms:
        return _undecided("the study has no arm"), words
    return _over(comparable(arms, sentence), lambda pool: decide(pool, sentence))[0], words


def _unknown(claim: Mapping[str, str]) -> Judged:
    found = _undecided("this version does not know a claim of this id")
    return found, {"id": claim["id"], "text": claim.get("text", ""), "source": "", "rule": ""}


def _verdict(
    found: Finding, words: Mapping[str, str], p: float | None, corrected: float | None, tested: int, looks: int
) -> Verdict:
    """A finding beside the words of its claim, as it stands among all claims that were tested, at this look."""
    stands = corrected is None or corrected <= LEVEL or found.answer is Answer.UNDECIDED
    answer = found.answer if stands else Answer.UNDECIDED
    reason = found.reason if stands else _chance(found.answer, p, corrected, tested, looks)
    open_parts = answer is Answer.UNDECIDED and found.parts
    return Verdict(
        verdict=answer,
        statistic=found.statistic,
        numbers=found.numbers,
        n=found.n,
        reason=reason,
        caveats=found.caveats,
        arms=found.arms,
        raw=found.answer,
        p=p,
        p_corrected=corrected,
        tested=tested if p is not None else 0,
        further=further(found.parts, LEVEL / tested / (looks + 1)) if open_parts and tested else dict(found.wanted),
        **words,
    )


def _chance(answer: Answer, p: float | None, corrected: float | None, tested: int, looks: int) -> str:
    """Why what a rule says does not stand."""
    look = f", at look {looks}" if looks > 1 else ""
    return (
        f"it {answer.value} by its rule (p = {p:.2g}), but among {_plural(tested, 'claim')} that were tested{look}"
        f" chance explains as much (corrected p = {corrected:.2g})"
    )


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _corrected(judged: Sequence[Judged], looks: int) -> list[Verdict]:
    """Each finding with its p value, and with that value as it stands among those of all of them and at this look.

    Seeds that are added until a claim is decided make chance findings likelier, so p counts once for each look.
    """
    raw = [p_value(found.parts, found.answer) for found, _ in judged]
    known = [p for p in raw if p is not None]
    corrected = iter([min(1.0, looks * p) for p in holm(known)])
    return [
        _verdict(found, words, p, None if p is None else next(corrected), len(known), looks)
        for (found, words), p in zip(judged, raw, strict=True)
    ]


def judge(study: RecordedStudy, runs: Iterable[Run]) -> list[Verdict]:
    """A verdict for each claim of the study, in its order."""
    arms = gather(study, runs)
    known = paper_claims()
    return _corrected(
        [
            _own(claim, arms)
            if "say" in claim
            else _of_the_paper(known[claim["id"]], arms)
            if claim["id"] in known
            else _unknown(claim)
            for claim in study.claims
        ],
        study.looks,
    )
