"""A driver of toy trials, as a process of its own: what `ablate run` is to real ones. Writes how the run stood last."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import toy
from rich.console import Console

from orchestrator.cluster import embedded, joined
from orchestrator.drive import Limits, run
from orchestrator.ledger import Ledger
from orchestrator.planning.plan import plan
from orchestrator.remote.access import find_token
from orchestrator.worker import Setting


def main(given: dict[str, Any]) -> int:
    """`results`, `trials` (arguments of `toy.trial`); `address` of a cluster, or `slots` of an embedded one."""
    results = Path(given["results"])
    trials = [toy.trial(**each) for each in given["trials"]]
    setting = Setting(
        results=str(results), entry=given.get("entry", "toy:run"), site=given.get("site", {}),
        commit_seconds=given.get("commit_seconds", 0.0),
    )  # fmt: skip
    ray = (
        partial(joined, given["address"], token=find_token())
        if "address" in given
        else partial(embedded, given.get("slots", 2))
    )
    standing = run(
        toy.study(*trials),
        lambda: plan(trials, Ledger(results)),
        setting,
        lambda: ray(_lost),
        Limits(**given.get("limits", {})),
        tracking=given.get("tracking"),
        console=Console(stderr=True),
    )
    sys.stdout.write(json.dumps(asdict(standing)))
    return 1 if standing.failed else 0


def _lost(reason: str) -> None:
    sys.stderr.write(f"error: {reason}\n")
    sys.stderr.flush()
    os._exit(4)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
