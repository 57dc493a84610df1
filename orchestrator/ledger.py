"""The ledger: the durable record of trials on disk. What it says is true; Ray and MLflow are views of it.

A trial owns one folder, `trials/<key>/`, and writes nowhere else:

    trial.json            what the trial is
    commit.json           what of the files beside it is valid; replaced in one atomic step
    curves.jsonl          curve records, the same bytes for the same trial
    clock.jsonl           when each record was made, after how many seconds of training, and what training cost
    probes.jsonl          what probes saw inside the network, the same bytes for the same trial
    checkpoint-*.pt       the checkpoints of the last two commits
    *.npz                 what a finished trial keeps beside its result, as the predictions for each test image
    attempts/0001.json    one file per attempt: where, when, with what, and how it ended
    attempts/0001.log     what it printed and how it got on, for people
    stop                  the run whose attempt is asked to commit and stop

A commit makes curves and checkpoint valid together: append and fsync the curves, write and fsync the checkpoint, then
rename `commit.json` into place. What was not committed did not happen: the next attempt cuts it off. A kept file is on
the disk before the last commit, which names it with its checksum.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from orchestrator.trial import Trial

FORMAT = 1
STREAMS = ("curves.jsonl", "clock.jsonl", "probes.jsonl")
NOTHING = (0, hashlib.sha256().hexdigest())
"""Length and sha256 of a stream that a trial does not have, as those of older versions."""
CHECKPOINT = re.compile(r"checkpoint-\d{8,}-\d{4,}\.pt")
KEPT = re.compile(r"[a-z0-9-]+\.npz")
OUTCOMES = ("finished", "diverged")
"""Of a trial that has its result."""
STOP_SECONDS = 1.0
"""Between two looks of an attempt for a word to stop."""
AWAY = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN,
    errno.ENODEV, errno.EHOSTDOWN, errno.EHOSTUNREACH,
}  # fmt: skip
"""What a full disk says, or a server of files that is away. A missing right is no such thing."""
STORAGE_WAITS = (1.0, 2.0, 5.0, 10.0, *[30.0] * 19)
"""Seconds between the tries of an attempt to write: what it has computed since its last commit waits with it."""


class LedgerError(Exception):
    """A damaged or newer record. One line: what, where, what to do."""


class Stopped(Exception):
    """The attempt was asked to stop, and has committed."""


class StorageError(Exception):
    """The results directory cannot be written, and was waited for: it is full, or away."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What is valid of a trial's files. `result` is set by the last commit alone.

    Its `kept`, where there is one, has the sha256 of each file that was kept, by name.
    """

    iteration: int
    streams: Mapping[str, tuple[int, str]]
    """Length in bytes and sha256 of each stream's valid part."""
    checkpoint: str
    checkpoint_sha256: str
    seconds: float
    """Training seconds over all attempts up to here."""
    attempt: int
    time: float
    result: Mapping[str, Any] | None = None


