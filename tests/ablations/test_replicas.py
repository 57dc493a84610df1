"""A trial over several replicas: the training of one, the same bytes each time, and no process that is left behind."""

import atexit
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import torch
from pictures import write_set

from ablations import keys, replicas, trial
from ablations.data.load import load, prepare
from ablations.data.resident import Resident
from ablations.follower import Unheard
from ablations.recipes import CIFAR, DIGITS, IMAGENET, Recipe, replica_counts
from ablations.replicas import Group
from ablations.train import Training, load_checkpoint
from ablations.trial import main, run
from models.spec import Network, Shortcut
from orchestrator.ledger import Ledger
from orchestrator.trial import Trial
from orchestrator.worker import Cause, Setting, execute

ROOT = Path(__file__).parents[2]
ITERATIONS = 16
RECIPE = replace(
    DIGITS,
    iterations=ITERATIONS,
    batch=32,
    bn_batch=8,
    augmentation="pad-crop-flip",
    pad=2,
    record_every=2,
    evaluate_every=8,
    probe_at=(0, 0.5, 1),
    probe_batches=2,
    precise_bn=64,
)
NOISY: dict[str, Any] = {"dropout": 0.2, "stochastic_depth": 0.5}
PLATEAU: dict[str, Any] = {"schedule": "plateau", "held_out": 100, "patience": 1, "evaluate_every": 2, "lr": 1e-3}


def params(shortcut: Shortcut = "A", *, width: int = 16, **values: Any) -> dict[str, Any]:
    network = Network(data="digits", depth=8, shortcut=shortcut, channels=1, size=8, width=width)
    return json.loads(json.dumps(keys.params(network, replace(RECIPE, **values), 0)))


class Killed(Exception):
    """The end of an attempt, at an instant that a test chooses."""


