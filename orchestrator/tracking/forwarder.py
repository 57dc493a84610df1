"""Publishing while a run is at work: again and again, in a process of its own, until its driver has ended."""

import os
import select
import sys
import time
from pathlib import Path

from orchestrator.ledger import Ledger
from orchestrator.studies import read_study
from orchestrator.tracking.publisher import Publisher, TrackingError, one_line

POLL_SECONDS = 3.0


def follow(results: Path, study: str, uri: str) -> int:
    """Publish again and again until standard input is closed, which is when the driver has ended; then once more.

    Returns 0 if this last time everything was published, else 1, and the last line on standard error says why.
    """
    publisher, said, took = Publisher(Ledger(results), uri), "", 0.0
    while True:
        over = _closed(POLL_SECONDS + took)
        started, failed = time.monotonic(), ""
        try:
            publisher.publish(read_study(results, study))
        except TrackingError as error:
            failed = error.reason
        except Exception as error:  # noqa: BLE001 - nothing ends the forwarder but its driver
            failed = one_line(error)
        if failed and (over or failed != said):
            print(failed, file=sys.stderr, flush=True)  # noqa: T201
        if over:
            return 1 if failed else 0
        said, took = failed, min(10.0, time.monotonic() - started)


def _closed(seconds: float) -> bool:
    """Wait, at most until standard input is closed; whether it is."""
    return bool(select.select([sys.stdin], [], [], seconds)[0]) and not os.read(sys.stdin.fileno(), 1)
