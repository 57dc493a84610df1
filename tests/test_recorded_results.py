"""The ledgers under docs/results are whole, are those of the studies that ship, and say what their page says."""

from pathlib import Path

import pytest

from ablations.study import load
from ablations.trials import trials
from orchestrator.ledger import Ledger
from orchestrator.runs import Outcome, probe_summary, read_runs
from orchestrator.studies import read_study
from reports.page import render

RESULTS = Path(__file__).parents[1] / "docs" / "results"
RECORDED = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_ledger_is_that_of_the_study_that_ships(name: str) -> None:
    """Every trial under its key, with its checksums; a change in what a key is would orphan it."""
    ledger = Ledger(RESULTS / name)
    assert ledger.trials() == sorted(trial.key for trial in trials(load(name)))
    for key in ledger.trials():
        head = ledger.folder(key).check()
        assert head is not None
        assert head.result is not None


@pytest.mark.parametrize("name", RECORDED)
def test_its_page_can_be_rebuilt(name: str) -> None:
    """From the ledger alone, without a checkpoint."""
    study = read_study(RESULTS / name, name)
    runs = read_runs(study, Ledger(RESULTS / name))
    assert {run.outcome for run in runs} == {Outcome.FINISHED}
    page = render(study, runs, about={"command": "test", "version": "0"})
    assert f"{len(runs)} of {len(runs)} trials finished" in page


def test_the_table_of_cifar10_jpeg_20_is_the_ledger_s() -> None:
    """To the digits that are printed."""
    name, text = "cifar10-jpeg-20", " ".join((RESULTS / "README.md").read_text().split())
    study = read_study(RESULTS / name, name)
    for label, run in zip(("plain-20", "ResNet-20 A"), read_runs(study, Ledger(RESULTS / name)), strict=True):
        names = ("tail_train_error", "last_clean_train_error", "last_test_error")
        row = " | ".join(f"{run.result[each]:.2f}" for each in names)
        assert f"| {label} | {row} |" in text
        assert len(run.attempts) == 2
        first, *_, last = (probe_summary(each) for each in run.probes)
        assert f"{first['gradient_first_over_last']:.1f} times" in text
        assert f"{last['response_mean']:.2f} in the" in text
