"""What a run says before its cluster is there, and of MLflow at its end: nothing, or one line."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from rich.console import Console

from orchestrator import drive
from orchestrator.ledger import Ledger
from orchestrator.planning.plan import Plan, plan
from orchestrator.worker import Setting


def said(results: Path, tracking: str) -> str:
    """The console after a run of nothing."""
    (results / "studies" / "toys").mkdir(parents=True)
    console = Console(file=io.StringIO(), width=40)
    with drive._forwarding(results, "toys", tracking, console):
        pass
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_failed_publication_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    """The reason is the forwarder's own; here there is no such study."""
    line = said(tmp_path, "http://127.0.0.1:9")
    assert line.startswith("MLflow lags behind: [Errno 2] No such file")
    assert f"`ablate publish toys --results {tmp_path} --tracking http://127.0.0.1:9`" in line
    assert line.endswith(f"log: {tmp_path}/studies/toys/mlflow.log\n")
    assert line.count("\n") == 1


def test_a_forwarder_that_had_to_be_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No password is printed."""
    monkeypatch.setattr(drive, "FORWARDER_SECONDS", 0)
    for number, address in enumerate(("postgresql://me:secret@host/db", "postgresql://host/db?password=secret")):
        line = said(tmp_path / str(number), address)
        assert (
            "MLflow lags behind: its forwarder was not done after 0 s; the ledger has it all: `ablate publish" in line
        )
        assert "secret" not in line


def test_no_other_user_reads_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a password, so the forwarder gets it in its environment."""
    started = list[tuple[list[str], dict[str, str]]]()
    popen = subprocess.Popen

    def noted(command: list[str], *, env: dict[str, str], **how: Any) -> "subprocess.Popen[bytes]":
        started.append((command, env))
        return popen([sys.executable, "-c", ""], env=env, stdin=how["stdin"])

    monkeypatch.setattr(drive.subprocess, "Popen", noted)
    assert said(tmp_path, "postgresql://me:secret@host/db") == ""
    ((command, environment),) = started
    assert "secret" not in " ".join(command)
    assert environment["MLFLOW_TRACKING_URI"] == "postgresql://me:secret@host/db"


@pytest.mark.parametrize("budget", [0.0, 0.0009])
def test_a_budget_for_nothing_begins_nothing(tmp_path: Path, budget: float) -> None:
    """No cluster is made: the cheaper of two trials is too dear, and what waits for a trial does not count."""
    trials = [toy.trial(number) for number in range(3)]
    seconds = {trials[0].key: 5.0, trials[1].key: 4.0, trials[2].key: 1.0}
    planned = [
        replace(each, expected_seconds=seconds[each.trial.key])
        for each in plan([*trials[:2], replace(trials[2], after=trials[0].key)], Ledger(tmp_path)).trials
    ]
    console = Console(file=io.StringIO(), width=80)

    def no_cluster() -> Any:
        raise AssertionError

    standing = drive.run(
        toy.study(*trials), lambda: Plan(trials=planned), Setting(results=str(tmp_path), entry="toy:run", site={}),
        no_cluster, drive.Limits(budget_hours=budget), tracking=None, console=console,
    )  # fmt: skip
    assert (standing.submitted, sorted(standing.unaffordable)) == (0, sorted(seconds))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "3 trials: 3 new; 3 to run",
        f"nothing begins: the budget is {budget:g} hours, and the cheapest open trial is expected to take 0.0011",
    ]
