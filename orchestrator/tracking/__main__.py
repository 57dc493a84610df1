"""The forwarder, a process beside the driver of a run: `python -m orchestrator.tracking RESULTS STUDY [URI]`."""

import argparse
import os
import signal
import sys
from pathlib import Path

from orchestrator.tracking.forwarder import follow


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.tracking",
        description="Copy committed records of a study to MLflow while it runs.",
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("study")
    parser.add_argument("uri", nargs="?", help="by default MLFLOW_TRACKING_URI, where no other user reads a password")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for its driver, after whose end it has a last look
    return follow(given.results, given.study, given.uri or os.environ["MLFLOW_TRACKING_URI"])


if __name__ == "__main__":
    sys.exit(_main())
