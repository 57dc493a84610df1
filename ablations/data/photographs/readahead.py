"""A file in quasi-random order is read from the disk in sequence: whole groups of neighbours, before they are needed.

Images are mapped into memory, and a page that is not there is read when it is touched, by itself. Of a file that is
larger than memory every image would be such a touch. What a stretch of batches needs is asked for beforehand instead,
group by group in the order of the file, and the system reads megabytes at a time. What was read it may drop.
"""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablations.data.photographs.beton import Beton
from ablations.data.photographs.plan import NEIGHBOURS


class Readahead:
    """Asks for the groups of one file. Where the system has no such call, it asks for nothing."""

    def __init__(self, source: Beton) -> None:
        self._path: Path = source.path
        self._asked: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        begins = source.pointers.astype(np.int64)
        ends = begins + source.sizes.astype(np.int64)
        firsts = np.arange(0, len(source), NEIGHBOURS)
        self._begins, self._ends = np.minimum.reduceat(begins, firsts), np.maximum.reduceat(ends, firsts)

    def ask(self, index: NDArray[np.int64]) -> None:
        """For the groups of these images, but those that were asked for the time before."""
        groups = np.unique(index // NEIGHBOURS)
        fresh = np.setdiff1d(groups, self._asked, assume_unique=True)
        self._asked = groups
        if not len(fresh) or not hasattr(os, "posix_fadvise"):
            return
        with suppress(OSError), self._path.open("rb") as file:  # moved: what is mapped is read all the same
            for group in fresh.tolist():
                begin, end = int(self._begins[group]), int(self._ends[group])
                os.posix_fadvise(file.fileno(), begin, end - begin, os.POSIX_FADV_WILLNEED)
