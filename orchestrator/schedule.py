"""The trials of a queue on Ray Tune: Tune schedules, our Searcher decides. Tune's own state is thrown away."""

import io
import logging
import os
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orchestrator.cluster import Cluster, bundle
from orchestrator.queue import Queue, Running
from orchestrator.trial import Resources, Trial
from orchestrator.worker import Cause, Ending, Setting, execute

GRACE_SECONDS = 60.0
"""An attempt that was asked to stop and does not is ended after this."""


def run(queue: Queue, setting: Setting, cluster: Cluster, tick: Callable[[], None]) -> None:
    """Run the queue's trials on the connected cluster until each is done, failed or cancelled.

    A worker process is kept warm from one trial to the next. `tick` is called about ten times a second, and may
    change what the queue holds. Raises KeyboardInterrupt if the run is ended before: by Ctrl-C, a batch system or a
    closed terminal. At the first such word all that runs commits and stops, at the second it ends as it is.
    """
    from ray import tune

    trainable = tune.with_resources(
        tune.with_parameters(_trainable(), trials=dict(queue.trials), setting=setting), _placed
    )
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # an ended process is our Queue's affair, and it tells
    hooks = _Hooks(queue, cluster, tick)
    with (
        _interruptible(hooks),
        _scratch() as scratch,
        redirect_stdout(io.StringIO()),
    ):
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_searcher(hooks), scheduler=_scheduler(hooks), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="run",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    if hooks.trouble is not None:
        raise hooks.trouble
    if queue.interrupted or not queue.over:
        raise KeyboardInterrupt


@contextmanager
def _interruptible(hooks: "_Hooks") -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def first(*_: Any) -> None:
        hooks.interrupted = True  # and no more here: the queue may be in the middle of a decision
        for each in before:
            signal.signal(each, signal.default_int_handler)

    for each in before:
        signal.signal(each, first)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _scratch() -> Iterator[str]:
    """A folder for what Tune writes and nobody reads, in memory where that can be; those of killed drivers go too."""
    place = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())  # noqa: S108 - ours alone
    for left in place.glob("ablate-tune-*"):
        pid = left.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"ablate-tune-{os.getpid()}-", dir=place) as scratch:
        yield scratch


def _placed(config: Mapping[str, Any]) -> Any:
    """What a trial occupies, on the node that the queue chose for it."""
    from ray import tune

    occupied = bundle(Resources(**config["resources"]))
    return tune.PlacementGroupFactory([occupied], bundle_label_selector=[{"ray.io/node-id": config["node"]}])


