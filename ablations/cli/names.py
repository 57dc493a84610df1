"""What the names on a command line stand for: arms and trials of a study, or a trial by the beginning of its key."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.cli.loading import load_study
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

    found = [
        dict(about)
        for key in ledger.trials()
        if (about := ledger.folder(key).about()) and (about["name"] == name or key.startswith(name))
    ]
    if not found:
        raise StudyError(f"{ledger.root}: no trial {name!r}; `ablate status STUDY --json` lists names and keys")
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


def followed_trial(name: str, ledger: "Ledger") -> "Followed":
    """The trial of this name or key, begun or not."""
    from orchestrator import logs
    from orchestrator.studies import recorded_studies

    found = logs.find(name, ledger, recorded_studies(ledger.root))
    if not found:
        raise StudyError(f"{ledger.root}: no trial {name!r}; `ablate status STUDY --json` lists names and keys")
    if len(found) > 1:
        keys = ", ".join(each.key for each in found[:5])
        raise StudyError(f"{ledger.root}: {len(found)} trials are called {name!r}; give the key: {keys}")
    return found[0]


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
    said = " ".join(names)
    if having:
        raise StudyError(f"{said}: runs of {', '.join(each.name for each in having)} have it; name the study before it")
    at_work = ", ".join(each.name for each in running) or "none"
    near = nearest(names[0], [each.name for each in records])
    raise StudyError(f"{said}: no study that was run here, nor part of one that is being run ({at_work}){near}")


def _study_name(source: str) -> str:
    """Of a study given by its name or its file."""
    return load_study(source, None, None).name if Path(source).suffix in (".yaml", ".yml") else source


def _keys_of(study: "RecordedStudy", names: list[str]) -> list[str]:
    """Of these arms and trials of the study; without names, of all."""
    for name in names:
        if not _keys_named(study, name):
            known = [
                *(arm.name for arm in study.arms),
                *(f"{a.name}.s{seed}" for a in study.arms for seed, _ in a.trials),
            ]
            near = nearest(name, known) or f"; its arms are {', '.join(arm.name for arm in study.arms)}"
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
