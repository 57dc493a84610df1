"""Where a trial fits: the nodes of a cluster, and what is free on each, GPU by GPU. Knows no Ray.

A run chooses the node of each trial itself and Ray is told, so that what is simulated is what happens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.trial import Resources

ROUNDING = 1e-6
"""Shares of a GPU are 1/k, which do not add up to 1 exactly."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of the cluster, with everything that it has."""

    id: str
    host: str
    cpus: float
    gpus: int = 0
    gpu: str = ""
    """What Ray calls its GPUs, as `H100`; empty where it has none or does not say."""

    def holds(self, resources: Resources) -> bool:
        """Whether a trial would fit if nothing else ran here."""
        enough = self.gpus >= max(1.0, resources.gpus) if resources.gpus else True
        return enough and self.cpus + ROUNDING >= resources.cpus


class Room:
    """What is free on a node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = float(node.cpus)
        self.devices = [1.0] * int(node.gpus)
        """Free share of each GPU."""
        self._count()

    def fits(self, resources: Resources) -> bool:
        if self.cpus + ROUNDING < resources.cpus:
            return False
        if resources.gpus < 1:
            return resources.gpus <= 0 or self._largest + ROUNDING >= resources.gpus
        return self._whole >= resources.gpus

    def take(self, resources: Resources) -> Sequence[int]:
        """Occupy; returns the GPUs, which `give` wants back. The trial must fit."""
        chosen = self._choose(resources.gpus)
        assert chosen is not None, f"{resources} does not fit {self.node.host}"
        self.occupy(resources, chosen)
        return chosen

    def occupy(self, resources: Resources, devices: Iterable[int]) -> None:
        """As `take`, of GPUs that were chosen before."""
        self.cpus -= resources.cpus
        for device in devices:
            self.devices[device] -= min(1.0, resources.gpus)
        self._count()

    def give(self, resources: Resources, devices: Iterable[int]) -> None:
        self.cpus += resources.cpus
        for device in devices:
            self.devices[device] += min(1.0, resources.gpus)
        self._count()

    def _count(self) -> None:
        """What is asked again and again is counted when it changes."""
        self._largest = max(self.devices, default=0.0)
        self._whole = sum(free >= 1 - ROUNDING for free in self.devices)
        self.free = sum(self.devices), self.cpus
        """GPUs and cores that nobody occupies: trials go where this is least, so that gangs find whole nodes."""

    def copy(self) -> "Room":
        other = Room(self.node)
        other.cpus, other.devices = self.cpus, list(self.devices)
        other._count()
        return other

    def _choose(self, gpus: float) -> Sequence[int] | None:
        """The GPUs for a trial: of one that shares, the fullest with room; None if it does not fit."""
        if gpus <= 0:
            return ()
        if gpus < 1:
            room = [each for each, free in enumerate(self.devices) if free + ROUNDING >= gpus]
            return [min(room, key=lambda each: self.devices[each])] if room else None
        whole = [each for each, free in enumerate(self.devices) if free >= 1 - ROUNDING]
        return whole[: int(gpus)] if len(whole) >= gpus else None
