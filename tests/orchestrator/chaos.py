"""Chaos on a cluster of real Ray nodes: seeded kills of trials, nodes, drivers, heads and MLflow, and the judgement.

`Chaos` runs one grid after the other, gives orders to the trials (`chaos_entry`), kills what an order is for once a
trial has taken it up, and starts again whatever was killed, as the people and the systems around a cluster do.
`judge` then looks at what is left, beside undisturbed twins that no Ray has seen.
"""

import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import toy
from hosts import Hosts

from orchestrator.ledger import Ledger, LedgerError
from orchestrator.studies import read_study
from orchestrator.tracking.exhibits import Exhibit

PHASES = {"start-up": 0.2, "training": 0.35, "commit": 0.27, "finish": 0.18}
"""And the share of kills that is meant for each."""
PASSES = {"start-up": 5, "training": 40, "commit": 16, "finish": 10}
"""Points of a phase that are passed by before the kill, at most."""
VICTIMS = ("trial", "node", "driver", "head", "mlflow")
HERE = Path(__file__).parent
ORDER_SECONDS = 60.0
"""After so long an order that no trial has taken up is given anew."""
UNREACHABLE = 4
"""Exit code of a driver whose cluster is gone."""
UNREADY_MOST = 20
DEATHS_SPARED = 2
"""By design a trial fails that dies three times at one commit: no trial is killed so often."""


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A kill that is planned."""

    victim: str
    phase: str
    point: str = ""
    """What the point's name begins with; empty: any of the phase."""
    passes: int
    torn: float
    """The share of a file's new bytes that are left, when the kill is in mid-write."""
    away: float
    """Seconds until it is started again."""
    frozen: bool
    """Stopped and continued, not killed: MLflow alone."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A kill that hit."""

    victim: str
    frozen: bool
    phase: str
    point: str
    grid: str
    key: str
    iteration: int
    time: float
    """Seconds since the epoch."""


def plan(seed: int, kills: Mapping[str, int], phases: Mapping[str, float] = PHASES) -> list[Intent]:
    """So many kills of each victim, in an order and at points that the seed decides."""
    chance = random.Random(seed)
    victims = [victim for victim in VICTIMS for _ in range(kills.get(victim, 0))]
    chance.shuffle(victims)
    return [_intent(victim, chance, phases) for victim in victims]


