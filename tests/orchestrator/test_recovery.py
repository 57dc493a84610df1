"""A grid on real Ray nodes survives whatever is killed: nothing lost, nothing done twice, every bit the same.

The default suite has a few kills; `make chaos` has two hundred and more, and prints what it did. CHAOS_SEED chooses
them, CHAOS_KILLS their number as a share of the usual, CHAOS_MUTATION breaks recovery on purpose, and CHAOS_JSON names
a file for the figures.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import chaos as chaotic
import pytest
from chaos import Chaos, Grid, Intent, Judgement, Server
from hosts import Hosts

from orchestrator.driver import read_driver
from orchestrator.ledger import Ledger

HERE = Path(__file__).parent
SEED = int(os.environ.get("CHAOS_SEED", "0"))
SHARE = float(os.environ.get("CHAOS_KILLS", "1"))
MUTATION = os.environ.get("CHAOS_MUTATION", "")
KILLS = {"trial": 150, "node": 18, "driver": 14, "head": 4, "mlflow": 24}
LEAST_SHARE = 0.05
"""Of the kills, in each phase."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Hosts]:
    """A head and three nodes of one core; their workers find this tree and what is beside this file."""
    path = os.pathsep.join(map(str, (HERE, HERE.parents[1])))
    with Hosts(workers=3, pythonpath=path) as hosts:
        yield hosts


@pytest.fixture
def hosts(cluster: Hosts) -> Hosts:
    """The cluster, whole again after whatever the test before did to it."""
    cluster.gather()
    return cluster


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow, with a database of its own."""
    mlflow = Server(tmp_path_factory.mktemp("mlflow") / "server")
    mlflow.start()
    try:
        yield mlflow
    finally:
        mlflow.kill()


def test_a_few_kills(hosts: Hosts, tmp_path: Path) -> None:
    """Of trials, a node and a driver, on real and toy trials."""
    with Chaos(hosts, tmp_path) as chaos:
        intents = chaotic.plan(SEED, {"trial": 6, "node": 1, "driver": 1})
        chaos.run(chaotic.digits(chaos, hosts, 1), intents)
        for grids in count(1):
            if not intents:
                break
            chaos.run(chaotic.toys(chaos, hosts, 8 * grids), intents)
        chaos.settle()
        found = chaotic.judge(chaos, tmp_path)
    assert found.faultless, "\n".join(chaotic.table(chaos, found))
    assert len(chaos.kills) == 8


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_two_hundred_kills(hosts: Hosts, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of everything, in every phase, while a forwarder copies to MLflow."""
    began = time.monotonic()
    until(server.up)
    with Chaos(hosts, tmp_path, server) as chaos:
        intents = chaotic.plan(SEED, {victim: round(SHARE * number) for victim, number in KILLS.items()})
        planned = len(intents)
        for grids in count(1):
            chaos.run(chaotic.toys(chaos, hosts, 60 * grids, mutation=MUTATION, tracking=server.uri), intents)
            if not intents or chaos.refused:
                break
            chaos.run(chaotic.digits(chaos, hosts, 8 * grids, mutation=MUTATION, tracking=server.uri), intents)
            if not intents or chaos.refused:
                break
        chaos.settle()
        until(server.up)
        chaotic.publish(chaos, server.uri)
        found = chaotic.judge(chaos, tmp_path, server)
    report(chaos, found, time.monotonic() - began, capsys)
    assert found.faultless
    assert len(chaos.kills) == planned
    phases = [kill.phase for kill in chaos.kills]
    assert min(map(phases.count, chaotic.PHASES)) >= LEAST_SHARE * planned


