"""The ledger: what was committed is all there, what was not did not happen, whatever is killed or damaged."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import ledger
from orchestrator.ledger import Attempt, Ledger, LedgerError, Stopped, StorageError, TrialFolder
from orchestrator.trial import Trial


def attempt(root: Path, *, iterations: int = 10, commit_seconds: float = 0.0) -> Attempt:
    return Ledger(root).attempt(
        toy.trial(iterations=iterations), provenance={"host": "here"}, commit_seconds=commit_seconds, wait=False
    )


def folder(root: Path) -> TrialFolder:
    return Ledger(root).folder(toy.trial().key)


def curves(root: Path, stream: str = "curves.jsonl") -> bytes:
    here = folder(root)
    head = here.head()
    return here.valid(stream, head) if head else b""


def both(root: Path) -> tuple[bytes, bytes]:
    """The streams that are the same bytes for the same trial."""
    return curves(root), curves(root, "probes.jsonl")


def finish(root: Path, iterations: int = 10, **params: Any) -> None:
    with attempt(root) as progress:
        if not progress.done:
            toy.run(toy.trial(iterations=iterations, **params).params, progress)


def twin(iterations: int = 10) -> bytes:
    with tempfile.TemporaryDirectory() as undisturbed:
        finish(Path(undisturbed), iterations)
        return curves(Path(undisturbed))


def probed_twin(iterations: int) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as undisturbed:
        finish(Path(undisturbed), iterations, probe_every=2)
        return both(Path(undisturbed))


def kept(root: Path) -> dict[str, bytes]:
    """Every file that the trial keeps beside its result, checked; and there is no other."""
    here = folder(root)
    head = here.head()
    assert head is not None
    assert head.result is not None
    found = {name: here.kept(name, head) for name in head.result.get("kept", {})}
    assert {path.name for path in here.path.glob("*.npz")} == set(found)
    return found


def kept_twin(iterations: int) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as undisturbed:
        finish(Path(undisturbed), iterations, keeps=2)
        return kept(Path(undisturbed))


def test_a_new_trial_has_nothing_to_restore(tmp_path: Path) -> None:
    """Nothing was committed, so there is no checkpoint, no head and no curve."""
    with attempt(tmp_path) as progress:
        assert progress.restore() is None
        assert not progress.done
    assert folder(tmp_path).head() is None


def test_a_commit_makes_curves_and_checkpoint_valid_together(tmp_path: Path) -> None:
    """After it both are there; a record logged later is not, until the next commit."""
    with attempt(tmp_path) as progress:
        progress.log(1, {"train_error": 50.0})
        progress.commit(1, b"one")
        progress.log(2, {"train_error": 25.0})
    head = folder(tmp_path).head()
    assert head is not None
    assert head.iteration == 1
    assert folder(tmp_path).checkpoint(head) == b"one"
    assert folder(tmp_path).records("curves.jsonl", head) == [{"iteration": 1, "train_error": 50.0}]


def test_every_record_has_a_time(tmp_path: Path) -> None:
    """The clock has one line per record, apart from the curves, which are the same bytes at any time of day."""
    finish(tmp_path)
    head = folder(tmp_path).head()
    assert head is not None
    clock = folder(tmp_path).records("clock.jsonl", head)
    assert [each["iteration"] for each in clock] == list(range(1, 11))
    assert all(b["seconds"] >= a["seconds"] for a, b in pairwise(clock))


@settings(max_examples=25, deadline=None)
@given(
    stops=st.lists(st.integers(1, 30), max_size=6),
    commit_every=st.integers(1, 7),
)
def test_interrupted_anywhere_the_curves_are_the_undisturbed_twins(stops: list[int], commit_every: int) -> None:
    """An attempt that is abandoned after any number of iterations leaves no gap, no duplicate, no trace."""
    iterations = 12

    class Stopped(Exception): ...

    class Paced:
        """The attempt, committing by count and ending at a stop."""

        def __init__(self, inner: Attempt, stop: int | None) -> None:
            self.inner, self.stop, self.logged = inner, stop, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def log(self, *record: Any) -> None:
            if self.logged == self.stop:
                raise Stopped
            self.logged += 1
            self.inner.log(*record)

        def due(self) -> bool:
            return self.logged % commit_every == 0

    with tempfile.TemporaryDirectory() as place:
        for stop in [*stops, None]:
            try:
                with attempt(Path(place)) as progress:
                    if not progress.done:
                        params = toy.trial(iterations=iterations, probe_every=2, keeps=2).params
                        toy.run(params, Paced(progress, stop))  # type: ignore[arg-type]
            except Stopped:
                continue
        head = folder(Path(place)).head()
        assert head is not None
        assert head.result is not None
        assert both(Path(place)) == probed_twin(iterations)
        assert kept(Path(place)) == kept_twin(iterations)
        assert [each["iteration"] for each in folder(Path(place)).records("clock.jsonl", head)] == list(range(1, 13))


class PowerCut(BaseException):
    """Raised in place of a system call; nothing of ours catches it."""


def _cut_at(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Let the process end at the `at`-th durable step (fsync, rename, unlink) from now on."""
    steps = 0

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **more: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == at:
                raise PowerCut
            return real(*given, **more)

        return step

    monkeypatch.setattr(os, "fsync", wrapped(os.fsync))
    monkeypatch.setattr(Path, "replace", wrapped(Path.replace))
    monkeypatch.setattr(Path, "unlink", wrapped(Path.unlink))
    return lambda: steps


