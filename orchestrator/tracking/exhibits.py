"""What is shown of a trial beside the ledger: its standing, parameters, tags and points, as plain data."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from orchestrator.ledger import STREAMS, Commit, TrialFolder
from orchestrator.runs import UNITS as METRIC_UNITS
from orchestrator.runs import numbers, probe_summary
from orchestrator.studies import RecordedArm, RecordedStudy
from orchestrator.tracking.thinning import Point, Thinning

UNITS = {"%": "percent", "nats": "nats"}
"""In the names of MLflow's metrics."""
NO_COSTS = ("iteration", "time", "seconds")
"""Of a clock's record: when it was made, rather than what the training before it cost."""


class Exhibit:
    """One trial of a study, as the ledger holds it at the moment of the first question."""

    def __init__(
        self,
        study: RecordedStudy,
        arm: RecordedArm,
        seed: int,
        key: str,
        folder: TrialFolder,
        thinning: Thinning | None = None,
    ) -> None:
        """With what was seen of its curves when they were last shown."""
        self.study, self.arm, self.seed, self.key, self.folder = study, arm, seed, key, folder
        self.thinning = thinning or Thinning(arm.recipe["iterations"])
        """Of the points that MLflow has."""
        self.name = f"{arm.name}.s{seed}"

    @cached_property
    def standing(self) -> dict[str, Any]:
        """As long as this is the same, there is nothing new to show."""
        return {"iteration": self.iteration, "attempt": len(self._attempts), "status": self._status()}

    @property
    def iteration(self) -> int:
        """Of the last commit; 0 before the first."""
        return self._head.iteration if self._head else 0

    @property
    def shown(self) -> int:
        """Iteration up to which `points` has points; -1 before the first commit."""
        return self._head.iteration if self._head else -1

    @property
    def begun(self) -> bool:
        """Whether there is something to show: a commit, or a failure before the first one."""
        return self._head is not None or self.standing["status"] == "FAILED"

    @property
    def started(self) -> int | None:
        return _milliseconds(self._about.get("created"))

    @property
    def ended(self) -> int | None:
        """Time of the last commit, or of the failure if there is none."""
        return int(self._head.time * 1000) if self._head else _milliseconds(self._last.get("ended"))

    def points(self, after: int, thinning: Thinning, *, ended: bool = False) -> Iterator[Point]:
        """The committed points after an iteration that are to be shown, one at a time; all of them from -1 on.

        The thinning is fed with what it has not seen. At the end of a trial the last point of each metric is shown too,
        unless it `ended` for MLflow before.
        """
        head = self._head
        if head is None:
            return
        for point in self._recorded(head, thinning.upto):
            if point[3] > thinning.upto and thinning.shows(point) and point[3] > after:
                yield point
        if head.result is not None and not ended:
            yield from thinning.tail()
        thinning.upto = max(thinning.upto, head.iteration)

    def _recorded(self, head: Commit, after: int) -> Iterator[Point]:
        """Every committed point, in order, from a record at or before an iteration on.

        What a probe comes down to has the time of the curve record before it, or of the trial's beginning: a later
        commit must not change it, for MLflow knows a point that comes again by its time.
        """
        curves, clock, probes = (self.folder.each(stream, head, after) for stream in STREAMS)
        moment, probe = self.started or 0, next(probes, None)
        for record, made in zip(curves, clock, strict=True):
            while probe is not None and probe["iteration"] < record["iteration"]:
                yield from _probed(probe, moment)
                probe = next(probes, None)
            moment = int(made["time"] * 1000)
            costs = {f"system/{name}": value for name, value in made.items() if name not in NO_COSTS}
            for name, value in (record | costs).items():
                if name != "iteration":
                    yield metric_name(name), float(value), moment, record["iteration"]
        while probe is not None:
            yield from _probed(probe, moment)
            probe = next(probes, None)

    def params(self) -> dict[str, str]:
        arm = self.arm
        params = {f"network.{k}": v for k, v in arm.network.items()} | {f"recipe.{k}": v for k, v in arm.recipe.items()}
        params |= {"seed": self.seed, "parameters": arm.parameters, "multiply_adds": arm.multiply_adds}
        return {name: str(value) for name, value in params.items()}

    def tags(self) -> dict[str, str]:
        """What may change from attempt to attempt; what was thinned is known once the points were read."""
        params, last, result = self._about.get("params", {}), self._last, (self._head and self._head.result) or {}
        network, data, failed = params.get("network", {}), params.get("data", {}), self.standing["status"] == "FAILED"
        tags: dict[str, Any] = {
            "kind": "trial",
            "paper": "no" if self.arm.deviations else "yes",
            f"study.{self.study.name}": "yes",
            "depth": network.get("depth"),
            "shortcut": network.get("shortcut"),
            "family": "plain" if network.get("shortcut") == "none" else "resnet",
            "data": data.get("name"),
            "data.fingerprint": data.get("fingerprint"),
            "attempts": len(self._attempts),
            "iteration": self.iteration,
            "train_seconds": self._head.seconds if self._head else 0.0,
            "outcome": result.get("outcome", "failed" if failed else "running"),
            "commit": last.get("commit"),
            "dirty": last.get("dirty"),
            "host": last.get("host"),
        }
        tags |= {f"hardware.{name}": value for name, value in last.get("hardware", {}).items()}
        tags |= {f"version.{name}": value for name, value in last.get("versions", {}).items() if value}
        if failed:
            tags["reason"] = last.get("reason")
        if weights := result.get("weights_sha256"):
            tags["weights_sha256"] = weights
        tags |= {f"kept.{name}": sha256 for name, sha256 in result.get("kept", {}).items()}
        if thinned := self.thinning.told():
            tags["thinned"] = thinned
        return {name: str(value)[:5000] for name, value in tags.items()}

    @property
    def note(self) -> str:
        """What MLflow shows over the run: what it is, and how to see all of it."""
        departs = f" Not the paper's: {'; '.join(self.arm.deviations)}." if self.arm.deviations else ""
        return (
            f"Seed {self.seed} of the arm {self.arm.name}.{departs} All that is known of it: `ablate show {self.name}`;"
            f" the study's page: `ablate report {self.study.name}`. The ledger, in trials/{self.key}, is the truth."
        )[:5000]

    def _status(self) -> str:
        """MLflow's word for how a trial stands. Diverged is a result, so it is FINISHED; the tag `outcome` tells."""
        if self._head is not None and self._head.result is not None:
            return "FINISHED"
        if self.folder.alive():
            return "RUNNING"
        return "FAILED" if self._last.get("cause") == "error" else "KILLED"

    @cached_property
    def _head(self) -> Commit | None:
        return self.folder.head()

    @cached_property
    def _attempts(self) -> Sequence[Mapping[str, Any]]:
        return self.folder.attempts()

    @property
    def _last(self) -> Mapping[str, Any]:
        return self._attempts[-1] if self._attempts else {}

    @cached_property
    def _about(self) -> Mapping[str, Any]:
        return self.folder.about() or {}


def metric_name(metric: str) -> str:
    """`train_error_percent`: names in MLflow carry their unit.

    Costs stand under `system/`, MLflow's own place for facts of machines.
    """
    unit = UNITS.get(METRIC_UNITS.get(metric, ""))
    return f"{metric}_{unit}" if unit else metric


def _probed(record: Mapping[str, Any], moment: int) -> Iterator[Point]:
    for name, value in probe_summary(numbers(record)).items():
        yield f"probe.{name}", float(value), moment, record["iteration"]


def _milliseconds(moment: str | None) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else None
