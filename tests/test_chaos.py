"""kill -9, then the same command again: curves and final weights are the undisturbed twin's, byte for byte.

One machine, and moments that nobody chose: what a cluster survives is in `orchestrator/test_recovery.py`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from photographs_made import SAMPLES
from pictures import write_set

from ablations.data import load
from ablations.data.images import Images
from orchestrator.ledger import Ledger

STUDY = """
name: killed
question: Does a killed trial end as if nothing had happened?
data: {data}
recipe: {recipe}
matrix:
  shortcut: [none, A]
  depth: [{depth}]
"""
DIGITS = STUDY.format(
    data="digits",
    depth=14,
    recipe="{name: digits, iterations: 120, record_every: 4, evaluate_every: 20, probe_at: [0, 0.5, 1]}",
)
CIFAR = """{name: cifar, iterations: 60, batch: 32, record_every: 4, evaluate_every: 28, warmup_from_depth: null,
         precision: bf16, held_out: 40000, dropout: 0.1, probe_at: [0.5], probe_batches: 2}"""
STUDIES = {
    "cifar10-jpeg": STUDY.format(data="cifar10-jpeg", depth=8, recipe=CIFAR),
    "cifar10": STUDY.format(data="cifar10", depth=8, recipe=CIFAR),
}
NOISE = "import torch\nx = torch.randn(1500, 1500)\nwhile True: x = (x @ x).softmax(1)"
ARMS = ("digits-plain-14", "digits-resnet-14-A")
KILLS = 6
SEED = int(os.environ.get("CHAOS_SEED", "0"))
ARCHIVE = Path(__file__).parents[2] / "shared" / "data" / "cifar10-jpeg.tar.xz"


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The study, run without a disturbance and without Ray."""
    place = tmp_path_factory.mktemp("twin")
    for arm in ARMS:
        assert one_trial(place, arm).wait() == 0
    return Ledger(place / "results")


def one_trial(
    place: Path, arm: str, *, study: str = DIGITS, seconds: float = 0.02, **environment: str
) -> "subprocess.Popen[bytes]":
    """One trial in a process of its own, by default committing after every iteration that it can."""
    (place / "killed.yaml").write_text(study)
    command = [sys.executable, "-m", "ablations.trial", "killed.yaml", "--arm", arm, "--seed", "0"]
    command += ["--results", "results", "--commit-seconds", str(seconds)]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, env={**os.environ, **environment})


def whole_study(place: Path) -> "subprocess.Popen[bytes]":
    """`ablate run` of both trials on Ray."""
    (place / "killed.yaml").write_text(DIGITS)
    command = [Path(sys.executable).with_name("ablate"), "run", "killed.yaml", "--results", "results"]
    return subprocess.Popen([*command, "--no-track", "--commit-seconds", "0.02"], cwd=place, stderr=subprocess.DEVNULL)


def ended(ledger: Ledger) -> dict[str, Any]:
    """Curves, probes and weights of every trial that has its result, by name."""
    found = {}
    for key in ledger.trials():
        folder, head = ledger.folder(key), ledger.folder(key).head()
        if head and head.result:
            name = (folder.about() or {})["name"]
            streams = [folder.valid(stream, head) for stream in ("curves.jsonl", "probes.jsonl")]
            found[name] = (*streams, head.result["weights_sha256"])
    return found


def iteration(ledger: Ledger, arm: str) -> int:
    """Last committed iteration of the arm's trial, 0 before the first commit."""
    for key in ledger.trials():
        head = ledger.folder(key).head()
        if head and (ledger.folder(key).about() or {})["arm"] == arm:
            return head.iteration
    return 0


def pid(ledger: Ledger, arm: str) -> int:
    """Process that attempts the arm's trial now."""
    for key in ledger.trials():
        if (ledger.folder(key).about() or {})["arm"] == arm:
            return ledger.folder(key).attempts()[-1]["pid"]
    raise AssertionError(arm)


def until(ledger: Ledger, arm: str, at: int, process: "subprocess.Popen[bytes]") -> bool:
    """Wait for the arm's commit at or after an iteration; False if the process ended before."""
    while iteration(ledger, arm) < at:
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def trial_killed(place: Path, arm: str, moments: list[int], study: str = DIGITS) -> int:
    """Kill the trial's process each time it has committed a moment's iteration; returns the kills that hit."""
    ledger, kills = Ledger(place / "results"), 0
    for moment in moments:
        process = one_trial(place, arm, study=study)
        if until(ledger, arm, moment, process):
            time.sleep(random.Random(moment).uniform(0, 0.05))
            process.kill()
            kills += process.wait() == -signal.SIGKILL
    assert one_trial(place, arm, study=study).wait() == 0
    return kills


