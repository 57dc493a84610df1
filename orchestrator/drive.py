"""One run of a study: hold it, plan it, start Ray and the forwarder, run what is missing, and let go of everything."""

import os
import shlex
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
from orchestrator.tracking import default_uri, without_password
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
        with _forwarding(results, study.name, tracking, console):
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
def _forwarding(results: Path, study: str, tracking: str | None, console: Console) -> Iterator[None]:
    """A process of its own copies to MLflow: whatever becomes of it, the run goes on, and says so at its end."""
    if tracking is None:
        yield
        return
    command = [sys.executable, "-m", "orchestrator.tracking", str(results), study]
    path = results / "studies" / study / "mlflow.log"
    with path.open("w") as log:
        forwarder = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is not for it
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking},  # an address may hold a password: not an argument
        )
    try:
        yield
    finally:
        if (why := _let_go(forwarder, path)) is not None:
            again = shlex.join(["ablate", "publish", study, *_options(results, tracking)])
            console.print(
                f"MLflow lags behind: {why}; the ledger has it all: `{again}`; log: {path}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def _let_go(forwarder: "subprocess.Popen[bytes]", log: Path) -> str | None:
    """Let the forwarder publish once more, and end; why it could not, or None."""
    if forwarder.stdin is not None:
        forwarder.stdin.close()
    try:
        code = forwarder.wait(timeout=FORWARDER_SECONDS)
    except subprocess.TimeoutExpired:
        forwarder.kill()
        forwarder.wait()
        return f"its forwarder was not done after {FORWARDER_SECONDS} s"
    if code == 0:
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last if code == 1 and last else f"its forwarder ended with {code}"


def _options(results: Path, tracking: str) -> Iterator[str]:
    """What `ablate publish` must be told beside the study: what is not the default. No password is printed."""
    if results.resolve() != Path("results").resolve():
        yield from ("--results", str(results))
    if tracking != default_uri(results) and tracking == without_password(tracking):
        yield from ("--tracking", tracking)
