"""What an attempt says: `attempts/0001.log`, beside its record and for people alone. No program reads it back.

Whatever the trial's process and its children print lands there, from Python or from C, to the last word of one that
crashes; hence their descriptors lead into the file itself, and no thread stands between. Nothing here can end a trial:
what cannot be written is dropped.
"""

import ctypes
import io
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.ledger import Attempt, Stopped, last_line
from orchestrator.runs import UNITS
from orchestrator.trial import Trial

MOST_BYTES = 4 * 2**20
"""Of what an attempt prints; a log is cut there."""
LOOK_SECONDS = 1.0
"""Between two looks at the size: what C code and children print is not counted as it is printed."""
TEE_SECONDS = 5.0
"""How long the end of an attempt waits for the last of its output to be shown."""
STDOUT, STDERR = 1, 2
C = ctypes.CDLL(None)
"""The C library of this process, which has buffers of its own."""


class AttemptLog:
    """Catches what this process and its children print while the `with` block lasts.

    With `echo`, it is shown where it would have been shown, too.
    """

    def __init__(self, path: Path, *, echo: bool = False) -> None:
        self._path, self._echo = path, echo
        self._file: int | None = None
        self._left: int | None = None
        """The file that was cut, while something may still print into it."""
        self._kept: dict[int, int] = {}
        self._tees: list[subprocess.Popen[bytes]] = []
        self._printed = self._said = 0
        self._process = os.getpid()
        self._held = threading.RLock()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_again, daemon=True)

    def say(self, text: str) -> None:
        """One line, or several, with the time in UTC before the first."""
        self._write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}  {text}\n")

    def __enter__(self) -> Self:
        with suppress(OSError, RuntimeError):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._file = os.open(self._path, flags, 0o666)
            self._streams = sys.stdout, sys.stderr
            _flush()
            for stream in (STDOUT, STDERR):
                self._catch(stream)
            sys.stdout, sys.stderr = self._stream(STDOUT), self._stream(STDERR)
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        _flush()
        for stream, kept in self._kept.items():
            os.dup2(kept, stream)
            os.close(kept)
        sys.stdout, sys.stderr = self._streams
        for tee in self._tees:
            with suppress(subprocess.TimeoutExpired):  # a child that lives on still prints
                tee.wait(timeout=TEE_SECONDS)
        self._over.set()
        if self._watch.ident is not None:
            self._watch.join()
        self._look()
        self._tell_end(error)
        for file in (self._file, self._left):
            if file is not None:
                with suppress(OSError):
                    os.close(file)
        self._file = None

    def _tell_end(self, error: BaseException | None) -> None:
        if error is None:
            self.say("ended: done")
        elif isinstance(error, Stopped):
            self.say(f"ended: {error}; committed")
        elif isinstance(error, Exception):
            self._write("".join(traceback.format_exception(error)))
            self.say(f"ended: failed: {last_line(error)}")
        else:
            self.say("ended: interrupted")

    # What is printed --------------------------------------------------------------------------------------------------

    def _catch(self, stream: int) -> None:
        assert self._file is not None
        kept = os.dup(stream)
        self._kept[stream] = kept
        if not self._echo:
            os.dup2(self._file, stream)
            return
        with suppress(OSError):  # no `tee` here: shown, and not kept
            command = ["tee", "-a", "-i", str(self._path)]  # -i: Ctrl-C is for the trial
            tee = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=kept, stderr=subprocess.DEVNULL)
            assert tee.stdin is not None
            os.dup2(tee.stdin.fileno(), stream)
            tee.stdin.close()
            self._tees.append(tee)

    def _stream(self, stream: int) -> io.TextIOWrapper:
        raw = _Unfailing(stream, self._count)
        return io.TextIOWrapper(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def _count(self, size: int) -> None:
        self._printed += size
        if self._printed > MOST_BYTES and os.getpid() == self._process:  # a forked child counts its own
            self._cut()

    def _look_again(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        with self._held, suppress(OSError):
            if self._left is not None:
                os.ftruncate(self._left, 0)
            elif self._file is not None and os.fstat(self._file).st_size - self._said > MOST_BYTES:
                self._cut()

    def _cut(self) -> None:
        """Go on in a file of its own that has the beginning. Who still prints, prints into one that nobody sees, and
        that is emptied again and again."""
        with self._held, suppress(OSError):
            if self._left is not None or self._file is None:
                return
            if not self._echo and not self._over.is_set():
                nowhere = os.open(os.devnull, os.O_WRONLY)
                for stream in self._kept:
                    os.dup2(nowhere, stream)
                os.close(nowhere)
            self._left = self._file
            beginning = os.pread(self._left, MOST_BYTES, 0)
            os.ftruncate(self._left, len(beginning))
            part = self._path.with_name(f".{self._path.name}.part")
            self._file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o666)
            os.write(self._file, beginning)
            part.replace(self._path)
            self._write(f"\nmore than {MOST_BYTES >> 20} MiB were printed: what came after this line is not kept\n")
            os.ftruncate(self._left, 0)

    def _write(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        with self._held, suppress(OSError):
            if self._file is not None:
                self._said += os.write(self._file, data)


class _Unfailing(io.RawIOBase):
    """Writes to a descriptor. `print` does not fail where the disk is full: it must not end the trial."""

    def __init__(self, stream: int, count: Callable[[int], None]) -> None:
        self._stream, self._count = stream, count

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        with suppress(OSError):
            os.write(self._stream, data)
        self._count(size)
        return size


def _flush() -> None:
    """Send off what was printed and still lies in a buffer, of Python or of C."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    C.fflush(None)


class Narrated:
    """An attempt's Progress, which says in the log what becomes of it."""

    def __init__(self, attempt: Attempt, trial: Trial, log: AttemptLog) -> None:
        self._attempt, self._trial, self._log = attempt, trial, log
        since = f"from iteration {attempt.iteration:,}" if attempt.iteration else "from the beginning"
        log.say(
            f"attempt {attempt.number} of {trial.name} ({trial.key}), {since}, on {socket.gethostname()},"
            f" process {os.getpid()}; times are UTC"
        )

    def restore(self) -> bytes | None:
        return self._attempt.restore()

    def inherited(self) -> bytes:
        return self._attempt.inherited()

    def about(self, facts: Mapping[str, Any]) -> None:
        self._attempt.about(facts)

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        self._attempt.log(iteration, values, costs)
        self._log.say(f"{self._at(iteration)}: {_numbers(values, costs or {})}")

    def probe(self, record: Mapping[str, Any]) -> None:
        self._attempt.probe(record)

    def keep(self, name: str, data: bytes) -> None:
        self._attempt.keep(name, data)
        self._log.say(f"kept {name}, {len(data) / 1e6:,.1f} MB")

    def due(self) -> bool:
        return self._attempt.due()

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        self._attempt.commit(iteration, checkpoint)

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        self._attempt.finish(iteration, checkpoint, result)
        self._log.say(f"{result['outcome']} at {self._at(iteration)}")

    def _at(self, iteration: int) -> str:
        return f"iteration {iteration:,} of {self._trial.iterations:,}"


def _numbers(values: Mapping[str, float], costs: Mapping[str, float]) -> str:
    """`train_error 12.34 %, lr 0.1, 1,234 images/s`."""
    told = [f"{name} {value:.4g}{_unit(name)}" for name, value in values.items()]
    if (speed := costs.get("images_per_second")) is not None:
        told.append(f"{speed:,.0f} images/s")
    return ", ".join(told)


def _unit(metric: str) -> str:
    unit = UNITS.get(metric, "1")
    return "" if unit == "1" else f" {unit}"