def test_a_killed_trial_ends_as_its_twin(tmp_path: Path, twin: Ledger) -> None:
    """Three kills, resumed by the same command each time."""
    assert trial_killed(tmp_path, ARMS[1], [1, 40, 90]) >= 2
    name = f"{ARMS[1]}.s0"
    assert ended(Ledger(tmp_path / "results"))[name] == ended(twin)[name]


def test_a_killed_worker_and_a_killed_driver(tmp_path: Path, twin: Ledger) -> None:
    """A worker of Ray is killed in mid-trial, then the driver; the same command goes on, and nothing is run twice."""
    ledger = Ledger(tmp_path / "results")
    first = whole_study(tmp_path)
    assert until(ledger, ARMS[0], 10, first)
    os.kill(pid(ledger, ARMS[0]), signal.SIGKILL)
    assert until(ledger, ARMS[1], 40, first)
    first.kill()
    first.wait()
    _until_dead(ledger)
    assert whole_study(tmp_path).wait() == 0
    assert ended(ledger) == ended(twin)


def test_a_noisy_neighbour_changes_no_bit(tmp_path: Path, twin: Ledger) -> None:
    """Nor does the number of threads that the environment asks for, nor how often is committed."""
    neighbours = [subprocess.Popen([sys.executable, "-c", NOISE]) for _ in range(3)]
    try:
        threads = {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "3"}
        assert one_trial(tmp_path, ARMS[1], seconds=1e9, **threads).wait() == 0
    finally:
        for each in neighbours:
            each.kill()
            each.wait()
    name = f"{ARMS[1]}.s0"
    assert ended(Ledger(tmp_path / "results"))[name] == ended(twin)[name]


def prepared(data: str, folder: Path) -> None:
    """The data set where trials look for it: the real one, or for cifar10 noise in its shape, for its pixels are not
    everywhere at hand; how a trial reads and resumes is the same."""
    if data == "cifar10-jpeg":
        load.prepare(data, ARCHIVE.parent, folder)
    elif data == "cifar10":
        noise = np.random.default_rng(0)
        train, test = (noise.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (50_000, 10_000))
        labels = [noise.integers(0, 10, count) for count in (50_000, 10_000)]
        images = Images(train=train, train_labels=labels[0], test=test, test_labels=labels[1])
        load._keep(images, load._cached(data, folder))


PHOTOGRAPHS = (
    STUDY
    + """
  width: [4]
"""
)
RECIPE = """{name: imagenet, iterations: 60, batch: 16, bn_batch: 8, record_every: 4, evaluate_every: 20,
         precise_bn: 40, sizes: [32, 48], held_out: 20, probe_at: [0.5], probe_batches: 2}"""
SHAPES = PHOTOGRAPHS.format(data="shapes", depth=18, recipe=RECIPE)
"""An epoch is 13.75 batches."""


def on_photographs(place: Path, pictures: Path) -> Path:
    """A place whose folder `data` has the set; the results are its own."""
    place.mkdir()
    (place / "data").symlink_to(pictures)
    return place


