"""One run of a study: hold it, join a cluster, plan it, run what is missing, steer it, and let go of everything."""

import os
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from rich.console import Console

from orchestrator import schedule
from orchestrator.cluster import Cluster
from orchestrator.driver import Driver, DriverRecord
from orchestrator.ledger import Ledger, last_line
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.planning.simulate import simulate
from orchestrator.queue import Queue, Standing, joint, occupied
from orchestrator.steering import Cancellation, forget, take
from orchestrator.studies import RecordedStudy, sole_run, write_study
from orchestrator.tracking.addresses import default_uri, without_password
from orchestrator.watch import Watch, spoken
from orchestrator.worker import Setting

FORWARDER_SECONDS = 120
"""How long a run waits at its end for MLflow to catch up."""
TICK_SECONDS = 1.0
STUCK_SECONDS = 900.0
"""How long a run waits for a node that is large enough, when nothing else is left to do: a cloud takes minutes."""
WANT_SECONDS = 10.0
"""Between two words to an autoscaler."""
MOST_WANTED = 1000


class UnplaceableError(Exception):
    """Trials wait, and the cluster has no node that could hold them."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the user allows a run, beside what it is asked."""

    slots: int | None = None
    """Trials at a time; None: as many as fit."""
    only: Sequence[str] = ()
    """Arms and trials that alone are submitted, with those that they begin from; empty: all."""
    budget_hours: float | None = None
    """GPU-hours, or core-hours of trials that need no GPU."""


Round = tuple[RecordedStudy, Callable[[], Plan]]
"""A study, and what compares it with the ledger; that is called once the study is held."""


def run(
    study: RecordedStudy,
    planner: Callable[[], Plan],
    setting: Setting,
    cluster: Callable[[], AbstractContextManager[Cluster]],
    limits: Limits,
    *,
    tracking: str | None,
    console: Console,
    following: Callable[[Standing], Round | None] = lambda _: None,
) -> Standing:
    """Submit exactly what the ledger misses and resume what is partial; again, and nothing is submitted.

    `following` is asked after each round whether the study goes on with more trials, on the same cluster and budget; it
    is told how the run stands. A round in which anything failed, was cancelled or not begun is the last.

    Raises StudyInUse if another run of the study is at work.
    """
    results, stands = Path(setting.results), Standing(total=0)
    with sole_run(results, study.name):
        submitted = _asked(results, (study, planner), limits, console)
        with _forwarding(results, study.name, tracking, console), ExitStack() as held:
            at: Cluster | None = None
            while True:
                left = _left(limits, stands)
                if submitted and (none := _unaffordable(submitted, left, console)) is not None:
                    return joint(stands, none)
                if submitted:
                    at = at or held.enter_context(cluster())
                    stands = joint(stands, _run(study.name, submitted, setting, at, left, console))
                over = stands.failed or stands.cancelled or stands.unaffordable
                if over or (now := following(stands)) is None:
                    return stands
                submitted = _asked(results, now, limits, console)


def _asked(results: Path, now: Round, limits: Limits, console: Console) -> list[PlannedTrial]:
    """Remember the study as it is run now, and say what of it is to be submitted."""
    study, planner = now
    write_study(results, study)
    forget(results, study.name)
    planned = planner()
    submitted = select(planned.open, limits.only)
    _say(planned, submitted, console)
    return submitted


def _unaffordable(submitted: Sequence[PlannedTrial], limits: Limits, console: Console) -> Standing | None:
    """How the round ends where the budget is too small for any of its trials."""
    if limits.budget_hours is None or (least := _cheapest_hours(submitted)) <= limits.budget_hours:
        return None
    console.print(
        f"nothing begins: the budget is {limits.budget_hours:g} hours, and the cheapest open trial is"
        f" expected to take {least:.2g}",
        highlight=False,
        soft_wrap=True,
    )
    return Standing(total=len(submitted), unaffordable=[each.trial.key for each in submitted])


def _left(limits: Limits, stands: Standing) -> Limits:
    """What further rounds may cost."""
    if limits.budget_hours is None:
        return limits
    return replace(limits, budget_hours=max(0.0, limits.budget_hours - stands.spent_seconds / 3600))


def _run(
    study: str,
    submitted: Sequence[PlannedTrial],
    setting: Setting,
    cluster: Cluster,
    limits: Limits,
    console: Console,
) -> Standing:
    results, ledger = Path(setting.results), Ledger(Path(setting.results))
    queue = Queue(
        submitted,
        ledger,
        cluster.nodes,
        budget_seconds=limits.budget_hours * 3600 if limits.budget_hours is not None else None,
        most=limits.slots,
    )
    console.print(_expected(cluster, submitted, limits.slots), highlight=False, soft_wrap=True)
    expected = {each.trial.key: round(each.expected_seconds, 3) for each in submitted}
    driver = Driver(results / "studies" / study, secrets.token_hex(8), cluster.about, expected)
    post = _Post(study, results, ledger, driver)
    helm = _Helm(queue, cluster, driver, post, console)
    try:
        with Watch(study, submitted, queue.standing, ledger, console), post.carried():
            schedule.run(queue, replace(setting, run=driver.run), cluster, helm.tick)
    finally:
        cluster.want([])
        with suppress(OSError):
            driver.write(driver.record(queue.standing, cluster.nodes, time.monotonic(), ended=True))
    return queue.standing


