"""The Ray cluster that a run uses: one of its own on this machine, or one that is there already."""

import logging
import os
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from orchestrator.placement import Node
from orchestrator.remote.access import SETTINGS, Token, environment
from orchestrator.trial import Resources

LOOK_SECONDS = 1.0
"""Between two roll calls of the nodes."""
LOST_SECONDS = 30.0
"""After so long without an answer the cluster is given up. Ray would end the process after 60, without a word."""
RESTARTED = "was started anew, and knows nothing of this run"

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is thrown away: the ledger is the state
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end the trials before they could commit
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # our Queue hands out what fits, and nothing else
}

Lost = Callable[[str], None]
"""Told that the cluster does not answer any more, on another thread than the run's, which may hang for ever."""


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, about: str, lost: Lost) -> None:
        self.about = about
        """In words, as `local Ray on this machine`."""
        self._lost = lost
        self._nodes: list[Node] = []
        self._answers = 0
        self._over = threading.Event()
        self.look()

    @property
    def nodes(self) -> list[Node]:
        """Alive at the last roll call."""
        return self._nodes

    def look(self) -> list[Node]:
        """Ask who is alive, now."""
        import ray
        from ray.experimental.internal_kv import _internal_kv_exists

        _internal_kv_exists(b"ablate")  # raises if the head is another than before; the roll call ends the process then
        self._nodes = [node_of(each) for each in ray.nodes() if each["Alive"]]
        self._answers += 1
        return self._nodes

    def want(self, resources: Sequence[Resources]) -> None:
        """Tell an autoscaler, where there is one, what there is to hold: it sees no demand in what we place ourselves.

        Nothing wanted lets it take idle nodes away.
        """
        from ray.autoscaler.sdk import request_resources

        with suppress(Exception):  # a wish; a cluster that is away has other troubles
            request_resources(bundles=[bundle(each) for each in resources])

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look again and again while the block lasts; a cluster that does not answer is told as lost."""
        for work in (self._look_again, self._listen):
            threading.Thread(target=work, daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def _look_again(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - no answer; `_listen` says when it has been too long
                if _restarted(error):
                    self._lost(f"{self.about} {RESTARTED}")
                    return

    def _listen(self) -> None:
        """Counts its own looks rather than seconds: a process that was stopped for a while missed nothing."""
        silent, heard = 0, self._answers
        while not self._over.wait(LOOK_SECONDS):
            silent, heard = (0, self._answers) if self._answers != heard else (silent + 1, heard)
            if silent * LOOK_SECONDS > LOST_SECONDS:
                self._lost(f"{self.about} has not answered for {LOST_SECONDS:.0f} s")
                return


@contextmanager
def embedded(slots: int, lost: Lost) -> Iterator[Cluster]:
    """An embedded Ray on this machine, `slots` logical cores, closed to others by a token of its own.

    A word to end that goes to the whole group of processes, as a batch system's or a closed terminal's, is for us:
    Ray's processes do not hear it, and are there until our trials have committed. At the end none of them is left.
    """
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    before, started = _children(), set[psutil.Process]()
    try:
        with _connected(
            "local Ray on this machine",
            lost,
            address="local",
            num_cpus=slots,
            include_dashboard=False,
            runtime_env={"py_executable": shlex.quote(sys.executable)},  # Ray gives it to a shell, unquoted
        ) as cluster:
            try:
                yield cluster
            finally:
                started |= _children() - before
                _kill_at_shutdown()
    finally:
        for process in psutil.wait_procs(started, timeout=1)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _kill_at_shutdown() -> None:
    """Ray would ask its processes to end, which do not hear it, and wait a second for each."""
    from ray._private import worker

    if (node := worker._global_node) is not None:
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **how: kill(**{**how, "allow_graceful": False})


@contextmanager
def _unheard() -> Iterator[None]:
    """What is started meanwhile never hears of SIGTERM and SIGHUP."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@contextmanager
def joined(address: str, lost: Lost, token: Token | None) -> Iterator[Cluster]:
    """The cluster at `HOST:PORT`, which this machine is a node of; `token` where it asks for one.

    Raises ConnectionError if there is none.
    """
    environ = environment(token)
    os.environ.update({name: environ[name] for name in SETTINGS if name in environ})
    with _connected(f"Ray at {address}", lost, address=address) as cluster:
        yield cluster


@contextmanager
def _connected(about: str, lost: Lost, **how: Any) -> Iterator[Cluster]:
    os.environ.update(QUIET)
    import ray

    with _unheard():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
    try:
        cluster = Cluster(about, lost)
        with cluster.watched():
            yield cluster
    except Exception as error:
        if _restarted(error):
            lost(f"{about} {RESTARTED}")
        raise
    finally:
        ray.shutdown()


def _restarted(error: Exception) -> bool:
    """Whether another head answers at the address, which knows nothing of what was begun under the one before."""
    return "WrongClusterID" in str(error)


def bundle(resources: Resources) -> dict[str, float]:
    """As Ray has it."""
    return {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})


def node_of(said: Mapping[str, Any]) -> Node:
    """A node as Ray's list of nodes has it."""
    resources, labels = said["Resources"], said.get("Labels", {})
    return Node(
        id=said["NodeID"],
        host=said.get("NodeManagerHostname") or said["NodeManagerAddress"],
        cpus=resources.get("CPU", 0.0),
        gpus=int(resources.get("GPU", 0)),
        gpu=labels.get("ray.io/accelerator-type", ""),
    )
