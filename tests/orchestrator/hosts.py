"""A Ray cluster of several nodes on this machine, each a tree of real processes that can be killed as by a power cut.

Each node has an address of its own on the loopback interface and a temporary folder of its own, as hosts have.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

STARTING_SECONDS = 120.0


class Hosts:
    """A head without cores, and workers with `cpus` each, behind a token. A context manager that leaves nothing."""

    def __init__(self, workers: int = 2, cpus: int = 1, pythonpath: str = "") -> None:
        self._place = Path(tempfile.mkdtemp(prefix="hosts-", dir="/tmp"))  # a socket's path must be short
        # Ray gives the path of its Python to a shell, unquoted, and a checkout's may have a blank.
        (self._place / "venv").symlink_to(sys.prefix)
        self._python = self._place / "venv" / "bin" / "python"
        self._token = self._place / "token"
        self._token.write_text(secrets.token_hex(32))
        self._token.chmod(0o600)
        self._cpus = cpus
        self._count = workers
        self._pythonpath = pythonpath
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self.port = _free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def workers(self) -> list[str]:
        """Names of the hosts that hold trials."""
        return [f"worker-{number}" for number in range(self._count)]

    @property
    def environment(self) -> dict[str, str]:
        """What a driver must have beside its address."""
        return {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": self._pythonpath,
        }

    def __enter__(self) -> Self:
        try:
            self.start_head()
            for worker in range(self._count):
                self.start_worker(worker)
            self.gather()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_head(self) -> None:
        """At the same port each time, so that those who know the address find it again."""
        self._start("head", "127.0.0.1", "--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false")
        until = time.monotonic() + STARTING_SECONDS
        while not _answers(self.port):
            assert time.monotonic() < until, f"the head did not start: {self.log('head')}"
            time.sleep(0.1)

    def start_worker(self, number: int, **environment: str) -> None:
        """What runs there sees the environment, and the host's name as `ON_HOST`."""
        self._start(
            f"worker-{number}",
            f"127.0.0.{number + 2}",
            f"--address={self.address}",
            f"--num-cpus={self._cpus}",
            **environment,
        )

    def gather(self) -> None:
        """Wait until every worker has joined; one that did not manage to in Ray's 30 s, as on a busy machine, is
        started again."""
        until = time.monotonic() + 2 * STARTING_SECONDS
        for name in self.workers:
            while not (self.alive(name) and "Ray runtime started" in self.log(name)):
                assert time.monotonic() < until, f"{name} did not start: {self.log(name)}"
                if not self.alive(name):
                    self.start_worker(int(name.rpartition("-")[2]))
                time.sleep(0.1)

    def kill(self, name: str) -> None:
        """`head` or `worker-0`: all its processes at once, those of trials there included."""
        ray = self._started.pop(name)
        with suppress(psutil.NoSuchProcess):
            tree = psutil.Process(ray.pid)
            for process in [*tree.children(recursive=True), tree]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
        ray.wait()

    def alive(self, name: str) -> bool:
        """Whether the node's processes are there: a worker whose head is gone ends by itself."""
        return name in self._started and self._started[name].poll() is None

    def log(self, name: str) -> str:
        return (self._place / f"{name}.log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        for name in list(self._started):
            self.kill(name)
        shutil.rmtree(self._place, ignore_errors=True)

    def _start(self, name: str, ip: str, *options: str, **environment: str) -> None:
        folder = self._place / name[0] / name[-1]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [
            str(self._python),
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            f"--node-ip-address={ip}",
            "--disable-usage-stats",
            *options,
        ]
        if "--head" in options:
            command.append(f"--temp-dir={folder}")
        with (self._place / f"{name}.log").open("wb") as log:
            self._started[name] = subprocess.Popen(
                command,
                env={**self.environment, "ON_HOST": name, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
