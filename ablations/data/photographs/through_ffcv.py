"""Our decoder as an operation in FFCV's pipeline, over tables of rows instead of FFCV's own random numbers.

What FFCV lacks is added from outside: the pixels of a batch depend on its table alone, an image that cannot be decoded
is told, an exception in its thread reaches whoever waits for it, and a stretch left early leaves nothing behind.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ablations.data.photographs.backends import Pixels, refuse_damaged
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.decode import Decoder
from ablations.data.photographs.plan import Rows, joined

_THREADS = torch.get_num_threads()
os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "tbb omp workqueue")
from ffcv.fields.rgb_image import SimpleRGBImageDecoder  # noqa: E402 - it sets PyTorch's number of threads, which is remembered above
from ffcv.loader import Loader  # noqa: E402
from ffcv.loader.epoch_iterator import EpochIterator  # noqa: E402
from ffcv.pipeline.allocation_query import AllocationQuery  # noqa: E402
from ffcv.pipeline.compiler import Compiler  # noqa: E402
from ffcv.pipeline.state import State  # noqa: E402

torch.set_num_threads(_THREADS)

AHEAD = 2
"""Batches that FFCV decodes in advance."""
ROW = np.dtype(
    [
        ("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8"), ("x0", "<f8"), ("y0", "<f8"),
        ("x1", "<f8"), ("y1", "<f8"), ("flip", "u1"), ("status_ptr", "<u8"),
    ],
    align=True,
)  # fmt: skip
"""FFCV's record of an image, all that its pipeline hands to an operation, and beside it what our table says."""
TABLE = np.dtype([("f0", ROW), ("f1", "<i8")], align=True)


class ThroughFFCV:
    """Batches by FFCV's loader."""

    def __init__(self, source: Beton, batch: int, workers: int, by: Decoder) -> None:
        self._source, self._batch, self._workers, self._decoder = source, batch, workers, by

    @property
    def name(self) -> str:
        return f"FFCV {version('ffcv')}, {self._decoder.name}"

    def batches(self, stretch: Sequence[Rows]) -> Iterator[Pixels]:
        if not stretch:
            return
        size = (stretch[0].height, stretch[0].width)
        loader = _loader(str(self._source.path), self._batch, self._workers, size, self._decoder)
        whole, statuses = joined(list(stretch)), np.zeros(sum(map(len, stretch)), dtype=np.uint8)
        loader.reader.metadata = _table(self._source, whole, statuses)
        order: Any = np.arange(len(whole), dtype=np.uint64)
        torch_threads = torch.get_num_threads()
        epoch = _Stretch(loader, order)
        torch.set_num_threads(torch_threads)
        begin = 0
        try:
            for (pixels,) in cast(Any, epoch):
                end = begin + len(pixels)
                refuse_damaged(self._source, whole.index[begin:end], statuses[begin:end])
                yield pixels.copy()  # FFCV writes the next batch but some into the same memory
                begin = end
        finally:
            epoch.end()
        if epoch.error is not None:
            raise epoch.error

    def close(self) -> None:
        """A loader is kept for the next trial of this process."""


@lru_cache(maxsize=2)
def _loader(path: str, batch: int, workers: int, size: tuple[int, int], by: Decoder) -> Any:
    """FFCV's, whose pipeline is compiled once in a process for batches of one size."""
    threads = torch.get_num_threads()
    pipelines: Any = {"image": [_Crops(*size, by)], "label": None}
    made = Loader(
        path, batch_size=batch, num_workers=workers, os_cache=True, drop_last=False, batches_ahead=AHEAD,
        pipelines=pipelines,
    )  # fmt: skip
    torch.set_num_threads(threads)
    return made


class _Crops(SimpleRGBImageDecoder):
    """Decodes, cuts, resizes and mirrors, all in one call of C."""

    def __init__(self, height: int, width: int, by: Decoder) -> None:
        super().__init__()
        self._shape, self._decoder = (height, width, 3), by

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        kind = np.dtype("u1")
        state = replace(previous_state, jit_mode=True, shape=self._shape, dtype=kind)
        return state, AllocationQuery(self._shape, kind)

    def generate_code(self) -> Callable[..., Any]:
        read: Any = self.memory_read
        every = Compiler.get_iterator()
        crop: Any = self._decoder.compiled
        height, width, _ = self._shape

        def decode(indices: Any, out: Any, table: Any, storage: Any) -> Any:
            for place in every(len(indices)):
                row = table[indices[place]]
                stored = read(row["data_ptr"], storage)
                crop(
                    stored.ctypes.data, stored.size, row["mode"], row["height"], row["width"], row["x0"], row["y0"],
                    row["x1"], row["y1"], row["flip"], height, width, out[place].ctypes.data, row["status_ptr"],
                )  # fmt: skip
            return out[: len(indices)]

        decode.is_parallel = True  # pyright: ignore[reportFunctionMemberAccess] - FFCV looks for it
        return decode


class _Stretch(EpochIterator):
    """FFCV's thread over some batches. Its own says nothing where it ends by an exception, and stays if it is left."""

    error: Exception | None = None

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - it is raised where the batches are taken
            self.error = error
            self.output_queue.put(None)

    def end(self) -> None:
        self.close()
        while self.is_alive():
            with suppress(Exception):
                self.output_queue.get_nowait()
            self.join(0.05)


def _table(source: Beton, rows: Rows, statuses: NDArray[np.uint8]) -> NDArray[np.void]:
    table = np.zeros(len(rows), dtype=TABLE)
    image, index = table["f0"], rows.index
    image["mode"], image["width"], image["height"] = source.modes[index], source.widths[index], source.heights[index]
    image["data_ptr"], image["flip"] = source.pointers[index], rows.flips
    image["x0"], image["y0"], image["x1"], image["y1"] = rows.boxes.T
    image["status_ptr"] = statuses.ctypes.data + np.arange(len(rows), dtype=np.uint64)
    return table