def test_a_power_cut_at_every_step_loses_nothing(tmp_path: Path) -> None:
    """For every N: the process ends at its N-th fsync, rename or unlink; the next attempt makes the twin's curves."""
    with pytest.MonkeyPatch.context() as count:
        steps = _cut_at(count, at=-1)
        finish(tmp_path / "whole", iterations=4, probe_every=2, keeps=2)
        total = steps()
    assert total > 36
    expected, files = probed_twin(4), kept_twin(4)
    assert len(expected[1].splitlines()) == 3
    assert len(files) == 2
    for at in range(1, total + 1):
        place = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as cut:
            _cut_at(cut, at)
            with pytest.raises(PowerCut):
                finish(place, iterations=4, probe_every=2, keeps=2)
        finish(place, iterations=4, probe_every=2, keeps=2)
        assert both(place) == expected, f"after a cut at step {at} of {total}"
        assert kept(place) == files, f"after a cut at step {at} of {total}"
        assert not [path for path in folder(place).path.glob("checkpoint-*") if path.stat().st_size == 0]


def test_a_damaged_checkpoint_falls_back_to_the_commit_before(tmp_path: Path) -> None:
    """Its checksum tells; curves go back with it, and the end is the undisturbed twin's."""
    with attempt(tmp_path) as progress:
        progress.log(1, {"train_error": 1.0})
        progress.commit(1, b"first")
        progress.log(2, {"train_error": 2.0})
        progress.commit(2, b"second")
    newest = max(folder(tmp_path).path.glob("checkpoint-*.pt"))
    newest.write_bytes(b"sec0nd")
    with attempt(tmp_path) as progress:
        assert progress.restore() == b"first"
        progress.log(2, {"train_error": 2.0})
        progress.finish(2, b"second", {"outcome": "finished"})
    assert len(curves(tmp_path).splitlines()) == 2
    assert "damaged" in folder(tmp_path).attempts()[-1]["notes"][0]


def test_with_both_checkpoints_gone_the_trial_begins_anew(tmp_path: Path) -> None:
    """Nothing is left to trust, so nothing is."""
    with attempt(tmp_path) as progress:
        for iteration in (1, 2):
            progress.log(iteration, {"train_error": 1.0})
            progress.commit(iteration, b"x")
    for path in folder(tmp_path).path.glob("checkpoint-*.pt"):
        path.unlink()
    with attempt(tmp_path) as progress:
        assert progress.restore() is None
        toy.run(toy.trial().params, progress)
    assert curves(tmp_path) == twin()


@pytest.mark.parametrize("stream", ["curves.jsonl", "clock.jsonl", "probes.jsonl"])
def test_changed_curves_are_never_read_as_numbers(tmp_path: Path, stream: str) -> None:
    """A flipped digit is a LedgerError that names the file."""
    finish(tmp_path, probe_every=5)
    path = folder(tmp_path).path / stream
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    head = folder(tmp_path).head()
    assert head is not None
    with pytest.raises(LedgerError, match=f"{stream}: not what was committed"):
        folder(tmp_path).records(stream, head)