def _trainable() -> Any:
    """One call of `step` is one attempt. A class, because Tune asks a function twice whether it is done."""
    from ray import tune

    class Attempt(tune.Trainable):
        def setup(self, config: dict[str, Any], **known: Any) -> None:  # noqa: ARG002 - Tune's name
            self._trials: Mapping[str, Trial] = known["trials"]
            self._setting: Setting = known["setting"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:  # noqa: ARG002 - Tune's name
            """The same process serves the next trial."""
            return True

        def step(self) -> dict[str, Any]:
            resources = Resources(**self.config["resources"])
            ending = execute(replace(self._trials[self.config["key"]], resources=resources), self._setting)
            return {"cause": str(ending.cause), "reason": ending.reason, "done": True}

    return Attempt


class _Hooks:
    """What Tune's hooks do. None of them raises: an exception in one would end the whole run there and then."""

    def __init__(self, queue: Queue, cluster: Cluster, tick: Callable[[], None]) -> None:
        self._queue, self._cluster, self._tick = queue, cluster, tick
        self.trouble: Exception | None = None
        """What went wrong in a hook: raised once Tune has ended."""
        self.interrupted = False
        """Set by a signal, at any moment."""
        self._tune_trials: dict[str, Any] = {}
        self._asked: dict[str, float] = {}
        """Key -> since when its attempt is asked to stop."""
        self._reasons: dict[str, str] = {}
        self._controller: Any = None
        self._steps = 0
        """Of Tune's."""
        self._kept: deque[tuple[int, Any]] = deque()
        """At which step a worker was kept, and what it occupies."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles what it is given, for a restoration that we never ask for."""
        return object, ()

    def next(self, ticket: str) -> Running | None:
        try:
            if self.interrupted and not self._queue.interrupted:
                self._queue.interrupt()
            self._tick()
            self._queue.see(self._cluster.nodes)
            return self._queue.next(ticket, time.monotonic())
        except Exception as error:  # noqa: BLE001 - kept, and raised after Tune's end
            self._in_trouble(error)
            return None

    @property
    def over(self) -> bool:
        return self._queue.over

    def _in_trouble(self, error: Exception) -> None:
        """The run cannot go on; what runs commits before it ends."""
        self.trouble = self.trouble or error
        if not self._queue.interrupted:
            self._queue.interrupt()

    def added(self, trial: Any) -> None:
        trial.init_local_path()  # Tune wants to know it at its end, also of one that never began
        self._tune_trials[trial.trial_id] = trial

    def broke(self, trial: Any) -> None:
        """Tune is about to tell that this one ended with an error, and has written down which."""
        with suppress(OSError, TypeError):
            if (reason := _reason(Path(trial.error_file).read_text(encoding="utf-8"))) is not None:
                self._reasons[trial.trial_id] = reason

    def ended(self, ticket: str, result: Mapping[str, Any] | None, error: bool) -> None:
        trial = self._tune_trials.pop(ticket, None)
        self._asked.pop(ticket, None)
        if not error and trial is not None:
            self._keep_worker(trial.placement_group_factory)
        if not error and result is not None and "cause" in result:
            ending = Ending(cause=Cause(result["cause"]), reason=result["reason"])
        else:
            ending = Ending(cause=self._why_gone(ticket), reason=self._reasons.pop(ticket, None))
        try:
            self._queue.ended(ticket, ending, time.monotonic())
        except Exception as trouble:  # noqa: BLE001 - kept, and raised after Tune's end
            self._in_trouble(trouble)

    def _keep_worker(self, place: Any) -> None:
        """Have Tune keep the worker that is about to be free until we have been asked for the next trial.

        It would let it go as soon as a worker of another kind is awaited, on whatever node, and each trial would pay
        for the start of a process.
        """
        if self._controller is not None:
            self._controller._actor_cache.increase_max(place)
            self._kept.append((self._steps, place))

    def _let_go_of_workers(self) -> None:
        """Of those that no trial has taken up in a whole step of Tune's."""
        while self._kept and self._kept[0][0] < self._steps - 1:
            self._controller._actor_cache.decrease_max(self._kept.popleft()[1])

    def _why_gone(self, ticket: str) -> Cause:
        """Whether the process of a trial died by itself, or with its node."""
        running = self._queue.standing.running.get(ticket)
        try:
            alive = {node.id for node in self._cluster.look()}
        except Exception:  # noqa: BLE001 - the cluster is away, and the node with it
            return Cause.NODE_LOST
        return Cause.DIED if running is not None and running.node in alive else Cause.NODE_LOST

    def clear(self, controller: Any) -> None:
        """Once in each step of Tune's: have it give up what waits for a node that is gone, and what does not stop when
        asked to."""
        self._controller, self._steps = controller, self._steps + 1
        self._let_go_of_workers()
        alive, now = {node.id for node in self._cluster.nodes}, time.monotonic()
        for ticket, running in list(self._queue.standing.running.items()):
            trial = self._tune_trials.get(ticket)
            if trial is None:
                continue
            stopping = running.key in self._queue.stops
            if trial.status == "PENDING":
                if stopping or running.node not in alive:
                    controller.stop_trial(trial)
                continue
            self._queue.began(ticket, now)
            if stopping and now - self._asked.setdefault(ticket, now) > GRACE_SECONDS:
                _kill(trial)


def _kill(trial: Any) -> None:
    """End a trial's process; Tune tells of it as of any death. Tune itself would keep it, for the next trial."""
    import ray

    if (actor := trial.temporary_state.ray_actor) is not None:
        ray.kill(actor)


def _reason(said: str) -> str | None:
    """What of Ray's words on a process that is gone helps a reader; a death by itself has no more to tell."""
    if "OutOfMemoryError" in said:
        return "Ray ended it, because its node had run out of memory"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if "Traceback" in said else None


def _searcher(hooks: _Hooks) -> Any:
    """Tune asks it for the next trial."""
    from ray.tune.search import Searcher

    class QueueSearcher(Searcher):
        def suggest(self, trial_id: str) -> Any:
            running = hooks.next(trial_id)
            if running is None:
                return Searcher.FINISHED if hooks.over else None
            return {"key": running.key, "node": running.node, "resources": asdict(running.resources)}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            hooks.ended(trial_id, result, error)

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the ledger is the state."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing: a new run plans anew."""

    return QueueSearcher()


def _scheduler(hooks: _Hooks) -> Any:
    """First come, first served: the Searcher has decided already. It is here for its hold on Tune's trials."""
    from ray.tune.schedulers import FIFOScheduler

    class Clearing(FIFOScheduler):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002 - Tune's name
            hooks.added(trial)

        def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
            """Tune forgets to, and would then keep a worker for it for ever, and what that occupies."""
            if trial in tune_controller._staged_trials:
                tune_controller._unstage_trial_with_resources(trial)
            tune_controller._resetting_trials.discard(trial)

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002 - Tune's name
            hooks.broke(trial)

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            hooks.clear(tune_controller)  # and none is preferred: Tune then starts whatever waits

    return Clearing()
