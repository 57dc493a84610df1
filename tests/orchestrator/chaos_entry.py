"""What workers call while chaos reigns: the trial itself, watched, so that a kill hits the phase that it is meant for.

The killer leaves an *order*: a phase, and how many points of that phase to pass by. The attempt that reaches the point
takes the order up, says where it stands, and waits there to be killed or let go. Points lie between all that a commit
writes, and a kill in mid-write is one: the file is torn before the attempt waits.

Here are the mutations too, under which recovery is broken on purpose: chaos must see each of them.
"""

import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator import ledger
from orchestrator.attempt_log import Narrated
from orchestrator.ledger import Attempt, Commit
from orchestrator.trial import Progress

HOLD_SECONDS = 120.0
"""A killer who does not come is not waited for longer."""
MUTATIONS = ("no-atomic-step", "no-generator-state", "early-done")


def toy(params: Mapping[str, Any], progress: Progress, *, chaos: str, mutation: str = "", **site: Any) -> None:
    """The toy trial, watched."""
    import toy

    _watch(toy.run, params, progress, chaos, mutation, site)


def real(params: Mapping[str, Any], progress: Progress, *, chaos: str, mutation: str = "", **site: Any) -> None:
    """The trial of `ablate run`, watched; PyTorch is loaded after the first point."""

    def run(*given: Any, **site: Any) -> None:
        from ablations.trial import run

        if mutation == "no-generator-state":
            _begin_draws_anew()
        run(*given, **site)

    _watch(run, params, progress, chaos, mutation, site)


def _watch(
    run: Callable[..., None],
    params: Mapping[str, Any],
    progress: Progress,
    chaos: str,
    mutation: str,
    site: Mapping[str, Any],
) -> None:
    watched = Watched(progress, Path(chaos))
    if mutation:
        _mutate(mutation)
    replace = ledger._replace

    def replaced(path: Path, data: bytes, *, synced: bool) -> None:
        replace(path, data, synced=synced)
        watched.renamed(path)

    os.fsync, ledger._replace = watched.synced, replaced
    try:
        watched.point("begins")
        run(params, watched, **site)
        watched.point("done, and nobody knows", last=True)
    finally:
        os.fsync, ledger._replace = _fsync, replace
    watched.ended()


_fsync = os.fsync
_passed: Counter[str] = Counter()
"""By order, the points of its phase that this process has passed by."""


