"""What happens on a worker: one attempt at one trial, against the ledger. Knows neither Ray nor the trial's content."""

import errno
import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.attempt_log import AttemptLog, Narrated
from orchestrator.ledger import Attempt, Ledger, Stopped, StorageError, last_line
from orchestrator.provenance import provenance
from orchestrator.trial import Progress, Trial

HELD_SECONDS = 20.0
FULL = {errno.ENOSPC, errno.EDQUOT}


class Cause(StrEnum):
    """Why an attempt ended; what becomes of its trial depends on it (DESIGN.md, contract 8)."""

    DONE = "done"
    ERROR = "error"
    """Its code raised an exception."""
    MEMORY = "memory"
    """Its share of the device's memory was too small."""
    STORAGE = "storage"
    """The results directory could not be read or written: full, or away."""
    STOPPED = "stopped"
    """The driver asked for it; it committed first."""
    ELSEWHERE = "elsewhere"
    """An attempt that is part of another run is at work on it."""
    DIED = "died"
    """Its process died, and its node lives."""
    NODE_LOST = "node lost"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended. `reason` is the last line of an error's traceback; the attempt's record has the whole."""

    cause: Cause
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What an attempt needs that cannot change its result, the same for all trials of a run."""

    results: str
    entry: str
    """`module:function` of `run(params, progress, *, share, replicas, **site)`."""
    site: Mapping[str, Any]
    """Passed to the entry beside the parameters: where the data are, which device."""
    commit_seconds: float = 30.0
    run: str = ""
    """Of which run of the study the attempt is a part: it is stopped by this one's word alone."""
    echo: bool = False
    """Whether what a trial prints is shown where this process prints, and not in its log alone."""


def execute(trial: Trial, setting: Setting) -> Ending:
    """Attempt the trial until it is done, from its last commit if there is one. Whatever the trial raises is its
    ending, never the worker's."""
    if not _there(setting):
        return Ending(cause=Cause.STORAGE, reason=f"{setting.results}: not there, or empty")
    try:
        site = {**setting.site, "share": trial.resources.share, "replicas": trial.resources.replicas}
        with _begun(trial, setting, {**provenance(), "site": site}) as attempt:
            if not attempt.done:
                with AttemptLog(attempt.log_path, echo=setting.echo) as log:
                    progress: Progress = Narrated(attempt, trial, log)
                    _entry(setting.entry)(trial.params, progress, **site)
    except _Elsewhere:
        return Ending(cause=Cause.ELSEWHERE)
    except Stopped:
        return Ending(cause=Cause.STOPPED)
    except Exception as error:  # noqa: BLE001 - whatever a trial raises is its outcome, never the worker's end
        return Ending(cause=_cause(error, setting), reason=last_line(error))
    return Ending(cause=Cause.DONE)


class _Elsewhere(Exception):
    """Another attempt is at work on the trial, and goes on being so."""


def _begun(trial: Trial, setting: Setting, about: Mapping[str, Any]) -> Attempt:
    """The attempt, once none other is at work on the trial: a killed one may live for some seconds.

    An attempt that is part of a run gives its place to another trial then; one that is not waits. Raises _Elsewhere.
    """
    ledger, until = Ledger(Path(setting.results)), time.monotonic() + HELD_SECONDS
    while True:
        try:
            return ledger.attempt(
                trial, provenance=about, commit_seconds=setting.commit_seconds, wait=not setting.run, run=setting.run
            )
        except BlockingIOError:
            if time.monotonic() > until:
                raise _Elsewhere from None
            time.sleep(0.2)


def _cause(error: Exception, setting: Setting) -> Cause:
    full_or_away = isinstance(error, OSError) and (error.errno in FULL or not _there(setting))  # as the data then are
    if isinstance(error, StorageError) or full_or_away:
        return Cause.STORAGE
    return Cause.MEMORY if _out_of_memory(error) else Cause.ERROR


def _there(setting: Setting) -> bool:
    """Whether the results directory is the one that the driver sees: where it was mounted, an empty one may be left."""
    return not setting.run or os.path.isdir(Path(setting.results) / "studies")  # noqa: PTH112 - False, never an error


def _out_of_memory(error: Exception) -> bool:
    """Whether the device had no memory left: PyTorch's own exception, or what cuBLAS and cuDNN say then."""
    said = str(error)
    return type(error).__name__ == "OutOfMemoryError" or "CUBLAS_STATUS_ALLOC_FAILED" in said


def _entry(name: str) -> Callable[..., None]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
