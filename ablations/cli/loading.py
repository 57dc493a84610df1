"""The study that a command is about: as its file asks for it now, or as it was last run."""

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablations.study import Study
    from orchestrator.runs import Run
    from orchestrator.studies import RecordedStudy
    from orchestrator.trial import Trial


def load_study(source: str, overrides: list[str] | None, seeds: int | None) -> "Study":
    """The study, with its claims checked against those that reports can judge."""
    from ablations.study import load
    from reports.published import paper_claims

    return load(source, overrides=overrides or (), seeds=seeds, known_claims=paper_claims(), say_problem=_say_problem)


def _say_problem(say: str) -> str | None:
    """What is wrong with the test of a study's own claim."""
    from reports.sentences import parse_claim

    try:
        parse_claim(say)
    except ValueError as error:
        return str(error)
    return None


def trials_of(study: "Study", device: str) -> "list[Trial]":
    from ablations.trials import trials

    return trials(study, gpus=1.0 if device == "cuda" else 0.0)


def size(study: "Study") -> int:
    return sum(arm.seeds for arm in study.arms)


def recorded_runs(
    source: str, overrides: list[str] | None, seeds: int | None, results: Path
) -> "tuple[RecordedStudy, list[Run]]":
    """The study as it was last run, unless something else is asked for, and its runs."""
    from orchestrator.ledger import Ledger
    from orchestrator.runs import read_runs

    record = record_of(source, overrides, seeds, results)
    return record, read_runs(record, Ledger(results))


def record_of(source: str, overrides: list[str] | None, seeds: int | None, results: Path) -> "RecordedStudy":
    """The study as it was last run, unless something else is asked for, or its file has changed."""
    from ablations.trials import recorded

    known = None if overrides or seeds is not None else _as_it_was(source, results)
    return known or recorded(load_study(source, overrides, seeds))


def _as_it_was(source: str, results: Path) -> "RecordedStudy | None":
    """Its record, if it has one and its file has not changed. That needs no data set: results may lie where there is
    none, and a set may have been prepared anew."""
    from ablations.study import named, shipped
    from orchestrator.studies import NAME, read_study

    if re.fullmatch(NAME, source) and source not in shipped() and not Path(source).exists():
        with suppress(FileNotFoundError):
            return read_study(results, source)
    name, sha256 = named(source)
    if re.fullmatch(NAME, name):
        with suppress(FileNotFoundError):
            known = read_study(results, name)
            return known if known.sha256 == sha256 else None
    return None


def made_by(*command: str) -> dict[str, str]:
    """What a page says of its making: the command, and the version of the program."""
    from orchestrator.provenance import version

    return {"command": shlex.join(["ablate", *command]), "version": version("ablate") or "unknown"}
