"""MLflow's address, as it was asked for or by default, and where a user sees the runs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.cli.options import RESULTS
from ablations.cli.output import program
from ablations.reader import StudyError

if TYPE_CHECKING:
    from orchestrator.studies import RecordedStudy


def tracking_uri(asked: str | None, results: Path) -> str:
    """Raises StudyError for what is no address, before anything is run."""
    from orchestrator.tracking.addresses import SCHEMES, default_uri, is_address, without_password

    if asked and not is_address(asked):
        raise StudyError(
            f"--tracking {without_password(asked[:200])!r}: is no address of MLflow; a server as http://HOST:5000, a"
            f" database as sqlite:////absolute/FILE ({', '.join(SCHEMES)}), or left out"
        )
    return asked or default_uri(results)


def where_seen(tracking: str | None, results: Path) -> str:
    """Where the runs can be seen: a server's address, or the command that starts one. No password is printed."""
    from orchestrator.tracking.addresses import without_password

    if tracking and tracking.startswith(("http://", "https://")):
        return without_password(tracking)
    options = ["--results", str(results)] if results != RESULTS else []
    options += ["--tracking", without_password(tracking)] if tracking else []
    return " ".join([program(), shlex.join(["ui", *options])])


def places(record: "RecordedStudy", results: Path, tracking: str | None = None) -> dict[str, str]:
    """What the results say of the data, and the server where the runs can be seen, if there is one."""
    from orchestrator.ledger import Ledger
    from orchestrator.runs import fingerprints
    from orchestrator.tracking.addresses import without_password

    found = {f"data, {name}": told for name, told in fingerprints(record, Ledger(results)).items()}
    if tracking and tracking.startswith(("http://", "https://")):
        found["mlflow"] = without_password(tracking)
    return found
