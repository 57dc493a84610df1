"""A study as one file, from which its trials run on a machine that has only PyTorch.

It holds what the results directory remembers of the study, and every trial with its parameters and price. Standard
library alone, so that it is read where neither pydantic nor a YAML reader is installed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ablations import keys
from orchestrator.ledger import write_json
from orchestrator.studies import NAME, RecordedStudy, recorded_study
from orchestrator.trial import Trial

KIND = "ablate-export"
FORMAT = 1


class ExportError(Exception):
    """What is wrong with an exported study, in one line."""


class _OtherImagesError(ValueError):
    """Under its name a data set has other images here."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A study that needs its file no more."""

    study: RecordedStudy
    trials: Sequence[Trial]


def write(path: Path, export: Export) -> None:
    """Replace the file in one atomic step."""
    body = {"study": asdict(export.study), "trials": [_portable(trial) for trial in export.trials]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"kind": KIND, "format": FORMAT, "sha256": _digest(body), **body})


def read(path: Path) -> Export:
    """The study that `write` wrote. Raises ExportError for a file that is none, damaged, or of another version."""
    data = _json(path)
    if data.get("kind") != KIND or not isinstance(data.get("format"), int):
        raise ExportError(f"{path}: is no exported study; `ablate export STUDY --to FILE.json` writes one")
    if data["format"] > FORMAT:
        raise ExportError(f"{path}: format {data['format']} is newer than {FORMAT}; update Ablate here")
    body: dict[str, Any] = {name: data.get(name) for name in ("study", "trials")}
    if _digest(body) != data.get("sha256"):
        raise ExportError(f"{path}: damaged (checksum differs); export the study again")
    try:
        return _checked(Export(study=recorded_study(body["study"]), trials=[Trial(**each) for each in body["trials"]]))
    except _OtherImagesError as error:
        raise ExportError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"{path}: made by another version of Ablate ({reason}); export it with the one that is here"
        ) from error


def _json(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}; give a file that `ablate export` wrote") from None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ExportError(f"{path}: damaged, or no exported study; `ablate export STUDY --to FILE.json` writes one")
    return data


def _portable(trial: Trial) -> dict[str, Any]:
    """A trial without what depends on the machine."""
    return {name: value for name, value in asdict(trial).items() if name not in ("resources", "replica_counts")}


def _digest(body: Mapping[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _checked(export: Export) -> Export:
    """The same, if this version of Ablate makes the same trials of it. Raises ValueError where it does not."""
    if not re.fullmatch(NAME, export.study.name):
        raise ValueError(f"no name of a study: {export.study.name!r}")
    for trial in export.trials:
        again = keys.params(*keys.from_params(trial.params))  # with the semantics and the pixels that are known here
        if trial.params["data"] != again["data"]:
            raise _OtherImagesError(_other_images(trial.params["data"], again["data"]))
        if not keys.key(trial.params) == keys.key(again) == trial.key:
            raise ValueError(f"here the key of {trial.name} is not {trial.key!r}")
    asked = [key for arm in export.study.arms for _, key in arm.trials]
    if asked != [trial.key for trial in export.trials]:
        raise ValueError("its arms are not those of its trials")
    if not {trial.after for trial in export.trials} <= {None, *asked}:
        raise ValueError("a trial comes after one that is not there")
    return export


def _other_images(asked: Mapping[str, str], here: Mapping[str, str]) -> str:
    return (
        f"was exported for {asked['name']} with fingerprint {asked['fingerprint'][:19]}..., which is"
        f" {here['fingerprint'][:19]}... here; copy the set that it was exported for, or export the study anew"
    )