@settings(deadline=None, max_examples=60)
@given(
    iterations=st.lists(st.integers(0, 2000), unique=True, min_size=1, max_size=80).map(sorted),
    after=st.integers(-1, 2001),
    junk=st.integers(0, 2),
)
def test_records_are_read_one_at_a_time_from_any_iteration_on(iterations: list[int], after: int, junk: int) -> None:
    """The last one at or before it first, and what comes after it to the last that was committed, whatever follows."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with attempt(root) as begun:
            for each in iterations:
                begun.log(each, {"train_error": each / 7, "said": float("nan")})
            begun.commit(iterations[-1], b"x")
            for _ in range(junk):
                begun.log(9999, {"train_error": 1.0})
        head = folder(root).head()
        assert head is not None
        whole = folder(root).records("curves.jsonl", head)
        earlier = [each for each in whole if each["iteration"] <= after]
        assert list(folder(root).each("curves.jsonl", head, after)) == earlier[-1:] + whole[len(earlier) :]
        assert list(folder(root).each("probes.jsonl", head, after)) == []


def test_of_changed_records_not_one_is_handed_out(tmp_path: Path) -> None:
    """Also where the change comes after the iteration that is asked for, or the file is gone."""
    finish(tmp_path, 50)
    path, head = folder(tmp_path).path / "curves.jsonl", folder(tmp_path).head()
    assert head is not None
    assert len(list(folder(tmp_path).each("curves.jsonl", head))) == 50
    path.write_bytes(path.read_bytes()[:-3] + b"9}\n")
    with pytest.raises(LedgerError, match="not what was committed"):
        next(folder(tmp_path).each("curves.jsonl", head, 10))
    path.unlink()
    with pytest.raises(LedgerError, match="not what was committed"):
        next(folder(tmp_path).each("curves.jsonl", head))


def test_missing_curves_are_said(tmp_path: Path) -> None:
    """A commit without its curves is damage, not an empty curve."""
    finish(tmp_path)
    (folder(tmp_path).path / "curves.jsonl").unlink()
    head = folder(tmp_path).head()
    assert head is not None
    with pytest.raises(LedgerError, match="not what was committed"):
        folder(tmp_path).valid("curves.jsonl", head)


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """Bytes after the last commit are of an attempt that was killed."""
    with attempt(tmp_path) as progress:
        progress.log(1, {"train_error": 1.0})
        progress.commit(1, b"1,1")
    with (folder(tmp_path).path / "curves.jsonl").open("ab") as file:
        file.write(b'{"iteration": 2, "tra')
    assert len(curves(tmp_path).splitlines()) == 1
    with attempt(tmp_path) as progress:
        progress.finish(1, b"1,1", {"outcome": "finished"})
    assert (folder(tmp_path).path / "curves.jsonl").read_bytes() == curves(tmp_path)


def _changed(root: Path, **change: Any) -> str:
    """The newest commit with something else in it."""
    data = json.loads((folder(root).path / "commit.json").read_text())
    data["commits"][0] |= change
    return json.dumps(data)


@pytest.mark.parametrize(
    "change",
    [
        {"iteration": "a"},
        {"iteration": -1},
        {"seconds": None},
        {"checkpoint": "../../../outside.pt"},
        {"checkpoint": "/etc/passwd"},
        {"result": {}},
        {"result": {"outcome": "splendid"}},
        {"result": {"outcome": "finished", "kept": {"../other/predictions.npz": "0"}}},
        {"result": {"outcome": "finished", "kept": {"curves.jsonl": "0"}}},
        {"result": {"outcome": "finished", "kept": {"predictions.npz": 0}}},
        {"result": {"outcome": "finished", "kept": ["predictions.npz"]}},
        {"streams": {}},
        {"more": 1},
    ],
)
def test_a_commit_that_says_strange_things_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    """Nothing of it is believed: no number, no outcome, and above all no name of a file to remove."""
    finish(tmp_path)
    (folder(tmp_path).path / "commit.json").write_text(_changed(tmp_path, **change))
    with pytest.raises(LedgerError, match=r"commit\.json: damaged"):
        folder(tmp_path).head()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Curves that lead out of the folder are neither read nor cut off."""
    outside = tmp_path / "outside"
    outside.write_text("precious")
    folder(tmp_path).path.mkdir(parents=True)
    (folder(tmp_path).path / "curves.jsonl").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"):
        attempt(tmp_path)
    assert outside.read_text() == "precious"


def test_a_result_outlives_its_checkpoint(tmp_path: Path) -> None:
    """Checkpoints of finished trials may be removed to save room; the trial stays done, its curves untouched."""
    finish(tmp_path)
    before = curves(tmp_path)
    for path in folder(tmp_path).path.glob("checkpoint-*.pt"):
        path.unlink()
    with attempt(tmp_path) as again:
        assert again.done
    assert curves(tmp_path) == before
    assert len(folder(tmp_path).attempts()) == 1


def test_a_damaged_result_is_not_run_over(tmp_path: Path) -> None:
    """Whoever attempts it is told; nothing is cut off or replaced."""
    finish(tmp_path)
    path = folder(tmp_path).path / "curves.jsonl"
    damaged = path.read_bytes().replace(b"1", b"2", 1)
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match="not what was committed"):
        attempt(tmp_path)
    assert path.read_bytes() == damaged
    assert not folder(tmp_path).alive()


