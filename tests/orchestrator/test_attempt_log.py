"""What a trial prints lands in the log of its attempt, whoever prints it and however it ends."""
# ruff: noqa: T201 - printing is what is tested

import ctypes
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import toy

from orchestrator import attempt_log
from orchestrator.attempt_log import AttemptLog
from orchestrator.ledger import Ledger, Stopped
from orchestrator.trial import Trial
from orchestrator.worker import Cause, Setting, execute

HERE = Path(__file__).parent


def setting(root: Path, entry: str = "toy:run") -> Setting:
    return Setting(results=str(root), entry=entry, site={}, commit_seconds=0.0)


def said(root: Path, trial: Trial, attempt: int = 1) -> str:
    return (Ledger(root).folder(trial.key).path / "attempts" / f"{attempt:04d}.log").read_text()


def in_a_process(code: str, *, root: Path) -> "subprocess.CompletedProcess[str]":
    """Run this with the toy and the tree at hand; `root` is the results directory."""
    head = f"import os, sys, ctypes, subprocess, toy\nfrom pathlib import Path\nroot = Path({str(root)!r})\n"
    path = os.pathsep.join(map(str, (HERE, HERE.parents[1])))
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_an_attempt_tells_where_it_began_how_it_got_on_and_how_it_ended(tmp_path: Path) -> None:
    """One line for each curve record, with units; the second attempt at a broken trial goes on from a commit."""
    trial = toy.trial(1, iterations=1500, raise_at=3)
    assert execute(trial, setting(tmp_path)).cause is Cause.ERROR
    assert execute(trial, setting(tmp_path)).cause is Cause.ERROR
    first, second = said(tmp_path, trial).splitlines(), said(tmp_path, trial, 2).splitlines()
    assert f"  attempt 1 of toy-1.s0 ({trial.key}), from the beginning, on " in first[0]
    assert first[1][21:] == "iteration 1 of 1,500: train_error 2.773 %, 1 images/s"
    assert "Traceback (most recent call last):" in first
    assert first[-1].endswith("ended: failed: RuntimeError: iteration 3 cannot be done")
    assert "  attempt 2 of toy-1.s0" in second[0]
    assert ", from iteration 2, on " in second[0]
    assert not [line for line in second if "iteration 1 of" in line]


def test_a_finished_and_a_stopped_attempt_say_so(tmp_path: Path) -> None:
    """A warm worker serves both, each with a log of its own."""
    assert execute(toy.trial(1, keeps=1), setting(tmp_path)).cause is Cause.DONE
    assert [line[21:] for line in said(tmp_path, toy.trial(1)).splitlines()[-3:]] == [
        "kept predictions-0.npz, 0.0 MB",
        "finished at iteration 10 of 10",
        "ended: done",
    ]
    path = tmp_path / "one.log"
    with pytest.raises(Stopped), AttemptLog(path):
        raise Stopped("asked to stop, at iteration 12")
    assert path.read_text().endswith("ended: asked to stop, at iteration 12; committed\n")
    with pytest.raises(KeyboardInterrupt), AttemptLog(tmp_path / "two.log"):
        raise KeyboardInterrupt
    assert (tmp_path / "two.log").read_text().endswith("ended: interrupted\n")


