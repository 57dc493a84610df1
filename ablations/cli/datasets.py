"""The data sets that trials need, read and laid out as arrays before the first one starts."""

from pathlib import Path
from typing import TYPE_CHECKING

from ablations.cli.exits import UNREACHABLE, fail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from orchestrator.trial import Trial


def prepare_data(trials: "Iterable[Trial]", data: Path, to: Path, console: "Console") -> None:
    """See to it that every data set of these trials lies in a folder as arrays."""
    from ablations.data.images import DataError
    from ablations.data.load import prepare

    for name in sorted({trial.params["data"]["name"] for trial in trials}):
        try:
            with console.status(f"reading {name}"):
                prepare(name, data, to)
        except DataError as error:
            fail(str(error), UNREACHABLE)