def test_a_trial_on_photographs_that_is_killed_in_mid_epoch_ends_as_its_twin(tmp_path: Path) -> None:
    """Weights, curves, probes and what is kept; the twin decodes with other numbers of threads in its environment."""
    write_set(tmp_path / "pictures" / "shapes", {"train": 240, "test": 40}, size=48, raw=True)
    twin, killed = (on_photographs(tmp_path / name, tmp_path / "pictures") for name in ("twin", "killed"))
    arm = "shapes-resnet-18-A-w4"
    threads = {"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "2"}
    assert one_trial(twin, arm, study=SHAPES, seconds=1e9, **threads).wait() == 0
    assert trial_killed(killed, arm, [20], SHAPES) == 1
    assert ended(Ledger(killed / "results")) == ended(Ledger(twin / "results"))
    assert predictions(killed) == predictions(twin)
    assert [len(kept) for kept in predictions(twin)] == [3]


def predictions(place: Path) -> list[dict[str, str]]:
    """sha256 of each file of predictions, for each trial that has its result."""
    ledger = Ledger(place / "results")
    heads = [ledger.folder(key).head() for key in ledger.trials()]
    return [head.result["kept"] for head in heads if head and head.result]


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no {SAMPLES.name} beside the repository")
@pytest.mark.parametrize("store", ["original", "mixed96q90"])
def test_many_kills_on_real_photographs(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of ImageNet, in four classes that mean nothing; the killed ones have noisy neighbours."""
    chance, name = random.Random(f"{SEED} {store}"), "photographs" + ("" if store == "original" else f"-{store}")
    with tarfile.open(SAMPLES) as tar:
        members = [member for member in tar if member.isfile()][:300]
        for number, member in enumerate(members):
            to = tmp_path / "source" / ("train" if number % 5 else "val") / f"class{number % 4}" / f"{number}.JPEG"
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(cast(Any, tar.extractfile(member)).read())
    ablate = [Path(sys.executable).with_name("ablate"), "data", "prepare", "imagefolder", "--name", "photographs"]
    given = ["--from", tmp_path / "source", "--to", tmp_path / "pictures", "--size", "64", "--store", store]
    subprocess.run([*ablate, *given], check=True)
    study = PHOTOGRAPHS.format(data=name, depth=18, recipe=RECIPE)
    arms = (f"{name}-plain-18-w4", f"{name}-resnet-18-A-w4")
    twin, kills, differing = on_photographs(tmp_path / "twin", tmp_path / "pictures"), 0, 0
    for arm in arms:
        assert one_trial(twin, arm, study=study, seconds=1e9).wait() == 0
        neighbours = [subprocess.Popen([sys.executable, "-c", NOISE]) for _ in range(2)]
        try:
            place = on_photographs(tmp_path / arm, tmp_path / "pictures")
            kills += trial_killed(place, arm, sorted(chance.randrange(1, 58) for _ in range(KILLS)), study)
        finally:
            for each in neighbours:
                each.kill()
                each.wait()
        expected = ended(Ledger(twin / "results"))[f"{arm}.s0"]
        differing += ended(Ledger(place / "results"))[f"{arm}.s0"] != expected
        differing += predictions(place)[0] not in predictions(twin)
    with capsys.disabled():
        facts = {"data": name, "seed": SEED, "kills": kills, "differing": differing}
        print(json.dumps(facts))  # noqa: T201 - the figures are what `make chaos` is for
    assert kills
    assert differing == 0


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("data", STUDIES)
def test_many_kills(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few random kills of a plain and a residual trial on each set of colour images, with dropout and in bf16."""
    if data == "cifar10-jpeg" and not ARCHIVE.exists():
        pytest.skip(f"{ARCHIVE} is not here")
    study, chance = STUDIES[data], random.Random(f"{SEED} {data}")
    arms = (f"{data}-plain-8", f"{data}-resnet-8-A")
    (tmp_path / "data").mkdir()
    prepared(data, tmp_path / "data")
    kills, differing, rounds, twins = 0, 0, 0, {}
    for name in ("twin", *(str(number) for number in range(8))):
        (tmp_path / name / "results").mkdir(parents=True)
        (tmp_path / name / "results" / "data").symlink_to(tmp_path / "data")
    for arm in arms:
        assert one_trial(tmp_path / "twin", arm, study=study, seconds=1e9).wait() == 0
    twins = ended(Ledger(tmp_path / "twin" / "results"))
    while kills < KILLS:
        place, arm = tmp_path / str(rounds), arms[rounds % 2]
        kills += trial_killed(place, arm, sorted(chance.randrange(1, 58) for _ in range(KILLS // 2)), study)
        differing += ended(Ledger(place / "results"))[f"{arm}.s0"] != twins[f"{arm}.s0"]
        rounds += 1
    with capsys.disabled():
        facts = {"data": data, "seed": SEED, "kills": kills, "rounds": rounds, "differing": differing}
        print(json.dumps(facts))  # noqa: T201 - the figures are what `make chaos` is for
    assert differing == 0


def _until_dead(ledger: Ledger) -> None:
    """Ray ends a killed driver's workers within seconds; until then they may commit, and hold their folders."""
    for key in ledger.trials():
        while ledger.folder(key).alive():
            time.sleep(0.1)
