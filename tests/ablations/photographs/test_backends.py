"""Whoever decodes: the same bytes for the same rows, a damaged image told, and nothing left where it is left early."""

import importlib.util
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import write_set
from PIL import Image

from ablations.data.errors import DataError
from ablations.data.photographs import beton, choice
from ablations.data.photographs.backends import Backend, Threads
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.choice import backend
from ablations.data.photographs.decode import decoder, portable
from ablations.data.photographs.plan import Plan, Rows
from ablations.recipes import IMAGENET

pytestmark = pytest.mark.timeout(120)
BATCH, SIZE = 16, 48
Through = Callable[[Beton], Backend]


def through_ffcv(source: Beton, workers: int = 2) -> Backend:
    from ablations.data.photographs.through_ffcv import ThroughFFCV

    return ThroughFFCV(source, BATCH, workers, decoder())


HAS_FFCV = importlib.util.find_spec("ffcv") is not None
needs_ffcv = pytest.mark.skipif(not HAS_FFCV, reason="FFCV is not installed here")
EACH: Sequence[Any] = (
    pytest.param(lambda source: Threads(source, 1), id="one thread"),
    pytest.param(lambda source: Threads(source, 2), id="two threads"),
    pytest.param(through_ffcv, id="FFCV", marks=needs_ffcv),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backends") / "shapes"
    write_set(path, {"train": 120, "test": 4}, size=SIZE, raw=True)
    return path


@pytest.fixture
def source(folder: Path) -> Beton:
    return beton.read(folder / "train.beton")


def tables(source: Beton, count: int = 12, size: int = SIZE, first: int = 0) -> list[Rows]:
    recipe = replace(IMAGENET, batch=BATCH, bn_batch=None)
    plan = Plan(recipe, 0, np.arange(len(source)), source.widths, source.heights, size)
    return [plan.rows(at) for at in range(first, first + count)]


def damaged(source: Beton, index: int, to: Path) -> Beton:
    """A copy of the file in which the bytes of one image are zero."""
    data = bytearray(source.path.read_bytes())
    begin, size = int(source.pointers[index]), int(source.sizes[index])
    data[begin : begin + size] = bytes(size)
    to.write_bytes(data)
    return beton.read(to)


def a_jpeg(source: Beton, rows: Rows) -> int:
    return next(int(index) for index in rows.index if source.modes[index] == beton.JPEG)


# The same bytes


@pytest.mark.parametrize("through", EACH)
@pytest.mark.parametrize("size", [SIZE, 32])
def test_every_backend_gives_the_same_bytes(source: Beton, through: Through, size: int) -> None:
    stretch = tables(source, size=size)
    expected = list(Threads(source, 1).batches(stretch))
    found = list(through(source).batches(stretch))
    assert len(found) == len(expected) == 12
    assert len({pixels.tobytes() for pixels in found}) == 12
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (BATCH, size, size, 3)
        assert np.array_equal(one, other)


def test_pixels_are_pillows(source: Beton) -> None:
    """Each box of the stored image, cut and resized by Pillow, to its rounding: 2 of 255 at most, 0.6 in the mean."""
    (rows,) = tables(source, 1)
    (pixels,) = Threads(source, 1).batches([rows])
    for at, index in enumerate(rows.index):
        stored, shape = source.stored(index), (int(source.heights[index]), int(source.widths[index]))
        whole = (
            Image.fromarray(stored.reshape(*shape, 3))
            if source.modes[index] == beton.RAW
            else Image.open(io.BytesIO(stored.tobytes())).convert("RGB")
        )
        box = tuple(np.minimum(rows.boxes[at], [*shape[::-1], *shape[::-1]]))
        one = np.asarray(whole.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)).astype(int)
        far = abs(pixels[at].astype(int) - (one[:, ::-1] if rows.flips[at] else one))
        assert far.mean() < 0.6
        assert far.max() <= 3


def test_pillow_gives_the_same_bytes_where_nothing_can_be_compiled(source: Beton) -> None:
    stretch = tables(source, 2)
    assert _bytes(Threads(source, 2, portable()), stretch) == _bytes(Threads(source, 1), stretch)


