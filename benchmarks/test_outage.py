"""MLflow frozen for a minute in mid-run: what it costs a grid beside an undisturbed run, and what MLflow lacks after.

The two grids run at the same time, each with a Ray, a forwarder and an MLflow server of its own, so that whatever else
the machine does falls on both. A grid's seconds are from its first attempt to its last commit, as the ledger has them.
Trials sleep, so that a delay is the system's own. REPEATS says how many pairs there are.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import toy
from tracked import ROOT, Served, until

from orchestrator.ledger import Ledger, TrialFolder
from orchestrator.provenance import provenance, version
from orchestrator.tracking.addresses import default_uri

pytest.importorskip("mlflow")
from mlflow.tracking import MlflowClient

REPEATS = int(os.environ.get("REPEATS", "2"))
SLOTS, TRIALS, ITERATIONS, SLEEP_SECONDS = 2, 16, 150, 0.1
FREEZE_AFTER_SECONDS, FROZEN_SECONDS = 25.0, 60.0
KINDS = ("undisturbed", "frozen")


def folders(results: Path, base: int) -> list[TrialFolder]:
    return [Ledger(results).folder(toy.trial(base + number).key) for number in range(TRIALS)]


def begun(results: Path, base: int, server: Served) -> "subprocess.Popen[str]":
    """A driver of a grid of trials of its own."""
    trials = [
        {"number": base + number, "iterations": ITERATIONS, "sleep": SLEEP_SECONDS, "probe_every": 50}
        for number in range(TRIALS)
    ]
    given = {"results": str(results), "trials": trials, "slots": SLOTS, "tracking": server.url, "commit_seconds": 2.0}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "orchestrator")])
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "orchestrator" / "drive_toys.py"), json.dumps(given)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def frozen_in_mid_run(results: Path, base: int, server: Served) -> None:
    """Freeze the server for a minute of a grid that goes on before and after."""
    until(lambda: any(each.head() for each in folders(results, base)))
    time.sleep(FREEZE_AFTER_SECONDS)
    server.freeze()
    time.sleep(FROZEN_SECONDS)
    server.thaw()
    assert not all((head := each.head()) and head.result for each in folders(results, base)), "not in mid-run"


def seconds_of(results: Path, base: int) -> float:
    """From the grid's first attempt to its last commit."""
    first = min(datetime.fromisoformat(each.attempts()[0]["started"]) for each in folders(results, base))
    heads = [each.head() for each in folders(results, base)]
    return max(head.time for head in heads if head is not None) - first.timestamp()


def missing_or_doubled(results: Path, base: int, server: Served) -> dict[str, int]:
    """How many committed points MLflow has, lacks, and has more than once, and how many trials have not one run."""
    client = MlflowClient(tracking_uri=server.url)
    experiments = [each.experiment_id for each in client.search_experiments()]
    counts = {"points": 0, "missing": 0, "doubled": 0, "trials without exactly one run": 0}
    for folder in folders(results, base):
        head = folder.head()
        runs = client.search_runs(experiments, f"tags.key = '{folder.path.name}'")
        if head is None or len(runs) != 1 or runs[0].info.status != "FINISHED":
            counts["trials without exactly one run"] += 1
            continue
        records = folder.records("curves.jsonl", head)
        looks = [each["iteration"] for each in folder.records("probes.jsonl", head)]
        expected = {
            "train_error_percent": [(each["iteration"], each["train_error"]) for each in records],
            "images_per_second": [(each["iteration"], float(each["iteration"])) for each in records],
            "probe.gradient_first_over_last": [(at, (at + 6.0) / 2.0) for at in looks],
        }
        for metric, points in expected.items():
            found = [(each.step, each.value) for each in client.get_metric_history(runs[0].info.run_id, metric)]
            counts["points"] += len(found)
            counts["missing"] += len(set(points) - set(found))
            counts["doubled"] += len(found) - len(set(points) & set(found))
    return counts


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_outage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the delay in percent; MLflow holds every committed point once, or this fails."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    held: list[dict[str, int]] = []
    places = {kind: tmp_path / kind for kind in KINDS}
    for place in places.values():
        (place / "results").mkdir(parents=True)
        MlflowClient(tracking_uri=default_uri(place / "results")).search_experiments()
    with ExitStack() as over:
        servers = {kind: over.enter_context(Served(places[kind], MLFLOW_TRACKING_URI="")) for kind in KINDS}
        for number in range(REPEATS):
            base, grids = 1000 * number, {kind: places[kind] / str(number) for kind in KINDS}
            order = KINDS if number % 2 == 0 else KINDS[::-1]
            drivers = {kind: over.enter_context(begun(grids[kind], base, servers[kind])) for kind in order}
            frozen_in_mid_run(grids["frozen"], base, servers["frozen"])
            for kind in KINDS:
                _, said = drivers[kind].communicate()
                assert drivers[kind].returncode == 0, said
                assert "lags behind" not in said
                seconds[kind].append(round(seconds_of(grids[kind], base), 2))
                held.append(missing_or_doubled(grids[kind], base, servers[kind]))
    pairs = zip(seconds["frozen"], seconds["undisturbed"], strict=True)
    delays = [round(100 * (frozen / undisturbed - 1), 2) for frozen, undisturbed in pairs]
    about = provenance()
    facts: dict[str, Any] = {
        "grid": f"{TRIALS} toy trials of {ITERATIONS} iterations, {SLOTS} at a time",
        "frozen_seconds": FROZEN_SECONDS,
        "n": REPEATS,
        "grid_seconds": seconds,
        "delay_percent": delays,
        "delay_percent, mean": round(statistics.fmean(delays), 2),
        "MLflow": {name: sum(each[name] for each in held) for name in held[0]},
        "ray": version("ray"),
        "mlflow": version("mlflow"),
        "cpu": about["hardware"]["cpu"],
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }
    with capsys.disabled():
        print("\n" + json.dumps(facts, indent=1))  # noqa: T201 - what a benchmark is for
    counts = facts["MLflow"]
    assert counts["points"] == 2 * REPEATS * TRIALS * (2 * ITERATIONS + 4)
    assert (counts["missing"], counts["doubled"], counts["trials without exactly one run"]) == (0, 0, 0)
