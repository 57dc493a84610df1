"""What a reader needs to trust and repeat a number, and what the command line needs at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import digits

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
