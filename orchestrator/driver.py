"""What a driver says of its run while it is at work, and what it said last: `studies/<name>/driver.json`.

The ledger knows what became of each trial; this knows what the run makes of it: where trials are now, what failed
without ever committing, what was cancelled, which nodes are set aside. A status reads it on any machine.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from orchestrator.ledger import tell_json
from orchestrator.placement import Node
from orchestrator.queue import Standing
from orchestrator.studies import holder

FORMAT = 1
WRITE_SECONDS = 2.0
"""Between two writings, at least."""
SILENT_SECONDS = 30.0
"""A driver that has written nothing for so long is not there, or cannot write."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial runs now."""

    host: str
    gpus: float
    cpus: float
    started: float
    """Seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class DriverRecord:
    """A run of a study, as its driver last told it. Times are seconds since the epoch."""

    run: str
    """Names the run: an attempt stops by the word of its own alone."""
    host: str
    pid: int
    job: str | None
    """Submission id, where the driver is a job on a Ray cluster."""
    cluster: str
    started: float
    written: float
    ended: float | None
    nodes: Sequence[Mapping[str, Any]]
    """`id`, `host`, `cpus`, `gpus`, `gpu` of each that is alive."""
    expected_seconds: Mapping[str, float]
    """Of each trial that the run was to submit, what was expected to be left of it."""
    running: Mapping[str, Place] = field(default_factory=dict)
    done: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    cancelled: Mapping[str, str] = field(default_factory=dict)
    unaffordable: Sequence[str] = ()
    interruptions: Mapping[str, int] = field(default_factory=dict)
    set_aside: Sequence[str] = ()
    """Why each node is that is."""
    spent_seconds: float = 0.0
    """GPU-seconds, or core-seconds of trials without a GPU, up to `written`."""

    @property
    def settled(self) -> set[str]:
        """Keys of the trials that this run has done with."""
        return {*self.done, *self.failed, *self.cancelled, *self.unaffordable}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for anything but a record that this version reads."""
        if data["format"] > FORMAT:
            raise ValueError(f"format {data['format']}")
        values = {name: value for name, value in data.items() if name != "format"}
        return cls(**{**values, "running": {key: Place(**place) for key, place in data["running"].items()}})


class Driver:
    """Keeps the record of this process's run."""

    def __init__(self, folder: Path, run: str, cluster: str, expected_seconds: Mapping[str, float]) -> None:
        self.run = run
        self._path = folder / "driver.json"
        self._cluster, self._expected = cluster, dict(expected_seconds)
        self._started = time.time()
        self._written = 0.0

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._written >= WRITE_SECONDS

    def write(self, record: DriverRecord) -> None:
        """Raises OSError."""
        self._written = time.monotonic()
        tell_json(self._path, {"format": FORMAT} | asdict(record))

    def record(self, standing: Standing, nodes: Sequence[Node], clock: float, *, ended: bool = False) -> DriverRecord:
        """How the run stands; `clock` is the time now as the queue counts it."""
        now = time.time()
        hosts = {node.id: node.host for node in nodes}
        running = list(standing.running.values())
        return DriverRecord(
            run=self.run,
            host=socket.gethostname(),
            pid=os.getpid(),
            job=os.environ.get("ABLATE_JOB"),
            cluster=self._cluster,
            started=self._started,
            written=now,
            ended=now if ended else None,
            nodes=[asdict(node) for node in nodes],
            expected_seconds=self._expected,
            running={
                each.key: Place(
                    host=hosts.get(each.node, "a node that is gone"),
                    gpus=each.resources.gpus,
                    cpus=each.resources.cpus,
                    started=now - (clock - each.started),
                )
                for each in running
            },
            done=list(standing.done),
            failed=dict(standing.failed),
            cancelled=dict(standing.cancelled),
            unaffordable=list(standing.unaffordable),
            interruptions=dict(standing.interruptions),
            set_aside=list(standing.set_aside.values()),
            spent_seconds=standing.spent_seconds + sum(each.cost(clock) for each in running),
        )


def read_driver(results: Path, study: str) -> DriverRecord | None:
    """What the driver of the study's last run told last; None if there was none, or it cannot be read."""
    try:
        text = (results / "studies" / study / "driver.json").read_text(encoding="utf-8")
        return DriverRecord.of(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Whether a run of a study is at work, as far as can be told on a machine that sees the results."""

    record: DriverRecord | None
    """Of the last run that began to submit."""
    holder: str | None
    """Who holds the study now, where that can be seen: a run does from before its beginning to after its end."""
    now: float
    """Seconds since the epoch."""

    @property
    def silence(self) -> float:
        """Seconds since the driver wrote last."""
        return max(0.0, self.now - self.record.written) if self.record else 0.0

    @property
    def at_work(self) -> bool:
        """Whether a driver submits trials now, or did so until it fell silent and is not known to be gone."""
        if self.record is None or self.record.ended is not None:
            return False
        if self.record.host == socket.gethostname():
            return self.holder is not None
        return self.holder is not None or self.silence < SILENT_SECONDS

    @property
    def beginning(self) -> bool:
        """Whether a run holds the study and does not submit: not yet, or no more."""
        return self.holder is not None and not self.at_work

    @property
    def silent(self) -> bool:
        return self.at_work and self.silence > SILENT_SECONDS


def presence(results: Path, study: str) -> Presence:
    held = holder(results, study)  # before the record: a run that ends meanwhile is then read as ended
    return Presence(record=read_driver(results, study), holder=held, now=time.time())
