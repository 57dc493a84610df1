"""Our decoder as an operation in FFCV's pipeline, over tables of rows instead of FFCV's own random numbers.

What FFCV lacks is added from outside: the pixels of a batch depend on its table alone, an image that cannot be decoded
is told, an exception in its thread reaches whoever waits for it, and a stretch left early leaves nothing behind. Rows
say where in memory their images are, so FFCV neither opens the file nor makes its index of it, which at ImageNet's size
takes seconds and 600 MB; nor can a file that is written anew be mistaken for the one that is open.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from ablations.data.photographs import beton
from ablations.data.photographs.backends import Pixels, refuse_damaged
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.decode import UNREADABLE, Decoder
from ablations.data.photographs.plan import Rows, joined

_THREADS = torch.get_num_threads()
from ffcv.fields.rgb_image import SimpleRGBImageDecoder  # noqa: E402 - it sets PyTorch's number of threads, which is remembered above
from ffcv.loader import Loader, epoch_iterator  # noqa: E402
from ffcv.loader.epoch_iterator import EpochIterator  # noqa: E402
from ffcv.pipeline.allocation_query import AllocationQuery  # noqa: E402
from ffcv.pipeline.compiler import Compiler  # noqa: E402
from ffcv.pipeline.state import State  # noqa: E402

torch.set_num_threads(_THREADS)


def _set_threads(n: int) -> None:
    """FFCV's own sets PyTorch's number too, for each epoch, amid an update of whoever takes its batches."""
    Compiler.num_threads = n
    numba.set_num_threads(n)


Compiler.set_num_threads = _set_threads
epoch_iterator.IS_CUDA = False  # its streams would make a context on the first GPU, whichever is the trial's

AHEAD = 2
"""Batches that FFCV decodes in advance."""
ROW = np.dtype(
    [
        ("address", "<u8"), ("size", "<u8"), ("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("x0", "<f8"),
        ("y0", "<f8"), ("x1", "<f8"), ("y1", "<f8"), ("flip", "u1"), ("status", "<u8"),
    ],
    align=True,
)  # fmt: skip
"""What stands for FFCV's record of an image: where its bytes are, what our table says, and where its status goes."""
TABLE = np.dtype([("f0", ROW), ("f1", "<i8")], align=True)


class ThroughFFCV:
    """Batches by FFCV's loader."""

    def __init__(self, source: Beton, batch: int, workers: int, by: Decoder) -> None:
        self._source, self._batch, self._decoder = source, batch, by
        self._workers = min(workers, cast(Any, numba).config.NUMBA_NUM_THREADS)

    @property
    def name(self) -> str:
        return f"FFCV {version('ffcv')}, {self._decoder.name}"

    def batches(self, stretch: Sequence[Rows]) -> Iterator[Pixels]:
        if not stretch:
            return
        loader = _loader(self._batch, self._workers, (stretch[0].height, stretch[0].width), self._decoder)
        whole = joined(list(stretch))
        statuses = np.full(len(whole), UNREADABLE, dtype=np.uint8)
        epoch, begin = _Stretch(loader, _table(self._source, whole, statuses)), 0
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


@lru_cache(maxsize=4)
def _loader(batch: int, workers: int, size: tuple[int, int], by: Decoder) -> Any:
    """FFCV's, whose pipeline is compiled once in a process for batches of one size; it opens a file of one pixel."""
    pipelines: Any = {"image": [_Crops(*size, by)], "label": None}
    with TemporaryDirectory(prefix="ablate-") as folder:
        path = Path(folder) / "one.beton"
        with beton.Writer(path, 1) as writer:
            writer.append(bytes(3), beton.RAW, 1, 1, 0)
            writer.finish()
        made = Loader(
            str(path), batch_size=batch, num_workers=workers, os_cache=True, drop_last=False, batches_ahead=AHEAD,
            pipelines=pipelines,
        )  # fmt: skip
        with made.memory_manager.schedule_epoch([]):  # it is mapped now, and needs no name any more
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
        every = Compiler.get_iterator()
        crop: Any = self._decoder.compiled
        height, width, _ = self._shape

        def decode(indices: Any, out: Any, table: Any, _: Any) -> Any:
            for place in every(len(indices)):
                row = table[indices[place]]
                crop(
                    row["address"], row["size"], row["mode"], row["height"], row["width"], row["x0"], row["y0"],
                    row["x1"], row["y1"], row["flip"], height, width, out[place].ctypes.data, row["status"],
                )  # fmt: skip
            return out[: len(indices)]

        decode.is_parallel = True  # pyright: ignore[reportFunctionMemberAccess] - FFCV looks for it
        return decode


class _Stretch(EpochIterator):
    """FFCV's thread over some batches. Its own says nothing where it ends by an exception, and stays if it is left."""

    error: Exception | None = None
    _one_at_a_time = Lock()
    """Of numba's parallel loops in a process: over its simplest threading layer, two of them would end it."""

    def __init__(self, loader: Any, table: NDArray[np.void]) -> None:
        self._table = table
        order: Any = np.arange(len(table), dtype=np.uint64)
        super().__init__(loader, order)

    def run(self) -> None:
        self.metadata = self._table  # not by way of the loader, which another stretch may use at the same time
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - it is raised where the batches are taken
            self.error = error
            self.output_queue.put(None)

    def run_pipeline(self, b_ix: int, batch_indices: Any, batch_slot: int, cuda_event: Any) -> Any:
        with self._one_at_a_time:
            return super().run_pipeline(b_ix, batch_indices, batch_slot, cuda_event)

    def end(self) -> None:
        self.close()
        self.iter_ixes = iter(())  # as long as there is room for a batch, it does not see that it was closed
        while self.is_alive():
            with suppress(Empty):
                self.output_queue.get_nowait()
            self.join(0.05)


def _table(source: Beton, rows: Rows, statuses: NDArray[np.uint8]) -> NDArray[np.void]:
    table = np.zeros(len(rows), dtype=TABLE)
    image, index = table["f0"], rows.index
    image["address"], image["size"] = source.data.ctypes.data + source.pointers[index], source.sizes[index]
    image["mode"], image["width"], image["height"] = source.modes[index], source.widths[index], source.heights[index]
    image["x0"], image["y0"], image["x1"], image["y1"] = rows.boxes.T
    image["flip"] = rows.flips
    image["status"] = statuses.ctypes.data + np.arange(len(rows), dtype=np.uint64)
    return table
