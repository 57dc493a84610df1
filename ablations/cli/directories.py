"""The results directory, before something is to be written into it."""

import os
from pathlib import Path

from ablations.reader import StudyError


def refuse_read_only(results: Path) -> None:
    """Raises StudyError where this user cannot write into the directory, or make it."""
    nearest = next((each for each in (results, *results.absolute().parents) if each.exists()), results)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StudyError(
            f"--results {results}: {nearest} cannot be written by this user; make it yours with chown or chmod, or name"
            " another with --results or ABLATE_RESULTS"
        )
