"""Claims about other claims: what they say over the arms of the study decides these."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from reports.evidence import Plain
from reports.verdicts import Answer, Finding, Part

Judge = Callable[[str], Finding]
"""What the check of another claim finds over the same arms."""
CheckOfClaims = Callable[[Judge], Finding]


def _decided(judge: Judge, ids: Sequence[str]) -> dict[str, Finding]:
    found = {each: judge(each) for each in ids}
    return {each: finding for each, finding in found.items() if finding.answer is not Answer.UNDECIDED}


def _together(sides: Mapping[str, dict[str, Finding]], *, missing: str, one_fails: bool = False) -> Finding:
    """Holds where every side has something decided and nothing fails, fails where something does: `one_fails`, even
    while another side is open."""
    every = {claim: finding for side in sides.values() for claim, finding in side.items()}
    fails = [claim for claim, finding in every.items() if finding.answer is Answer.FAILS]
    empty = [name for name, side in sides.items() if not side]
    answer = Answer.FAILS if fails and (one_fails or not empty) else Answer.UNDECIDED if empty else Answer.HOLDS
    said = {
        name: ", ".join(f"{claim} {each.answer.value}" for claim, each in side.items()) for name, side in sides.items()
    }
    told = "; ".join(f"{name}: {words or 'nothing decided'}" for name, words in said.items())
    return Finding(
        answer=answer,
        statistic=told,
        n=sum(finding.n for finding in every.values()),
        numbers={claim: finding.answer.value for claim, finding in every.items()},
        reason=f"{missing}: nothing is decided on {' and '.join(empty)}" if answer is Answer.UNDECIDED else "",
        caveats=tuple(
            dict.fromkeys(f"{claim}: {each}" for claim, finding in every.items() for each in finding.caveats)
        ),
        arms=tuple(dict.fromkeys(arm for finding in every.values() for arm in finding.arms)),
        parts=(Plain(answer=answer),) if answer is Answer.UNDECIDED else _parts(every.values()),
    )


def _parts(findings: Iterable[Finding]) -> tuple[Part, ...]:
    """It is as sure as the claims that it rests on."""
    return tuple(part for each in findings for part in each.parts or (Plain(answer=each.answer),))


ON_CIFAR = ("RES-06", "RES-07", "RES-08", "RES-09")
ON_IMAGENET = ("RES-01", "RES-02", "RES-03", "RES-04", "RES-05")


def res_10(judge: Judge) -> Finding:
    """RES-01 to RES-09: those that are decided agree, on both data sets."""
    sides = {"CIFAR-10": _decided(judge, ON_CIFAR), "ImageNet": _decided(judge, ON_IMAGENET)}
    return _together(sides, missing="needs claims of both data sets")


def deg_14(judge: Judge) -> Finding:
    """DEG-01 and DEG-07: all available data sets agree."""
    sides = {"CIFAR-10": _decided(judge, ("DEG-01",)), "ImageNet": _decided(judge, ("DEG-06", "DEG-07"))}
    return _together(sides, missing="needs both data sets")


def sc_11(judge: Judge) -> Finding:
    """SC-01 and SC-07: both hold."""
    sides = {each: _decided(judge, (each,)) for each in ("SC-01", "SC-07")}
    return _together(sides, missing="needs both claims", one_fails=True)


CHECKS_OF_CLAIMS: Mapping[str, CheckOfClaims] = {"RES-10": res_10, "DEG-14": deg_14, "SC-11": sc_11}
