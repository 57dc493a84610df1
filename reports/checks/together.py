"""Claims about other claims: what they say over the arms of the study decides these."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from models.spec import Layout
from reports.arms import MeasuredArm
from reports.evidence import Plain
from reports.verdicts import Answer, Finding, Part, all_of

Judge = Callable[[str, Sequence[MeasuredArm]], Finding]
"""What the check of another claim finds over these arms."""
CheckOfClaims = Callable[[Sequence[MeasuredArm], Judge], Finding]
Side = Mapping[str, Finding]
"""What was found of some claims, by their ids."""


def _together(sides: Mapping[str, Side], answer: Answer, reason: str) -> Finding:
    """What other claims say, side by side; those that are undecided are told and count for nothing."""
    every = [(claim, found) for side in sides.values() for claim, found in side.items()]
    decided = [(claim, found) for claim, found in every if found.answer is not Answer.UNDECIDED]
    return Finding(
        answer=answer,
        statistic="; ".join(f"{name}: {_said(side)}" for name, side in sides.items()),
        n=sum(found.n for _, found in decided),
        numbers={name: {claim: found.answer.value for claim, found in side.items()} for name, side in sides.items()},
        reason=reason if answer is Answer.UNDECIDED else "",
        caveats=tuple(dict.fromkeys(f"{claim}: {each}" for claim, found in decided for each in found.caveats)),
        arms=tuple(dict.fromkeys(arm for _, found in decided for arm in found.arms)),
        measured="; ".join(dict.fromkeys(found.measured for _, found in decided if found.measured)),
        parts=(Plain(answer=answer),) if answer is Answer.UNDECIDED else _parts(found for _, found in decided),
    )


def _said(side: Side) -> str:
    return ", ".join(f"{claim} {found.answer.value}" for claim, found in side.items())


def _decided(side: Side) -> list[Answer]:
    return [found.answer for found in side.values() if found.answer is not Answer.UNDECIDED]


def _parts(findings: Iterable[Finding]) -> tuple[Part, ...]:
    """It is as sure as the claims that it rests on."""
    return tuple(part for each in findings for part in each.parts or (Plain(answer=each.answer),))


ON_CIFAR = ("RES-06", "RES-07", "RES-08", "RES-09")
ON_IMAGENET = ("RES-01", "RES-02", "RES-03", "RES-04", "RES-05")


def res_10(arms: Sequence[MeasuredArm], judge: Judge) -> Finding:
    """RES-01 to RES-09, those of CIFAR-10 and those of ImageNet: all agree, so every one holds."""
    cifar, imagenet = {each: judge(each, arms) for each in ON_CIFAR}, {each: judge(each, arms) for each in ON_IMAGENET}
    sides: dict[str, Side] = {_data(arms, cifar) or "CIFAR-10": cifar, _data(arms, imagenet) or "ImageNet": imagenet}
    empty = [name for name, side in sides.items() if not _decided(side)]
    if empty:
        reason = f"needs claims of both data sets: nothing is decided on {' and '.join(empty)}"
        return _together(sides, Answer.UNDECIDED, reason)
    found = {**imagenet, **cifar}
    still = [claim for claim, each in found.items() if each.answer is Answer.UNDECIDED]
    reason = f"needs all nine: {', '.join(still)} {'is' if len(still) == 1 else 'are'} undecided"
    return _together(sides, all_of(each.answer for each in found.values()), reason)


def _data(arms: Sequence[MeasuredArm], side: Side) -> str:
    """The data sets on which something was decided."""
    used = {arm for found in side.values() if found.answer is not Answer.UNDECIDED for arm in found.arms}
    return ", ".join(dict.fromkeys(arm.network.data for arm in arms if arm.arm.name in used))


OF_A_LAYOUT: Mapping[Layout, str] = {"cifar": "DEG-01", "imagenet": "DEG-07"}
SAME_IMAGES: Mapping[str, str] = {"cifar10-jpeg": "cifar10"}
"""Data sets that are another one's images in another encoding."""


def deg_14(arms: Sequence[MeasuredArm], judge: Judge) -> Finding:
    """DEG-01, and on networks as ImageNet's DEG-07: all available data sets agree.

    Available is one whose trials are done, so that its claim was tested; the same images in another encoding are no
    second data set.
    """
    found = {data: (claim, judge(claim, _on(arms, data))) for data, claim in _claims(arms).items()}
    sides: dict[str, Side] = {data: {claim: each} for data, (claim, each) in found.items()}
    tested = {data: each.answer for data, (_, each) in found.items() if each.parts}
    decided = {SAME_IMAGES.get(data, data) for data, answer in tested.items() if answer is not Answer.UNDECIDED}
    if len(decided) < 2:
        on = f"it is decided on {min(decided)} alone" if decided else "it is decided on none"
        return _together(sides, Answer.UNDECIDED, f"needs two data sets, as cifar10 and imagenet; {on}")
    still = ", ".join(data for data, answer in tested.items() if answer is Answer.UNDECIDED)
    return _together(sides, all_of(tested.values()), f"on {still} the gap is within the noise")


def _claims(arms: Sequence[MeasuredArm]) -> dict[str, str]:
    """Of each data set of the arms, in their order, the claim about degradation."""
    return {arm.network.data: OF_A_LAYOUT[arm.network.layout] for arm in arms}


def _on(arms: Sequence[MeasuredArm], data: str) -> list[MeasuredArm]:
    return [arm for arm in arms if arm.network.data == data]


def sc_11(arms: Sequence[MeasuredArm], judge: Judge) -> Finding:
    """SC-01 and SC-07: both hold."""
    sides: dict[str, Side] = {each: {each: judge(each, arms)} for each in ("SC-01", "SC-07")}
    still = [each for each, side in sides.items() if not _decided(side)]
    answer = all_of(found.answer for side in sides.values() for found in side.values())
    return _together(sides, answer, f"needs both claims: nothing is decided on {' and '.join(still)}")


CHECKS_OF_CLAIMS: Mapping[str, CheckOfClaims] = {"RES-10": res_10, "DEG-14": deg_14, "SC-11": sc_11}
