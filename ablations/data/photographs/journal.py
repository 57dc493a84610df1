"""How far a preparation is: a line for each image, and the checkpoint that says what of lines and files is valid."""

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ablations.data.photographs.storing import Outcome, Stored, Verdict

LINES, CHECKPOINT = "journal", "checkpoint.npz"


@dataclass
class Progress:
    """What is valid: the first `images`, `lines` bytes of the journal, `sums` (size, size, 3) of `crops` crops."""

    sums: NDArray[np.uint64]
    images: int = 0
    lines: int = 0
    crops: int = 0


class Journal:
    """Of the preparation in a folder, with a mean image of `size` pixels a side. What no checkpoint covers is void."""

    def __init__(self, folder: Path, size: int) -> None:
        self._lines, self._checkpoint = folder / LINES, folder / CHECKPOINT
        self.progress = self._restored(size)

    def __enter__(self) -> Self:
        """Open it to go on behind what is valid."""
        self._file = self._lines.open("r+b" if self.progress.images else "wb")
        self._file.seek(self.progress.lines)
        self._file.truncate()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def append(self, outcome: Outcome) -> None:
        """The images of a task; valid with the next checkpoint."""
        for verdict in outcome.verdicts:
            self._file.write(f"{json.dumps(verdict)}\n".encode())
        self.progress.images += len(outcome.verdicts)
        self.progress.sums += outcome.sums
        self.progress.crops += outcome.crops

    def checkpoint(self) -> None:
        """The one step by which all that was written until now becomes valid. The files must be on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.progress.lines = self._file.tell()
        partial = self._checkpoint.with_suffix(".partial")
        with partial.open("wb") as file:
            counts = np.array([self.progress.images, self.progress.lines, self.progress.crops])
            np.savez(file, counts=counts, sums=self.progress.sums)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._checkpoint)

    def verdicts(self) -> Iterator[Verdict]:
        """What became of each image that is valid, in order."""
        if not self.progress.images:
            return
        with self._lines.open(encoding="utf-8") as lines:
            for _ in range(self.progress.images):
                stored, converted, damaged = json.loads(lines.readline())
                yield Verdict(tuple(Stored(*each) for each in stored), converted, damaged)

    def _restored(self, size: int) -> Progress:
        try:
            with self._checkpoint.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                images, lines, crops = (int(each) for each in kept["counts"])
                return Progress(sums=kept["sums"], images=images, lines=lines, crops=crops)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none yet, or none that can be read
            return Progress(sums=np.zeros((size, size, 3), dtype=np.uint64))
