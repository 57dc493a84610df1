"""Another replica of a trial, as `ablations.replicas` starts it: `python -m ablations.follower`.

It lives as long as the pipe on its standard input is open, and the process that opened it. A second line there is the
end of the trial.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
"""As in linux/prctl.h."""


class Unheard:
    """A Progress that keeps nothing: records and commits are the first replica's."""

    def restore(self) -> bytes | None:
        return None

    def inherited(self) -> bytes:
        raise AssertionError("the first replica begins from another trial's end, and tells the others")

    def about(self, facts: Mapping[str, Any]) -> None:
        pass

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        pass

    def probe(self, record: Mapping[str, Any]) -> None:
        pass

    def keep(self, name: str, data: bytes) -> None:
        pass

    def due(self) -> bool:
        return False

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        pass

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        pass


def main() -> int:
    """Take part until the first replica closes the pipe; 1, and the exception as JSON, if one is raised before."""
    _die_with_parent()
    given = json.loads(sys.stdin.buffer.readline() or b"null")
    if given is None or os.getppid() != given.pop("leader"):
        return 0
    done = threading.Event()
    threading.Thread(target=_end_with_pipe, args=(done,), daemon=True).start()
    try:
        _take_part(**given)
    except Exception as error:  # noqa: BLE001 - whatever it is, the first replica reports it
        told = {
            "name": type(error).__name__,
            "line": " ".join(traceback.format_exception_only(error)[-1].split())[:1000],
            "traceback": traceback.format_exc(),
        }
        with suppress(OSError):
            os.write(1, b"\n" + json.dumps(told).encode() + b"\n")
        return 1
    done.set()
    threading.Event().wait()  # what it sent last is on its way as long as it lives
    return 0


def _take_part(port: int, rank: int, count: int, params: Mapping[str, Any], site: Mapping[str, Any]) -> None:
    from ablations.replicas import meet  # not before the pipe is watched: PyTorch takes seconds
    from ablations.trial import take_part

    take_part(params, Unheard(), meet(rank, count, site["device"], port), **site)


def _end_with_pipe(done: threading.Event) -> None:
    """End this process when the pipe is closed, or, after a second line, in good order."""
    if os.read(0, 1):
        from ablations.replicas import PARTING_SECONDS, part

        done.wait(PARTING_SECONDS / 2)
        part()
    os._exit(0)


def _die_with_parent() -> None:
    """Where Linux offers it: a pipe is not seen by a process that is stopped, or in a driver's call."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
