"""The environment of every test, set before anything heavy is imported, and a results directory of its own."""

import os
from pathlib import Path

import pytest

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    MLFLOW_DISABLE_TELEMETRY="true",
    OMP_NUM_THREADS="1",  # sums differ between one thread and two
)


@pytest.fixture(autouse=True)
def _no_data_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets that were prepared on this machine are in no test, and what `--data` says in one is forgotten after it."""
    monkeypatch.setenv("ABLATE_DATA", "data")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results directory, which the command line finds without being told."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setenv("ABLATE_RESULTS", str(folder))
    return folder
