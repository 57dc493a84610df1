"""A trial as the orchestrator sees it: a key, a price, resources, and parameters that it passes on unread."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one attempt occupies while it runs, all of it on one node: logical CPU cores and GPUs."""

    cpus: float = 1
    gpus: float = 0
    """Whole GPUs, or the 1/k of one that the trial shares with others."""
    replicas: int = 1
    """Copies of the network that train on a share of each batch, on a GPU or a core each."""

    @property
    def share(self) -> float:
        """The part of a GPU's memory that is this trial's; 1 where it has whole GPUs, or none."""
        return min(1.0, self.gpus) or 1.0

    @property
    def words(self) -> str:
        """`1/4 GPU`, `8 GPUs`, `1 core`."""
        if 0 < self.gpus < 1:
            return f"1/{round(1 / self.gpus)} GPU"
        number, what = (self.gpus, "GPU") if self.gpus else (self.cpus, "core")
        return f"{number:g} {what}{'s' * (number != 1)}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An arm with one seed: what runs."""

    key: str
    """Hash of all that can change the result, and of nothing else."""
    name: str
    """`cifar10-resnet-20-A.s3`."""
    arm: str
    seed: int
    params: Mapping[str, Any]
    """Everything `run(params, progress)` needs, as JSON; the key is computed from it."""
    parameters: int
    multiply_adds: int
    """Of one forward pass of one image."""
    iterations: int
    """SGD updates until the trial is done."""
    work: float
    """Multiply-adds of the whole trial, forward and backward; the cost model starts from it."""
    launches: float
    """Layer evaluations of the whole trial; small networks are priced by these rather than by `work`."""
    resources: Resources = field(default_factory=Resources)
    replica_counts: tuple[int, ...] = (1,)
    """With how many replicas it may train: each leaves batch normalisation the statistics that the recipe asks for."""
    blocked: str | None = None
    """Why the trial cannot run here; None when it can."""
    after: str | None = None
    """Key of the trial whose final checkpoint it begins from."""


class State(StrEnum):
    """Where a trial stands before a run."""

    NEW = "new"
    PARTIAL = "partial"
    DONE = "done"
    BLOCKED = "blocked"


class Progress(Protocol):
    """What a running trial sees of the world outside: neither Ray nor MLflow nor a file."""

    def restore(self) -> bytes | None:
        """The checkpoint of the last commit, or None at the start."""
        ...

    def inherited(self) -> bytes:
        """The final checkpoint of the trial that this one comes after."""
        ...

    def about(self, facts: Mapping[str, Any]) -> None:
        """How this attempt computes: kept with its record, beside its host and versions."""
        ...

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        """Add one curve record, and what training cost since the last; it counts once it is committed."""
        ...

    def probe(self, record: Mapping[str, Any]) -> None:
        """Add what a probe saw, with its `iteration`; it counts once it is committed."""
        ...

    def keep(self, name: str, data: bytes) -> None:
        """Put a file beside the result, as predictions; it counts once this attempt has called `finish`.

        `name` is small letters, digits and hyphens, and ends in `.npz`; what had the name before is replaced.
        """
        ...

    def due(self) -> bool:
        """Whether it is time to commit."""
        ...

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        """Make the records so far and this checkpoint valid together, in one atomic step."""
        ...

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        """The last commit, and with it the result: the trial is done."""
        ...
