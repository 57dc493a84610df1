"""A study on a real cluster of one node: head.sh, `ablate submit`, `ablate run --address`, `ablate doctor`."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.remote.access import Token
from orchestrator.remote.jobs import Head, HeadError

ROOT = Path(__file__).parents[1]
SMALL = ("--set", "recipe.iterations=4", "--seeds", "1", "--no-track")
START_SECONDS = 180

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Site:
    dashboard: str
    gcs: str
    home: Path

    def ablate(self, *words: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ABLATE_"))}
        environment |= {"HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        program = "import sys; sys.argv[0] = 'ablate'; from ablations.cli import main; main()"
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(
            command, env=environment, cwd=self.home, capture_output=True, text=True, timeout=400, check=False
        )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A head with a token of its own, which is ended by its process id."""
    with tempfile.TemporaryDirectory(prefix="ablate-", ignore_cleanup_errors=True) as folder:  # Ray's sockets: short
        home = Path(folder)
        ports = [free_port() for _ in range(4)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {
            "HOME": folder,
            "BIN": str(programs(home)),
            "RAY_TMPDIR": folder,
            "PYTHONPATH": str(ROOT),
        }
        environment |= {"PORT": str(ports[0]), "DASHBOARD_PORT": str(ports[1])}
        script = [str(ROOT / "docs" / "clusters" / "head.sh"), "127.0.0.1", "--num-cpus=1"]
        with (home / "head.log").open("w") as log:
            head = subprocess.Popen(
                [
                    *script,
                    f"--ray-client-server-port={ports[2]}",
                    f"--dashboard-agent-listen-port={ports[3]}",
                ],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            site = Site(f"http://127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[0]}", home)
            wait_for(site)
            yield site
        finally:
            head.send_signal(signal.SIGTERM)  # `ray start --block` ends what it started, and nothing else
            head.wait(timeout=60)


def programs(home: Path) -> Path:
    """A folder with `python` and `ray`, without a blank in its path: Ray gives its Python's to a shell unquoted."""
    (home / "venv").symlink_to(sys.prefix)
    (home / "bin").mkdir()
    python = home / "venv" / "bin" / "python"
    for name, command in (("python", python), ("ray", f"{python} -m ray.scripts.scripts")):
        (home / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        (home / "bin" / name).chmod(0o755)
    return home / "bin"


def free_port() -> int:
    """Below those that Ray gives its workers."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        if not 10002 <= port <= 19999:
            return port


def wait_for(site: Site) -> None:
    token, until = site.home / ".ray" / "auth_token", time.monotonic() + START_SECONDS
    while True:
        try:
            Head(site.dashboard).admit(Token(token.read_text(), str(token)), allow_open=False)
            return
        except (HeadError, OSError):
            assert time.monotonic() < until, (site.home / "head.log").read_text()
            time.sleep(0.5)


def test_a_study_runs_as_a_job(site: Site) -> None:
    """With the code that is here, to its end, and its commit is known there; the same from a node, finding it done."""
    results = site.home / "results"
    where = ["--results", str(results)]
    only = ["--only", "digits-plain-20"]
    job = site.ablate("submit", "digits-depth", "--address", site.dashboard, *where, *SMALL, *only, "--follow")
    assert job.returncode == 0, job.stdout + job.stderr
    assert "1 begun, 1 done, 0 failed" in job.stdout
    (attempt,) = [json.loads(path.read_text()) for path in results.glob("trials/*/attempts/*.json")]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert attempt["commit"] == (commit.stdout.strip() or None)
    driver = json.loads((results / "studies" / "digits-depth" / "driver.json").read_text())
    assert driver["job"].startswith("ablate-digits-depth-")
    assert not list(results.glob(".probe-*"))

    only = ["--only", "digits-resnet-20-A"]
    run = site.ablate("run", "digits-depth", "--address", site.gcs, *where, *SMALL, *only)
    assert run.returncode == 0, run.stderr
    assert "1 begun, 1 done, 0 failed" in run.stderr
    again = site.ablate("run", "digits-depth", "--address", site.gcs, *where, *SMALL, *only)
    assert again.returncode == 0, again.stderr
    assert "0 submitted" in again.stderr
