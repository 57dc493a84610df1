"""A cluster of three hosts and a client, each in a network namespace, made by the scripts that ship.

Each has an address, a host name and a place for Ray's files of its own; the file system is shared, as a cluster's is.
Needs root and `ip`; touches no network of this machine. `make netns` runs it and shows what it sees.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "docs" / "clusters"
HOSTS = {"head": "10.203.0.1", "worker1": "10.203.0.2", "worker2": "10.203.0.3", "client": "10.203.0.4"}
DASHBOARD = f"http://{HOSTS['head']}:8265"
SMALL = ("--set", "recipe.iterations=20", "--seeds", "1")
START_SECONDS = 180

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and `ip`"),
]


@dataclass
class Hosts:
    """Namespaces joined by a bridge that lives in one more of them."""

    base: Path
    """Seen by all, as a network file system."""
    mark: str = field(default_factory=lambda: secrets.token_hex(2))
    started: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def name(self, host: str) -> str:
        return f"ablate-{self.mark}-{host}"

    def lay(self) -> None:
        ip("netns", "add", self.name("switch"))
        ip("-n", self.name("switch"), "link", "add", "bridge", "type", "bridge")
        ip("-n", self.name("switch"), "link", "set", "bridge", "up")
        for host, address in HOSTS.items():
            ip("netns", "add", self.name(host))
            peer = ["peer", "name", "eth0", "netns", self.name(host)]
            ip("-n", self.name("switch"), "link", "add", host, "type", "veth", *peer)
            ip("-n", self.name("switch"), "link", "set", host, "master", "bridge", "up")
            ip("-n", self.name(host), "address", "add", f"{address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                ip("-n", self.name(host), "link", "set", link, "up")
            (self.base / host / "home").mkdir(parents=True)
        self.private.mkdir()

    @property
    def private(self) -> Path:
        """The same path everywhere, and another folder on each host."""
        return self.base / "ray"

    def command(self, host: str, *words: str) -> list[str]:
        """Words as a program on a host: with its name, its address and its private folder."""
        enter = 'echo "$0" > /proc/sys/kernel/hostname; mount --bind "$1" "$2"; shift 2; exec "$@"'
        inside = ["unshare", "--mount", "--uts", "sh", "-c", enter, host, str(self.base / host), str(self.private)]
        return ["ip", "netns", "exec", self.name(host), *inside, *words]

    def environment(self, host: str, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ABLATE_", "MLFLOW_"))
        }
        kept |= {"HOME": str(self.base / host / "home"), "RAY_TMPDIR": str(self.private), "BIN": str(BIN)}
        return kept | {"PATH": f"{BIN}:{os.environ['PATH']}", "ABLATE_CACHE": str(self.base / "cache")} | more

    def start(self, host: str, *words: str, **more: str) -> None:
        """Run a program on a host until its end; what it says is in the host's log."""
        with (self.base / f"{host}.log").open("w") as log:
            self.started[host] = subprocess.Popen(
                self.command(host, *words),
                env=self.environment(host, **more),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.base,
                text=True,
            )

    def pids(self, host: str) -> list[int]:
        """Of every process on a host, and of no other."""
        listed = subprocess.run(["ip", "netns", "pids", self.name(host)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def end(self, host: str) -> None:
        for pid in self.pids(host):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        if host in self.started:
            self.started.pop(host).wait()

    def clear(self) -> None:
        for host in HOSTS:
            self.end(host)
        for host in (*HOSTS, "switch"):
            subprocess.run(["ip", "netns", "del", self.name(host)], capture_output=True, check=False)


BIN = Path(sys.executable).parent


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def laid_out() -> Iterator[Hosts]:
    base = Path(tempfile.mkdtemp(prefix="ablate-", dir="/var/tmp"))  # short: Ray's sockets lie below
    hosts = Hosts(base)
    try:
        hosts.lay()
        yield hosts
    finally:
        hosts.clear()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with laid_out() as found:
        yield found


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    error: str
    seconds: float


class Client:
    """The machine that users sit at: it sees the head's network and the results, and runs no Ray."""

    def __init__(self, hosts: Hosts, token: Path) -> None:
        self._hosts, self._token = hosts, token

    def ablate(self, *words: str, **more: str) -> Said:
        began = time.monotonic()
        ended = subprocess.run(self._command(words), **self._how(more), capture_output=True, timeout=600, check=False)
        seconds = time.monotonic() - began
        say(f"$ ablate {' '.join(words)}   [{seconds:.1f} s, exit code {ended.returncode}]")
        for line in (ended.stdout + ended.stderr).splitlines():
            say(f"    {line}")
        return Said(ended.returncode, ended.stdout, ended.stderr, seconds)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(self._command(words), **self._how({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        program = "import sys; sys.argv[0] = 'ablate'; from ablations.cli import main; main()"
        return self._hosts.command("client", sys.executable, "-c", program, *words)

    def _how(self, more: Mapping[str, str]) -> dict:
        known = {"RAY_AUTH_TOKEN_PATH": str(self._token), "PYTHONPATH": str(ROOT), **more}
        return {"env": self._hosts.environment("client", **known), "cwd": self._hosts.base, "text": True}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def one_line(said: Said) -> str:
    lines = said.error.splitlines()
    assert len(lines) == 1, said.error
    return lines[0]


def wait_for(hosts: Hosts, what: str, nodes: int, token: str = "") -> None:
    """Until the head tells the client of so many nodes."""
    program = (
        "import json, sys, urllib.request as u\n"
        "r = u.Request(sys.argv[1] + '/api/v0/nodes', headers={'Authorization': 'Bearer ' + sys.argv[2]})\n"
        "found = json.load(u.build_opener(u.ProxyHandler({})).open(r, timeout=5))['data']['result']['result']\n"
        "sys.exit(sum(each['state'] == 'ALIVE' for each in found) < int(sys.argv[3]))"
    )
    command = hosts.command("client", sys.executable, "-c", program, DASHBOARD, token, str(nodes))
    began = time.monotonic()
    while subprocess.run(command, capture_output=True, check=False).returncode:
        logs = "\n".join(path.read_text()[-1500:] for path in hosts.base.glob("*.log"))
        assert time.monotonic() - began < START_SECONDS, f"{what} did not come\n{logs}"
        time.sleep(1)
    say(f"{what}: after {time.monotonic() - began:.0f} s")


def test_an_open_head_is_refused(hosts: Hosts) -> None:
    """A head without a token that others can reach is used only by who says so."""
    ray = ["ray", "start", "--head", "--block", "--disable-usage-stats", f"--node-ip-address={HOSTS['head']}"]
    hosts.start("head", *ray, "--num-cpus=0", f"--dashboard-host={HOSTS['head']}", RAY_AUTH_MODE="disabled")
    try:
        wait_for(hosts, "an open head", 1)
        said = Client(hosts, hosts.base / "none").ablate(
            "submit", "digits-depth", "--address", DASHBOARD, "--results", str(hosts.base / "results"),
            RAY_AUTH_TOKEN_PATH="",
        )  # fmt: skip
        assert said.code == 4
        assert "--allow-open-cluster" in one_line(said)
        assert said.seconds < 5
    finally:
        hosts.end("head")


def test_a_study_is_submitted_from_another_network(hosts: Hosts) -> None:
    """It runs on both workers, is followed to its end, and its page is made; whoever lacks the token is told so."""
    token, results = hosts.base / "head" / "home" / ".ray" / "auth_token", hosts.base / "results"
    where = ("--address", DASHBOARD, "--results", str(results))
    client = Client(hosts, token)
    begin_cluster(hosts, token)

    wrong = client.ablate("submit", "digits-depth", *where, RAY_AUTH_TOKEN="wrong")
    assert (wrong.code, wrong.out) == (4, "")
    assert "does not take the token in RAY_AUTH_TOKEN" in one_line(wrong)
    assert wrong.seconds < 5
    missing = client.ablate("submit", "digits-depth", *where, RAY_AUTH_TOKEN_PATH="")
    assert missing.code == 4
    assert "needs a token" in one_line(missing)
    frozen = ask_a_frozen_head(hosts, client, where)
    assert frozen.code == 4
    assert "does not answer within 5 s" in one_line(frozen)

    private = client.ablate("submit", "digits-depth", "--address", DASHBOARD, "--results", str(hosts.private / "mine"))
    assert private.code == 4
    assert all("worker" in line and "shared storage" in line for line in private.error.splitlines())
    assert len(private.error.splitlines()) == 2
    assert not results.exists()

    doctor = client.ablate("doctor", *where)
    assert doctor.code == 0
    assert "3 answer" in doctor.out

    follow_a_run(client, where, results)
    ledger = Ledger(results)
    folders = [ledger.folder(key) for key in ledger.trials()]
    ran = [json.loads(path.read_text())["host"] for each in folders for path in (each.path / "attempts").glob("*.json")]
    say(f"{len(folders)} trials: " + ", ".join(f"{ran.count(host)} on {host}" for host in sorted(set(ran))))
    assert set(ran) == {"worker1", "worker2"}
    assert len(folders) == 16
    assert all(each.commits()[0].result for each in folders)

    again = client.ablate("submit", "digits-depth", *where, *SMALL, "--follow")
    assert again.code == 0
    assert "16 done; 0 submitted" in again.out
    assert client.ablate("report", "digits-depth", *SMALL, "--results", str(results)).code == 0
    assert (results / "studies" / "digits-depth" / "report.html").stat().st_size > 10_000


def begin_cluster(hosts: Hosts, token: Path) -> None:
    head = HOSTS["head"]
    hosts.start("head", str(CLUSTERS / "head.sh"), head, "--num-cpus=0", DASHBOARD_HOST=head)
    while not token.exists():
        time.sleep(0.1)
    assert token.stat().st_mode & 0o777 == 0o600
    wait_for(hosts, "head.sh", 1, token.read_text())
    for host in ("worker1", "worker2"):
        script = [str(CLUSTERS / "worker.sh"), f"{head}:6379", HOSTS[host], "--num-cpus=1"]
        hosts.start(host, *script, RAY_AUTH_TOKEN_PATH=str(token))
    wait_for(hosts, "two of worker.sh", 3, token.read_text())


def ask_a_frozen_head(hosts: Hosts, client: Client, where: tuple[str, ...]) -> Said:
    """Its system takes connections; nothing answers them."""
    pids = hosts.pids("head")
    try:
        for pid in pids:
            os.kill(pid, 19)
        return client.ablate("submit", "digits-depth", *where)
    finally:
        for pid in pids:
            os.kill(pid, 18)


def follow_a_run(client: Client, where: tuple[str, ...], results: Path) -> None:
    """To its end, and one of its trials beside it; meanwhile nobody submits the study again."""
    began = time.monotonic()
    say("$ ablate submit digits-depth --follow")
    refused = trial = None
    with ExitStack() as begun:
        following = begun.enter_context(client.begin("submit", "digits-depth", *where, *SMALL, "--follow"))
        assert following.stdout is not None
        for line in following.stdout:
            say(f"    {line.rstrip()}")
            if "16 to run" in line and refused is None:
                refused = client.ablate("submit", "digits-depth", *where, *SMALL)
                words = ("logs", "digits-plain-20.s0", "-f", "--results", str(results))
                trial = begun.enter_context(client.begin(*words))
        assert refused is not None
        assert trial is not None
        say(f"followed to its end in {time.monotonic() - began:.0f} s\n$ ablate logs digits-plain-20.s0 -f")
        told, _ = trial.communicate(timeout=60)
        say("".join(f"    {line}\n" for line in told.splitlines()))
    assert (following.returncode, trial.returncode) == (0, 0)
    assert "on worker" in told
    assert "finished at iteration 20 of 20" in told
    assert refused.code == 4
    assert "is being run by job ablate-digits-depth-" in one_line(refused)
