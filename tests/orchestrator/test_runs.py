"""Runs as reports read them: the ledger's numbers, and never a number that is not there."""

from pathlib import Path
from typing import Any

import pytest
import toy

from orchestrator.ledger import Ledger
from orchestrator.runs import Outcome, Run, read_runs


def read(root: Path) -> Run:
    (run,) = read_runs(toy.study(toy.trial(iterations=64)), Ledger(root))
    return run


def record(root: Path, errors: dict[int, dict[str, Any]], result: dict[str, Any] | None = None) -> None:
    with Ledger(root).attempt(toy.trial(iterations=64), provenance={}, commit_seconds=0) as attempt:
        for iteration, values in errors.items():
            attempt.log(iteration, values)
        last = max(errors)
        attempt.finish(last, b"", result) if result else attempt.commit(last, b"")


def test_nothing_recorded_is_missing(tmp_path: Path) -> None:
    """It still has a name and its length, so that the page can say what is missing."""
    run = read(tmp_path)
    assert (run.outcome, run.name, run.iteration, run.iterations) == (Outcome.MISSING, "toy-0.s0", 0, 64)
    assert not run.result


def test_last_best_and_tail(tmp_path: Path) -> None:
    """Last and best test error apart; the tail is the mean over the last 10/64 of the iterations."""
    curve = {i: {"train_error": float(i)} for i in range(2, 65, 2)}
    curve[32] |= {"test_error": 7.0}
    curve[64] |= {"test_error": 9.0}
    record(tmp_path, curve, {"outcome": "finished"})
    run = read(tmp_path)
    assert run.outcome is Outcome.FINISHED
    assert run.result["last_test_error"] == 9.0
    assert (run.result["best_test_error"], run.result["best_iteration"]) == (7.0, 32)
    assert run.result["last_train_error"] == 64.0
    assert run.result["tail_train_error"] == pytest.approx(sum(range(56, 65, 2)) / 5)
    assert run.curves["train_error"].unit == "%"
    assert list(run.curves["test_error"].iterations) == [32, 64]


def test_an_unfinished_trial_has_curves_and_no_result(tmp_path: Path) -> None:
    """Half a curve is no measurement of the end."""
    record(tmp_path, {1: {"train_error": 50.0}})
    run = read(tmp_path)
    assert (run.outcome, run.iteration, dict(run.result)) == (Outcome.RUNNING, 1, {})
    assert list(run.curves["train_error"].values) == [50.0]


def test_diverged_is_a_result(tmp_path: Path) -> None:
    """With the iteration at which it was seen."""
    record(tmp_path, {5: {"train_loss": float("nan"), "train_error": 90.0}}, {"outcome": "diverged", "diverged_at": 5})
    run = read(tmp_path)
    assert (run.outcome, run.result["diverged_at"]) == (Outcome.DIVERGED, 5)
    assert run.curves["train_loss"].values[0] != run.curves["train_loss"].values[0]
    assert "tail_train_error" not in run.result


def test_an_error_is_failed_with_its_last_line_until_it_is_mended(tmp_path: Path) -> None:
    """A later attempt that ends well leaves no failure behind."""
    with pytest.raises(KeyError), Ledger(tmp_path).attempt(toy.trial(iterations=64), provenance={}, commit_seconds=0):
        raise KeyError("lost")
    assert (read(tmp_path).outcome, read(tmp_path).reason) == (Outcome.FAILED, "KeyError: 'lost'")
    record(tmp_path, {64: {"train_error": 1.0}}, {"outcome": "finished"})
    assert (read(tmp_path).outcome, read(tmp_path).reason) == (Outcome.FINISHED, None)


def test_damage_is_said_and_no_number_is_read(tmp_path: Path) -> None:
    """A changed digit in a curve takes the whole run out, with a note that names the file."""
    record(tmp_path, {64: {"train_error": 1.0}}, {"outcome": "finished"})
    path = Ledger(tmp_path).folder(toy.trial().key).path / "curves.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1.0", b"2.0"))
    run = read(tmp_path)
    assert (run.outcome, dict(run.curves), dict(run.result)) == (Outcome.MISSING, {}, {})
    assert "curves.jsonl: not what was committed" in run.notes[0]