class TrialFolder:
    """One trial's folder, read-only: what was committed, and what attempts there were."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def commits(self) -> list[Commit]:
        """The last commit and the one before it, newest first; empty when nothing was committed.

        Raises LedgerError for a file that is no commit, or one of a newer format.
        """
        try:
            text = (self.path / "commit.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            data = json.loads(text)
            if data["format"] > FORMAT:
                raise LedgerError(
                    f"{self.path}/commit.json: format {data['format']} is newer than {FORMAT}; update Ablate"
                )
            self._refuse_foreign("commit.json", data.get("key"))
            return [_commit(each) for each in data["commits"]]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise LedgerError(
                f"{self.path}/commit.json: damaged ({error!r}); remove it to start the trial anew"
            ) from error

    def head(self) -> Commit | None:
        """The last commit."""
        return next(iter(self.commits()), None)

    def about(self) -> Mapping[str, Any] | None:
        """What the trial is, as written at its first attempt."""
        try:
            about = json.loads((self.path / "trial.json").read_text(encoding="utf-8"))
            self._refuse_foreign("trial.json", about["key"])
            return {**about, "params": dict(about["params"])}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{self.path}/trial.json: damaged ({error}); remove the folder") from error

    def check(self) -> Commit | None:
        """The last commit. Raises LedgerError if it is damaged, or what the trial is, or the curves of a done one.

        A result outlives its checkpoint and what is kept beside it: of these, `checkpoint` and `kept` tell.
        """
        self.about()
        head = self.head()
        if head is not None and head.result is not None:
            for stream in STREAMS:
                self.valid(stream, head)
        return head

    def _refuse_foreign(self, file: str, key: str | None) -> None:
        """Files of another trial, which somebody copied here, are none of this one's. Older ones do not name theirs."""
        if key not in (None, self.path.name):
            raise LedgerError(f"{self.path}/{file}: belongs to trial {key}, not to this one; remove the folder")

    def valid(self, stream: str, commit: Commit) -> bytes:
        """The committed part of a stream. Raises LedgerError if it is not what was committed."""
        length, sha256 = commit.streams.get(stream, NOTHING)
        try:
            with open(self.path / stream, "rb", opener=_unfollowed) as file:
                data = file.read(length)
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise self._changed(stream)
        return data

    def _changed(self, stream: str) -> LedgerError:
        return LedgerError(
            f"{self.path}/{stream}: not what was committed (checksum differs); remove the folder to run it again"
        )

    def each(self, stream: str, commit: Commit, after: int = -1) -> Iterator[dict[str, Any]]:
        """The committed records one at a time, however long the curve: from the last one at or before an iteration on.

        Raises LedgerError, before the first record, if the stream is not what was committed.
        """
        length, sha256 = commit.streams.get(stream, NOTHING)
        if not length:
            return
        try:
            file = open(self.path / stream, "rb", opener=_unfollowed)  # noqa: SIM115 - closed below
        except FileNotFoundError:
            raise self._changed(stream) from None
        with file:
            if _checksum(file, length) != sha256:
                raise self._changed(stream)
            file.seek(_last_line_at(file, length, after))
            while file.tell() < length:
                yield json.loads(file.readline())

    def records(self, stream: str, commit: Commit) -> list[dict[str, Any]]:
        lines = self.valid(stream, commit).splitlines()
        return json.loads(b"[" + b",".join(lines) + b"]")  # at once: a third of the time of one by one

    def checkpoint(self, commit: Commit) -> bytes | None:
        """The commit's checkpoint, or None if the file is missing or damaged."""
        try:
            data = (self.path / commit.checkpoint).read_bytes()
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == commit.checkpoint_sha256 else None

    def kept(self, name: str, commit: Commit) -> bytes:
        """A file that was kept beside the commit's result. Raises LedgerError if it is not there or not the same."""
        sha256 = (commit.result or {}).get("kept", {}).get(name)
        if sha256 is None:
            raise LedgerError(f"{self.path}: the trial kept no {name}")
        try:
            with open(self.path / name, "rb", opener=_unfollowed) as file:
                data = file.read()
        except OSError as error:
            raise LedgerError(
                f"{self.path}/{name}: cannot be read ({error.strerror}); put it back, or remove the folder to run the"
                " trial again"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise self._changed(name)
        return data

    def alive(self) -> bool:
        """Whether an attempt holds the folder now."""
        try:
            with (self.path / "lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def attempts(self) -> list[dict[str, Any]]:
        """Oldest first. One that was killed has no `ended`; one whose record is damaged is left out."""
        folder = self.path / "attempts"
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))  # noqa: PTH208 - half the time
        except OSError:
            return []
        found = (_read_json(folder / name) for name in names)
        return [record for record in found if record is not None and _is_attempt(record)]

    def replicas(self) -> int | None:
        """How many replicas made the last commit; None before the first. As many resume it bit for bit.

        Raises LedgerError as `head` does.
        """
        head = self.head()
        if head is None:
            return None
        return replicas(_read_json(self.path / "attempts" / f"{head.attempt:04d}.json") or {})


