"""The command line answers before anything heavy is loaded: a plan costs a fraction of a second, torch many."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HEAVY = {
    *("torch", "torchvision", "ray", "mlflow", "ffcv", "numba"),
    *("numpy", "pandas", "plotly", "scipy", "sklearn", "matplotlib", "PIL"),
}


def ablate(arguments: Sequence[str], folder: Path) -> tuple[str, set[str]]:
    """What the command prints, and the top-level modules that it imports."""
    program = "import sys; sys.argv[0] = 'ablate'; from ablations.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    imported = (
        line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")
    )
    return ended.stdout, {module.split(".")[0] for module in imported}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["studies"],
        ["plan", "digits-depth"],
        ["plan", "full-grid", "--json"],
        ["plan", "imagenet-depth", "--gpus", "4x8", "--html", "plan.html"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_loaded(arguments: list[str], results: Path) -> None:
    printed, modules = ablate(arguments, results.parent)
    assert "ablations" in modules
    assert not modules & HEAVY
    assert printed.strip()
    if "--json" in arguments:
        json.loads(printed)
    assert not list(results.iterdir()), "looking must not write"