@pytest.mark.parametrize("through", EACH)
def test_what_was_taken_is_not_written_again(source: Beton, through: Through) -> None:
    found, copies = [], []
    for pixels in through(source).batches(tables(source)):
        found.append(pixels)
        copies.append(pixels.copy())
    assert all(np.array_equal(one, copy) for one, copy in zip(found, copies, strict=True))


@pytest.mark.parametrize("through", EACH)
def test_no_tables_are_no_batches(source: Beton, through: Through) -> None:
    assert list(through(source).batches([])) == []


@pytest.mark.parametrize("through", EACH)
def test_a_file_that_is_written_anew_is_not_mistaken_for_the_one_that_is_open(
    folder: Path, tmp_path: Path, through: Through
) -> None:
    """A warm worker's file was replaced by another under its name: it goes on with what it opened, to the bit."""
    write_set(tmp_path / "set", {"train": 120, "test": 4}, size=SIZE)
    source = beton.read(tmp_path / "set" / "train.beton")
    stretch = tables(source, 3)
    expected = list(through(source).batches(stretch))
    other = tmp_path / "other"
    other.write_bytes((folder / "train.beton").read_bytes())
    other.replace(source.path)
    assert all(map(np.array_equal, through(source).batches(stretch), expected))
    fresh = beton.read(source.path)
    assert all(map(np.array_equal, through(fresh).batches(tables(fresh, 3)), Threads(fresh, 1).batches(stretch)))


# Which one it is


@needs_ffcv
def test_ffcv_decodes_where_there_are_workers(source: Beton) -> None:
    assert backend(source, BATCH, 2).name.startswith("FFCV 1.")
    assert backend(source, BATCH, 1).name == decoder().name


