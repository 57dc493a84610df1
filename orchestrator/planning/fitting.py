"""Trials laid out on GPUs so that all end by a deadline, if a simple rule finds a way: it gives a run its order.

The longest first on whatever is free first is a good order where trials are many, and up to a third worse than the best
where each GPU has but two or three. There it pays to look first which trials fill a GPU up to the deadline together.
"""

from collections.abc import Mapping, Sequence

from orchestrator.placement import Node
from orchestrator.planning.plan import PlannedTrial

HALVINGS = 7
"""Steps in which the earliest deadline is looked for."""


class _Gpu:
    """How far a GPU is filled: the end of the last trial in each of its equal parts."""

    def __init__(self) -> None:
        self.ends = [0.0]

    @property
    def end(self) -> float:
        return max(self.ends)

    def parts(self, sharing: int) -> list[float]:
        """The ends if it were divided into so many parts; parts that do not nest begin where all have ended."""
        if sharing % len(self.ends) == 0:
            return [end for end in self.ends for _ in range(sharing // len(self.ends))]
        return [self.end] * sharing


def earliest(
    planned: Sequence[PlannedTrial], nodes: Sequence[Node], bound: float, latest: float
) -> Mapping[str, float] | None:
    """Starts of the trials, by key, for the earliest deadline between the two for which a way is found; None if there
    is none. All trials are on GPUs; what they begin from is not looked at, nor are cores."""
    found, low, high = None, bound, latest
    for deadline in [bound, latest, *[None] * HALVINGS]:
        tried = deadline if deadline is not None else (low + high) / 2
        starts = fitted(planned, nodes, tried)
        if starts is not None:
            found, high = starts, tried
            if tried == bound:
                return found
        elif tried == latest:
            return None
        else:
            low = tried
    return found


def fitted(planned: Sequence[PlannedTrial], nodes: Sequence[Node], deadline: float) -> dict[str, float] | None:
    """Starts of the trials, by key: gangs first, then the longest first, each where it leaves the least idle. None if
    one would end after the deadline."""
    gpus = [[_Gpu() for _ in range(node.gpus)] for node in nodes]
    starts: dict[str, float] = {}
    for each in sorted(planned, key=lambda each: (-each.trial.resources.gpus, -each.expected_seconds)):
        latest = deadline * (1 + 1e-9) - each.expected_seconds
        wide = each.trial.resources.gpus
        start = _gang(gpus, int(wide), latest, each) if wide >= 1 else _share(gpus, round(1 / wide), latest, each)
        if start is None:
            return None
        starts[each.trial.key] = start
    return starts


def _gang(gpus: Sequence[Sequence[_Gpu]], wide: int, latest: float, each: PlannedTrial) -> float | None:
    """On GPUs of one node whose last trials end about together."""
    best: tuple[float, float] | None = None
    chosen: Sequence[_Gpu] = ()
    for node in gpus:
        by_end = sorted(node, key=lambda gpu: gpu.end)
        for first in range(len(by_end) - wide + 1):
            group = by_end[first : first + wide]
            start = group[-1].end
            idle = sum(start - gpu.end for gpu in group)
            if start <= latest and (best is None or (idle, -start) < best):
                best, chosen = (idle, -start), group
    if best is None:
        return None
    for gpu in chosen:
        gpu.ends = [-best[1] + each.expected_seconds]
    return -best[1]


def _share(gpus: Sequence[Sequence[_Gpu]], sharing: int, latest: float, each: PlannedTrial) -> float | None:
    """On the GPU that is filled most and has a part left that is long enough."""
    best: tuple[float, _Gpu] | None = None
    for gpu in (gpu for node in gpus for gpu in node):
        start = max((end for end in gpu.parts(sharing) if end <= latest), default=None)
        if start is not None and (best is None or start > best[0]):
            best = start, gpu
    if best is None:
        return None
    start, gpu = best
    gpu.ends = gpu.parts(sharing)
    gpu.ends[gpu.ends.index(start)] = start + each.expected_seconds
    return start
