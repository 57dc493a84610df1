"""`run --until-decided`: rounds of a real run, whose seeds go where a claim is open."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.cli.deciding import with_seeds
from ablations.study import load

ABLATE = Path(sys.executable).with_name("ablate")
STUDY = """
name: close
question: Are two close networks told apart?
data: digits
recipe: {name: digits, iterations: 30, record_every: 5, evaluate_every: 15}
matrix:
  shortcut: [none, A, B]
  depth: [8]
seeds: 2
claims:
  - {id: close, say: "test_error(A, 8) < test_error(B, 8)"}
  - {id: clear, say: "test_error(plain, 8) < 99"}
"""


def ablate(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "ABLATE_RESULTS"}
    return subprocess.run([ABLATE, *arguments], cwd=place, env=env, capture_output=True, text=True, timeout=240)


def seeds(place: Path) -> dict[str, int]:
    study = json.loads((place / "results/studies/close/study.json").read_text())
    return {"looks": study["looks"], **{arm["name"]: len(arm["trials"]) for arm in study["arms"]}}


def test_seeds_are_added_to_the_arms_of_the_open_claim_alone(tmp_path: Path) -> None:
    """Two rounds on one cluster; the same command then finds nothing more to do, and a plain run asks for the study."""
    (tmp_path / "close.yaml").write_text(STUDY)
    command = ("run", "close.yaml", "--until-decided", "--most-seeds", "3", "--no-track")
    done = ablate(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "look 1: 1 hold, 0 fail, 1 undecided; for close seeds are added: 1 of digits-resnet-8-A, 1 of" in done.stderr
    assert "look 2: 1 hold, 0 fail, 1 undecided; close would need more than --most-seeds 3" in done.stderr
    assert "8 begun, 8 done, 0 failed" in done.stderr
    assert seeds(tmp_path) == {"looks": 2, "digits-plain-8": 2, "digits-resnet-8-A": 3, "digits-resnet-8-B": 3}
    (verdict, _) = json.loads(ablate(tmp_path, "check", "close.yaml", "--json").stdout)
    assert verdict["n"] == 6
    again = ablate(tmp_path, *command)
    assert "8 trials: 8 done; 0 submitted" in again.stderr
    plain = ablate(tmp_path, "run", "close.yaml", "--no-track")
    assert "6 trials: 6 done; 0 submitted" in plain.stderr
    assert seeds(tmp_path)["looks"] == 1


def test_a_budget_ends_the_rounds(tmp_path: Path) -> None:
    (tmp_path / "close.yaml").write_text(STUDY)
    done = ablate(tmp_path, "run", "close.yaml", "--until-decided", "--budget", "0.0000001", "--no-track")
    assert "nothing begins: the budget is 1e-07 hours" in done.stderr
    assert "look" not in done.stderr


@pytest.mark.parametrize(
    ("study", "arguments", "told"),
    [
        (STUDY, ("--only", "digits-plain-8"), "--until-decided judges the whole study; leave out --only"),
        (STUDY.partition("claims:")[0], (), "--until-decided: study close has no claims to decide"),
        (STUDY, ("--most-seeds", "1"), "--most-seeds: must be greater than or equal to 2, not '1'"),
    ],
)
@pytest.mark.parametrize("verb", [("run",), ("submit", "--address", "http://127.0.0.1:9")])
def test_what_cannot_be_decided_is_refused_before_anything_begins(
    tmp_path: Path, verb: tuple[str, ...], study: str, arguments: tuple[str, ...], told: str
) -> None:
    (tmp_path / "close.yaml").write_text(study)
    name, *options = verb
    results = ("--results", str(tmp_path / "results"))
    done = ablate(tmp_path, name, "close.yaml", *options, "--until-decided", *results, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_grown_network_brings_its_parent_along() -> None:
    """Each of its seeds begins from the same seed of the other one."""
    study = load("cifar10-construction")
    grown = next(arm.name for arm in study.arms if arm.network.grown_from)
    by_network = {(arm.network, arm.recipe): arm.name for arm in study.arms}
    child = next(arm for arm in study.arms if arm.name == grown)
    assert child.network.parent
    origin = by_network[child.network.parent, child.recipe]
    more = {arm.name: arm.seeds for arm in with_seeds(study, {grown: 4}).arms}
    assert (more[grown], more[origin]) == (9, 9)
    assert all(more[arm.name] == arm.seeds for arm in study.arms if arm.name not in (grown, origin))