def _intent(victim: str, chance: random.Random, phases: Mapping[str, float]) -> Intent:
    phase = chance.choices(list(phases), list(phases.values()))[0]
    return Intent(
        victim=victim,
        phase=phase,
        passes=chance.randrange(PASSES[phase]),
        torn=chance.random(),
        away=chance.uniform(0, 3),
        frozen=victim == "mlflow" and chance.random() < 0.4,
    )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What one driver runs: the command, which is the same each time, and the study that it leaves behind."""

    name: str
    study: str
    command: Sequence[str]


class Server:
    """A real MLflow server on SQLite, which can be killed and frozen."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._place, self._port = place, _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def database(self) -> Path:
        return self._place / "mlflow.db"

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--workers", "1", "--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self._place / "artifacts")]
        with (self._place / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._place,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def up(self) -> bool:
        if self._process is None:
            return False
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """The whole process group: one that loses its parent alone goes on serving."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)


class Chaos:
    """Grids on a cluster, under kills. A context manager that leaves no driver behind."""

    def __init__(self, hosts: Hosts, place: Path, server: Server | None = None) -> None:
        self.results, self.kills = place / "results", list[Kill]()
        self.refused: list[str] = []
        """What a driver that nobody killed said when it ended otherwise than well."""
        self.heads: list[tuple[float, int]] = []
        """For each head that was killed, the seconds after which its driver ended, and the exit code."""
        self.unready = 0
        """Drivers that looked at the cluster while a node was down, and would not begin."""
        self._hosts, self._place, self._server = hosts, place, server
        self.told = place / "chaos" / "told"
        self.told.mkdir(parents=True)
        self.results.mkdir(exist_ok=True)
        self._held, self._order = place / "chaos" / "held.json", place / "chaos" / "order.json"
        self._driver: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._ordered = 0
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._deaths: Counter[tuple[str, int]] = Counter()
        self._died_on: dict[str, float] = {}
        """When a trial was last killed on a host. By design a node is set aside on which trials die in a row: between
        two deaths there an attempt must end."""
        self._awaited: set[str] = set()
        """Hosts that are down, and will be started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()

    @property
    def chaos(self) -> Path:
        """Where orders are given."""
        return self._place / "chaos"

    def run(self, grid: Grid, intents: list[Intent]) -> None:
        """Run the grid to its end, and take of the intents, from the last, what there is time for."""
        self._begin(grid)
        asked: tuple[float, Intent] | None = None
        while (code := self._poll(grid)) is None:
            if asked is not None and self._held.exists():
                if not self._strike(asked[1], grid):
                    intents.append(asked[1])
                asked = None
            elif asked is not None and time.monotonic() - asked[0] > ORDER_SECONDS and self._withdrawn():
                intents.insert(0, asked[1])
                asked = None
            elif asked is None and intents:
                asked = time.monotonic(), self._give(intents)
            self._mend()
            time.sleep(0.01)
        if asked is not None:
            self._order.unlink(missing_ok=True)
            intents.append(asked[1])
        if code:
            self.refused.append(f"exit code {code}: {self._said()}")

    def settle(self) -> None:
        """Start again all that is still down."""
        while self._later:
            self._mend()
            time.sleep(0.05)

    def _poll(self, grid: Grid) -> int | None:
        """The driver's exit code, or None while it is at work. One that found the cluster unready is begun again."""
        assert self._driver is not None
        code = self._driver.poll()
        if code != UNREACHABLE or self.unready == UNREADY_MOST:
            return code
        self.unready += 1
        self._mend()
        self._hosts.gather()
        self._begin(grid)
        return None

    def _said(self) -> str:
        return " | ".join((self._place / "driver.log").read_text(errors="replace").strip().splitlines()[-6:])

    def _begin(self, grid: Grid) -> None:
        """The same command each time."""
        self._deaths.clear()
        self._died_on.clear()
        self._since = time.time()
        with (self._place / "driver.log").open("ab") as log:
            self._driver = subprocess.Popen(
                grid.command, cwd=self._place, env=self._hosts.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    # Orders and kills -------------------------------------------------------------------------------------------------

    def _give(self, intents: list[Intent]) -> Intent:
        """Order the next of the intents; not MLflow's end while it is down."""
        place = len(intents) - 1
        while place and intents[place].victim == "mlflow" and not (self._server and self._server.up()):
            place -= 1
        intent = intents.pop(place)
        self._ordered += 1
        deadly = intent.victim in ("trial", "node")
        order = {
            "id": str(self._ordered),
            "phase": intent.phase,
            "point": intent.point,
            "passes": intent.passes,
            "torn": intent.torn if deadly else None,
            "since": self._since,
            "died_on": self._died_on if intent.victim == "trial" else {},
            "keys_spared": {key: at for (key, at), deaths in self._deaths.items() if deaths >= DEATHS_SPARED},
        }
        partial = self._order.with_suffix(".part")
        partial.write_text(json.dumps(order))
        partial.replace(self._order)
        return intent

    def _withdrawn(self) -> bool:
        """Take an order back; False if it has just been taken up."""
        try:
            self._order.unlink()
        except FileNotFoundError:
            return False
        return True

    def _strike(self, intent: Intent, grid: Grid) -> bool:
        """Kill what was meant, while the trial that took up the order waits; False if it was dying already."""
        held = json.loads(self._held.read_text())
        at = time.time()
        if _gone(held["pid"]):
            self._held.unlink()
            return False
        self._kill(intent, held, grid)
        self.kills.append(
            Kill(
                victim=intent.victim,
                frozen=intent.frozen,
                phase=held["phase"],
                point=held["point"],
                grid=grid.name,
                key=held["key"],
                iteration=held["iteration"],
                time=at,
            )
        )
        with (self.chaos / "kills.jsonl").open("a") as log:
            log.write(json.dumps(asdict(self.kills[-1])) + "\n")
        self._held.unlink(missing_ok=True)
        return True

    def _kill(self, intent: Intent, held: Mapping[str, Any], grid: Grid) -> None:
        if intent.victim == "trial":
            os.kill(held["pid"], signal.SIGKILL)
            _until_gone(held["pid"])
            self._died(held)
        elif intent.victim == "node":
            self._hosts.kill(held["host"])
            _until_gone(held["pid"])
            self._died_on.pop(held["host"], None)
            self._start_later(held["host"], intent.away)
        elif intent.victim == "driver":
            assert self._driver is not None
            self._driver.kill()
            self._driver.wait()
            self._held.unlink()
            self._begin(grid)
        elif intent.victim == "head":
            self._kill_head(intent, grid)
        else:
            self._kill_server(intent)

    def _died(self, held: Mapping[str, Any]) -> None:
        with suppress(LedgerError, OSError):
            head = Ledger(self.results).folder(held["key"]).head()
            self._deaths[held["key"], head.iteration if head else 0] += 1
        self._died_on[held["host"]] = time.time()

    def _kill_head(self, intent: Intent, grid: Grid) -> None:
        """The driver must end by itself, also where another head is there at once, which knows nothing of its work."""
        assert self._driver is not None
        began = time.monotonic()
        self._hosts.kill("head")
        self._held.unlink()
        if at_once := intent.away < 1.5:
            self._hosts.start_head()
        try:
            code = self._driver.wait(timeout=180)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            code = self._driver.wait()
        self.heads.append((time.monotonic() - began, code))
        # The driver's own raylet dies with the head here, and Ray may end the process before it can speak: see
        # docs/recovery.md. The figures tell each driver's exit code.
        by_ray = code == 1 and "_raylet.so" in self._said()
        if code != UNREACHABLE and not by_ray:
            self.refused.append(f"exit code {code} after the head's end: {self._said()}")
        self._later.clear()
        for worker in self._hosts.workers:
            with suppress(KeyError):
                self._hosts.kill(worker)
        if not at_once:
            self._hosts.start_head()
        for worker in self._hosts.workers:
            self._hosts.start_worker(int(worker.rpartition("-")[2]))
        self._awaited.clear()
        self._hosts.gather()
        if self._server is not None:
            self._server.thaw()
            if not self._server.up():
                self._server.kill()
                self._server.start()
        self._begin(grid)

    def _kill_server(self, intent: Intent) -> None:
        assert self._server is not None
        if intent.frozen:
            self._server.freeze()
        else:
            self._server.kill()
        again = self._server.thaw if intent.frozen else self._server.start
        self._later.append((time.monotonic() + intent.away, again))

    # What starts again ------------------------------------------------------------------------------------------------

    def _start_later(self, host: str, seconds: float) -> None:
        def start() -> None:
            self._awaited.discard(host)
            if not self._hosts.alive(host):
                self._hosts.start_worker(int(host.rpartition("-")[2]))

        self._awaited.add(host)
        self._later.append((time.monotonic() + seconds, start))

    def _mend(self) -> None:
        now = time.monotonic()
        due = [each for each in self._later if each[0] <= now]
        self._later = [each for each in self._later if each[0] > now]
        for _, start in due:
            start()
        for host in self._hosts.workers:
            if host not in self._awaited and not self._hosts.alive(host):
                with suppress(KeyError):
                    self._hosts.kill(host)
                self._start_later(host, 0)


# What is run --------------------------------------------------------------------------------------------------------

STUDY = """
name: chaos
question: Does a grid under kills end as if nothing had happened?
data: digits
recipe: {name: digits, iterations: 80, batch: 32, record_every: 4, evaluate_every: 40, dropout: 0.1,
         probe_at: [0, 0.5, 1], probe_batches: 2}
matrix:
  shortcut: [none, A, B, C]
  depth: [8]
"""
ARMS = ("digits-plain-8", "digits-resnet-8-A", "digits-resnet-8-B", "digits-resnet-8-C")
COMMIT_SECONDS = 0.15


def toys(
    chaos: Chaos, hosts: Hosts, count: int, *, mutation: str = "", tracking: str | None = None, **params: Any
) -> Grid:
    """So many trials without a network, each of more than a second, with further parameters of the toy."""
    given = {
        "results": str(chaos.results),
        "address": hosts.address,
        "trials": [each | params for each in toy_arguments(count)],
        "entry": "chaos_entry:toy",
        "commit_seconds": COMMIT_SECONDS,
        "site": {"chaos": str(chaos.chaos), "mutation": mutation},
        "tracking": tracking,
    }
    command = [sys.executable, str(HERE / "drive_toys.py"), json.dumps(given)]
    return Grid(name="toys", study="toys", command=command)


def toy_arguments(count: int) -> list[dict[str, Any]]:
    return [
        {"number": number, "iterations": 50 + number % 7, "sleep": 0.02, "probe_every": 10} for number in range(count)
    ]


def digits(chaos: Chaos, hosts: Hosts, seeds: int, *, mutation: str = "", tracking: str | None = None) -> Grid:
    """Four networks, so many seeds each, with dropout and probes, on real images."""
    file = chaos.chaos / "chaos.yaml"
    file.write_text(STUDY)
    arguments = ["run", str(file), "--seeds", str(seeds), "--results", str(chaos.results), "--address", hosts.address]
    arguments += ["--device", "cpu", "--commit-seconds", str(COMMIT_SECONDS)]
    arguments += ["--tracking", tracking] if tracking else ["--no-track"]
    given = {"arguments": arguments, "site": {"chaos": str(chaos.chaos), "mutation": mutation}}
    command = [sys.executable, str(HERE / "drive_study.py"), json.dumps(given)]
    return Grid(name="digits", study="chaos", command=command)


# The judgement ------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Judgement:
    """What chaos left behind. Each list must be empty."""

    trials: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """Trials that have not exactly one run in MLflow."""
    points: list[str] = field(default_factory=list)
    """Runs that do not hold every committed point once."""
    refused: list[str] = field(default_factory=list)
    """Drivers that ended otherwise than well, though nobody killed them."""
    redone: float = 0.0
    """Iterations per kill that were computed again."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By victim, from the kill to the next step: of the grid, where its driver or head was hit, else of the trial that
    was at its point; in another attempt, but where MLflow was hit."""

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.twice or self.differing or self.runs or self.points or self.refused)


def judge(chaos: Chaos, place: Path, server: Server | None = None) -> Judgement:
    """Compare all that was run with twins that are run now, undisturbed and without Ray."""
    found, ledger = Judgement(refused=chaos.refused), Ledger(chaos.results)
    studies = [read_study(chaos.results, name) for name in _studies(chaos.results)]
    trials = [(arm.name, seed, key) for study in studies for arm in study.arms for seed, key in arm.trials]
    found.trials = len(trials)
    twins = Ledger(place / "twins")
    _run_twins(trials, place / "twins", place / "twins.yaml")
    told = _told(chaos.told)
    for arm, seed, key in trials:
        name = f"{arm}.s{seed}"
        try:
            if (left := _ending(ledger, key)) is None:
                found.lost.append(name)
                continue
        except LedgerError as error:
            found.lost.append(f"{name}: {error}")
            continue
        if left != _ending(twins, key):
            found.differing.append(name)
        if (why := _twice(ledger, key, told.get(key, []))) is not None:
            found.twice.append(f"{name}: {why}")
    redone = sum(map(_redone, told.values()))
    found.redone = redone / max(1, len(chaos.kills))
    found.seconds = _seconds(chaos.kills, told)
    if server is not None and found.faultless:
        for study in studies:
            exhibits = [
                Exhibit(study, arm, seed, key, ledger.folder(key)) for arm in study.arms for seed, key in arm.trials
            ]
            _judge_view(server.database, exhibits, found)
    return found


def publish(chaos: Chaos, uri: str) -> None:
    """The last publication, by a forwarder whose driver has ended."""
    for study in _studies(chaos.results):
        command = [sys.executable, "-m", "orchestrator.tracking", str(chaos.results), study, uri]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if done.returncode:
            chaos.refused.append(f"publication of {study}: {done.stderr[-500:]}")


def _studies(results: Path) -> list[str]:
    """Names of those that were run."""
    return sorted(path.parent.name for path in (results / "studies").glob("*/study.json"))


def _ending(ledger: Ledger, key: str) -> Any:
    """Curves, probes and weights, byte for byte; None where there is no result. Raises LedgerError."""
    folder = ledger.folder(key)
    head = folder.head()
    if head is None or head.result is None:
        return None
    streams = [folder.valid(stream, head) for stream in ("curves.jsonl", "probes.jsonl")]
    weights = head.result.get("weights_sha256") or folder.checkpoint(head)
    return head.iteration, *streams, weights


def _run_twins(trials: Sequence[tuple[str, int, str]], results: Path, study: Path) -> None:
    ledger, real = Ledger(results), list[list[str]]()
    for arm, seed, key in trials:
        if arm.startswith("toy"):
            number = int(arm.rpartition("-")[2])
            trial = toy.trial(**toy_arguments(number + 1)[number])
            assert trial.key == key
            with ledger.attempt(trial, provenance={}, commit_seconds=1e9) as attempt:
                toy.run({**trial.params, "sleep": 0}, attempt)
        else:
            asked = ["--arm", arm, "--seed", str(seed)]
            real.append([str(study), *asked, "--results", str(results), "--commit-seconds", "1e9"])
    if real:
        study.write_text(f"{STUDY}seeds: {max(seed for _, seed, _ in trials) + 1}\n")
        program = (
            "import json, sys; from ablations.trial import main; sys.exit(max(map(main, json.loads(sys.argv[1]))))"
        )
        halves = [each for each in (real[::2], real[1::2]) if each]
        commands = [[sys.executable, "-c", program, json.dumps(each)] for each in halves]
        processes = [subprocess.Popen(each, stdout=subprocess.DEVNULL) for each in commands]
        assert [each.wait() for each in processes] == [0] * len(processes)


def _told(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By key, what each attempt told, in the order of the attempts."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        said = [json.loads(line) for line in path.read_text().splitlines()]
        reached = path.with_suffix(".iteration").read_text().strip()
        start = said[0]["start"]
        attempt = {"start": start, "reached": int(reached) if reached else start, "said": said}
        found.setdefault(path.name.partition("-")[0], []).append(attempt)
    return found


def _twice(ledger: Ledger, key: str, attempts: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a trial was run twice: after its result, or a range of iterations that was committed before."""
    folder = ledger.folder(key)
    head = folder.head()
    assert head is not None
    if (count := len(folder.attempts())) > head.attempt:
        return f"attempt {head.attempt} finished it, and there were {count}"
    said = sorted((each for attempt in attempts for each in attempt["said"]), key=lambda each: each["time"])
    if sum(each["what"] == "finished" for each in said) > 1:
        return "it was finished twice"
    reached = 0
    for each in said:
        if each["what"] == "committed":
            if each["after"] < reached:
                return f"iterations after {each['after']} were committed again, and {reached} had been"
            reached = each["to"]
    return None


def _redone(attempts: Sequence[Mapping[str, Any]]) -> int:
    pairs = pairwise(attempts)
    return sum(max(0, before["reached"] - after["start"]) for before, after in pairs)


def _seconds(kills: Sequence[Kill], told: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for kill in kills:
        whole = kill.victim in ("driver", "head")
        attempts = [each["said"] for key, of in told.items() for each in of if whole or key == kill.key]
        said = [each for said in attempts for each in said if kill.victim == "mlflow" or said[0]["time"] > kill.time]
        steps = [each["time"] for each in said if each["what"] in ("stepped", "committed", "finished")]
        if later := [at for at in steps if at > kill.time]:
            found.setdefault(kill.victim, []).append(min(later) - kill.time)
    return found


def _judge_view(database: Path, exhibits: Sequence[Exhibit], found: Judgement) -> None:
    """MLflow's own tables: one run for each trial's key, and every committed point once."""
    with sqlite3.connect(database) as view:
        runs: dict[str, list[str]] = {}
        for key, run in view.execute("select value, run_uuid from tags where key = 'key'"):
            runs.setdefault(key, []).append(run)
        for exhibit in exhibits:
            if len(mine := runs.get(exhibit.key, [])) != 1:
                found.runs.append(f"{exhibit.name}: {len(mine)}")
                continue
            rows = view.execute("select key, value, timestamp, step from metrics where run_uuid = ?", mine)
            if (held := Counter(rows)) != (committed := Counter(exhibit.points(-1, exhibit.thinning))):
                missing, more = committed - held, held - committed
                found.points.append(f"{exhibit.name}: {missing.total()} missing, {more.total()} too many")


# What is printed ----------------------------------------------------------------------------------------------------


def table(chaos: Chaos, found: Judgement) -> Iterator[str]:
    """The figures, a line each, as a person reads them."""
    yield f"kills                                  {len(chaos.kills)}"
    yield "  by victim and phase   " + "".join(f"{phase:>10}" for phase in PHASES) + "     total     share"
    hits = Counter((kill.victim, kill.phase) for kill in chaos.kills)
    for victim in (*VICTIMS, "all"):
        row = [sum(n for (v, p), n in hits.items() if p == phase and victim in (v, "all")) for phase in PHASES]
        share = 100 * sum(row) / max(1, len(chaos.kills))
        yield f"  {victim:<22}" + "".join(f"{n:>10}" for n in row) + f"{sum(row):>10}{share:>9.1f}%"
    phases = Counter(kill.phase for kill in chaos.kills)
    yield "  share of all          " + "".join(f"{100 * phases[p] / max(1, len(chaos.kills)):>9.1f}%" for p in PHASES)
    yield f"trials                                 {found.trials}"
    for words, faults in (
        ("trials lost", found.lost),
        ("trials run twice", found.twice),
        ("trials without exactly 1 MLflow run", found.runs),
        ("MLflow runs with other points", found.points),
        ("curves or weights unlike the twin's", found.differing),
        ("drivers that ended wrongly", found.refused),
    ):
        yield f"{words:<39}{len(faults)}" + "".join(f"\n    {each}" for each in faults[:5])
    yield f"iterations done again per kill         {found.redone:.2f}"
    yield "seconds from kill to next step         median      90 %   longest"
    for victim, seconds in sorted(found.seconds.items(), key=lambda each: VICTIMS.index(each[0])):
        ordered = sorted(seconds)
        late = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
        yield f"  {victim:<35}{statistics.median(ordered):>8.1f}{late:>10.1f}{ordered[-1]:>10.1f}"
    yield f"drivers that found the cluster unready {chaos.unready}"
    if chaos.heads:
        yield "driver's end after its head's          " + ", ".join(f"{s:.0f} s (exit {c})" for s, c in chaos.heads)


def facts(chaos: Chaos, found: Judgement) -> dict[str, Any]:
    """The same as JSON, with every kill."""
    return {
        "kills": [asdict(kill) for kill in chaos.kills],
        "heads": chaos.heads,
        "unready": chaos.unready,
        **asdict(found),
    }


def _gone(pid: int) -> bool:
    """Whether the process does nothing any more, be it that nobody has asked for its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _until_gone(pid: int) -> None:
    while not _gone(pid):
        time.sleep(0.005)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
