"""Marks: what of each trial was already published where. A saving, never a truth: losing one costs a second look."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

WAIT_SECONDS = 60.0


class Busy(Exception):
    """Another publisher of these results holds the lock, and does not let go of it."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What was published of one trial."""

    uri: str
    run_id: str
    standing: Mapping[str, Any]
    """How the trial stood: `iteration`, `attempt`, `status`."""
    sent: int
    """No point up to this iteration is sent again; -1 before the first. A trial begun anew may stand before it."""
    commit: Sequence[int] | None
    """The `signature` of its commit.json."""
    studies: Sequence[str]
    """The studies whose tag the run carries."""
    ended: bool = False
    """Whether it was ever shown as finished, with the last points of its curves."""

    @classmethod
    def of(cls, data: Any) -> Self:
        """Raises TypeError, KeyError or ValueError for anything but a mark."""
        mark = cls(**data)
        if not (mark.run_id.isalnum() and isinstance(mark.sent, int) and {"iteration", "status"} <= set(mark.standing)):
            raise ValueError("no mark")
        return mark

    def settles(self, commit: Sequence[int] | None, study: str) -> bool:
        """Whether nothing is left to publish: the trial is finished, its commit the same, the study's tag there."""
        return self.standing["status"] == "FINISHED" and self.commit == commit and study in self.studies


class Marks:
    """The folder `published/` of the results: a file per trial, and the lock that publishers take turns by."""

    def __init__(self, folder: Path, uri: str) -> None:
        self._folder, self._uri = folder, uri

    def read(self, key: str) -> Mark | None:
        """None if there is no mark, if it is damaged, or if it speaks of another address."""
        try:
            mark = Mark.of(json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return mark if mark.uri == self._uri else None

    def write(self, key: str, mark: Mark) -> None:
        partial = self._folder / f".{key}.{os.getpid()}.part"
        partial.write_text(json.dumps(asdict(mark)), encoding="utf-8")
        partial.replace(self._folder / f"{key}.json")

    @contextmanager
    def held(self) -> Iterator[None]:
        """The right to create the database and to make a trial's run, one publisher at a time.

        Raises Busy after a minute. The operating system lets go of the lock of a process that ends.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + WAIT_SECONDS
        with (self._folder / "lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Busy(f"{lock.name}: held by another publisher; end it") from None
                    time.sleep(0.05)
            yield


def signature(path: Path) -> list[int] | None:
    """What changes when a file is replaced: its time, length and inode. None if it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]
