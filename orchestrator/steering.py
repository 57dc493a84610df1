"""What a user asks of a run that is at work: a file in the results directory, which its driver takes up.

So a run is steered from any machine that sees the results, and no port is open for it.
"""

import json
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.driver import read_driver
from orchestrator.ledger import write_json

TAKE_SECONDS = 60.0
"""How long a driver may take to see a word: it looks every second, once its cluster is there."""
ENDING_SECONDS = 90.0
"""How long what runs may take to commit and stop."""
LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """Trials that are to stop, each with a commit, or not to begin."""

    keys: Sequence[str]
    by: str
    """Who asked, as a status shows it: `ada on login1`."""


def ask(results: Path, study: str, cancellation: Cancellation) -> Path:
    """Leave a word for the driver of the study's run; returns its file, which is gone once it was taken."""
    folder = _folder(results, study)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(8)}.json"
    write_json(path, asdict(cancellation))
    return path


def take(results: Path, study: str) -> list[Cancellation]:
    """What was asked since the last look. A word is taken once; one that cannot be read is dropped."""
    found = []
    for path in sorted(_folder(results, study).glob("*.json")):
        with suppress(ValueError, TypeError, KeyError, FileNotFoundError):
            data = json.loads(path.read_text(encoding="utf-8"))
            found.append(Cancellation(keys=[str(key) for key in data["keys"]], by=str(data["by"])))
        with suppress(OSError):  # then it is taken again, which changes nothing
            path.unlink()
    return found


def forget(results: Path, study: str) -> None:
    """Drop words that no driver took: they were meant for a run that has ended."""
    take(results, study)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of the trials that were to stop, as far as their driver has told."""

    taken: bool
    """Whether a driver has taken the word up."""
    cancelled: Sequence[str] = ()
    stopping: Sequence[str] = ()
    """Asked to commit and stop, and not stopped yet."""
    others: Sequence[str] = ()
    """Done, failed or left out before, or no part of the run."""


def answer(results: Path, study: str, cancellation: Cancellation, word: Path) -> Answer:
    """Wait until the driver has taken the word up, and what ran has stopped. Waits no longer than they are given."""
    begun = time.monotonic()
    before, at_taking = _written(results, study), None
    while True:
        taken = not word.exists()
        record = read_driver(results, study)
        if taken and at_taking is None:
            at_taking = record.written if record else 0.0
        told = record is not None and taken and record.written != (before if record.ended else at_taking)
        stopping = [key for key in cancellation.keys if record and key in record.running]
        waited = time.monotonic() - begun
        if (told and not stopping) or waited > (ENDING_SECONDS if taken else TAKE_SECONDS):
            break
        time.sleep(LOOK_SECONDS)
    if record is None or not taken:
        return Answer(taken=taken)
    cancelled = [key for key in cancellation.keys if key in record.cancelled]
    others = [key for key in cancellation.keys if key not in record.cancelled and key not in record.running]
    return Answer(taken=True, cancelled=cancelled, stopping=stopping, others=others)


def _written(results: Path, study: str) -> float:
    """When the driver wrote last, by its own clock, which is compared with no other."""
    record = read_driver(results, study)
    return record.written if record else 0.0


def _folder(results: Path, study: str) -> Path:
    return results / "studies" / study / "asked"