def test_attempts_are_numbered_after_the_last(tmp_path: Path) -> None:
    """A lost record is not written over by the next; a damaged one is left out."""
    for _ in range(3):
        with attempt(tmp_path):
            pass
    first, second, _ = sorted((folder(tmp_path).path / "attempts").iterdir())
    first.unlink()
    second.write_text("[]")
    with attempt(tmp_path):
        pass
    names = sorted(path.name for path in (folder(tmp_path).path / "attempts").iterdir())
    assert names == ["0002.json", "0003.json", "0004.json"]
    assert len(folder(tmp_path).attempts()) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"started": "yesterday"},
        {"started": None},
        {"started": "2026-01-05T10:00:00"},
        {"ended": 3},
        {"notes": "text"},
        {"notes": [1]},
        {"host": 3},
        {"cause": ["error"]},
        {"reason": {"text": "boom"}},
        {"site": None},
        {"versions": []},
        {"kernels": {}},
        {"activations": 3},
        {"hardware": 3},
        {"hardware": {"gpus": 3}},
        {"hardware": {"gpus": [3]}},
    ],
    ids=str,
)
def test_an_attempt_with_values_of_the_wrong_kind_is_left_out(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Nobody who reads a folder that was edited by hand stumbles over it."""
    with attempt(tmp_path):
        pass
    (path,) = (folder(tmp_path).path / "attempts").iterdir()
    told = json.loads(path.read_text())
    assert folder(tmp_path).attempts() == [told]
    path.write_text(json.dumps(told | changed))
    assert folder(tmp_path).attempts() == []


def test_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    """What a kill left in the middle of a checkpoint does not fill the disk."""
    folder(tmp_path).path.mkdir(parents=True)
    part = folder(tmp_path).path / ".checkpoint-00000001-0001.pt.part"
    part.write_bytes(b"half")
    with attempt(tmp_path):
        pass
    assert not part.exists()


def test_the_clock_starts_with_the_training(tmp_path: Path) -> None:
    """What a process needs to start is not training."""
    with attempt(tmp_path) as progress:
        time.sleep(0.3)
        progress.restore()
        progress.commit(1, b"1,1")
    head = folder(tmp_path).head()
    assert head is not None
    assert head.seconds < 0.25


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "commits": [{}]}', '{"format": "1"}'])
def test_a_damaged_commit_is_named(tmp_path: Path, text: str) -> None:
    """One line with the file and what to do."""
    finish(tmp_path)
    (folder(tmp_path).path / "commit.json").write_text(text)
    with pytest.raises(LedgerError, match=r"commit\.json: damaged .* remove it to start the trial anew"):
        folder(tmp_path).head()


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    """An older Ablate does not guess what a newer one wrote."""
    finish(tmp_path)
    path = folder(tmp_path).path / "commit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(LedgerError, match="format 2 is newer than 1; update Ablate"):
        folder(tmp_path).head()


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    """`trial.json` too."""
    finish(tmp_path)
    for text in ("{", "[]", "{}"):
        (folder(tmp_path).path / "trial.json").write_text(text)
        with pytest.raises(LedgerError, match=r"trial\.json: damaged"):
            folder(tmp_path).about()


def test_infinite_and_undefined_values_are_kept_as_text(tmp_path: Path) -> None:
    """JSON has neither; they are not turned into 0 or null."""
    with attempt(tmp_path) as progress:
        progress.log(1, {"train_loss": float("nan"), "test_loss": float("inf")})
        progress.finish(1, b"", {"outcome": "diverged", "diverged_at": 1})
    assert json.loads(curves(tmp_path)) == {"iteration": 1, "train_loss": "nan", "test_loss": "inf"}


def test_two_attempts_at_once_are_impossible(tmp_path: Path) -> None:
    """The second is refused while the first lives, and the folder says that it is alive."""
    with attempt(tmp_path):
        assert folder(tmp_path).alive()
        with pytest.raises(BlockingIOError):
            attempt(tmp_path)
    assert not folder(tmp_path).alive()


def test_a_killed_attempt_holds_nothing(tmp_path: Path) -> None:
    """kill -9 releases the folder at once; the record of the attempt stays without an end."""
    code = f"""
import sys; sys.path[:0] = {[str(Path(toy.__file__).parent)]!r}
import toy, time, pathlib
from orchestrator.ledger import Ledger
attempt = Ledger(pathlib.Path({str(tmp_path)!r})).attempt(toy.trial(), provenance={{}}, commit_seconds=0)
print("held", flush=True); time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert folder(tmp_path).alive()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not folder(tmp_path).alive()
    finish(tmp_path)
    first, second = folder(tmp_path).attempts()
    assert "ended" not in first
    assert second["cause"] == "ended"


def test_an_error_is_recorded_with_its_traceback(tmp_path: Path) -> None:
    """Last line apart, so that `status` can show it."""
    with pytest.raises(ZeroDivisionError), attempt(tmp_path):
        _ = 1 / 0
    (record,) = folder(tmp_path).attempts()
    assert record["cause"] == "error"
    assert record["reason"] == "ZeroDivisionError: division by zero"
    assert "test_ledger" in record["traceback"]


def test_only_the_last_two_checkpoints_are_kept_and_one_at_the_end(tmp_path: Path) -> None:
    """A trial of days does not fill the disk."""
    with attempt(tmp_path) as progress:
        for iteration in range(1, 6):
            progress.commit(iteration, b"%d" % iteration)
        assert len(list(folder(tmp_path).path.glob("checkpoint-*.pt"))) == 2
        progress.finish(6, b"6", {"outcome": "finished"})
    (last,) = folder(tmp_path).path.glob("checkpoint-*.pt")
    assert hashlib.sha256(last.read_bytes()).hexdigest() == folder(tmp_path).commits()[0].checkpoint_sha256


def test_a_trial_begins_from_the_end_of_the_one_it_comes_after(tmp_path: Path) -> None:
    """Its last checkpoint, byte for byte, and no other."""
    finish(tmp_path)
    head = folder(tmp_path).head()
    assert head is not None
    with Ledger(tmp_path).attempt(toy.trial(1, after=0), provenance={}, commit_seconds=0) as progress:
        assert progress.inherited() == folder(tmp_path).checkpoint(head)
        toy.run(toy.trial(1, after=0).params, progress)
    grown, alone = (Ledger(tmp_path / place).folder(toy.trial(1).key) for place in (".", "alone"))
    with Ledger(tmp_path / "alone").attempt(toy.trial(1), provenance={}, commit_seconds=0) as progress:
        toy.run(toy.trial(1).params, progress)
    assert grown.path.joinpath("curves.jsonl").read_bytes() != alone.path.joinpath("curves.jsonl").read_bytes()


def _inherited(root: Path, trial: Trial) -> str:
    """What is said where nothing can be inherited."""
    with (
        pytest.raises(LedgerError) as caught,
        Ledger(root).attempt(trial, provenance={}, commit_seconds=0) as progress,
    ):
        progress.inherited()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_inherited_is_said_in_one_line(tmp_path: Path) -> None:
    """No such trial, one that is not done, one whose checkpoint is damaged or gone, one whose commit is damaged."""
    child, parent = toy.trial(1, after=0), folder(tmp_path).path
    assert "comes after no trial" in _inherited(tmp_path, toy.trial(2))
    assert _inherited(tmp_path, child) == f"{parent}: not done, and another trial begins from its end; run it first"
    with attempt(tmp_path) as progress:
        progress.commit(5, b"5,1")
    assert "not done" in _inherited(tmp_path, child)
    finish(tmp_path)
    (checkpoint,) = parent.glob("checkpoint-*.pt")
    checkpoint.write_bytes(b"other")
    expected = f"{checkpoint}: missing or damaged, and another trial begins from it; remove the folder to run it again"
    assert _inherited(tmp_path, child) == expected
    checkpoint.unlink()
    assert _inherited(tmp_path, child) == expected
    (parent / "commit.json").write_text("{")
    assert "commit.json: damaged" in _inherited(tmp_path, child)


def test_a_commit_makes_probes_valid_with_the_curves(tmp_path: Path) -> None:
    """What a probe saw after it is cut off, and so is a torn line; a probe and a curve never stand alone."""
    with attempt(tmp_path) as progress:
        progress.probe(toy.seen(0))
        progress.log(1, {"train_error": 1.0})
        progress.commit(1, b"1,1")
        progress.probe(toy.seen(2))
    with (folder(tmp_path).path / "probes.jsonl").open("ab") as file:
        file.write(b'{"iteration": 2, "gra')
    head = folder(tmp_path).head()
    assert head is not None
    assert folder(tmp_path).records("probes.jsonl", head) == [toy.seen(0)]
    with attempt(tmp_path) as progress:
        progress.probe(toy.seen(4))
        progress.finish(4, b"4,1", {"outcome": "finished"})
    lines = (folder(tmp_path).path / "probes.jsonl").read_bytes().splitlines()
    assert [json.loads(each) for each in lines] == [toy.seen(0), toy.seen(4)]


def test_damaged_probes_send_an_attempt_back_as_damaged_curves_do(tmp_path: Path) -> None:
    """To the commit before; both streams go back with it."""
    with attempt(tmp_path) as progress:
        for iteration in (1, 2):
            progress.log(iteration, {"train_error": 1.0})
            progress.probe(toy.seen(iteration))
            progress.commit(iteration, b"%d" % iteration)
    path = folder(tmp_path).path / "probes.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"8.0", b"9.0"))
    with attempt(tmp_path) as progress:
        assert progress.restore() == b"1"
        progress.finish(1, b"1", {"outcome": "finished"})
    assert [len(each.splitlines()) for each in both(tmp_path)] == [1, 1]
    assert "probes.jsonl: not what was committed" in folder(tmp_path).attempts()[-1]["notes"][0]


def _streams(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what each commit says of its streams."""
    path = folder(root).path / "commit.json"
    data = json.loads(path.read_text())
    for each in data["commits"]:
        change(each["streams"])
    path.write_text(json.dumps(data))


def test_a_commit_of_a_version_without_probes_is_read_and_gone_on_from(tmp_path: Path) -> None:
    """It has no such stream, so it has no such record; whatever lies in the file was never committed."""
    with attempt(tmp_path) as progress:
        progress.log(1, {"train_error": 1.0})
        progress.commit(1, b"1,1")
    _streams(tmp_path, lambda streams: streams.pop("probes.jsonl"))
    (folder(tmp_path).path / "probes.jsonl").unlink()
    head = folder(tmp_path).head()
    assert head is not None
    assert folder(tmp_path).records("probes.jsonl", head) == []
    (folder(tmp_path).path / "probes.jsonl").write_bytes(b"uncommitted\n")
    with attempt(tmp_path) as progress:
        assert progress.restore() == b"1,1"
        progress.probe(toy.seen(2))
        progress.finish(2, b"2,1", {"outcome": "finished"})
    assert json.loads(curves(tmp_path, "probes.jsonl")) == toy.seen(2)


def test_a_stream_that_no_version_has_is_damage(tmp_path: Path) -> None:
    """Its name is a file's, and none is opened that is not known."""
    finish(tmp_path)
    _streams(tmp_path, lambda streams: streams.update({"../../other.jsonl": streams["clock.jsonl"]}))
    with pytest.raises(LedgerError, match=r"commit\.json: damaged .*no streams of a trial.*other\.jsonl"):
        folder(tmp_path).head()


def test_how_an_attempt_computes_stands_in_its_record(tmp_path: Path) -> None:
    """At once, so that a killed one has it too, beside its host, and still there when it ended."""
    with attempt(tmp_path) as progress:
        progress.about({"kernels": "our own", "activations": "kept"})
        (living,) = folder(tmp_path).attempts()
        progress.about({"activations": "recomputed"})
    (ended,) = folder(tmp_path).attempts()
    assert (living["kernels"], living["activations"], living["host"]) == ("our own", "kept", "here")
    assert "ended" not in living
    assert (ended["kernels"], ended["activations"], ended["cause"]) == ("our own", "recomputed", "ended")


def test_costs_stand_in_the_clock_and_never_in_the_curves(tmp_path: Path) -> None:
    """They are facts of a machine, and curves are the same bytes on any."""
    with attempt(tmp_path) as progress:
        progress.log(1, {"train_error": 1.0}, {"images_per_second": 12.5})
        progress.log(2, {"train_error": 1.0})
        progress.finish(2, b"", {"outcome": "finished"})
    head = folder(tmp_path).head()
    assert head is not None
    clock = folder(tmp_path).records("clock.jsonl", head)
    assert [each.keys() - {"iteration", "time", "seconds"} for each in clock] == [{"images_per_second"}, set()]
    assert clock[0]["images_per_second"] == 12.5
    assert b"images" not in curves(tmp_path)


def test_files_of_another_trial_are_refused(tmp_path: Path) -> None:
    """Copied into a folder by hand, they would be read as this trial's own result: the commit says whose it is."""
    for number in (0, 1):
        trial = toy.trial(number)
        with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=0) as progress:
            toy.run(trial.params, progress)
    one, other = (Ledger(tmp_path).folder(toy.trial(number).key) for number in (0, 1))
    for file in (*one.path.glob("*.jsonl"), *one.path.glob("checkpoint-*.pt"), one.path / "commit.json"):
        (other.path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(LedgerError, match=rf"commit.json: belongs to trial {one.path.name}, not to this one; remove"):
        other.head()
    with pytest.raises(LedgerError, match="belongs to trial"):
        Ledger(tmp_path).attempt(toy.trial(1), provenance={}, commit_seconds=0)
    one.path.rename(one.path.with_name("renamed"))
    with pytest.raises(LedgerError, match=r"trial.json: belongs to trial .*, not to this one"):
        Ledger(tmp_path).folder("renamed").check()


def test_a_commit_that_names_no_trial_is_read(tmp_path: Path) -> None:
    """As older versions wrote them."""
    finish(tmp_path)
    path = folder(tmp_path).path / "commit.json"
    data = json.loads(path.read_text())
    assert data.pop("key") == toy.trial().key
    path.write_text(json.dumps(data))
    head = folder(tmp_path).check()
    assert head is not None
    assert head.iteration == 10


def test_an_interrupted_attempt_is_no_failed_one(tmp_path: Path) -> None:
    """Ctrl-C is not an error of the trial; what it says is kept."""
    with pytest.raises(KeyboardInterrupt), attempt(tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), attempt(tmp_path):
        raise RuntimeError("mine")
    assert [each["cause"] for each in folder(tmp_path).attempts()] == ["interrupted", "error"]


def test_a_commit_waits_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a commit the disk is full: it is written again from the start, once there is room, and the record is
    that of an undisturbed twin."""
    monkeypatch.setattr(ledger, "STORAGE_WAITS", (0.0,) * 9)
    undisturbed = committed(tmp_path / "twin", full_at=None, monkeypatch=monkeypatch)
    for full_at in range(1, 13):
        assert committed(tmp_path / str(full_at), full_at=full_at, monkeypatch=monkeypatch) == undisturbed


def test_a_commit_whose_last_step_is_made_and_not_told_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is in place, the folder's sync fails, and the second try finds the disk full: what the first made valid
    is not touched."""
    monkeypatch.setattr(ledger, "STORAGE_WAITS", (0.0,))
    calls, real = [0], os.fsync

    def fsync(file: int) -> None:
        calls[0] += 1
        if calls[0] == 4:  # curves, clock, checkpoint and commit are written: the folder
            raise OSError(errno.EIO, "Input/output error")
        if calls[0] > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    with attempt(tmp_path) as progress:
        progress.log(1, {"train_error": 1.0})
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageError):
            progress.finish(1, b"1", {"outcome": "finished"})
        monkeypatch.setattr(os, "fsync", real)
    head = folder(tmp_path).check()
    assert head is None or head.result is not None


def committed(root: Path, full_at: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes | None]:
    """Curves and checkpoint after three commits; the fsync of this number finds the disk full, three times over."""
    calls, real = [0], os.fsync

    def fsync(file: int) -> None:
        calls[0] += 1
        if full_at is not None and full_at <= calls[0] < full_at + 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    with attempt(root) as progress:
        monkeypatch.setattr(os, "fsync", fsync)
        for iteration in (1, 2, 3):
            progress.log(iteration, {"train_error": float(iteration)})
            progress.commit(iteration, b"%d" % iteration)
        monkeypatch.setattr(os, "fsync", real)
    (key,) = Ledger(root).trials()
    folder = Ledger(root).folder(key)
    head = folder.head()
    assert head is not None
    return folder.valid("curves.jsonl", head), folder.checkpoint(head)


def test_a_directory_that_is_away_for_a_while_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, what was computed meanwhile is committed after, and the wait is noted, and no training."""
    monkeypatch.setattr(ledger, "STORAGE_WAITS", (0.1,) * 200)
    root, away = tmp_path / "results", tmp_path / "away"
    with attempt(root) as progress:
        progress.restore()
        progress.log(1, {"train_error": 1.0})
        root.rename(away)
        threading.Timer(0.6, lambda: away.rename(root)).start()
        progress.commit(1, b"state")
    (key,) = Ledger(root).trials()
    head, (record,) = Ledger(root).folder(key).head(), Ledger(root).folder(key).attempts()
    assert head is not None
    assert head.iteration == 1
    assert head.seconds < 0.5
    assert re.fullmatch(r"waited 1 s until the results directory could be written", record["notes"][0])


def test_a_directory_that_stays_away_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After minutes, for the run to try again later; and at once for an attempt that was to begin."""
    monkeypatch.setattr(ledger, "STORAGE_WAITS", (0.0,))
    with attempt(tmp_path) as progress:
        shutil.rmtree(tmp_path / "trials")
        with pytest.raises(StorageError, match=r"No such file or directory.*; waited 0 s"):
            progress.commit(1, b"state")
    monkeypatch.setattr(os, "fsync", lambda _: fail(errno.EDQUOT))
    with pytest.raises(StorageError, match="Errno 122"):
        attempt(tmp_path)


def test_a_missing_right_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not come back by itself."""
    with attempt(tmp_path) as progress:
        monkeypatch.setattr(os, "fsync", lambda _: fail(errno.EACCES))
        with pytest.raises(PermissionError):
            progress.commit(1, b"state")


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def test_an_attempt_stops_by_the_word_of_its_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It commits first; a word that an earlier run left behind is none."""
    monkeypatch.setattr(ledger, "STOP_SECONDS", 0.0)
    trial = toy.trial(0)
    Ledger(tmp_path).folder(trial.key).path.mkdir(parents=True)
    Ledger(tmp_path).ask_to_stop(trial.key, "an earlier run")

    def work() -> None:
        with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=3600, run="this run") as progress:
            progress.restore()
            assert not progress.due()
            progress.commit(1, b"1")
            Ledger(tmp_path).ask_to_stop(trial.key, "this run")
            assert progress.due()
            progress.commit(2, b"2")

    with pytest.raises(Stopped, match="at iteration 2"):
        work()
    head, (record,) = Ledger(tmp_path).folder(trial.key).head(), Ledger(tmp_path).folder(trial.key).attempts()
    assert head is not None
    assert (head.iteration, record["cause"]) == (2, "stopped")


