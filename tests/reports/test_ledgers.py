"""Made-up runs that went through a results directory are the runs that they were."""

from pathlib import Path

import pytest
from ledgers import write_ledger
from synthetic import digits, imagenet_like, paper_like

from orchestrator.ledger import Ledger
from orchestrator.runs import read_runs
from orchestrator.studies import read_study
from reports.arms import gather
from reports.cells import Metric, measure


@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like])
def test_what_was_written_is_read_back(tmp_path: Path, made) -> None:
    study, runs = made()
    write_ledger(tmp_path, study, runs)
    read = read_runs(read_study(tmp_path, study.name), Ledger(tmp_path))
    assert not [note for run in read for note in run.notes]
    for run, known in zip(read, {run.key: run for run in runs}.values(), strict=True):
        assert (run.key, run.outcome, run.iteration, run.seconds) == (
            known.key, known.outcome, known.iteration, known.seconds,
        )  # fmt: skip
        for name in known.curves:
            assert list(run.curves[name].values) == list(known.curves[name].values)
        for name, value in known.result.items():
            if name.startswith("last_") and name.removeprefix("last_") not in known.curves:
                assert run.result[name] == value
    assert [measure(arm, Metric.LAST_TEST).n for arm in gather(study, read)] == [len(arm.trials) for arm in study.arms]
