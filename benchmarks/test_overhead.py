"""What a trial costs beside its training: ours against Ray Tune's default and against a bare pool of Ray actors.

Times are the clock's, so the machine should be quiet.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.provenance import provenance

OVERHEAD = Path(__file__).with_name("overhead.py")
REPEATS = 3


def seconds(way: str, trials: int, kind: str) -> float:
    """From a running Ray to the last result."""
    environment = {**os.environ, "PYTHONPATH": f"{OVERHEAD.parent}:{OVERHEAD.parent.parent}"}
    command = [sys.executable, str(OVERHEAD), way, str(trials), kind]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    found = re.search(r"^seconds: ([\d.]+)$", said, re.MULTILINE)
    assert found, said
    return float(found[1])


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("trials", "kind"), [(64, "bare"), (64, "torch"), (500, "bare")])
def test_overhead(trials: int, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints seconds per trivial trial, and ratios. Tune's default is slow, and is measured once."""
    found: dict[str, list[float]] = {"ours": [], "pool": []}
    for _ in range(REPEATS):
        for way, times in found.items():
            times.append(seconds(way, trials, kind))
    found["tune"] = [seconds("tune", trials, kind)]
    each = {way: statistics.median(times) / trials for way, times in found.items()}
    about = provenance()
    facts = {
        "trials": trials,
        "a trial": "imports torch and torchvision" if kind == "torch" else "does nothing",
        "n": {way: len(times) for way, times in found.items()},
        "seconds": {way: [round(value, 2) for value in times] for way, times in found.items()},
        "seconds_per_trial": {way: round(value, 4) for way, value in each.items()},
        "ours / tune": round(each["ours"] / each["tune"], 3),
        "ours / pool": round(each["ours"] / each["pool"], 2),
        "hardware": about["hardware"],
        "versions": {name: about["versions"][name] for name in ("python", "torch", "ray")},
    }
    with capsys.disabled():
        print(json.dumps(facts, indent=1))  # noqa: T201 - the figures are what `make bench` is for