# Files beside the result


def test_what_is_kept_counts_with_the_result_alone(tmp_path: Path) -> None:
    """The last commit names each file with its checksum; one of the same name was replaced before."""
    with attempt(tmp_path) as progress:
        progress.keep("predictions-test.npz", b"old")
        progress.commit(1, b"1")
        head = folder(tmp_path).head()
        assert head is not None
        with pytest.raises(LedgerError, match=r"the trial kept no predictions-test\.npz"):
            folder(tmp_path).kept("predictions-test.npz", head)
        progress.keep("predictions-test.npz", b"new")
        progress.finish(2, b"2", {"outcome": "finished"})
    head = folder(tmp_path).head()
    assert head is not None
    assert head.result == {
        "outcome": "finished", "kept": {"predictions-test.npz": hashlib.sha256(b"new").hexdigest()}
    }  # fmt: skip
    assert kept(tmp_path) == {"predictions-test.npz": b"new"}


def test_a_result_without_files_says_nothing_of_them(tmp_path: Path) -> None:
    """Its commit is the same as before there were any."""
    finish(tmp_path)
    head = folder(tmp_path).head()
    assert head is not None
    assert head.result is not None
    assert "kept" not in head.result


def test_what_an_unfinished_attempt_kept_is_cleared_away(tmp_path: Path) -> None:
    """Nothing of it is the next attempt's, which names its own alone."""
    with attempt(tmp_path) as progress:
        progress.commit(1, b"1")
        progress.keep("predictions-old.npz", b"of an attempt that was killed")
        (folder(tmp_path).path / ".predictions-other.npz.part").write_bytes(b"half")
    with attempt(tmp_path) as progress:
        assert sorted(path.name for path in folder(tmp_path).path.glob("*predictions*")) == []
        progress.keep("predictions-new.npz", b"new")
        progress.finish(2, b"2", {"outcome": "finished"})
    assert kept(tmp_path) == {"predictions-new.npz": b"new"}


