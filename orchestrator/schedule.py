"""The trials of a plan on Ray Tune: Tune schedules, our Searcher decides. The only file that knows Ray.

Tune's own state is thrown away: each run hands it the trials that the ledger still misses, longest expected first.
"""

import io
import logging
import os
import secrets
import shlex
import signal
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger import Ledger, LedgerError
from orchestrator.trial import Resources, Trial
from orchestrator.worker import Setting, execute

TRIES_AFTER_ERROR = 2
"""An error in a trial's code is tried once more, then the trial has failed."""
DEATHS_WITHOUT_COMMIT = 3
"""A trial whose process died is resumed without limit as long as it gets on; after so many deaths at one commit it
has failed, because it would go on dying."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass
class Standing:
    """Where a run stands now; the Searcher writes it, whoever watches reads it."""

    total: int
    running: dict[str, str] = field(default_factory=dict)
    """Tune's trial id -> key."""
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Key -> reason."""
    submitted: int = 0


class Queue:
    """Which trial is next, and what becomes of one that ended: the decisions, without Ray."""

    def __init__(self, trials: Sequence[Trial], ledger: Ledger) -> None:
        self.trials = {trial.key: trial for trial in trials}
        self.standing = Standing(total=len(self.trials))
        self._waiting = deque(self.trials)
        self._ledger = ledger
        self._errors: Counter[str] = Counter()
        self._deaths: Counter[tuple[str, int]] = Counter()

    def next(self, ticket: str) -> str | None:
        """The key to run under this ticket: the first that is ready; None while none is."""
        key = next((each for each in self._waiting if self._ready(each)), None)
        if key is not None:
            self._waiting.remove(key)
            self.standing.running[ticket] = key
            self.standing.submitted += 1
        return key

    def _ready(self, key: str) -> bool:
        """Whether the trial that it comes after is done; one that is not of this run was, or the plan blocks it."""
        after = self.trials[key].after
        return after not in self.trials or after in self.standing.done

    @property
    def over(self) -> bool:
        return not self._waiting and not self.standing.running

    def ended(self, ticket: str, *, died: bool, reason: str | None) -> None:
        """A ticket's process died, or answered with None or the reason of its error."""
        key = self.standing.running.pop(ticket, None)
        if key is None:
            return
        if died:
            self._died(key)
        elif reason is None:
            self.standing.done.append(key)
        else:
            self._errors[key] += 1
            self._again(key, self._errors[key] < TRIES_AFTER_ERROR, reason)

    def _died(self, key: str) -> None:
        try:
            head = self._ledger.folder(key).head()
        except (LedgerError, OSError) as error:
            self._failed(key, str(error))
            return
        if head is not None and head.result is not None:
            self.standing.done.append(key)
            return
        at = head.iteration if head else 0
        self._deaths[key, at] += 1
        reason = f"its process died {DEATHS_WITHOUT_COMMIT} times after iteration {at} without a new commit"
        self._again(key, self._deaths[key, at] < DEATHS_WITHOUT_COMMIT, reason)

    def _again(self, key: str, worthwhile: bool, reason: str) -> None:
        if worthwhile:
            self._waiting.appendleft(key)
        else:
            self._failed(key, reason)

    def _failed(self, key: str, reason: str) -> None:
        """The trial has failed, and with it every trial that was to begin from it."""
        self.standing.failed[key] = reason
        for child in [each for each in self._waiting if self.trials[each].after == key]:
            self._waiting.remove(child)
            self._failed(child, f"it begins from {self.trials[key].name}, which failed: {reason}")


@contextmanager
def cluster(slots: int) -> Iterator[None]:
    """An embedded Ray on this machine, `slots` logical cores, closed to others by a token of its own."""
    os.environ.update(QUIET)
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    import ray

    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"py_executable": shlex.quote(sys.executable)},  # Ray gives it to a shell, unquoted
    )
    try:
        yield
    finally:
        ray.shutdown()


def run(queue: Queue, setting: Setting, slots: int) -> None:
    """Run the queue's trials on the connected cluster, `slots` at a time, until each is done or failed.

    A worker process is kept warm from one trial to the next. Raises KeyboardInterrupt if it is ended before.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(1, slots))
    from ray import tune

    trials = queue.trials
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, trials=trials, setting=setting),
        lambda config: tune.PlacementGroupFactory([_bundle(trials[config["key"]].resources)]),
    )
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # an ended process is our Queue's affair, and it tells
    for each in (signal.SIGTERM, signal.SIGHUP):  # from a batch system or a closed terminal: as Ctrl-C, cleanly
        signal.signal(each, lambda *_: signal.raise_signal(signal.SIGINT))
    with tempfile.TemporaryDirectory(prefix="ablate-tune-") as scratch, redirect_stdout(io.StringIO()):
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(search_alg=_searcher(queue), num_samples=-1, reuse_actors=True),
            run_config=tune.RunConfig(
                name="run",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()
    if not queue.over:
        raise KeyboardInterrupt  # Tune takes Ctrl-C for itself, ends the trials and returns as if all were well


def _trainable(config: Mapping[str, Any], trials: Mapping[str, Trial], setting: Setting) -> None:
    from ray import tune

    tune.report({"reason": execute(trials[config["key"]], setting)})


def _bundle(resources: Resources) -> dict[str, float]:
    return {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})


def _searcher(queue: Queue) -> Any:
    """Tune asks it for the next trial. Its hooks never raise: an exception in one would end the whole run."""
    from ray.tune.search import Searcher

    class QueueSearcher(Searcher):
        def suggest(self, trial_id: str) -> Any:
            key = queue.next(trial_id)
            if key is None:
                return Searcher.FINISHED if queue.over else None
            return {"key": key}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            answered = result is not None and "reason" in result
            queue.ended(trial_id, died=error or not answered, reason=result["reason"] if result and answered else None)

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the ledger is the state."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing: a new run plans anew."""

    return QueueSearcher()
