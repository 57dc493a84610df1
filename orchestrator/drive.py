"""One run of a study: hold it, plan it, start Ray and the forwarder, run what is missing, and let go of everything."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from orchestrator import schedule
from orchestrator.ledger import Ledger
from orchestrator.plan import Plan, plan
from orchestrator.schedule import Queue, Standing
from orchestrator.studies import RecordedStudy, sole_run, write_study
from orchestrator.trial import Trial
from orchestrator.watch import Watch, spoken
from orchestrator.worker import Setting

FORWARDER_SECONDS = 120
"""How long a run waits at its end for MLflow to catch up."""


def run(
    study: RecordedStudy,
    trials: Sequence[Trial],
    setting: Setting,
    *,
    slots: int,
    tracking: str | None,
    console: Console,
) -> Standing:
    """Submit exactly what the ledger misses and resume what is partial; again, and nothing is submitted.

    Raises StudyInUse if another run of the study is at work.
    """
    results = Path(setting.results)
    ledger = Ledger(results)
    with sole_run(results, study.name):
        write_study(results, study)
        now = plan(trials, ledger)
        queue = Queue([each.trial for each in now.open], ledger)
        _say(now, slots, console)
        with _forwarding(results, study.name, tracking):
            if now.open:
                with Watch(study.name, now.open, queue.standing, ledger, console), schedule.cluster(slots):
                    schedule.run(queue, setting, slots)
    return queue.standing


def _say(now: Plan, slots: int, console: Console) -> None:
    states = ", ".join(f"{len(group)} {name}" for name, group in now.by_state().items())
    console.print(f"{len(now.trials)} trials: {states}; {len(now.open)} submitted", highlight=False)
    if now.open:
        console.print(
            f"local Ray on this machine, {slots} trials at a time; expected {spoken(now.wall_seconds(slots))}",
            highlight=False,
        )


@contextmanager
def _forwarding(results: Path, study: str, tracking: str | None) -> Iterator[None]:
    """A process of its own copies to MLflow: whatever becomes of it, the run goes on."""
    if tracking is None:
        yield
        return
    command = [sys.executable, "-m", "orchestrator.tracking", str(results), study, tracking]
    with (results / "studies" / study / "mlflow.log").open("w") as log:
        forwarder = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is not for it
        )
    try:
        yield
    finally:
        if forwarder.stdin is not None:
            forwarder.stdin.close()
        try:
            forwarder.wait(timeout=FORWARDER_SECONDS)
        except subprocess.TimeoutExpired:
            forwarder.kill()
