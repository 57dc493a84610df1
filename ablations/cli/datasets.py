"""The data sets that trials need: seen to before the first one starts, and whether this machine's memory holds them."""

from pathlib import Path
from typing import TYPE_CHECKING

from ablations.cli.exits import DAMAGED, UNREACHABLE, fail
from ablations.data.sets import known, of_photographs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from orchestrator.trial import Trial


def prepare_data(trials: "Iterable[Trial]", data: Path, to: Path, console: "Console") -> None:
    """See to it that every data set of these trials lies in a folder as arrays, or is known there by its place."""
    from ablations.data.errors import DataError, NotThereError
    from ablations.data.load import prepare

    for name in sorted({trial.params["data"]["name"] for trial in trials}):
        try:
            with console.status(f"reading {name}"):
                prepare(name, data, to)
        except DataError as error:
            fail(str(error), DAMAGED if of_photographs(name) and not isinstance(error, NotThereError) else UNREACHABLE)


def beyond_memory(trials: "Iterable[Trial]") -> list[str]:
    """What to know of photographs that are read in random order and are more than this machine's memory."""
    from orchestrator.provenance import memory

    there = memory()
    mixed = {
        trial.params["data"]["name"]
        for trial in trials
        if trial.blocked is None and trial.params["recipe"]["order"] == "random"
    }
    return [
        f"{name}: {size / 1e9:,.1f} GB of training images are more than this machine's {there / 1e9:,.1f} GB of memory;"
        " batches may wait for the disk, and `--set recipe.order=quasi-random`, another trial, reads in sequence"
        for name in sorted(mixed)
        if (size := known(name).stored_bytes) > there
    ]
