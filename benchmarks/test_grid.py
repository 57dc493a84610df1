"""A grid on this machine: one-thread trials on every core, against the straightforward loop, one trial after another.

Times are the clock's, so the machine should be quiet.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.provenance import provenance

REPEATS, UPDATES = 3, 12
CORES = len(os.sched_getaffinity(0))
GRID = Path(__file__).with_name("grid.py")


def throughput(kind: str, processes: int, threads: int, depth: int) -> float:
    """Images per second of so many processes at once."""
    command = [sys.executable, str(GRID), kind, str(threads), str(UPDATES), str(depth)]
    environment = {**os.environ, "PYTHONPATH": f"{GRID.parent}:{GRID.parent.parent}"}
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return sum(float(each.communicate()[0]) for each in running)


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_grid(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints images per second of ResNet-20, and ratios."""
    ways = {
        "straightforward, one trial on all cores": ("plain", 1, CORES),
        "easy settings, one trial on all cores": ("easy", 1, CORES),
        "ours, a one-thread trial on each core": ("ours", CORES, 1),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, (kind, processes, threads) in ways.items():
            found[name].append(throughput(kind, processes, threads, 20))
    plain, easy, mine = (statistics.median(each) for each in found.values())
    about = provenance()
    facts = {
        "network": "ResNet-20, batch 128",
        "n": REPEATS,
        "images_per_second": {name: [round(each) for each in values] for name, values in found.items()},
        "ours / straightforward": round(mine / plain, 2),
        "ours / easy settings": round(mine / easy, 2),
        "cores": CORES,
        "torch": about["versions"]["torch"],
        "cpu": about["hardware"]["cpu"],
        "load": os.getloadavg()[0],
    }
    with capsys.disabled():
        print("\n" + json.dumps(facts, indent=1))  # noqa: T201 - what a benchmark is for
    assert plain > 0