def test_everything_that_is_printed_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By Python, by C, by a child; afterwards the process prints where it did before."""
    path = tmp_path / "all.log"
    with AttemptLog(path):
        print("from Python", "é")
        print("to stderr", file=sys.stderr)
        ctypes.CDLL(None).puts(b"from C")
        os.write(1, b"from the descriptor\n")
        subprocess.run(["sh", "-c", "echo from a child; echo its error >&2"], check=True)
    print("after")
    kept = path.read_text()
    for each in ("from Python é", "to stderr", "from C", "from the descriptor", "from a child", "its error"):
        assert f"{each}\n" in kept
    shown = capfd.readouterr()
    assert shown.out == "after\n"
    assert shown.err == ""


def test_the_last_words_of_a_crash_are_kept(tmp_path: Path) -> None:
    """And a warning before them: nothing stands between the process and its log."""
    code = """
        from orchestrator.attempt_log import AttemptLog
        AttemptLog(root / "crash.log").__enter__()
        import faulthandler
        faulthandler.enable(file=2)
        import warnings
        warnings.warn("a warning")
        print("so far")
        ctypes.string_at(0)
    """
    assert in_a_process(code, root=tmp_path).returncode < 0
    kept = (tmp_path / "crash.log").read_text()
    assert "UserWarning: a warning\n" in kept
    assert "so far\n" in kept
    assert "Fatal Python error: Segmentation fault" in kept


def test_with_echo_it_is_shown_too(tmp_path: Path) -> None:
    """Each stream where it belongs; the lines about the attempt stay in the log."""
    code = """
        from orchestrator.worker import Setting, execute
        def run(params, progress, **site):
            print("from Python")
            print("an error", file=sys.stderr)
            ctypes.CDLL(None).puts(b"from C")
            subprocess.run(["sh", "-c", "echo from a child"])
            progress.finish(10, b"", {"outcome": "finished"})
        toy.told = run
        execute(toy.trial(3), Setting(results=str(root), entry="toy:told", site={}, echo=True))
        print("after")
    """
    done = in_a_process(code, root=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["from Python", "from C", "from a child", "after"]
    assert done.stderr == "an error\n"
    kept = said(tmp_path, toy.trial(3)).splitlines()
    assert {"from Python", "an error", "from C", "from a child"} < set(kept)
    assert kept[-1].endswith("ended: done")


def test_without_tee_it_is_shown_and_not_kept(tmp_path: Path) -> None:
    """What is there today matters more than its copy."""
    code = """
        os.environ["PATH"] = str(root)
        from orchestrator.attempt_log import AttemptLog
        with AttemptLog(root / "own.log", echo=True) as log:
            print("shown")
            log.say("kept")
    """
    done = in_a_process(code, root=tmp_path)
    assert (done.returncode, done.stdout) == (0, "shown\n"), done.stderr
    assert "  kept\n" in (tmp_path / "own.log").read_text()


def test_a_flood_is_cut_and_what_the_attempt_tells_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log stays small however much is printed, says where it was cut, and still tells how the attempt ends."""
    monkeypatch.setattr(attempt_log, "MOST_BYTES", 2**20)
    path = tmp_path / "flood.log"
    with AttemptLog(path) as log:
        for _ in range(3000):
            print("x" * 1023)
            assert path.stat().st_size < 2**20 + 4096
        log.say("iteration 7 of 10")
        print("unseen")
    kept = path.read_text().splitlines()
    assert path.stat().st_size < 2**20 + 4096
    assert kept[-3] == "more than 1 MiB were printed: what came after this line is not kept"
    assert [line[21:] for line in kept[-2:]] == ["iteration 7 of 10", "ended: done"]
    assert [each.name for each in tmp_path.iterdir()] == ["flood.log"]


def test_a_flood_from_a_child_is_cut_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by its size; the child goes on, and what it prints is thrown away."""
    monkeypatch.setattr(attempt_log, "MOST_BYTES", 2**20)
    monkeypatch.setattr(attempt_log, "LOOK_SECONDS", 0.01)
    path = tmp_path / "flood.log"
    with AttemptLog(path) as log:
        child = subprocess.Popen(["sh", "-c", "while head -c 100000 /dev/zero; do sleep 0.01; done"])
        try:
            while log._left is None:
                child.poll()
            log.say("told after the cut")
        finally:
            child.kill()
            child.wait()
    kept = path.read_bytes()
    assert len(kept) < 2**20 + 4096
    assert kept.splitlines()[-2].endswith(b"told after the cut")


@pytest.mark.parametrize("path", ["/dev/full", "/nowhere/at/all.log"])
def test_what_cannot_be_kept_is_dropped(path: str) -> None:
    """A full disk, or a directory that is away, is no error of the trial."""
    with AttemptLog(Path(path)) as log:
        print("lost")
        print("lost as well", file=sys.stderr, flush=True)
        log.say("lost, too")
    print("the process goes on")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """In a shared folder it may lead anywhere."""
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link.log").symlink_to(tmp_path / "target")
    with AttemptLog(tmp_path / "link.log") as log:
        log.say("not there")
    assert (tmp_path / "target").read_text() == "mine"


def test_a_log_is_no_part_of_what_was_measured(tmp_path: Path) -> None:
    """It may be removed, and the trial is as done as before."""
    trial = toy.trial(2)
    execute(trial, setting(tmp_path))
    folder = Ledger(tmp_path).folder(trial.key)
    before = folder.check()
    (folder.path / "attempts" / "0001.log").unlink()
    assert folder.check() == before
    assert len(folder.attempts()) == 1
