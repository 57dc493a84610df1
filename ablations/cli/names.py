"""What the names on a command line stand for: arms and trials of a study, or a trial by the beginning of its key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablations.cli.exits import UNREACHABLE, fail
from ablations.nearest import nearest
from ablations.reader import StudyError

if TYPE_CHECKING:
    from ablations.study import Study
    from orchestrator.ledger import Ledger
    from orchestrator.logs import Followed
    from orchestrator.studies import RecordedArm, RecordedStudy

SHORTEST_KEY = 6
"""Characters of a key that name a trial for `cancel`."""


def asked_for(study: "Study", only: list[str] | None) -> list[str]:
    """The arms and trials that were asked for by name; where the study has none of it, the nearest is named."""
    arms = [arm.name for arm in study.arms]
    known = [*arms, *(f"{arm.name}.s{seed}" for arm in study.arms for seed in range(arm.seeds))]
    for name in only or ():
        if name not in known:
            near = nearest(name, known) or f"; its arms are {', '.join(arms)}"
            raise StudyError(f"--only: study {study.name} has no arm or trial {name[:200]!r}{near}")
    return only or []


def recorded_trial(name: str, ledger: "Ledger") -> "tuple[RecordedArm, dict[str, Any]]":
    """The trial of this name or key, from the ledger alone."""
    from orchestrator.studies import RecordedArm

    seen = [about for key in ledger.trials() if (about := _about(key, name, ledger))]
    found = [about for about in seen if about["name"] == name or about["key"].startswith(name)]
    if not found:
        raise StudyError(_no_such_trial(name, ledger))
    if len(found) > 1:
        keys = ", ".join(each["key"] for each in found[:5])
        raise StudyError(f"{ledger.root}: {len(found)} trials are called {name!r}; give the key: {keys}")
    about = found[0]
    params = about["params"]
    arm = RecordedArm(
        name=about["arm"],
        network=params["network"],
        recipe=params["recipe"],
        deviations=(),
        parameters=about["parameters"],
        multiply_adds=about["multiply_adds"],
        trials=[(about["seed"], about["key"])],
    )
    return arm, about


def _about(key: str, name: str, ledger: "Ledger") -> dict[str, Any] | None:
    """What a trial is. One whose record is damaged is in nobody's way but of who names it."""
    from orchestrator.ledger import LedgerError

    try:
        about = ledger.folder(key).about()
        if about and not {"name", "arm", "seed", "parameters", "multiply_adds"} <= about.keys():
            raise LedgerError(f"{ledger.folder(key).path}/trial.json: damaged (it is incomplete); remove the folder")
    except LedgerError:
        if key.startswith(name):
            raise
        return None
    return dict(about) if about else None


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a name stands for in one results directory: a trial, an arm, or a study, as they were last run."""

    kind: Literal["trial", "arm", "study"]
    study: "RecordedStudy"
    """Of a trial and of an arm: one with that alone."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Of a trial, what the ledger says that it is."""


def side(name: str, results: Path) -> Side:
    """A study that was run here, an arm of one (`STUDY/ARM` where several have it under unlike recipes), or a trial."""
    from orchestrator.ledger import Ledger
    from orchestrator.studies import recorded_studies

    studies = recorded_studies(results)
    for study in studies:
        if study.name == name:
            return Side(kind="study", study=study)
    of, _, arm_name = name.rpartition("/")
    arms = [(s, arm) for s in studies for arm in s.arms if arm.name == arm_name and of in ("", s.name)]
    if arms:
        kinds = {repr((arm.network, arm.recipe)) for _, arm in arms}
        if len(kinds) > 1:
            several = " or ".join(f"{study.name}/{arm_name}" for study, _ in arms[:5])
            raise StudyError(f"{results}: {arm_name} has another recipe in each of several studies; give {several}")
        study, arm = arms[0]
        trials = sorted(dict(pair for _, each in arms for pair in each.trials).items())
        return Side(kind="arm", study=_alone(study, replace(arm, trials=trials)))
    ledger = Ledger(results)
    try:
        arm, about = recorded_trial(name, ledger)
    except StudyError as error:
        if studies and f"no trial {name[:200]!r}" in str(error):
            near = nearest(name, [part for study in studies for part in (study.name, *_parts(study))])
            raise StudyError(f"{results}: no study, arm or trial {name[:200]!r}{near}") from None
        raise
    return Side(kind="trial", study=_alone(None, arm), about=about)


def _alone(study: "RecordedStudy | None", arm: "RecordedArm") -> "RecordedStudy":
    from orchestrator.studies import RecordedStudy

    return RecordedStudy(
        name=study.name if study else arm.name, question="", source="", text="", sha256="", overrides=(), arms=(arm,),
        tables=(), figures=(), claims=(),
    )  # fmt: skip


