"""What happens on a worker: one attempt at one trial, against the ledger. Knows neither Ray nor the trial's content."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.ledger import Ledger, last_line
from orchestrator.provenance import provenance
from orchestrator.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What an attempt needs that cannot change its result, the same for all trials of a run."""

    results: str
    entry: str
    """`module:function` of `run(params, progress, **site)`."""
    site: Mapping[str, Any]
    """Passed to the entry beside the parameters: where the data are, which device."""
    commit_seconds: float = 30.0


def execute(trial: Trial, setting: Setting) -> str | None:
    """Attempt the trial until it is done, from its last commit if there is one.

    Returns None, or for an error in the trial's code its last line; the attempt has the whole traceback.
    """
    ledger = Ledger(Path(setting.results))
    about = {**provenance(), "site": dict(setting.site)}
    try:
        with ledger.attempt(trial, provenance=about, commit_seconds=setting.commit_seconds) as attempt:
            if not attempt.done:
                _entry(setting.entry)(trial.params, attempt, **setting.site)
    except Exception as error:  # noqa: BLE001 - whatever a trial raises is its outcome, never the worker's end
        return last_line(error)
    return None


def _entry(name: str) -> Callable[..., None]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
