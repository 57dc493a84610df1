"""What a user asks of a run that is at work: a file in the results directory, which its driver takes up.

So a run is steered from any machine that sees the results, and no port is open for it.
"""

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.ledger import write_json


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """Trials that are to stop, each with a commit, or not to begin."""

    keys: Sequence[str]
    by: str
    """Who asked, as a status shows it: `ada on login1`."""


def ask(results: Path, study: str, cancellation: Cancellation) -> None:
    """Leave a word for the driver of the study's run."""
    folder = _folder(results, study)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{secrets.token_hex(8)}.json", asdict(cancellation))


def take(results: Path, study: str) -> list[Cancellation]:
    """What was asked since the last look. A word is taken once; one that cannot be read is dropped."""
    found = []
    for path in sorted(_folder(results, study).glob("*.json")):
        with suppress(ValueError, TypeError, KeyError, FileNotFoundError):
            data = json.loads(path.read_text(encoding="utf-8"))
            found.append(Cancellation(keys=[str(key) for key in data["keys"]], by=str(data["by"])))
        path.unlink(missing_ok=True)
    return found


def forget(results: Path, study: str) -> None:
    """Drop words that no driver took: they were meant for a run that has ended."""
    take(results, study)


def _folder(results: Path, study: str) -> Path:
    return results / "studies" / study / "asked"