def followed_trial(name: str, ledger: "Ledger") -> "Followed":
    """The trial of this name or key, begun or not."""
    from orchestrator import logs
    from orchestrator.studies import recorded_studies

    found = logs.find(name, ledger, recorded_studies(ledger.root))
    if not found:
        raise StudyError(_no_such_trial(name, ledger))
    if len(found) > 1:
        keys = ", ".join(each.key for each in found[:5])
        raise StudyError(f"{ledger.root}: {len(found)} trials are called {name!r}; give the key: {keys}")
    return found[0]


def _no_such_trial(name: str, ledger: "Ledger") -> str:
    """Why nothing can be shown: it is an arm, it has not begun, or nobody knows it.

    Raises LedgerError for one whose record is damaged.
    """
    from orchestrator import logs
    from orchestrator.studies import recorded_studies

    studies = recorded_studies(ledger.root)
    if found := logs.find(name, ledger, studies):
        _about(found[0].key, found[0].key, ledger)
        return f"{found[0].name}: has not begun; `ablate logs {name} --follow` waits for it"
    for study in studies:
        for arm in study.arms:
            if arm.name == name:
                trials = ", ".join(f"{name}.s{seed}" for seed, _ in arm.trials[:5])
                return f"{name}: is an arm of study {study.name}; give one of its trials, as {trials}"
    near = nearest(name, [part for study in studies for part in _parts(study)])
    return f"{ledger.root}: no trial {name[:200]!r}{near}; `ablate status STUDY --json` lists names and keys"


def to_cancel(names: list[str], results: Path) -> "tuple[RecordedStudy, list[str]]":
    """The study, and the keys of what is to be cancelled of it."""
    from orchestrator.driver import presence
    from orchestrator.studies import recorded_studies

    records = recorded_studies(results)
    asked = next((each for each in records if each.name == _study_name(names[0])), None)
    if asked is not None:
        return asked, _keys_of(asked, names[1:])
    seen = [(each, presence(results, each.name)) for each in records]
    running = [each for each, at in seen if at.at_work or at.beginning]
    having = [each for each in running if all(_keys_named(each, name) for name in names)]
    ended = [each for each in records if each not in running and all(_keys_named(each, name) for name in names)]
    if len(having) == 1 or (not having and ended):
        asked = (having or ended)[0]
        return asked, _keys_of(asked, names)
    if having:
        runs, said = ", ".join(each.name for each in having), " ".join(names)
        raise StudyError(f"{said}: runs of {runs} have it; name the study before it")
    _refuse_if_starting(_study_name(names[0]), results)
    raise StudyError(_none_has(names, records, running))


def _refuse_if_starting(study: str, results: Path) -> None:
    """A run holds its study before it has written what of it can be cancelled."""
    from orchestrator.studies import NAME, holder

    by = holder(results, study) if re.fullmatch(NAME, study) else None
    if by:
        fail(f"study {study} is starting ({by}), so there is nothing to cancel yet; again in a moment", UNREACHABLE)


def _none_has(names: list[str], records: "list[RecordedStudy]", running: "list[RecordedStudy]") -> str:
    """Which of the names is wrong, and what may have been meant."""
    unknown = [name for name in names if not any(_keys_named(each, name) for each in records)]
    if not unknown:
        return f"{' '.join(names)}: no one run has all of it; cancel the parts of each run by themselves"
    known = [name for name in names if name not in unknown]
    near_to = [each for each in records if any(_keys_named(each, name) for name in known)] or running or records
    parts = [part for each in near_to for part in _parts(each)]
    near = nearest(unknown[0], [*(each.name for each in records), *parts])
    at_work = ", ".join(each.name for each in running) or "none"
    return f"{' '.join(unknown)}: no study that was run here, nor part of one that is being run ({at_work}){near}"


def _parts(study: "RecordedStudy") -> list[str]:
    """Names of its arms and trials."""
    return [*(arm.name for arm in study.arms), *(f"{arm.name}.s{seed}" for arm in study.arms for seed, _ in arm.trials)]


def _study_name(source: str) -> str:
    """Of a study given by its name or its file."""
    from ablations.study import named

    return named(source)[0] if Path(source).suffix in (".yaml", ".yml") else source


def _keys_of(study: "RecordedStudy", names: list[str]) -> list[str]:
    """Of these arms and trials of the study; without names, of all."""
    for name in names:
        if not _keys_named(study, name):
            near = nearest(name, _parts(study)) or f"; its arms are {', '.join(arm.name for arm in study.arms)}"
            raise StudyError(f"study {study.name} has no arm or trial {name[:200]!r}{near}")
    every = [key for arm in study.arms for _, key in arm.trials]
    return list(dict.fromkeys(key for name in names for key in _keys_named(study, name))) if names else every


def _keys_named(study: "RecordedStudy", name: str) -> list[str]:
    """Of an arm or a trial of this name, or a trial whose key begins so."""
    return [
        key
        for arm in study.arms
        for seed, key in arm.trials
        if name in (arm.name, f"{arm.name}.s{seed}") or (len(name) >= SHORTEST_KEY and key.startswith(name))
    ]
