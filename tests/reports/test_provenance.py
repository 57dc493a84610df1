"""What a reader needs to trust and repeat a number, and what the command line needs at once."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from synthetic import digits

from orchestrator import ledger
from orchestrator.ledger import Ledger
from orchestrator.runs import read_runs
from reports.provenance import facts, hours

HEAVY = ("torch", "ray", "mlflow", "plotly", "numpy", "scipy", "jinja2", "pandas")


def test_facts_of_the_attempts():
    study, runs = digits()
    found = {fact.label: fact.values for fact in facts(study, runs, {"ablate": "0.1.0", "command": "ablate report x"})}
    assert found["ablate"] == ("0.1.0",)
    assert found["seeds"] == ("0, 1, 2",)
    assert found["versions"] == ("python 3.11.2, torch 2.11.0",)
    assert found["attempts"] == ("48 attempts for 48 trials; 0 needed more than one",)
    assert "given beside the file" not in found
    assert "command" not in found


def test_gpus_are_counted_as_they_were_held():
    """Two replicas hold two; a quarter of one is a quarter; an hour on the CPU is none."""
    study, runs = digits()
    hour = {"started": "2026-01-05T10:00:00Z", "ended": "2026-01-05T11:00:00Z"}
    card = {"cpu": "AMD EPYC", "cores": 16, "memory_gib": 128.0, "gpus": ["NVIDIA H100", "NVIDIA H100"]}
    sites = [{"device": "cuda", "replicas": 2}, {"device": "cuda", "share": 0.25}, {"device": "cpu", "share": 1.0}]
    attempts = [{**hour, "hardware": card, "site": each, "driver": "570.86.15"} for each in sites]
    found = {fact.label: fact.values for fact in facts(study, [replace(runs[0], attempts=tuple(attempts))], {})}
    assert found["GPU-hours"] == ("2.25",)
    assert found["computing time"] == ("3.0 h on 2 × NVIDIA H100, 16 cores of AMD EPYC, 128.0 GiB",)
    assert found["NVIDIA driver"] == ("570.86.15",)


def test_what_was_not_recorded_is_left_out():
    study, runs = digits()
    bare = [
        replace(runs[0], attempts=({"started": "2026-01-05T10:00:00Z", "versions": {"torch": "2.11", "ray": None}},))
    ]
    found = {fact.label: fact.values for fact in facts(study, bare, {"version": ""})}
    assert found["versions"] == ("torch 2.11",)
    assert not {"GPU-hours", "NVIDIA driver", "all packages, sha256", "commit", "hosts", "version"} & set(found)


def test_computing_time_is_that_of_all_attempts():
    """Of one that was killed there is no end."""
    study, runs = digits()
    killed = {name: value for name, value in runs[0].attempts[0].items() if name != "ended"}
    runs = [replace(runs[0], attempts=(killed, *runs[0].attempts)), *runs[1:3]]
    found = {fact.label: fact.values for fact in facts(study, runs, {})}
    assert found["computing time"] == ("18 s on 2 CPU cores, and 1 attempt without an end",)


def test_computing_time_from_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trial = toy.trial(0)
    with Ledger(tmp_path).attempt(trial, provenance={"hardware": "2 CPU cores"}, commit_seconds=0) as attempt:
        monkeypatch.setattr(ledger, "_now", lambda: "2226-01-05T10:00:06+00:00")
        attempt.finish(10, b"", {"outcome": "finished"})
    study = toy.study(trial)
    found = {fact.label: fact.values for fact in facts(study, read_runs(study, Ledger(tmp_path)), {})}
    assert re.fullmatch(r"[\d,]{5,}\.\d h on 2 CPU cores", found["computing time"][0])


@pytest.mark.parametrize(("seconds", "text"), [(43.4, "43 s"), (700, "12 min"), (12_240, "3.4 h")])
def test_hours(seconds: float, text: str):
    assert hours(seconds) == text


def test_claims_are_checked_without_loading_anything_heavy():
    """A command that only validates a study's claims starts at once."""
    code = f"import sys, reports.claims; print([each for each in {HEAVY} if each in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
