"""One SGD update as a CUDA graph: hundreds of small kernels for one launch, which is what bounds small networks."""

from collections.abc import Callable
from functools import cache

import torch

from ablations.data.feed import Draws

EAGER_UPDATES = 3
"""Updates of each attempt before the capture: they make momenta and workspaces, which a graph cannot."""


class Graph:
    """An update on a device, first as it is, then captured once and replayed: the same kernels, so the same bits.

    The update must read nothing that changes from one to the next but its argument and tensors that are written in
    place, and never wait for the device. Where images change their size, the update is captured anew.
    """

    def __init__(self, update: Callable[[Draws], None]) -> None:
        self._update, self._done = update, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._argument: Draws = ()
        self._shapes: list[torch.Size] = []

    def __call__(self, argument: Draws) -> None:
        if (shapes := [each.shape for each in argument]) != self._shapes:
            self._graph, self._argument, self._shapes, self._done = None, (), shapes, 0
        if self._done < EAGER_UPDATES:
            self._eagerly(argument)
            self._done += 1
            return
        if self._graph is None:
            self._capture(argument)
        assert self._graph is not None
        for kept, given in zip(self._argument, argument, strict=True):
            kept.copy_(given)
        self._graph.replay()

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def _eagerly(self, argument: Draws) -> None:
        """On the stream of the capture, so that what libraries set up for a stream is ready there."""
        stream = _stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._update(argument)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self, argument: Draws) -> None:
        """Nothing is computed here: kernels are recorded."""
        self._argument, self._graph = tuple(each.clone() for each in argument), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=_stream(), capture_error_mode="thread_local"):  # others pin memory
            self._update(self._argument)


@cache
def _stream() -> torch.cuda.Stream:
    """One for the process: memory and workspaces belong to a stream, and another would need its own."""
    return torch.cuda.Stream()