class _Post:
    """Between the run and the results directory, on a thread of its own: while that hangs, decisions go on."""

    def __init__(self, study: str, results: Path, ledger: Ledger, driver: Driver) -> None:
        self._study, self._results, self._ledger, self._driver = study, results, ledger, driver
        self._over = threading.Event()
        self.words: deque[Cancellation] = deque()
        """What users asked for, and nobody has taken up yet."""
        self.stops: Sequence[str] = ()
        """Keys of the trials that are to be asked to stop."""
        self.record: DriverRecord | None = None
        """To be written, unless it was."""
        self.trouble: str | None = None
        """Why the record could not be written when that was last tried."""

    @contextmanager
    def carried(self) -> Iterator[None]:
        thread = threading.Thread(target=self._carry, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(timeout=2 * TICK_SECONDS)  # it may hang with the directory

    def _carry(self) -> None:
        while not self._over.wait(TICK_SECONDS / 2):
            with suppress(OSError):
                self.words.extend(take(self._results, self._study))
            for key in self.stops:
                with suppress(OSError):
                    self._ledger.ask_to_stop(key, self._driver.run)
            record, self.record = self.record, None
            if record is not None:
                self._write(record)

    def _write(self, record: DriverRecord) -> None:
        try:
            self._driver.write(record)
            self.trouble = None
        except OSError as error:
            self.trouble = last_line(error)


class _Helm:
    """Between two decisions of the queue: what users ask, what the budget allows, and what is told of it all."""

    def __init__(self, queue: Queue, cluster: Cluster, driver: Driver, post: _Post, console: Console) -> None:
        self._queue, self._cluster, self._driver, self._post = queue, cluster, driver, post
        self._looked = self._wanted = -inf
        self._stuck_since: float | None = None
        self._console, self._said = console, False
        self._trouble: str | None = None

    def tick(self) -> None:
        """Once a second. Raises UnplaceableError when nothing has fitted any node for minutes."""
        now = time.monotonic()
        if now - self._looked < TICK_SECONDS:
            return
        self._looked = now
        while self._post.words:
            asked = self._post.words.popleft()
            self._queue.cancel(asked.keys, asked.by)
        self._queue.keep_budget(now)
        self._post.stops = tuple(self._queue.stops)
        if self._driver.due():
            self._post.record = self._driver.record(self._queue.standing, self._cluster.nodes, now)
        if now - self._wanted >= WANT_SECONDS:
            self._wanted = now
            self._cluster.want(self._queue.wanted()[:MOST_WANTED])
        self._tell_trouble()
        if not self._queue.interrupted:
            self._see_whether_stuck(now)
        elif not self._said:
            self._said = True
            self._print("ending: what runs commits first; a second Ctrl-C ends it at once")

    def _tell_trouble(self) -> None:
        trouble = self._post.trouble
        if (trouble is None) != (self._trouble is None):
            at = time.strftime("%H:%M:%S")
            can = "can be written again" if trouble is None else f"cannot be written: {trouble}; trials wait for it"
            self._print(f"{at}: the results directory {can}")
        self._trouble = trouble

    def _print(self, line: str) -> None:
        with suppress(OSError):  # the terminal may be what ended
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _see_whether_stuck(self, now: float) -> None:
        waiting = self._queue.unplaceable()
        if self._queue.standing.running or not waiting:
            self._stuck_since = None
            return
        self._stuck_since = self._stuck_since or now
        if now - self._stuck_since > STUCK_SECONDS:
            needs = waiting[0].resources
            raise UnplaceableError(
                f"no node of the cluster is large enough for {waiting[0].name} ({needs.cpus:g} cores,"
                f" {needs.gpus:g} GPUs), and none came in {STUCK_SECONDS:.0f} s; what was committed is kept"
            )


def select(planned: Sequence[PlannedTrial], only: Sequence[str]) -> list[PlannedTrial]:
    """Those of these arms and trials, and those that they begin from; without names, all."""
    parents = {each.trial.key: each.trial.after for each in planned}
    asked: set[str | None] = {each.trial.key for each in planned if {each.trial.arm, each.trial.name} & set(only)}
    waiting = list(asked)
    while waiting:
        parent = parents.get(waiting.pop() or "")
        if parent in parents and parent not in asked:
            asked.add(parent)
            waiting.append(parent)
    return [each for each in planned if not only or each.trial.key in asked]


def _say(now: Plan, submitted: Sequence[PlannedTrial], console: Console) -> None:
    states = ", ".join(f"{len(group)} {name}" for name, group in now.by_state().items())
    runs = f"{len(submitted)} to run" if submitted else "0 submitted"
    console.print(f"{len(now.trials)} trials: {states}; {runs}", highlight=False)


def _cheapest_hours(submitted: Sequence[PlannedTrial]) -> float:
    """Expected GPU-hours, or core-hours, of the cheapest of those that wait for no other of them."""
    keys = {each.trial.key for each in submitted}
    first = [each for each in submitted if each.trial.after not in keys]
    return min(each.expected_seconds * occupied(each.trial.resources) for each in first) / 3600


def _expected(cluster: Cluster, submitted: Sequence[PlannedTrial], slots: int | None) -> str:
    nodes = cluster.nodes
    where = cluster.about if len(nodes) == 1 else f"{cluster.about}, {len(nodes)} nodes"
    found = simulate(submitted, nodes, most=slots)
    at_once = sum(each.started == 0 for each in found.spans)
    return f"{where}, {at_once} trials at a time; expected {spoken(found.makespan)}"


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