def report(chaos: Chaos, found: Judgement, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures, for a person, and for a program where it is asked."""
    with capsys.disabled():
        print(f"\nchaos, seed {SEED}, {seconds:.0f} s{', mutation ' + MUTATION if MUTATION else ''}")  # noqa: T201
        print("\n".join(chaotic.table(chaos, found)))  # noqa: T201 - the figures are what `make chaos` is for
    if path := os.environ.get("CHAOS_JSON"):
        facts = {"seed": SEED, "mutation": MUTATION, "wall_seconds": round(seconds, 1), **chaotic.facts(chaos, found)}
        Path(path).write_text(json.dumps(facts, indent=1))


AIMS = {
    "no-atomic-step": Intent(
        victim="trial", phase="commit", point="commit.json", passes=0, torn=1, away=0, frozen=False
    ),
    "early-done": Intent(victim="trial", phase="finish", point="curves.jsonl", passes=0, torn=0, away=0, frozen=False),
    "no-generator-state": Intent(victim="trial", phase="training", passes=40, torn=0, away=0, frozen=False),
}
"""For each mutation a kill that makes it tell."""


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("mutation", "fault"), [("no-atomic-step", "lost"), ("early-done", "lost"), ("no-generator-state", "differing")]
)
def test_broken_recovery_is_seen(mutation: str, fault: str, hosts: Hosts, tmp_path: Path) -> None:
    """A kill that hits where it hurts is enough."""
    assert getattr(under([AIMS[mutation]], mutation, hosts, tmp_path), fault)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_the_same_kills_without_a_mutation(hosts: Hosts, tmp_path: Path) -> None:
    """So it is the mutation that is seen, not the kill."""
    assert under([*AIMS.values()], "", hosts, tmp_path).faultless


def under(intents: list[Intent], mutation: str, hosts: Hosts, place: Path) -> Judgement:
    """Four trials under these kills."""
    with Chaos(hosts, place) as chaos:
        chaos.run(chaotic.digits(chaos, hosts, 1, mutation=mutation), intents)
        assert chaos.kills
        return chaotic.judge(chaos, place)


# One event each -----------------------------------------------------------------------------------------------------


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("at_once", [False, True], ids=["comes back later", "comes back at once"])
def test_a_killed_head(at_once: bool, hosts: Hosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The driver ends by itself within a minute, with one line and exit code 4; the same command completes the rest."""
    with Chaos(hosts, tmp_path) as chaos:
        grid = chaotic.digits(chaos, hosts, 3)
        first = begin(grid, hosts, tmp_path / "first.log")
        until(lambda: len(_done(chaos.results)) > 1)
        began = time.monotonic()
        hosts.kill("head")
        if at_once:
            hosts.start_head()
        code = first.wait(timeout=180)
        seconds = time.monotonic() - began
        renew(hosts, head=not at_once)
        done = _done(chaos.results)
        chaos.run(grid, [])
        found = chaotic.judge(chaos, tmp_path)
    said = (tmp_path / "first.log").read_text().splitlines()
    with capsys.disabled():
        print(f"\nhead killed: the driver ended after {seconds:.0f} s, exit code {code}: {said[-1:]}")  # noqa: T201
    assert code == 4
    assert [line for line in said if "rror" in line] == said[-1:]
    assert said[-1].startswith("error: Ray at ")
    assert said[-1].endswith("what was committed is kept, and the same command goes on from there")
    assert found.faultless
    assert done <= _done(chaos.results)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_two_drivers_at_once(hosts: Hosts, tmp_path: Path) -> None:
    """The second is refused in one line that names the first, with exit code 4; the first does not notice."""
    with Chaos(hosts, tmp_path) as chaos:
        grid = chaotic.digits(chaos, hosts, 1)
        first = begin(grid, hosts, tmp_path / "first.log")
        until(lambda: read_driver(chaos.results, "chaos") is not None)
        second = begin(grid, hosts, tmp_path / "second.log")
        assert second.wait() == 4
        (line,) = (tmp_path / "second.log").read_text().splitlines()
        assert line.startswith(f"error: study chaos is being run by pid {first.pid} on ")
        assert first.wait() == 0
        assert chaotic.judge(chaos, tmp_path).faultless


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_node_on_which_trials_die(hosts: Hosts, tmp_path: Path) -> None:
    """After two deaths in a row it is set aside, and said so; every trial is done elsewhere."""
    with Chaos(hosts, tmp_path) as chaos:
        grid = chaotic.toys(chaos, hosts, 9, dies_on="worker-1")
        process = begin(grid, hosts, tmp_path / "driver.log")
        assert process.wait() == 0
        record = read_driver(chaos.results, "toys")
    assert record is not None
    (why,) = record.set_aside
    assert "2 trials died there in a row" in why
    assert len(record.done) == 9
    assert sum(record.interruptions.values()) == 2


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_full_results_directory(hosts: Hosts, tmp_path: Path) -> None:
    """Attempts wait for room with what they have computed, and no iteration is done again."""
    with mounted(tmp_path / "results", "-t", "tmpfs", "-o", "size=32m", "tmpfs"), Chaos(hosts, tmp_path) as chaos:
        process = begin(chaotic.toys(chaos, hosts, 9), hosts, tmp_path / "driver.log")
        until(lambda: _done(chaos.results))
        ballast = chaos.results / "ballast"
        fill(ballast)
        time.sleep(8)
        assert process.poll() is None
        before = _done(chaos.results)
        assert len(before) < 9
        ballast.unlink()
        assert process.wait() == 0, (tmp_path / "driver.log").read_text()
        found = chaotic.judge(chaos, tmp_path)
        attempts = [len(Ledger(chaos.results).folder(key).attempts()) for key in Ledger(chaos.results).trials()]
    assert found.faultless
    assert found.redone == 0
    assert attempts == [1] * 9


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["renamed", "unmounted"])
def test_a_results_directory_that_is_away(how: str, hosts: Hosts, tmp_path: Path) -> None:
    """For a while nothing is there, or an empty directory, as where a server's was mounted: the run goes on after."""
    with Chaos(hosts, tmp_path) as chaos:
        process = begin(chaotic.toys(chaos, hosts, 9), hosts, tmp_path / "driver.log")
        until(lambda: _done(chaos.results))
        if how == "renamed":
            away = chaos.results.rename(tmp_path / "away")
            time.sleep(8)
            away.rename(chaos.results)
        else:
            (tmp_path / "empty").mkdir()
            with mounted(chaos.results, "--bind", str(tmp_path / "empty")):
                time.sleep(8)
        assert process.wait() == 0, (tmp_path / "driver.log").read_text()
        found = chaotic.judge(chaos, tmp_path)
    assert found.faultless
    assert not [*(tmp_path / "empty").glob("*")]


def begin(grid: Grid, hosts: Hosts, log: Path) -> "subprocess.Popen[bytes]":
    """A driver that nobody watches over."""
    with log.open("wb") as file:
        return subprocess.Popen(grid.command, env=hosts.environment, stdout=subprocess.DEVNULL, stderr=file)


def fill(ballast: Path) -> None:
    """Write until there is no room for another page."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def renew(hosts: Hosts, *, head: bool) -> None:
    """The cluster anew, after its head was killed."""
    for worker in hosts.workers:
        hosts.kill(worker)
    if head:
        hosts.start_head()
    hosts.gather()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end, "waited for nothing"
        time.sleep(0.05)


@contextmanager
def mounted(place: Path, *what: str) -> Iterator[None]:
    """Something mounted at a place, for a while; the test is skipped where that is not allowed."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *what, str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _done(results: Path) -> set[str]:
    """Keys of the trials that have their result."""
    ledger = Ledger(results)
    heads = {key: ledger.folder(key).head() for key in ledger.trials()}
    return {key for key, head in heads.items() if head and head.result}
