"""Live progress of a run on a terminal: how far, what runs now, when it will end. Silent where there is no terminal."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from orchestrator.ledger import Ledger, LedgerError
from orchestrator.planning.plan import PlannedTrial
from orchestrator.queue import Standing

REFRESH_SECONDS = 0.5


def share_done(planned: Sequence[PlannedTrial], standing: Standing, ledger: Ledger) -> float:
    """Share of the expected seconds that this run has behind it, from what is committed; 0 to 1."""
    total = sum(each.expected_seconds for each in planned)
    behind = 0.0
    ended = {*standing.done, *standing.failed}
    running = {each.key for each in list(standing.running.values())}
    for each in planned:
        if each.trial.key in ended:
            behind += each.expected_seconds
        elif each.trial.key in running:
            left = each.trial.iterations - each.iteration
            behind += each.expected_seconds * (_iteration(each, ledger) - each.iteration) / left if left else 0
    return behind / total if total else 1.0


def remaining_seconds(share: float, elapsed_seconds: float) -> float | None:
    """Time left if it goes on as until now; None as long as too little is known."""
    return elapsed_seconds * (1 - share) / share if share > 0.01 else None


def spoken(seconds: float | None) -> str:
    """`1:05:09`, `0:42`, or `-` for what is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Left(ProgressColumn):
    def render(self, task) -> Text:
        return Text(f"ETA {spoken(remaining_seconds(task.completed, task.fields['elapsed']))}", style="cyan")


class Watch:
    """Shows a run's Standing while the `with` block lasts."""

    def __init__(
        self, study: str, planned: Sequence[PlannedTrial], standing: Standing, ledger: Ledger, console: Console
    ) -> None:
        self._planned, self._standing, self._ledger = planned, standing, ledger
        self._names = {each.trial.key: each.trial.name for each in planned}
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), _Left(),
            TextColumn("{task.fields[now]}"), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task(study, total=1.0, now="starting Ray", elapsed=0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._progress.stop()

    def _look(self) -> None:
        while not self._over.wait(REFRESH_SECONDS) and not self._progress.disable:
            standing, elapsed = self._standing, time.monotonic() - self._started
            self._progress.update(
                self._task,
                completed=share_done(self._planned, standing, self._ledger),
                elapsed=elapsed,
                now=self._now(standing),
            )

    def _now(self, standing: Standing) -> str:
        parts = [f"{len(standing.done)}/{standing.total} done"]
        if standing.failed:
            parts.append(f"[red]{len(standing.failed)} failed[/red]")
        running = [self._names[each.key] for each in list(standing.running.values())[:3]]
        return ", ".join(parts) + (f"; running {', '.join(running)}" if running else "")


def _iteration(each: PlannedTrial, ledger: Ledger) -> int:
    try:
        head = ledger.folder(each.trial.key).head()
    except (LedgerError, OSError):
        return each.iteration
    return max(head.iteration, each.iteration) if head else each.iteration