def test_without_ffcv_threads_decode(source: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert isinstance(backend(source, BATCH, 2), Threads)


def test_without_a_compiler_pillow_decodes_and_it_is_said(source: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "decoder", portable)
    assert backend(source, BATCH, 2).name == "Pillow, whole images"


# Failures


@pytest.mark.parametrize("through", EACH)
def test_a_damaged_image_is_named(source: Beton, tmp_path: Path, through: Through) -> None:
    """The batches before it come, and the next ones after it can be asked for."""
    stretch = tables(source)
    index = a_jpeg(source, stretch[5])
    broken = damaged(source, index, tmp_path / "train.beton")
    before, taken = threading.active_count(), []
    with pytest.raises(DataError, match=rf"train.beton: image {index} cannot be decoded; `ablate data verify`"):
        taken.extend(through(broken).batches(stretch))
    assert len(taken) == 5
    assert all(map(np.array_equal, taken, Threads(source, 1).batches(stretch)))
    assert threading.active_count() == before
    assert len(list(through(broken).batches(stretch[6:7]))) == 1


@needs_ffcv
def test_an_exception_in_ffcvs_thread_reaches_the_taker(source: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock FFCV lets the taker wait for ever."""
    from ffcv.loader.epoch_iterator import EpochIterator

    whole = EpochIterator.run_pipeline

    def fails(self: Any, number: int, *rest: Any) -> Any:
        if number == 2:
            raise MemoryError("no room")
        return whole(self, number, *rest)

    monkeypatch.setattr(EpochIterator, "run_pipeline", fails)
    batches = through_ffcv(source).batches(tables(source))
    assert [len(next(batches)) for _ in range(2)] == [BATCH, BATCH]
    with pytest.raises(MemoryError, match="no room"):
        next(batches)


@needs_ffcv
def test_an_image_that_ffcv_passes_over_is_no_picture(source: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no decoder looked at is refused, whatever lay in the memory of the batch."""
    from ablations.data.photographs import through_ffcv as module

    class Idle(module._Stretch):
        def run_pipeline(self, b_ix: int, batch_indices: Any, batch_slot: int, cuda_event: Any) -> Any:
            (memory,) = (each for each in self.memory_allocations["operation"].values() if each is not None)
            return (memory[batch_slot],)

    monkeypatch.setattr(module, "_Stretch", Idle)
    with pytest.raises(DataError, match="cannot be decoded"):
        next(through_ffcv(source).batches(tables(source)))


# What is left behind


@pytest.mark.parametrize("through", EACH)
@pytest.mark.parametrize("taken", [0, 1, 4])
def test_a_stretch_left_early_leaves_no_thread_and_decodes_no_more(
    source: Beton, through: Through, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    stretch = tables(source, 256)
    batches = through(source).batches(stretch)
    for _ in range(taken):
        next(batches)
    decoded = _counted(monkeypatch)
    batches.close()  # pyright: ignore[reportAttributeAccessIssue] - it is a generator
    assert threading.active_count() == before
    assert len(decoded) < 20


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches that FFCV decodes from now on."""
    decoded: list[int] = []
    if HAS_FFCV:
        from ffcv.loader.epoch_iterator import EpochIterator

        whole = EpochIterator.run_pipeline
        monkeypatch.setattr(
            EpochIterator, "run_pipeline", lambda self, *batch: (decoded.append(batch[0]), whole(self, *batch))[1]
        )
    return decoded


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("through", EACH)
def test_memory_and_threads_are_flat_over_stretches_that_are_left_early(source: Beton, through: Through) -> None:
    one, stretch, sizes = through(source), tables(source, 8, size=224), []
    for _ in range(16):
        batches = one.batches(stretch)
        next(batches)
        batches.close()  # pyright: ignore[reportAttributeAccessIssue]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append((pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/task").iterdir()))))
    batch = BATCH * 224 * 224 * 3
    assert sizes[-1][0] - sizes[4][0] < 8 * batch  # FFCV holds four at a time, and leaks them in each epoch
    assert sizes[-1][1] < sizes[4][1] + 6  # numba's own come and go


@needs_ffcv
def test_two_streams_may_be_taken_from_at_once(source: Beton) -> None:
    """From one thread in turns, and from several at the same time; each has its own rows."""
    every = [tables(source, 24, first=24 * number) for number in range(4)]
    expected = [_bytes(Threads(source, 1), stretch) for stretch in every]
    first, second = (through_ffcv(source).batches(stretch) for stretch in every[:2])
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        assert (one.tobytes(), other.tobytes()) == (expected[0][number], expected[1][number])
    for _ in range(5):
        with ThreadPoolExecutor(len(every)) as pool:
            assert list(pool.map(lambda stretch: _bytes(through_ffcv(source), stretch), every)) == expected


def _bytes(through: Backend, stretch: Sequence[Rows]) -> list[bytes]:
    return [pixels.tobytes() for pixels in through.batches(stretch)]


AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numba
from ablations.data.photographs import beton
from test_backends import tables, through_ffcv
source = beton.read(Path(sys.argv[1]))
stretch = tables(source, 50, size=224)
list(through_ffcv(source).batches(stretch[:1]))
with ThreadPoolExecutor(2) as pool:
    both = [*pool.map(lambda _: [each.tobytes() for each in through_ffcv(source).batches(stretch)], range(2))]
assert both[0] == both[1]
left = through_ffcv(source).batches(stretch)
next(left)
print(numba.threading_layer())
"""


@needs_ffcv
def test_a_process_with_two_streams_over_numbas_simplest_layer_ends_well(source: Beton) -> None:
    """Not by "Terminating: ... Concurrent access has been detected.", nor because a stretch was left in the middle."""
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_THREADING_LAYER": "workqueue"}
    command = [sys.executable, "-c", AT_ONCE, str(source.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "workqueue\n", "")


@needs_ffcv
def test_pytorchs_threads_stay_what_they_are(source: Beton) -> None:
    """Sums differ between one thread and two, and FFCV sets the number for the process in each epoch."""
    torch.set_num_threads(1)
    for _ in range(3):
        for _ in through_ffcv(source, workers=2).batches(tables(source, 3)):
            assert torch.get_num_threads() == 1
            with ThreadPoolExecutor(1) as fresh:
                assert fresh.submit(torch.get_num_threads).result() == 1


@needs_ffcv
def test_more_workers_than_cores_are_as_many_as_cores(source: Beton) -> None:
    """numba refuses a number above its own."""
    stretch = tables(source, 2)
    found = through_ffcv(source, workers=1000).batches(stretch)
    assert all(map(np.array_equal, found, Threads(source, 1).batches(stretch)))