@dataclass
class Notebook:
    """A Progress in memory."""

    commits_at: Collection[int] = ()
    dies_at: int | None = None
    """Iteration after which the attempt ends before it is done."""
    committed: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: bytes | None = None
    parent: bytes | None = None
    at: int = 0
    pending: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)

    def restore(self) -> bytes | None:
        return self.checkpoint

    def inherited(self) -> bytes:
        assert self.parent is not None
        return self.parent

    def about(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        self.pending.append({"iteration": iteration, **values})

    def probe(self, record: Mapping[str, Any]) -> None:
        self.pending.append({"probe": dict(record)})

    def keep(self, name: str, data: bytes) -> None:
        self.kept[name] = data

    def due(self) -> bool:
        self.at += 1
        if self.at == self.dies_at:
            raise Killed
        return self.at in self.commits_at

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        self.committed, self.pending = self.committed + self.pending, []
        self.checkpoint = checkpoint

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        self.commit(iteration, checkpoint)
        self.result = dict(result)

    @property
    def curves(self) -> list[dict[str, Any]]:
        return [record for record in self.committed if "probe" not in record]

    @property
    def probes(self) -> list[dict[str, Any]]:
        return [record["probe"] for record in self.committed if "probe" in record]

    @property
    def state(self) -> dict[str, Any]:
        assert self.checkpoint is not None
        return load_checkpoint(self.checkpoint, torch.device("cpu"))


def trained(asked: Mapping[str, Any], count: int, notebook: Notebook | None = None) -> Notebook:
    """The trial over so many replicas, in one attempt."""
    notebook = notebook or Notebook()
    run(asked, notebook, data=str(prepared()), replicas=count)
    return notebook


@cache
def prepared() -> Path:
    """The images as arrays, which a process reads sooner than scikit-learn."""
    folder = Path(tempfile.mkdtemp(prefix="ablate-digits-"))
    atexit.register(shutil.rmtree, folder)
    prepare("digits", folder, folder)
    return folder


def resumed(asked: Mapping[str, Any], count: int, *, commit: int, death: int) -> Notebook:
    """The trial in two attempts."""
    first = Notebook(commits_at={commit}, dies_at=death)
    with pytest.raises(Killed):
        trained(asked, count, first)
    assert not children()
    return trained(asked, count, Notebook(committed=first.committed, checkpoint=first.checkpoint, at=commit))


@cache
def twin(count: int) -> Notebook:
    """The trial that nothing disturbs."""
    return trained(params(), count)


def assert_same(found: Notebook, expected: Notebook) -> None:
    """Records byte for byte, weights, and all that the last checkpoint holds."""
    assert json.dumps(found.committed) == json.dumps(expected.committed)
    assert found.result == expected.result
    assert found.checkpoint == expected.checkpoint


def children() -> list[psutil.Process]:
    """Those that this process started, but what Python itself keeps once it has started any by `multiprocessing`."""
    every = psutil.Process().children(recursive=True)
    return [each for each in every if not any("multiprocessing.resource_tracker" in word for word in each.cmdline())]


# What the batch is split into


@pytest.mark.parametrize(
    ("recipe", "counts"),
    [
        (CIFAR, (1,)),
        (replace(CIFAR, bn_batch=128), (1,)),
        (replace(CIFAR, bn_batch=64), (1, 2)),
        (IMAGENET, (1, 2, 4, 8)),
        (replace(IMAGENET, batch=192), (1, 2, 3, 6)),
        (replace(DIGITS, batch=48, bn_batch=48), (1,)),
    ],
)
def test_a_batch_is_split_where_batch_normalisation_is(recipe: Recipe, counts: tuple[int, ...]) -> None:
    """Each replica takes whole groups of images that share their statistics; the paper's ImageNet ran on 8 GPUs."""
    assert replica_counts(recipe) == counts


def test_shares_are_the_batch_in_its_order() -> None:
    """So that the first replica has the images whose statistics the moving averages follow."""
    _, recipe, seed = keys.from_params(params(batch=12, bn_batch=4))
    data = load("digits", Path("nowhere"))
    (whole,) = Resident(data, recipe, seed, CPU).draws(3)
    shares = [Resident(data, recipe, seed, CPU, rank=rank, count=3).draws(3)[0] for rank in range(3)]
    assert [tuple(share.shape) for share in shares] == [(4, 4)] * 3
    assert torch.equal(torch.cat(shares, dim=1), whole)
    images, labels = Resident(data, recipe, seed, CPU).batch(3)
    for rank in range(3):  # a look is at the whole batch
        assert torch.equal(Resident(data, recipe, seed, CPU, rank=rank, count=3).batch(3)[0], images)
    assert len(labels) == 12


def test_replicas_drop_the_same_blocks_and_other_values() -> None:
    """A block is left out for the whole batch; dropout's masks are each replica's own. All are drawn anew each time."""
    network, recipe, seed = keys.from_params(params(**NOISY))
    one = Training(network, recipe, Resident(load("digits", Path("nowhere")), recipe, seed, CPU), seed, CPU)
    lots, masks = {}, {}
    for rank, iteration in ((0, 5), (1, 5), (0, 6), (1, 6)):
        one.group, one.iteration = Group(rank, 2), iteration
        one._seed_draws()
        lots[rank, iteration] = [float(cast(Any, part).lot) for part in one.module.modules() if hasattr(part, "lot")]
        masks[rank, iteration] = torch.rand(4).tolist()
    assert len(lots[0, 5]) == 3
    assert lots[0, 5] == lots[1, 5] != lots[0, 6] == lots[1, 6]
    assert len({json.dumps(mask) for mask in masks.values()}) == 4


CPU = torch.device("cpu")


# One training


@pytest.mark.parametrize(("shortcut", "count"), [("none", 2), ("B", 2)])
def test_replicas_train_as_one_process_does(shortcut: Shortcut, count: int) -> None:
    """The same curves, probes, weights and moving averages but for the order of sums; only the processes differ."""
    asked = params(shortcut, iterations=6)
    one, several = trained(asked, 1), trained(asked, count)
    assert [record.keys() for record in several.curves] == [record.keys() for record in one.curves]
    assert several.curves == [pytest.approx(record, rel=1e-4) for record in one.curves]
    assert [probe.keys() for probe in several.probes] == [probe.keys() for probe in one.probes]
    for found, expected in zip(several.probes, one.probes, strict=True):
        for name in found.keys() - {"layers", "blocks", "iteration"}:
            assert found[name] == pytest.approx(expected[name], rel=1e-3), name
    found, expected = several.state, one.state
    assert found["totals"][1:].tolist() == expected["totals"][1:].tolist()
    assert found["module"].keys() == expected["module"].keys()
    for name, tensor in expected["module"].items():
        torch.testing.assert_close(found["module"][name], tensor, rtol=1e-4, atol=1e-5)
    assert several.facts["updates"] == f"eager, data parallel over {count} replicas"


def test_a_trial_repeats_its_bytes_and_leaves_the_process_as_it_was() -> None:
    """Two replicas, one, and two again, after each other in one process, as in a warm worker."""
    alone, first = twin(1), twin(2)
    assert not children()
    assert_same(trained(params(), 1), alone)
    assert_same(trained(params(), 2), first)
    assert not torch.distributed.is_initialized()
    assert first.result != alone.result


def test_a_trial_may_run_in_any_thread() -> None:
    """Ray Tune calls it in one of its own."""
    found = Notebook()
    thread = threading.Thread(target=trained, args=(params(), 2, found))
    thread.start()
    thread.join()
    assert_same(found, twin(2))


# Resume


@pytest.mark.parametrize(
    ("values", "count", "commit"),
    [
        pytest.param({}, 2, 8, id="probed"),
        pytest.param(NOISY, 2, 5, id="noisy"),
        pytest.param({"batch": 24}, 3, 3, id="three"),
        pytest.param(PLATEAU, 2, 6, id="plateau", marks=pytest.mark.slow),
        pytest.param({"precision": "bf16"}, 4, 3, id="four", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_trial_ends_as_its_twin(values: dict[str, Any], count: int, commit: int) -> None:
    """Byte for byte. Beyond two replicas the order of sums counts, which is that of DDP's buckets."""
    asked = params("B" if count > 2 else "A", **values)
    expected = trained(asked, count) if values else twin(count)
    assert_same(resumed(asked, count, commit=commit, death=commit + 2), expected)


def test_replicas_train_on_photographs_as_one_process_does_and_resume_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each decodes its share of a batch and its part of an evaluation; curves, views and predictions are of all."""
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    write_set(tmp_path / "shapes", {"train": 60, "test": 130}, raw=True)
    prepare("shapes", tmp_path, tmp_path / "cache")
    values: dict[str, Any] = {"iterations": 8, "batch": 8, "bn_batch": 4, "record_every": 2, "evaluate_every": 4}
    recipe = replace(IMAGENET, **values, precise_bn=20, sizes=(16, 32), probe_at=(0.5,), probe_batches=2)
    network = Network(data="shapes", layout="imagenet", depth=18, shortcut="A", classes=6, size=32, width=4)
    asked = json.loads(json.dumps(keys.params(network, recipe, 0)))

    def attempted(count: int, notebook: Notebook) -> Notebook:
        run(asked, notebook, data=str(tmp_path / "cache"), replicas=count)
        return notebook

    one, several = attempted(1, Notebook()), attempted(2, Notebook())
    assert [record.keys() for record in several.curves] == [record.keys() for record in one.curves]
    assert several.curves == [pytest.approx(record, rel=1e-3) for record in one.curves]
    assert several.curves[-1].keys() > {"ten_crop_top5_error", "multi_scale_error", "precise_test_top5_error"}
    for name, kept in one.kept.items():
        found, expected = (np.load(io.BytesIO(data)) for data in (several.kept[name], kept))
        assert np.allclose(found["probabilities"], expected["probabilities"], atol=2e-3)
        assert np.array_equal(found["labels"], expected["labels"])
    first = Notebook(commits_at={5}, dies_at=6)
    with pytest.raises(Killed):
        attempted(2, first)
    resumed = attempted(2, Notebook(committed=first.committed, checkpoint=first.checkpoint, at=5))
    assert_same(resumed, several)
    assert resumed.kept == several.kept
    assert len(several.kept) == 3


def test_divergence_is_the_same_for_all() -> None:
    """Each replica sees the loss of the whole batch, and ends with the others."""
    found = trained(params(lr=1e30, momentum=0.99), 2)
    assert found.result["outcome"] == "diverged"
    assert not children()


def test_a_grown_network_begins_as_its_parent_in_all_replicas() -> None:
    """The first reads the parent's end, and the others hear of it."""
    parent = trained(params(width=4, iterations=4, probe_at=()), 1)
    asked = params(width=4, iterations=4, probe_at=())
    asked["network"] |= {"depth": 14, "grown_from": 8}
    one, two = (trained(asked, count, Notebook(parent=parent.checkpoint)) for count in (1, 2))
    assert two.curves == [pytest.approx(record, rel=1e-3) for record in one.curves]


# What becomes of an exception


def follower(code: str) -> tuple[str, ...]:
    """A replica in which this is done first."""
    return ("-c", f"import sys\nfrom ablations import follower\n{code}\nsys.exit(follower.main())")


RAISES = """
from ablations.train import Training
import torch
step = Training.step
def broken(self):
    if self.iteration == 3:
        raise {error}
    step(self)
Training.step = broken
"""


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (
            "ValueError('out of paper')",
            Cause.ERROR,
            "ablations.replicas.ReplicaError: replica 2 of 2: ValueError: out of paper",
        ),
        (
            "torch.OutOfMemoryError('no room')",
            Cause.MEMORY,
            "torch.OutOfMemoryError: replica 2 of 2: torch.OutOfMemoryError: no room",
        ),
    ],
)
def test_an_exception_of_another_replica_is_the_trial_s(
    error: str, cause: Cause, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its message and its traceback, for the cause decides what becomes of the trial; nothing is left behind."""
    monkeypatch.setattr(replicas, "FOLLOWER", follower(RAISES.format(error=error)))
    asked = Trial(
        key="k", name="t.s0", arm="t", seed=0, params=params(), parameters=1, multiply_adds=1, iterations=ITERATIONS,
        work=1.0, launches=1.0, resources=trial.Resources(replicas=2),
    )  # fmt: skip
    place = Setting(results=str(tmp_path), entry="ablations.trial:run", site={"data": str(prepared())})
    ending = execute(asked, place)
    assert not children()
    assert ending.cause is cause
    assert ending.reason == said
    (attempt,) = Ledger(tmp_path).folder("k").attempts()
    assert "in broken" in attempt["traceback"]
    assert attempt["site"]["replicas"] == 2


def test_an_exception_here_ends_the_others_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait in a sum for the one that raised it."""

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Notebook, "log", fail)
    with pytest.raises(OSError, match="the disk is full"):
        trained(params(), 2)
    assert not children()


def test_weights_are_the_same_in_every_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, although only the first one's are kept."""
    code = f"""
import json
def finish(self, iteration, checkpoint, result):
    with open({str(tmp_path / "result.json")!r}, "w") as file:
        json.dump(result, file)
follower.Unheard.finish = finish
"""
    monkeypatch.setattr(replicas, "FOLLOWER", follower(code))
    ours = trained(params(precise_bn=0), 2).result
    theirs = json.loads((tmp_path / "result.json").read_text())  # the buffers too: the last evaluation shared them
    assert ours == theirs


def test_what_a_follower_is_told_beyond_its_part_is_unheard() -> None:
    """It keeps no record, commits nothing, and begins from nothing of its own."""
    unheard = Unheard()
    assert unheard.restore() is None
    assert not unheard.due()
    with pytest.raises(AssertionError, match="tells the others"):
        unheard.inherited()


def test_a_follower_without_a_leader_ends() -> None:
    """Its pipe is closed before it says anything, or whoever opened it is not its parent any more."""
    for text in (b"", json.dumps({"leader": 1}).encode() + b"\n"):
        ended = subprocess.run(
            [sys.executable, *replicas.FOLLOWER],
            input=text,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            timeout=120,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


# From a shell, and killed

STUDY = """
name: split
question: Does a killed replica leave a trace?
data: digits
recipe: {name: digits, iterations: 60, batch: 32, bn_batch: 16, record_every: 4, evaluate_every: 20, dropout: 0.1,
         probe_at: [0, 0.5, 1], probe_batches: 2}
matrix:
  shortcut: [A]
  depth: [8]
"""
ARM = ("--arm", "digits-resnet-8-A", "--seed", "0", "--device", "cpu")


def command(place: Path, results: str) -> "subprocess.Popen[str]":
    """Two replicas in processes of their own, committing whenever they can."""
    (place / "split.yaml").write_text(STUDY)
    words = [sys.executable, "-m", "ablations.trial", "split.yaml", *ARM, "--replicas", "2"]
    return subprocess.Popen(
        [*words, "--results", results, "--commit-seconds", "0"],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ended(results: Path) -> tuple[Any, ...]:
    """Curves, probes and weights of the trial there."""
    (key,) = Ledger(results).trials()
    folder = Ledger(results).folder(key)
    head = folder.head()
    assert head is not None
    assert head.result is not None
    return *(folder.valid(stream, head) for stream in ("curves.jsonl", "probes.jsonl")), head.result["weights_sha256"]


def killed(place: Path, victim: str, moment: int) -> tuple[int, str]:
    """Kill the first replica or the other after the commit of an iteration; exit code and standard error."""
    process = command(place, "shaken")
    ledger = Ledger(place / "shaken")
    while not ((keys := ledger.trials()) and (head := ledger.folder(keys[0]).head()) and head.iteration >= moment):
        assert process.poll() is None
        time.sleep(0.005)
    (other,) = [each for each in psutil.Process(process.pid).children() if "ablations.follower" in each.cmdline()]
    os.kill(process.pid if victim == "first" else other.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    _, alive = psutil.wait_procs([other], timeout=240)
    assert not alive, "a replica is left behind"
    return process.returncode, said


def test_a_killed_replica_ends_all_and_leaves_no_trace(tmp_path: Path) -> None:
    """kill -9 of the first, then of the other, at random commits: no process stays, and the same command goes on to the
    bytes of the undisturbed twin."""
    chance = random.Random(4)
    still = command(tmp_path, "still")
    assert still.wait() == 0, still.communicate()
    assert still.communicate() == (None, "")
    code, _ = killed(tmp_path, "first", chance.randint(1, 25))
    assert code == -signal.SIGKILL
    code, said = killed(tmp_path, "other", chance.randint(26, 55))
    assert code == 1
    assert said == (
        "failed: replica 2 of 2: was killed by signal 9; what was committed is kept, and the next attempt goes on from"
        " there\n"
    )
    last = command(tmp_path, "shaken")
    assert last.wait() == 0, last.communicate()
    last.communicate()
    assert ended(tmp_path / "shaken") == ended(tmp_path / "still")
    (key,) = Ledger(tmp_path / "shaken").trials()
    folder = Ledger(tmp_path / "shaken").folder(key)
    assert [each["site"]["replicas"] for each in folder.attempts()] == [2, 2, 2]
    assert folder.replicas() == 2
    assert folder.attempts()[-1]["from_iteration"] > 25


# Wrong numbers


def refused(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    (place / "split.yaml").write_text(STUDY)
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    code = main(["split.yaml", *ARM, "--results", "results", *words])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert sorted(place.iterdir()) == before
    return code, captured.err


WHOLE = (
    "batch normalisation takes its statistics over the whole batch of 32, which one replica alone has; give 1, or"
    " another recipe: its bn_batch is one replica's share of the batch"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--replicas", "3"],
            "--replicas 3: batch 32 with bn_batch 16 can be split over 1 or 2 replicas; give one of these",
        ),
        (
            ["--replicas", "64", "--set", "recipe.bn_batch=4"],
            "--replicas 64: batch 32 with bn_batch 4 can be split over 1, 2, 4 or 8 replicas; give one of these",
        ),
        (["--replicas", "2", "--set", "recipe.bn_batch=null"], f"--replicas 2: {WHOLE}"),
    ],
)
def test_replicas_that_the_recipe_does_not_allow_are_one_line(
    words: Sequence[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was given, what is allowed, what to do; nothing is written."""
    assert refused(tmp_path, monkeypatch, capsys, *words) == (2, f"error: {said}\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["--replicas", "2"],
            4,
            "--replicas 2: each replica has a GPU of its own, and PyTorch finds 1 here; give at most 1",
        ),
        (
            ["--replicas", "2", "--per-gpu", "3"],
            2,
            "--per-gpu 3: a trial of 2 replicas has each GPU for itself; leave one of both out",
        ),
    ],
)
def test_replicas_without_gpus_are_one_line(
    words: Sequence[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A GPU that is shared, or not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert refused(tmp_path, monkeypatch, capsys, "--device", "cuda", *words) == (code, f"error: {said}\n")


@pytest.mark.parametrize(("count", "said"), [(0, "can be split over"), (3, "1, 2 or 4 replicas"), (8, "give one")])
def test_a_run_refuses_them_too(count: int, said: str) -> None:
    """Before it starts a process."""
    with pytest.raises(ValueError, match=f"replicas {count}: .*{said}"):
        trained(params(), count)


# On GPUs


@pytest.mark.gpu
def test_two_gpus_train_as_one_and_resume_exactly() -> None:
    """NCCL instead of gloo: close to one GPU, and byte for byte what two GPUs give undisturbed."""
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has no two GPUs")

    def on_gpus(count: int, notebook: Notebook) -> Notebook:
        run(params("B"), notebook, data="nowhere", device="cuda", replicas=count)
        return notebook

    one, two = on_gpus(1, Notebook()), on_gpus(2, Notebook())
    assert two.curves[0] == pytest.approx(one.curves[0], rel=1e-3)
    first = Notebook(commits_at={7}, dies_at=9)
    with pytest.raises(Killed):
        on_gpus(2, first)
    assert_same(on_gpus(2, Notebook(committed=first.committed, checkpoint=first.checkpoint, at=7)), two)
    assert not children()