@pytest.mark.parametrize(
    "name", ["", ".npz", "a.npy", "../a.npz", "a/b.npz", "A.npz", "a b.npz", "a.npz.part", "a.npz\n"]
)
def test_only_such_names_are_kept(tmp_path: Path, name: str) -> None:
    """Anything else could be a file of the ledger's own, or lie elsewhere: nothing is written."""
    with attempt(tmp_path) as progress:
        before = sorted(folder(tmp_path).path.rglob("*"))
        with pytest.raises(ValueError, match=r"a kept file is named as predictions-test\.npz .*, not "):
            progress.keep(name, b"x")
        assert sorted(folder(tmp_path).path.rglob("*")) == before


def test_damage_of_a_kept_file_is_named_and_leaves_the_result(tmp_path: Path) -> None:
    """Changed, cut, gone, a link, a folder: a LedgerError when it is read. The trial stays done."""
    finish(tmp_path, keeps=1)
    path, head = folder(tmp_path).path / "predictions-0.npz", folder(tmp_path).head()
    assert head is not None
    whole, elsewhere = path.read_bytes(), tmp_path / "elsewhere"
    elsewhere.write_bytes(whole)
    for damaged in (whole[:-1], whole[:-1] + b"!", b"", whole + b"\n"):
        path.write_bytes(damaged)
        with pytest.raises(
            LedgerError, match=r"predictions-0\.npz: not what was committed \(checksum differs\); remove"
        ):
            folder(tmp_path).kept(path.name, head)
    path.unlink()
    for made in (lambda: None, lambda: path.symlink_to(elsewhere), lambda: (path.unlink(), path.mkdir())):
        made()
        with pytest.raises(LedgerError, match=r"predictions-0\.npz: cannot be read \(.*\); put it back, or remove"):
            folder(tmp_path).kept(path.name, head)
    assert folder(tmp_path).check() == head
    with attempt(tmp_path) as again:
        assert again.done