class Watched:
    """The Progress that the trial sees: the attempt's own, with a point before and after whatever it does."""

    def __init__(self, progress: Progress, chaos: Path) -> None:
        attempt = progress._attempt if isinstance(progress, Narrated) else progress
        assert isinstance(attempt, Attempt)
        self._progress, self._attempt, self._chaos = progress, attempt, chaos
        head = attempt.folder.head()
        self._committed = self._iteration = head.iteration if head else 0
        self.phase, self._begun, self._to_tell = "start-up", time.time(), True
        self._name = chaos / "told" / f"{attempt.folder.path.name}-{attempt.number:04d}-{os.getpid()}"
        self._told = self._name.with_suffix(".jsonl").open("ab", buffering=0)
        self._reached = os.open(self._name.with_suffix(".iteration"), os.O_WRONLY | os.O_CREAT, 0o666)
        self.tell("begun", number=attempt.number, start=self._committed)

    def tell(self, what: str, **facts: Any) -> None:
        """For the judge, who reads this after the process is gone."""
        self._told.write(json.dumps({"what": what, "time": time.time(), **facts}).encode() + b"\n")

    def ended(self) -> None:
        """The attempt is over, and its process lives: the driver is told now."""
        self._told.close()
        os.close(self._reached)
        (self._chaos / f"ended-{_host()}").touch()

    def restore(self) -> bytes | None:
        self.point("before the checkpoint is read")
        checkpoint = self._progress.restore()
        self.point("after the checkpoint was read")
        return checkpoint

    def inherited(self) -> bytes:
        return self._progress.inherited()

    def about(self, facts: Mapping[str, Any]) -> None:
        self._progress.about(facts)

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        if self.phase == "start-up":
            self.point("before the first record", last=True)
        self._progress.log(iteration, values, costs)
        self.phase = "training"

    def probe(self, record: Mapping[str, Any]) -> None:
        self._progress.probe(record)

    def keep(self, name: str, data: bytes) -> None:
        self._progress.keep(name, data)

    def due(self) -> bool:
        """Trials ask after every iteration but the last."""
        self._iteration += 1
        os.pwrite(self._reached, b"%9d" % self._iteration, 0)
        if self._to_tell:
            self.tell("stepped", iteration=self._iteration)
            self._to_tell = False
        self.point("between two iterations")
        return self._progress.due()

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        before, self.phase = self.phase, "commit"
        self.point("commit begins")
        self._progress.commit(iteration, checkpoint)
        self._has_committed(iteration)
        self.point("commit is over")
        self.phase = before

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        self.phase = "finish"
        os.pwrite(self._reached, b"%9d" % iteration, 0)
        self.point("last commit begins")
        self._progress.finish(iteration, checkpoint, result)
        self._has_committed(iteration)
        self.tell("finished", iteration=iteration)
        self.point("last commit is over")

    def synced(self, file: int) -> None:
        """In place of `os.fsync`: the file is written whole or in part, and not yet on the disk."""
        path = Path(f"/proc/self/fd/{file}").readlink()
        if self._commits_to(path.parent) and stat.S_ISREG(os.fstat(file).st_mode):
            self.point(f"{_kind(path)} written", torn=file)
        _fsync(file)

    def renamed(self, path: Path) -> None:
        """A file has its name now, and lasts once its folder is synced."""
        if self._commits_to(path.parent):
            self.point(f"{_kind(path)} renamed")

    def _commits_to(self, folder: Path) -> bool:
        return self.phase in ("commit", "finish") and folder == self._attempt.folder.path

    def point(self, name: str, torn: int | None = None, *, last: bool = False) -> None:
        """Wait here, if the order is for this point, until the killer comes or lets go; if it is the last of its phase,
        however many were to be passed by."""
        order = self._taken(name, last)
        if order is None:
            return
        if torn is not None and order["torn"] is not None:
            name += self._tear(torn, order["torn"])
        held = self._chaos / "held.json"
        facts = {
            "order": order["id"], "pid": os.getpid(), "host": _host(), "phase": self.phase,
            "point": name, "key": self._attempt.folder.path.name, "iteration": self._iteration, "time": time.time(),
        }  # fmt: skip
        partial = held.with_name(f".{os.getpid()}.part")
        partial.write_text(json.dumps(facts))
        partial.replace(held)
        until = time.monotonic() + HOLD_SECONDS
        while held.exists() and time.monotonic() < until:
            time.sleep(0.005)
        self._to_tell = True  # when it goes on after the kill of something else

    def _has_committed(self, iteration: int) -> None:
        self.tell("committed", after=self._committed, to=iteration)
        self._committed = iteration

    def _taken(self, point: str, last: bool) -> dict[str, Any] | None:
        """The order that waits, if this is its point."""
        path = self._chaos / "order.json"
        try:
            order = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        if self._begun < order["since"] or self._ended_here() < order["died_on"].get(_host(), 0.0):
            return None
        if order["phase"] != self.phase or not point.startswith(order["point"]):
            return None
        if order["keys_spared"].get(self._attempt.folder.path.name) == self._committed:
            return None
        _passed[order["id"]] += 1
        if _passed[order["id"]] <= order["passes"] and not last:
            return None
        try:
            path.rename(path.with_name(f".{os.getpid()}.taken"))
        except FileNotFoundError:  # another attempt was faster
            return None
        return order

    def _ended_here(self) -> float:
        """When an attempt last ended on this host otherwise than by its process's death."""
        try:
            return (self._chaos / f"ended-{_host()}").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _tear(self, file: int, share: float) -> str:
        """Leave a part of what was just written, as a kill in mid-write does; never less than was committed."""
        name, size = Path(f"/proc/self/fd/{file}").readlink().name, os.fstat(file).st_size
        kept = self._attempt._length.get(name, 0)
        length = kept + int(share * (size - kept))
        os.truncate(f"/proc/self/fd/{file}", length)
        return f" in part, {length} of {size} bytes"


def _host() -> str:
    """Name of the host that this process is on."""
    return os.environ.get("ON_HOST", "")


def _kind(path: Path) -> str:
    return "checkpoint" if "checkpoint" in path.name else path.name.strip(".").removesuffix(".part")


def _mutate(mutation: str) -> None:
    """Break recovery in one way, for the rest of this process."""
    if mutation == "no-atomic-step":
        ledger._replace = _write_in_place
    elif mutation == "early-done":
        Attempt._write = _write_done_early
    elif mutation != "no-generator-state":
        raise ValueError(f"mutation must be one of {', '.join(MUTATIONS)}, not {mutation!r}")


def _write_in_place(path: Path, data: bytes, *, synced: bool) -> None:
    """No other file, and no renaming."""
    with path.open("wb") as file:
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            file.write(half)
            file.flush()
            os.fsync(file.fileno())


def _write_done_early(self: Attempt, commits: Sequence[Commit], checkpoint: bytes, synced: set[str]) -> None:
    """The result is marked, and then what it rests on is written."""
    if commits[0].result is not None:
        marked = {"format": ledger.FORMAT, "key": self.folder.path.name, "commits": [asdict(each) for each in commits]}
        ledger.write_json(self.folder.path / "commit.json", marked)
    _write(self, commits, checkpoint, synced)


_write = Attempt._write


def _begin_draws_anew() -> None:
    """Draws of data as those of a generator whose state is in no checkpoint: an attempt begins them from the first."""
    from ablations.train import Training

    restore = Training.restore
    if restore.__name__ == "forgetful":
        return

    def forgetful(self: Training, checkpoint: bytes) -> None:
        restore(self, checkpoint)
        draws, start = self.feed.draws, self.iteration
        self.feed.draws = lambda iteration: draws(iteration - start)

    Training.restore = forgetful