class Ledger:
    """A results directory, shared by all nodes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> TrialFolder:
        return TrialFolder(self.root / "trials" / key)

    def trials(self) -> list[str]:
        """Keys of every trial that has a folder."""
        return sorted(path.name for path in (self.root / "trials").glob("*") if (path / "trial.json").exists())

    def attempt(
        self,
        trial: Trial,
        *,
        provenance: Mapping[str, Any],
        commit_seconds: float,
        wait: bool = True,
        run: str = "",
    ) -> "Attempt":
        """Begin an attempt at the trial; it alone may write the folder until it ends.

        With `wait`, another living attempt is waited for; without, it raises BlockingIOError. `run` is the run of a
        study that may ask it to stop. Raises StorageError if the directory cannot be written.
        """
        try:
            return Attempt(self.root / "trials" / trial.key, trial, provenance, commit_seconds, wait, run)
        except OSError as error:
            if error.errno in AWAY:
                raise StorageError(last_line(error)) from error
            raise

    def ask_to_stop(self, key: str, run: str) -> None:
        """Ask the attempt at this trial that is part of the run to commit and stop; it looks every second.

        Where no attempt has made the trial's folder yet nothing happens: ask again.
        """
        with suppress(FileNotFoundError):
            _replace(self.folder(key).path / "stop", run.encode(), synced=False)


class Attempt:
    """One try of a trial: the Progress that the trial sees, and a context manager that records how it ended.

    The folder is locked by the operating system, so that a killed attempt holds nothing.
    """

    def __init__(
        self, path: Path, trial: Trial, provenance: Mapping[str, Any], commit_seconds: float, wait: bool, run: str
    ) -> None:
        self.folder, self._commit_seconds, self._run = TrialFolder(path), commit_seconds, run
        self._stop_looked, self._stop = 0.0, False
        self._after = trial.after
        (path / "attempts").mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            lock = held.enter_context((path / "lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if self.folder.about() is None:
                write_json(path / "trial.json", {"format": FORMAT, "created": _now()} | asdict(trial))
            self._adopt()
            if not self.done:
                self._begin(provenance)
            self._held = held.pop_all()

    @property
    def done(self) -> bool:
        """Whether the trial already has its result, so that nothing is left to run."""
        return bool(self._commits and self._commits[0].result is not None)

    @property
    def iteration(self) -> int:
        """Last committed iteration."""
        return self._commits[0].iteration if self._commits else 0

    @property
    def log_path(self) -> Path:
        """Where what it prints belongs."""
        return self._record_path.with_suffix(".log")

    def restore(self) -> bytes | None:
        self._started = time.monotonic()  # training begins here; what came before was the start of a process
        return self._checkpoint

    def inherited(self) -> bytes:
        """The final checkpoint of the trial that this one comes after. Raises LedgerError if it is not there."""
        if self._after is None:
            raise LedgerError(f"{self.folder.path}: it comes after no trial, so there is no checkpoint to begin from")
        earlier = TrialFolder(self.folder.path.with_name(self._after))
        head = earlier.head()
        if head is None or head.result is None:
            raise LedgerError(f"{earlier.path}: not done, and another trial begins from its end; run it first")
        checkpoint = earlier.checkpoint(head)
        if checkpoint is None:
            raise LedgerError(
                f"{earlier.path}/{head.checkpoint}: missing or damaged, and another trial begins from it; remove the"
                " folder to run it again"
            )
        return checkpoint

    def about(self, facts: Mapping[str, Any]) -> None:
        self._record |= facts
        self._durably(lambda: tell_json(self._record_path, self._record))

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        self._pending["curves.jsonl"] += _line({"iteration": iteration} | plain(values))
        made = {"iteration": iteration, "time": round(time.time(), 3), "seconds": round(self._seconds(), 3)}
        self._pending["clock.jsonl"] += _line(made | dict(costs or {}))

    def probe(self, record: Mapping[str, Any]) -> None:
        self._pending["probes.jsonl"] += _line(plain(record))

    def keep(self, name: str, data: bytes) -> None:
        """As the protocol says. Raises ValueError for another name; StorageError as `commit` does."""
        if not KEPT.fullmatch(name):
            raise ValueError(f"a kept file is named as predictions-test.npz ({KEPT.pattern}), not {name!r}")
        self._durably(lambda: self._place(name, data))
        self._kept[name] = hashlib.sha256(data).hexdigest()

    def _place(self, name: str, data: bytes) -> None:
        _replace(self.folder.path / name, data, synced=True)
        _sync_folder(self.folder.path)

    def due(self) -> bool:
        return time.monotonic() - self._last_commit >= self._commit_seconds or self._asked_to_stop()

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        """As the protocol says. Raises Stopped, after the commit, if the attempt was asked to stop; StorageError if
        the results directory could not be written for minutes."""
        self._commit(iteration, checkpoint, None)
        if self._asked_to_stop():
            raise Stopped(f"asked to stop, at iteration {iteration}")

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        self._commit(iteration, checkpoint, {**result, "kept": dict(self._kept)} if self._kept else result)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended: dict[str, Any] = {"ended": _now(), "cause": "ended"}
        if error is not None:
            whole = "".join(traceback.format_exception(kind, error, trace))
            ended |= {"cause": _cause(error), "reason": last_line(error), "traceback": whole[-20_000:]}
        with self._held, suppress(OSError):  # a full disk must not hide the error that it caused
            if self._record:
                tell_json(self._record_path, self._record | ended)

    def _asked_to_stop(self) -> bool:
        if not self._stop and self._run and time.monotonic() - self._stop_looked >= STOP_SECONDS:
            self._stop_looked = time.monotonic()
            with suppress(OSError, ValueError):
                self._stop = (self.folder.path / "stop").read_text(encoding="utf-8") == self._run
        return self._stop

    def _adopt(self) -> None:
        """Find the newest commit whose files are all valid. A result needs its curves, and no checkpoint any more.

        Raises LedgerError if a trial is done and its curves are not what was committed: days of work are not run over
        without being asked.
        """
        self._commits = self.folder.commits()
        self._checkpoint: bytes | None = None
        self._notes: list[str] = []
        self._record: dict[str, Any] = {}
        self._valid = dict.fromkeys(STREAMS, b"")
        while self._commits and self._checkpoint is None:
            head = self._commits[0]
            try:
                self._valid = {stream: self.folder.valid(stream, head) for stream in STREAMS}
                self._checkpoint = self.folder.checkpoint(head)
            except LedgerError as error:
                if self.done:
                    raise
                self._notes.append(str(error))
            if self.done:
                return
            if self._checkpoint is None:
                self._notes.append(f"the commit at iteration {head.iteration} is damaged; went back to the one before")
                self._commits = self._commits[1:]
                self._valid = dict.fromkeys(STREAMS, b"")

    def _begin(self, provenance: Mapping[str, Any]) -> None:
        """Cut off what came after the adopted commit, and record that an attempt began."""
        streams = self._valid
        self._seconds_before = self._commits[0].seconds if self._commits else 0.0
        self._hash = {stream: hashlib.sha256(data) for stream, data in streams.items()}
        self._length = {stream: len(data) for stream, data in streams.items()}
        self._pending = dict.fromkeys(STREAMS, b"")
        self._kept: dict[str, str] = {}
        for stream in STREAMS:
            _opened_at(self.folder.path / stream, self._length[stream]).close()
        valid = {commit.checkpoint for commit in self._commits}
        for pattern in ("checkpoint-*.pt", "*.npz", ".*.part"):
            for path in self.folder.path.glob(pattern):
                if path.name not in valid:
                    path.unlink(missing_ok=True)
        numbers = [int(path.stem) for path in (self.folder.path / "attempts").glob("*.json") if path.stem.isdigit()]
        self.number = max(numbers, default=0) + 1
        self._record_path = self.folder.path / "attempts" / f"{self.number:04d}.json"
        start = self._commits[0].iteration if self._commits else 0
        self._record = {
            "started": _now(), "from_iteration": start, "notes": self._notes, "pid": os.getpid(), **provenance
        }  # fmt: skip
        tell_json(self._record_path, self._record)
        self._started = self._last_commit = time.monotonic()

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _commit(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any] | None) -> None:
        name = f"checkpoint-{iteration:08d}-{self.number:04d}.pt"
        hashes = {stream: self._hash[stream].copy() for stream in STREAMS}
        for stream in STREAMS:
            hashes[stream].update(self._pending[stream])
        lengths = {stream: self._length[stream] + len(self._pending[stream]) for stream in STREAMS}
        commit = Commit(
            iteration=iteration,
            streams={stream: (lengths[stream], hashes[stream].hexdigest()) for stream in STREAMS},
            checkpoint=name,
            checkpoint_sha256=hashlib.sha256(checkpoint).hexdigest(),
            seconds=round(self._seconds(), 3),
            attempt=self.number,
            time=round(time.time(), 3),
            result=result,
        )
        commits = [commit, *(self._commits[:1] if result is None else [])]
        synced: set[str] = set()
        self._durably(lambda: self._write(commits, checkpoint, synced))
        dropped = {each.checkpoint for each in self._commits} - {each.checkpoint for each in commits}
        self._commits, self._hash, self._length = commits, hashes, lengths
        self._pending = dict.fromkeys(STREAMS, b"")
        for old in dropped:
            with suppress(OSError):  # the next attempt removes what no commit names
                (self.folder.path / old).unlink(missing_ok=True)
        self._last_commit = time.monotonic()

    def _write(self, commits: Sequence[Commit], checkpoint: bytes, synced: set[str]) -> None:
        """All that a commit needs, then the step that makes it valid; done again, it ends as if done once.

        A stream that is `synced` is left alone: the step may have been made, and what it makes valid stays.
        """
        for stream in STREAMS:
            if not self._pending[stream] or stream in synced:
                continue
            with _opened_at(self.folder.path / stream, self._length[stream]) as file:
                file.write(self._pending[stream])
                file.flush()
                os.fsync(file.fileno())
            synced.add(stream)
        _replace(self.folder.path / commits[0].checkpoint, checkpoint, synced=True)
        write_json(
            self.folder.path / "commit.json",
            {"format": FORMAT, "key": self.folder.path.name, "commits": [asdict(each) for each in commits]},
        )

    def _durably(self, write: Callable[[], None]) -> None:
        """Write, and where that fails wait and write again: a full disk or a server that is away costs time alone."""
        began = time.monotonic()
        for wait in (*STORAGE_WAITS, None):
            try:
                write()
                break
            except OSError as error:
                if error.errno not in AWAY:
                    raise
                if wait is None:
                    raise StorageError(f"{last_line(error)}; waited {time.monotonic() - began:.0f} s") from error
                time.sleep(wait)
        if (waited := time.monotonic() - began) > STORAGE_WAITS[0]:
            self._started += waited  # which was no training
            self._notes.append(f"waited {waited:.0f} s until the results directory could be written")


def replicas(attempt: Mapping[str, Any]) -> int:
    """How many an attempt's record says that it had; 1 where it does not say."""
    site = attempt.get("site")
    count = site.get("replicas") if isinstance(site, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 1


def _commit(data: Mapping[str, Any]) -> Commit:
    """A commit as it was read from JSON. Raises ValueError, TypeError or KeyError for what is none."""
    streams = {name: (int(length), str(sha256)) for name, (length, sha256) in data["streams"].items()}
    if not {"curves.jsonl", "clock.jsonl"} <= streams.keys() <= set(STREAMS):
        raise ValueError(f"no streams of a trial: {sorted(streams)}")
    commit = Commit(**{**data, "streams": streams})
    numbers = (commit.iteration, commit.seconds, commit.attempt, commit.time)
    if not all(isinstance(each, int | float) for each in numbers) or commit.iteration < 0:
        raise ValueError(f"not numbers: {numbers}")
    if not CHECKPOINT.fullmatch(commit.checkpoint):
        raise ValueError(f"no name of a checkpoint: {commit.checkpoint!r}")
    if commit.result is not None and commit.result["outcome"] not in OUTCOMES:
        raise ValueError(f"no outcome: {commit.result['outcome']!r}")
    for name, sha256 in (commit.result or {}).get("kept", {}).items():
        if not KEPT.fullmatch(name) or not isinstance(sha256, str):
            raise ValueError(f"no kept file: {name!r}")
    return commit


def _cause(error: BaseException) -> str:
    """In an attempt's record. Ctrl-C is no error of the trial, nor is a word to stop."""
    if isinstance(error, Stopped):
        return "stopped"
    return "error" if isinstance(error, Exception) else "interrupted"


def last_line(error: BaseException) -> str:
    """What a traceback ends with, on one line and of readable length."""
    return " ".join(traceback.format_exception_only(error)[-1].split())[:1000]


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity; they are kept as text, never as 0. `runs.numbers` reads them back."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, float) and not abs(value) < float("inf") else value


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _opened_at(path: Path, length: int) -> IO[bytes]:
    """Open for appending after the first `length` bytes; what follows them is cut off."""
    file = open(path, "r+b" if path.exists() else "w+b", opener=_unfollowed)  # noqa: SIM115 - the caller closes it
    file.truncate(length)
    file.seek(length)
    return file


def _checksum(file: IO[bytes], length: int) -> str:
    """sha256 of a file's first `length` bytes, read in pieces."""
    found = hashlib.sha256()
    while length > 0 and (piece := file.read(min(length, 1 << 20))):
        found.update(piece)
        length -= len(piece)
    return found.hexdigest()


def _last_line_at(file: IO[bytes], length: int, iteration: int) -> int:
    """Where, in the first `length` bytes, the last record at or before an iteration begins; 0 if there is none.

    Records are in order, so it looks in the middle, and in the middle of what is left.
    """
    best, low, high = 0, 0, length
    while low < high:
        middle = (low + high) // 2
        if middle:
            file.seek(middle - 1)
            file.readline()  # to the next line's beginning, which is here if the byte before ends one
        else:
            file.seek(0)
        at = file.tell()
        if at >= high or json.loads(file.readline())["iteration"] > iteration:
            high = middle
        else:
            best, low = at, file.tell()
    return best


def _unfollowed(path: str, flags: int) -> int:
    """Open a file, and refuse a link: in a shared folder one may lead anywhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _replace(path: Path, data: bytes, *, synced: bool) -> None:
    """Write a file such that it is either whole or absent; with `synced` also after a power cut, once its folder is."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):  # a full disk needs every byte
            partial.unlink()
        raise


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace a JSON file in one atomic step that lasts: with it, all that was synced in its folder before."""
    _replace(path, _json(data), synced=True)
    _sync_folder(path.parent)


def tell_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace a JSON file in one atomic step, which a power cut may undo: for what helps and decides nothing."""
    _replace(path, _json(data), synced=False)


def write_text(path: Path, text: str) -> None:
    """Replace a file in one atomic step, which a power cut may undo."""
    _replace(path, text.encode(), synced=False)


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, allow_nan=False).encode()


_TOLD: Mapping[str, type | tuple[type, ...]] = {
    "host": str, "cause": str, "reason": str, "kernels": str, "activations": str, "notes": list,
    "hardware": (dict, str), "site": dict, "versions": dict,
}  # fmt: skip
"""What each part of an attempt's record is, where it is there: no checksum guards it, so it may have been edited."""


def _is_attempt(record: Mapping[str, Any]) -> bool:
    if not all(isinstance(record[name], kind) for name, kind in _TOLD.items() if name in record):
        return False
    hardware = record.get("hardware")
    gpus = hardware.get("gpus", []) if isinstance(hardware, dict) else []
    texts = [*record.get("notes", []), *(gpus if isinstance(gpus, list) else [None])]
    return all(isinstance(text, str) for text in texts) and all(
        _is_moment(record[name]) for name in ("started", "ended") if name in record
    )


def _is_moment(text: object) -> bool:
    try:
        return datetime.fromisoformat(str(text)).tzinfo is not None
    except ValueError:
        return False


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
