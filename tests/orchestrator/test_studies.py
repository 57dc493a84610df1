"""What the results directory remembers of a study, and that one run at a time works on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy

from orchestrator.ledger import LedgerError
from orchestrator.studies import StudyInUse, read_study, sole_run, write_study


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    """To the letter, (seed, key) pairs included."""
    study = toy.study(toy.trial(0), toy.trial(1, blocked="no data"))
    write_study(tmp_path, study)
    assert read_study(tmp_path, "toys") == study


def test_a_study_that_never_ran_is_not_there(tmp_path: Path) -> None:
    """Absence is not damage."""
    with pytest.raises(FileNotFoundError):
        read_study(tmp_path, "toys")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "format 9 is newer than 1"),
        ({"arms": [{}]}, "damaged"),
        ({"extra": 1}, "damaged"),
        ({"name": "../../../evil"}, "it is of a study called '../../../evil'"),
    ],
)
def test_a_damaged_or_newer_record_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """By name, with what to do."""
    write_study(tmp_path, toy.study(toy.trial()))
    path = tmp_path / "studies" / "toys" / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LedgerError, match=message):
        read_study(tmp_path, "toys")


def test_an_empty_record_is_damaged(tmp_path: Path) -> None:
    """As a full disk may leave it."""
    write_study(tmp_path, toy.study(toy.trial()))
    (tmp_path / "studies" / "toys" / "study.json").write_text("")
    with pytest.raises(LedgerError, match="damaged"):
        read_study(tmp_path, "toys")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """The second is told who runs it; afterwards it is free, also when the first was killed."""
    code = f"""
import pathlib, time
from orchestrator.ledger import LedgerError
from orchestrator.studies import sole_run
with sole_run(pathlib.Path({str(tmp_path)!r}), "toys"):
    print("held", flush=True); time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(StudyInUse, match=rf"being run by pid {process.pid} on "), sole_run(tmp_path, "toys"):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with sole_run(tmp_path, "toys"):
        pass
