"""The page over all studies: what of the paper stands, and where."""

from collections.abc import Mapping
from itertools import groupby

from reports.index import ClaimState, Index
from reports.page.summary import Count, trials
from reports.page.trial import address, sheet
from reports.verdicts import Answer

STATES: Mapping[str, str] = {
    "measured": "measured",
    "partial": "in part",
    "demonstration": "demonstration",
    "missing": "missing",
    "computed": "computed",
    "drawing": "a drawing",
    "published": "as published",
}
"""What the page calls them."""
TONES: Mapping[str, str] = {"measured": "whole", "drawing": "missing"}
FAMILIES: Mapping[str, str] = {
    "DEG": "Degradation", "GRD": "Signals and gradients", "RES": "Residual learning", "SC": "Shortcuts",
    "BOT": "Bottlenecks", "DEP": "Depth on ImageNet", "ENS": "Ensembles and testing", "RSP": "Responses of layers",
    "DET": "Detection", "GEN": "Other tasks", "PAP": "In the paper alone",
}  # fmt: skip
"""Of claims, by what their ids begin with."""


def index_page(
    index: Index, *, about: Mapping[str, str], pages: Mapping[str, str], trial_pages: Mapping[str, str]
) -> str:
    """The page as text. `pages` has the path of each study's page from this one on, `trial_pages` that of a trial's
    by its key."""
    answers = [Count(name=each.value, count=sum(c.verdict.verdict is each for c in index.claims)) for each in Answer]
    decided = [each for each in index.claims if each.verdict.verdict is not Answer.UNDECIDED]
    return sheet(
        "index.html.j2",
        title="All studies",
        places=[(each, each.capitalize()) for each in ("studies", "tables", "figures", "claims")],
        index=index,
        opening=opening(index),
        total=len(index.runs),
        seconds=sum(run.seconds for run in index.runs),
        trials=_trials(index),
        answers=answers,
        elsewhere=sum(each.state == "demonstration" for each in decided),
        names=tuple(Answer),
        counted=trials,
        families=_families(index.claims),
        states=STATES,
        tone=lambda state: TONES.get(state, state),
        pages={name: address(path) for name, path in pages.items()},
        trial_pages={key: address(path) for key, path in trial_pages.items()},
        about=about,
    )


def opening(index: Index) -> str:
    """The first sentence: tables, figures and claims that stand."""
    tables = [each for each in index.tables if each.total]
    figures = [each for each in index.figures if each.total]
    whole = [sum(each.state == "measured" for each in items) for items in (tables, figures)]
    decided = sum(each.state in ("measured", "computed") for each in index.claims)
    return (
        f"{whole[0]} of the {len(tables)} tables and {whole[1]} of the {len(figures)} figures that training can rebuild"
        f" are measured whole; {decided} of {len(index.claims)} claims are decided as the paper made them."
    )


def _trials(index: Index) -> list[Count]:
    """By outcome, each trial once; one that a study blocks is missing here."""
    names = [run.outcome.value for run in index.runs]
    shown = ("finished", "diverged", "failed", "running", "missing")
    return [Count(name=each, count=names.count(each)) for each in shown if each in names or each == "finished"]


def _families(claims: tuple[ClaimState, ...]) -> list[tuple[str, list[ClaimState]]]:
    """Under their headings, in the order of the paper's list."""
    grouped = groupby(claims, key=lambda each: each.id.partition("-")[0])
    return [(FAMILIES.get(name, name), list(found)) for name, found in grouped]
