"""Verdicts as the page shows them: by family, each with its runs, and with what would decide it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from reports.arms import MeasuredArm
from reports.cells import Metric, measure
from reports.names import anchor, clean
from reports.page.summary import Count, answers
from reports.published import paper_claims
from reports.verdicts import Answer, Verdict

FAMILIES: Mapping[str, str] = {
    "DEG": "Degradation of plain networks",
    "RES": "Residual networks",
    "SC": "Shortcut options",
    "BOT": "Bottleneck blocks",
    "DEP": "Depth on ImageNet",
    "ENS": "Ensembles and testing",
    "GRD": "Signals and gradients",
    "RSP": "Layer responses",
    "DET": "Detection",
    "GEN": "Other tasks",
    "PAP": "Details of the paper",
}
"""What the letters of a claim of the paper stand for."""
OWN = "Of this study"
FEW = 12
"""So many claims are listed whole on the first screen; of more each has a mark, and the striking ones are listed."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A verdict, and what the page says beside it."""

    verdict: Verdict
    anchor: str
    evidence: str
    """How sure it is: p by itself and among the claims that were tested."""
    further: str
    """Which seeds would decide it."""
    samples: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    title: str
    anchor: str
    claims: tuple[Told, ...]
    answers: tuple[Count, ...]


def families(verdicts: Sequence[Verdict], arms: Mapping[str, MeasuredArm]) -> tuple[Family, ...]:
    """In the order of the study; claims of one family that stand apart there are put together here."""
    order = {name: place for place, name in enumerate(dict.fromkeys(_family(each) for each in verdicts))}
    listed = sorted(verdicts, key=lambda each: order[_family(each)])
    return tuple(
        Family(
            title=title,
            anchor=anchor("claims", title),
            claims=tuple(_told(each, arms) for each in found),
            answers=answers(found),
        )
        for title, group in groupby(listed, key=_family)
        for found in [tuple(group)]
    )


def striking(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Those that fail; those that are undecided too, where they are few."""
    fails, unsure = (
        [each for each in verdicts if each.verdict is answer] for answer in (Answer.FAILS, Answer.UNDECIDED)
    )
    return (*fails, *(unsure if len(fails) + len(unsure) <= FEW else ()))


def _family(verdict: Verdict) -> str:
    known = verdict.id in paper_claims()
    return FAMILIES.get(verdict.id.partition("-")[0], OWN) if known else OWN


def _told(verdict: Verdict, arms: Mapping[str, MeasuredArm]) -> Told:
    return Told(
        verdict=verdict,
        anchor=anchor("claim", verdict.id),
        evidence=_evidence(verdict),
        further=_further(verdict),
        samples=tuple(_samples(verdict, arms)),
    )


def _p(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def _evidence(verdict: Verdict) -> str:
    if verdict.p is None:
        return ""
    if verdict.p_corrected is None or verdict.tested < 2:
        return _p(verdict.p)
    return f"{_p(verdict.p)}; corrected for {verdict.tested} claims that were tested, {_p(verdict.p_corrected)}"


def _further(verdict: Verdict) -> str:
    """`further seeds that would decide it, ...: 5 more of each of A and B`."""
    if verdict.verdict is not Answer.UNDECIDED:
        return ""
    if verdict.further is None:
        return "no number of seeds would decide it at the means and spreads seen" if verdict.p is not None else ""
    by_count: dict[int, list[str]] = {}
    for arm, seeds in verdict.further.items():
        by_count.setdefault(seeds, []).append(clean(arm))
    parts = [f"{count} more of {_listed(names)}" for count, names in by_count.items() if count]
    told = "further seeds without which nothing can be said"
    if verdict.tested:
        told = "further seeds that would decide it, were means and spreads the same"
    return f"{told}: {'; '.join(parts)}" if parts else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"each of {', '.join(names[:-1])} and {names[-1]}"


def _samples(verdict: Verdict, arms: Mapping[str, MeasuredArm]) -> list[dict[str, Any]]:
    """The measurements that a verdict rests on, each with a link to its runs."""
    found = [arms[name] for name in verdict.arms if name in arms]
    return [
        {
            "text": f"{arm.label}: {measure(arm, Metric.LAST_TEST).n} of {len(arm.runs)} runs",
            "arm": anchor("arm", arm.arm.name),
            "anchor": anchor("run", arm.runs[0].key),
        }
        for arm in found
        if arm.runs
    ]