def test_keeping_waits_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a commit does, wherever it is full; and where there is never room, it is an error of its own."""
    real = os.fsync
    for full_at in (1, 2):  # the file, its folder
        calls = [0]

        def fsync(file: int, calls: list[int] = calls, full_at: int = full_at) -> None:
            calls[0] += 1
            if full_at <= calls[0] < full_at + 3:
                fail(errno.ENOSPC)
            real(file)

        monkeypatch.setattr(ledger, "STORAGE_WAITS", (0.0,) * 9)
        with attempt(tmp_path / str(full_at)) as progress:
            monkeypatch.setattr(os, "fsync", fsync)
            progress.keep("predictions-0.npz", b"data")
            monkeypatch.setattr(os, "fsync", real)
            progress.finish(1, b"1", {"outcome": "finished"})
        assert kept(tmp_path / str(full_at)) == {"predictions-0.npz": b"data"}
    monkeypatch.setattr(ledger, "STORAGE_WAITS", (0.0,))
    with attempt(tmp_path / "never") as progress:
        monkeypatch.setattr(os, "fsync", lambda _: fail(errno.ENOSPC))
        with pytest.raises(StorageError, match="No space left"):
            progress.keep("predictions-0.npz", b"data")
        monkeypatch.setattr(os, "fsync", real)
    assert not [path.name for path in folder(tmp_path / "never").path.glob("*.npz*")]
