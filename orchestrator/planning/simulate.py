"""A run replayed in virtual time: the decisions of the real Queue on a cluster that need not exist.

What the simulator says of a makespan is what a run would do if every trial took as long as expected.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from orchestrator.ledger import Ledger
from orchestrator.placement import Node
from orchestrator.planning.plan import PlannedTrial
from orchestrator.queue import Queue, Running
from orchestrator.trial import Trial
from orchestrator.worker import Cause, Ending

DONE = Ending(cause=Cause.DONE)


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What became of the trials: who ran where, and when, in seconds from the beginning."""

    spans: Sequence[Running]
    """In the order in which they started."""
    unplaced: Sequence[Trial]
    """Those for which no node is large enough, and all that begin from one of them."""
    nodes: Sequence[Node]

    @property
    def makespan(self) -> float:
        """Seconds until the last trial ends."""
        return max((each.expected_end for each in self.spans), default=0.0)

    @property
    def occupied_seconds(self) -> float:
        """GPU-seconds, or core-seconds of trials that have none."""
        return sum(each.occupied * (each.expected_end - each.started) for each in self.spans)

    @property
    def utilisation(self) -> float:
        """Share of the GPUs, or cores where no trial has one, that is occupied until the last trial ends; 0 to 1."""
        whole = capacity(self.nodes, any(each.resources.gpus for each in self.spans)) * self.makespan
        return self.occupied_seconds / whole if whole else 0.0


def capacity(nodes: Iterable[Node], gpus: bool) -> float:
    """GPUs of the cluster, or its cores."""
    return sum(node.gpus if gpus else node.cpus for node in nodes)


def simulate(planned: Sequence[PlannedTrial], nodes: Sequence[Node], *, most: int | None = None) -> Simulation:
    """Run these trials, the first of them first, on an empty cluster. `most` is the number of trials at a time."""
    queue = Queue(planned, Ledger(Path()), nodes, most=most)  # no trial dies here, so that the ledger is not asked
    spans: list[Running] = []
    ends: list[tuple[float, int]] = []
    now = 0.0
    while True:
        while (started := queue.next(str(len(spans)), now)) is not None:
            heapq.heappush(ends, (started.expected_end, len(spans)))
            spans.append(started)
        if not ends:
            break
        now = ends[0][0]
        while ends and ends[0][0] <= now:
            queue.ended(str(heapq.heappop(ends)[1]), DONE, now)
    placed = {each.key for each in spans}
    return Simulation(
        spans=spans, unplaced=[each for key, each in queue.trials.items() if key not in placed], nodes=nodes
    )


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to run a trial: so many GPUs (or cores) for so long."""

    occupied: float
    seconds: float

    @property
    def area(self) -> float:
        """GPU-seconds."""
        return self.occupied * self.seconds


def lower_bound(
    ways: Mapping[str, Sequence[Way]], after: Mapping[str, str | None], places: float, most: int | None = None
) -> float:
    """Seconds below which no schedule of these trials ends, whatever it chooses for each.

    To end by a deadline each trial must take a way that, with the fastest of all before and behind it, is no longer
    than that; and the GPU-seconds of the cheapest of those must not be more than the cluster has until then. No
    deadline is shorter than the bound's for which both hold. It is at least the GPU-seconds over the GPUs, and at least
    the longest chain of trials that begin from each other at its fastest. Of `most` trials at a time none is faster
    than its fastest way, so that it is at least the seconds of those over `most` too.
    """
    if not ways or not places:
        return 0.0
    fastest = {key: min(way.seconds for way in each) for key, each in ways.items()}
    beside = _beside(fastest, after)
    jobs = [sorted((way.seconds + beside[key], way.area) for way in each) for key, each in ways.items()]
    low = max(job[0][0] for job in jobs)
    if most is not None:
        low = max(low, sum(fastest.values()) / most)
    high = max(low, sum(min(area for _, area in job) for job in jobs) / places, max(job[-1][0] for job in jobs))
    if _least_area(jobs, low) <= low * places:
        return low
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if _least_area(jobs, middle) <= middle * places:
            high = middle
        else:
            low = middle
    return low


def _least_area(jobs: Sequence[Sequence[tuple[float, float]]], deadline: float) -> float:
    return sum(min(area for seconds, area in job if seconds <= deadline) for job in jobs)


def _beside(fastest: Mapping[str, float], after: Mapping[str, str | None]) -> dict[str, float]:
    """For each trial the least seconds of those that it comes after, and of the longest line that waits for it."""
    before: dict[str, float] = {}
    behind = dict.fromkeys(fastest, 0.0)
    for key in fastest:
        line = [key]
        while (parent := after.get(line[-1])) in fastest and parent is not None:
            line.append(parent)
        before[key] = sum(fastest[each] for each in line[1:])
        waited = 0.0
        for child, parent in pairwise(line):
            waited += fastest[child]
            behind[parent] = max(behind[parent], waited)
    return {key: before[key] + behind[key] for key in fastest}
