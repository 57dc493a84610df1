"""The logs of a trial's attempts, read on any machine that sees the results: from their beginning, or as they grow."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.attempt_log import MOST_BYTES
from orchestrator.driver import presence
from orchestrator.ledger import Ledger, LedgerError, TrialFolder
from orchestrator.studies import RecordedStudy

LOOK_SECONDS = 0.5
PIECE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A trial whose log is read, whether it has begun or not, and the studies that it is part of."""

    key: str
    name: str
    studies: tuple[str, ...]


def find(name: str, ledger: Ledger, studies: list[RecordedStudy]) -> list[Followed]:
    """The trials of this name, or whose key begins so: those that were begun, and those of a study that was run."""
    names = {key: f"{arm.name}.s{seed}" for study in studies for arm in study.arms for seed, key in arm.trials}
    for key in ledger.trials():
        with suppress(LedgerError):  # a damaged record is in nobody's way
            if key not in names and (about := ledger.folder(key).about()):
                names[key] = str(about.get("name"))
    return [
        Followed(key=key, name=called, studies=tuple(each.name for each in studies if _has(each, key)))
        for key, called in names.items()
        if called == name or key.startswith(name)
    ]


def _has(study: RecordedStudy, key: str) -> bool:
    return any(key == each for arm in study.arms for _, each in arm.trials)


def logs(folder: TrialFolder, attempt: int | None = None) -> list[Path]:
    """The logs of the trial, oldest first, or that of one attempt."""
    found = sorted(path for path in (folder.path / "attempts").glob("*.log") if path.stem.isdigit())
    return [path for path in found if attempt is None or int(path.stem) == attempt]


def printed(folder: TrialFolder, attempt: int | None = None) -> Iterator[bytes]:
    """What the attempts said until now."""
    for path in logs(folder, attempt):
        yield from _Tail(path).more()


def last_lines(pieces: Iterator[bytes], lines: int) -> bytes:
    """The last so many lines."""
    kept = b""
    for piece in pieces:
        kept = b"".join((kept + piece).splitlines(keepends=True)[-lines:])
    return kept


def tail(path: Path, most_bytes: int) -> str:
    """The end of a log, from a line's beginning on; empty where it cannot be read, or is no file of this folder."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            start = max(0, file.seek(0, os.SEEK_END) - most_bytes)
            file.seek(start)
            data = file.read(most_bytes)
    except OSError:
        return ""
    return data[data.find(b"\n") + 1 if start else 0 :].decode(errors="replace")


def follow(ledger: Ledger, trial: Followed, attempt: int | None = None, lines: int | None = None) -> Iterator[bytes]:
    """What the attempts said, and what they say until the trial is at its end; at last, in a line, why it is.

    With `lines`, so many of what was said before.
    """
    folder = ledger.folder(trial.key)
    tails: dict[Path, _Tail] = {}
    first = True
    while True:
        over = why_over(ledger, trial, attempt)  # before the look: what was said before the end is read
        pieces = (piece for path in logs(folder, attempt) for piece in tails.setdefault(path, _Tail(path)).more())
        if first and lines is not None:
            yield last_lines(pieces, lines)
        else:
            yield from pieces
        first = False
        if over is not None:
            yield f"{trial.name}: {over}\n".encode()
            return
        time.sleep(LOOK_SECONDS)


def why_over(ledger: Ledger, trial: Followed, attempt: int | None = None) -> str | None:
    """Why nothing more will be said; None as long as something may be."""
    folder = ledger.folder(trial.key)
    try:
        if folder.alive() and attempt in (None, _latest(folder)):
            return None
        if attempt is not None and attempt <= _latest(folder):
            return f"attempt {attempt} is over"
        head = folder.head()
    except LedgerError as error:
        return str(error)
    except OSError:  # the results directory may be away for a while
        return None
    if head is not None and head.result is not None:
        return f"{head.result['outcome']} at iteration {head.iteration:,}"
    told = [_told(ledger.root, study, trial.key) for study in trial.studies]
    if None in told:
        return None
    return next((each for each in told if each), "no attempt is at work, and no run that would begin one")


def _told(results: Path, study: str, key: str) -> str | None:
    """What the run of a study makes of the trial: None while it may begin, empty where it has no say."""
    seen = presence(results, study)
    if seen.beginning:
        return None
    if seen.record is None or not seen.at_work:
        return ""
    if key in seen.record.failed:
        return f"failed: {seen.record.failed[key]}"
    if key in seen.record.cancelled:
        return f"cancelled by {seen.record.cancelled[key]}"
    if key in seen.record.unaffordable:
        return "left out by the budget"
    return None if key in seen.record.expected_seconds else ""


def _latest(folder: TrialFolder) -> int:
    numbers = [int(path.stem) for path in (folder.path / "attempts").glob("*.json") if path.stem.isdigit()]
    return max(numbers, default=0)


class _Tail:
    """A file that grows, from where it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def more(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                if (size := file.seek(0, os.SEEK_END)) < self._at:
                    self._at = min(size, MOST_BYTES)  # the log was cut there
                file.seek(self._at)
                while piece := file.read(PIECE_BYTES):
                    self._at += len(piece)
                    yield piece
        except OSError:
            return
