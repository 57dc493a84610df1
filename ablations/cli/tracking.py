"""MLflow's address, as it was asked for or by default, and where a user sees the runs."""

import shlex
from pathlib import Path

from ablations.cli.options import RESULTS
from ablations.cli.output import program


def tracking_uri(asked: str | None, results: Path) -> str:
    from orchestrator.tracking.addresses import default_uri

    return asked or default_uri(results)


def where_seen(tracking: str | None, results: Path) -> str:
    """Where the runs can be seen: a server's address, or the command that starts one. No password is printed."""
    from orchestrator.tracking.addresses import without_password

    if tracking and tracking.startswith(("http://", "https://")):
        return without_password(tracking)
    options = ["--results", str(results)] if results != RESULTS else []
    options += ["--tracking", without_password(tracking)] if tracking else []
    return " ".join([program(), shlex.join(["ui", *options])])
