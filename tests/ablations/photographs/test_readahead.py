"""Reading in sequence: what is asked for before a stretch, and that it is asked for under quasi-random order alone."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import write_set

from ablations.data.photographs import readahead
from ablations.data.photographs.beton import Beton
from ablations.data.photographs.plan import NEIGHBOURS
from ablations.data.photographs.prepared import open_prepared
from ablations.data.photographs.readahead import Readahead
from ablations.data.photographs.stream import Stream
from ablations.recipes import IMAGENET

COUNT = 3 * NEIGHBOURS + 10
Asked = list[tuple[int, int]]

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system has no posix_fadvise")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Byte ranges that are asked for; they are still asked for."""
    found, really = [], os.posix_fadvise

    def note(file: int, begin: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        found.append((begin, begin + length))
        really(file, begin, length, advice)

    monkeypatch.setattr(readahead.os, "posix_fadvise", note)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data") / "shapes"
    write_set(made, {"train": COUNT, "test": 8}, size=16)
    return made


def covered(source: Beton, index: np.ndarray, ranges: Asked) -> bool:
    begins, ends = source.pointers[index].astype(int), (source.pointers + source.sizes)[index].astype(int)
    return all(any(b <= begin and end <= e for b, e in ranges) for begin, end in zip(begins, ends, strict=True))


def test_whole_groups_in_the_order_of_the_file(folder: Path, asked: Asked) -> None:
    source = open_prepared(folder).train
    Readahead(source).ask(np.array([2 * NEIGHBOURS + 5, 3, 9]))
    assert len(asked) == 2
    assert asked == sorted(asked)
    for group in (0, 2):
        assert covered(source, np.arange(group * NEIGHBOURS, (group + 1) * NEIGHBOURS), asked)
    assert not covered(source, np.array([NEIGHBOURS]), asked)


def test_what_was_asked_for_the_time_before_is_not_asked_for_again(folder: Path, asked: Asked) -> None:
    reading = Readahead(open_prepared(folder).train)
    for index in ([3, NEIGHBOURS], [5, COUNT - 1], [NEIGHBOURS + 1, 7]):
        reading.ask(np.array(index))
    assert len(asked) == 2 + 1 + 1  # the last group is short, and has its end
    assert asked[2][1] <= (folder / "train.beton").stat().st_size


@pytest.mark.parametrize(("order", "asks"), [("quasi-random", True), ("random", False)])
def test_a_stream_asks_before_it_decodes(folder: Path, asked: Asked, order: str, asks: bool) -> None:
    recipe = replace(IMAGENET, batch=16, bn_batch=None, order=order)
    of = open_prepared(folder)
    stream = Stream(of, recipe, 0, torch.device("cpu"), 16)
    try:
        stream.draws(0)
    finally:
        stream.close()
    assert bool(asked) is asks
    assert not asks or covered(of.train, np.arange(COUNT), asked)


def test_a_system_without_the_call_reads_as_it_can(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(readahead.os, "posix_fadvise")
    Readahead(open_prepared(folder).train).ask(np.array([3]))
