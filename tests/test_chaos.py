"""kill -9, then the same command again: curves and final weights are the undisturbed twin's, byte for byte.

The default suite has one kill of each kind; `make chaos` has many, at random moments, and prints what it did.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger import Ledger

STUDY = """
name: killed
question: Does a killed trial end as if nothing had happened?
data: digits
recipe: {name: digits, iterations: 120, record_every: 4, evaluate_every: 20}
matrix:
  shortcut: [none, A]
  depth: [14]
"""
ARMS = ("digits-plain-14", "digits-resnet-14-A")
SEED = int(os.environ.get("CHAOS_SEED", "0"))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The study, run without a disturbance and without Ray."""
    place = tmp_path_factory.mktemp("twin")
    for arm in ARMS:
        assert one_trial(place, arm).wait() == 0
    return Ledger(place / "results")


def one_trial(place: Path, arm: str) -> "subprocess.Popen[bytes]":
    """One trial in a process of its own, committing after every iteration that it can."""
    (place / "killed.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "ablations.trial", "killed.yaml", "--arm", arm, "--seed", "0"]
    command += ["--results", "results", "--commit-seconds", "0.02"]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL)


def whole_study(place: Path) -> "subprocess.Popen[bytes]":
    """`ablate run` of both trials on Ray."""
    (place / "killed.yaml").write_text(STUDY)
    command = [Path(sys.executable).with_name("ablate"), "run", "killed.yaml", "--results", "results"]
    return subprocess.Popen([*command, "--no-track", "--commit-seconds", "0.02"], cwd=place, stderr=subprocess.DEVNULL)


def ended(ledger: Ledger) -> dict[str, Any]:
    """Curves and weights of every trial that has its result, by name."""
    found = {}
    for key in ledger.trials():
        folder, head = ledger.folder(key), ledger.folder(key).head()
        if head and head.result:
            name = (folder.about() or {})["name"]
            found[name] = (folder.valid("curves.jsonl", head), head.result["weights_sha256"])
    return found


def iteration(ledger: Ledger, arm: str) -> int:
    """Last committed iteration of the arm's trial, 0 before the first commit."""
    for key in ledger.trials():
        head = ledger.folder(key).head()
        if head and (ledger.folder(key).about() or {})["arm"] == arm:
            return head.iteration
    return 0


def pid(ledger: Ledger, arm: str) -> int:
    """Process that attempts the arm's trial now."""
    for key in ledger.trials():
        if (ledger.folder(key).about() or {})["arm"] == arm:
            return ledger.folder(key).attempts()[-1]["pid"]
    raise AssertionError(arm)


def until(ledger: Ledger, arm: str, at: int, process: "subprocess.Popen[bytes]") -> bool:
    """Wait for the arm's commit at or after an iteration; False if the process ended before."""
    while iteration(ledger, arm) < at:
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def trial_killed(place: Path, arm: str, moments: list[int]) -> int:
    """Kill the trial's process each time it has committed a moment's iteration; returns the kills that hit."""
    ledger, kills = Ledger(place / "results"), 0
    for moment in moments:
        process = one_trial(place, arm)
        if until(ledger, arm, moment, process):
            time.sleep(random.Random(moment).uniform(0, 0.05))
            process.kill()
            kills += process.wait() == -signal.SIGKILL
    assert one_trial(place, arm).wait() == 0
    return kills


def test_a_killed_trial_ends_as_its_twin(tmp_path: Path, twin: Ledger) -> None:
    """Three kills, resumed by the same command each time."""
    assert trial_killed(tmp_path, ARMS[1], [1, 40, 90]) >= 2
    name = f"{ARMS[1]}.s0"
    assert ended(Ledger(tmp_path / "results"))[name] == ended(twin)[name]


def test_a_killed_worker_and_a_killed_driver(tmp_path: Path, twin: Ledger) -> None:
    """A worker of Ray is killed in mid-trial, then the driver; the same command goes on, and nothing is run twice."""
    ledger = Ledger(tmp_path / "results")
    first = whole_study(tmp_path)
    assert until(ledger, ARMS[0], 10, first)
    os.kill(pid(ledger, ARMS[0]), signal.SIGKILL)
    assert until(ledger, ARMS[1], 40, first)
    first.kill()
    first.wait()
    _until_dead(ledger)
    assert whole_study(tmp_path).wait() == 0
    assert ended(ledger) == ended(twin)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_many_kills(tmp_path: Path, twin: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """30 random kills over a plain and a residual network, and 4 of drivers; CHAOS_SEED chooses the moments."""
    chance = random.Random(SEED)
    kills, differing, rounds = 0, 0, 0
    while kills < 30:
        place, arm = tmp_path / str(rounds), ARMS[rounds % 2]
        place.mkdir()
        kills += trial_killed(place, arm, sorted(chance.randrange(0, 118) for _ in range(5)))
        differing += ended(Ledger(place / "results"))[f"{arm}.s0"] != ended(twin)[f"{arm}.s0"]
        rounds += 1
    drivers = 0
    for number in range(4):
        place = tmp_path / f"driver-{number}"
        place.mkdir()
        ledger, process = Ledger(place / "results"), whole_study(place)
        if until(ledger, ARMS[number % 2], chance.randrange(1, 100), process):
            process.kill()
            drivers += 1
        process.wait()
        _until_dead(ledger)
        assert whole_study(place).wait() == 0
        differing += ended(ledger) != ended(twin)
    with capsys.disabled():
        facts = {
            "seed": SEED,
            "trial kills": kills,
            "driver kills": drivers,
            "rounds": rounds + 4,
            "differing": differing,
        }
        print(json.dumps(facts))  # noqa: T201 - the figures are what `make chaos` is for
    assert differing == 0


def _until_dead(ledger: Ledger) -> None:
    """Ray ends a killed driver's workers within seconds; until then they may commit, and hold their folders."""
    for key in ledger.trials():
        while ledger.folder(key).alive():
            time.sleep(0.1)
