"""A study as it was last run: what the results directory remembers of the question, its arms and its report.

With this record a report can be made on another machine, from a copied folder, without the study file.
"""

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from orchestrator.ledger import LedgerError, write_json

FORMAT = 1
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""What a study may be called: the name of a folder, on any machine."""


LOOKERS = 5
"""How often a run that begins may find the lock in the hands of someone who only looks."""


class StudyInUse(Exception):
    """Another run of the study is at work; the message says whose."""


@dataclass(frozen=True, kw_only=True)
class RecordedArm:
    """A cell of a table: a network under a recipe, and the trials that measure it."""

    name: str
    network: Mapping[str, Any]
    recipe: Mapping[str, Any]
    deviations: Sequence[str]
    """Departures from the paper's recipe and data for this network, as `lr 0.03 (paper 0.1)`; empty: the paper's."""
    parameters: int
    multiply_adds: int
    trials: Sequence[tuple[int, str]]
    """(seed, key) of each trial."""
    blocked: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedStudy:
    name: str
    question: str
    source: str
    """Where in the paper: `sec. 4.2, Table 6, Figure 6`."""
    text: str
    """The study file, to the letter."""
    sha256: str
    overrides: Sequence[str]
    """`--set` and `--seeds` values that were given beside the file."""
    arms: Sequence[RecordedArm]
    """In the order of the study file."""
    tables: Sequence[str]
    figures: Sequence[str]
    claims: Sequence[Mapping[str, str]]
    """`{"id": "DEG-01"}` names a claim of the paper; `{"id", "say", "text"}` is the study's own."""
    looks: int = 1
    """How often the claims were looked at to see whether seeds were to be added, this time included: who looks often
    enough finds something."""


def write_study(results: Path, study: RecordedStudy) -> None:
    """Remember the study as it is being run now."""
    folder = results / "studies" / study.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "study.json", {"format": FORMAT} | asdict(study))


def read_study(results: Path, name: str) -> RecordedStudy:
    """The study as it was last run.

    Raises FileNotFoundError if it never was, LedgerError if the record is damaged or of a newer format.
    """
    path = results / "studies" / name / "study.json"
    text = path.read_text(encoding="utf-8")
    try:
        data = json.loads(text)
        if (written := data.pop("format")) > FORMAT:
            raise LedgerError(f"{path}: format {written} is newer than {FORMAT}; update Ablate")
        if data["name"] != name:
            raise ValueError(f"it is of a study called {data['name']!r}")
        return recorded_study(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"{path}: damaged ({error!r}); run the study again to rewrite it") from error


def recorded_study(data: Mapping[str, Any]) -> RecordedStudy:
    """A study as it was read from JSON. Raises ValueError, TypeError, KeyError or AttributeError for what is none."""
    arms = [RecordedArm(**(arm | {"trials": [(seed, key) for seed, key in arm["trials"]]})) for arm in data["arms"]]
    return RecordedStudy(**{**data, "arms": arms})


def recorded_studies(results: Path) -> list[RecordedStudy]:
    """Every study that was run into this directory; a damaged record is left out."""
    return every_study(results)[0]


def every_study(results: Path) -> tuple[list[RecordedStudy], list[str]]:
    """Every study that was run into this directory; and of each record that cannot be read, in a line, why."""
    found, problems = [], []
    for path in sorted((results / "studies").glob("*/study.json")):
        name = path.parent.name
        try:
            if not re.fullmatch(NAME, name):
                raise LedgerError(f"{path}: no study can be called {name[:200]!r}; rename the folder")
            found.append(read_study(results, name))
        except (LedgerError, OSError) as error:
            problems.append(str(error))
    return found, problems


def holder(results: Path, name: str) -> str | None:
    """Who holds the study for a run now, as `pid 12 on login1 since ...`; None if nobody does, as far as is seen here.

    Not every shared file system shows a lock to other machines.
    """
    try:
        with (results / "studies" / name / "lock").open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "another process"
    except OSError:
        return None
    return None


@contextmanager
def sole_run(results: Path, name: str) -> Iterator[None]:
    """Hold the study for one run. The operating system lets go of it when the run's process ends, however it ends.

    Raises StudyInUse, naming the holder, if another run holds it.
    """
    folder = results / "studies" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            _lock(lock)
        except BlockingIOError:
            lock.seek(0)
            raise StudyInUse(
                f"study {name} is being run by {lock.read().strip() or 'another process'}; wait for it or end it"
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        lock.flush()
        yield


def _lock(file: IO[str]) -> None:
    """Raises BlockingIOError if another run holds it; who only looks does so for an instant, and is waited for."""
    for _ in range(LOOKERS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.02)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
