"""The logs of a trial, read while it runs on and after it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy

from orchestrator import logs
from orchestrator.attempt_log import MOST_BYTES
from orchestrator.driver import Driver
from orchestrator.ledger import Ledger
from orchestrator.logs import Followed, find, follow, last_lines, printed, why_over
from orchestrator.queue import Standing
from orchestrator.studies import sole_run, write_study
from orchestrator.trial import Trial
from orchestrator.worker import Setting, execute

HERE = Path(__file__).parent


def followed(trial: Trial, *studies: str) -> Followed:
    return Followed(key=trial.key, name=trial.name, studies=studies)


def attempted(root: Path, trial: Trial) -> None:
    execute(trial, Setting(results=str(root), entry="toy:run", site={}, commit_seconds=0.0))


def in_a_process(root: Path, call: str) -> "subprocess.Popen[bytes]":
    """An attempt at `toy.trial(...)`, as a worker makes one."""
    code = (
        "import toy; from orchestrator.worker import Setting, execute\n"
        f"execute({call}, Setting(results={str(root)!r}, entry='toy:run', site={{}}, commit_seconds=0.0))"
    )
    path = os.pathsep.join(map(str, (HERE, HERE.parents[1])))
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})


@contextmanager
def run_of(root: Path, trial: Trial, standing: Standing | None = None) -> Iterator[None]:
    """A run of a study of this one trial, whose driver has told of it."""
    write_study(root, toy.study(trial))
    with sole_run(root, "toys"):
        driver = Driver(root / "studies" / "toys", "run-1", "a cluster", {trial.key: 5.0})
        toy.told(driver, standing or Standing(total=1), [])
        yield


def test_attempts_are_read_one_after_the_other(tmp_path: Path) -> None:
    """Or one of them, or the last lines alone."""
    trial = toy.trial(0, raise_at=3)
    for _ in range(2):
        attempted(tmp_path, trial)
    folder = Ledger(tmp_path).folder(trial.key)
    everything = b"".join(printed(folder)).decode()
    assert everything.index("attempt 1 of toy-0.s0") < everything.index("attempt 2 of toy-0.s0")
    second = b"".join(printed(folder, 2)).decode()
    assert everything.endswith(second)
    assert "attempt 1" not in second
    assert list(printed(folder, 3)) == []
    assert last_lines(printed(folder), 2).decode().splitlines() == everything.splitlines()[-2:]
    assert last_lines(iter([b"a\nb", b"b\nc\n"]), 2) == b"bb\nc\n"


def test_a_trial_is_found_by_name_or_key_begun_or_not(tmp_path: Path) -> None:
    """From the studies that were run here, and from the ledger where no study has it."""
    write_study(tmp_path, toy.study(toy.trial(0), toy.trial(1)))
    attempted(tmp_path, toy.trial(2))
    ledger, studies = Ledger(tmp_path), [toy.study(toy.trial(0), toy.trial(1))]
    assert find("toy-1.s0", ledger, studies) == [followed(toy.trial(1), "toys")]
    assert find(toy.trial(2).key[:16], ledger, studies) == [followed(toy.trial(2))]
    assert len(find("0000", ledger, studies)) == 3
    assert find("toy-9.s0", ledger, studies) == []


@pytest.mark.parametrize("lines", [None, 1])
def test_a_trial_is_followed_to_its_end(tmp_path: Path, lines: int | None) -> None:
    """Every line once, in order, while it is written by another process; the last says how it ended."""
    trial = toy.trial(0, iterations=12, sleep=0.1)
    process = in_a_process(tmp_path, "toy.trial(0, iterations=12, sleep=0.1)")
    while not Ledger(tmp_path).folder(trial.key).alive():
        assert process.poll() is None
    said = b"".join(follow(Ledger(tmp_path), followed(trial), lines=lines)).decode().splitlines()
    assert process.wait() == 0
    assert said[-1] == "toy-0.s0: finished at iteration 12"
    assert said[-2].endswith("ended: done")
    numbers = [line.split("iteration ")[1].split(" ")[0] for line in said if "train_error" in line]
    whole = [str(n) for n in range(1, 13)]
    assert numbers == (whole if lines is None else whole[-len(numbers) :])


def test_an_attempt_that_is_killed_is_followed_into_the_next(tmp_path: Path) -> None:
    """As long as a run is at work that will begin it again."""
    call = "toy.trial(0, iterations=20, sleep=0.02, die_at=8)"
    trial = toy.trial(0, iterations=20)
    with run_of(tmp_path, trial):
        pieces = follow(Ledger(tmp_path), followed(trial, "toys"))
        first = in_a_process(tmp_path, call)
        again = threading.Thread(target=lambda: (first.wait(), in_a_process(tmp_path, call).wait()))
        again.start()
        said = b"".join(pieces).decode()
        again.join()
    assert said.index("attempt 1 of toy-0.s0") < said.index("iteration 8 of 20") < said.index("attempt 2 of toy-0.s0")
    assert said.endswith("toy-0.s0: finished at iteration 20\n")


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (Standing(total=1, failed={toy.trial(0).key: "no"}), "failed: no"),
        (Standing(total=1, cancelled={toy.trial(0).key: "ada"}), "cancelled by ada"),
        (Standing(total=1, unaffordable=[toy.trial(0).key]), "left out by the budget"),
        (Standing(total=1), None),
    ],
)
def test_what_the_run_says_of_a_trial_ends_its_log(tmp_path: Path, standing: Standing, said: str | None) -> None:
    """While it only waits, its log is waited for."""
    ledger, trial = Ledger(tmp_path), toy.trial(0)
    with run_of(tmp_path, trial, standing):
        assert why_over(ledger, followed(trial, "toys")) == said
    none = "no attempt is at work, and no run that would begin one"
    assert why_over(ledger, followed(trial, "toys")) == none
    assert b"".join(follow(ledger, followed(trial))) == f"toy-0.s0: {none}\n".encode()


def test_a_trial_that_is_no_part_of_the_run_is_not_waited_for(tmp_path: Path) -> None:
    """Nor one whose study only begins, for which it is."""
    ledger, other = Ledger(tmp_path), toy.trial(1)
    with run_of(tmp_path, toy.trial(0)):
        assert why_over(ledger, followed(other, "toys")) is not None
    with sole_run(tmp_path, "another"):
        assert why_over(ledger, followed(other, "another")) is None


def test_one_attempt_is_followed_to_its_own_end(tmp_path: Path) -> None:
    """Though the trial may be begun again."""
    trial = toy.trial(0, raise_at=3)
    attempted(tmp_path, trial)
    with run_of(tmp_path, trial):
        said = b"".join(follow(Ledger(tmp_path), followed(trial, "toys"), attempt=1)).decode()
    assert said.endswith("cannot be done\ntoy-0.s0: attempt 1 is over\n")


def test_a_damaged_commit_ends_the_log_with_its_reason(tmp_path: Path) -> None:
    """It is no reason to wait."""
    trial = toy.trial(0)
    attempted(tmp_path, trial)
    (Ledger(tmp_path).folder(trial.key).path / "commit.json").write_text("{")
    assert "commit.json: damaged" in (why_over(Ledger(tmp_path), followed(trial)) or "")


def test_a_log_that_was_cut_is_read_on_from_the_cut(tmp_path: Path) -> None:
    """Who follows a flood sees where it was cut."""
    path = tmp_path / "0001.log"
    path.write_bytes(b"x" * (MOST_BYTES + 5000))
    tail = logs._Tail(path)
    assert len(b"".join(tail.more())) == MOST_BYTES + 5000
    path.write_bytes(b"x" * MOST_BYTES + b"\nwas cut\n")
    assert b"".join(tail.more()) == b"\nwas cut\n"
    path.unlink()
    assert list(tail.more()) == []
