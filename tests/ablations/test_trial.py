"""One trial from its parameters to its result: its records, its end, and the same bytes however often it is killed."""

import importlib.util
import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import write_set

from ablations import device, keys, learning_rate, train, trial
from ablations.data import load
from ablations.data.errors import DataError
from ablations.data.photographs.stream import Stream
from ablations.data.resident import Resident
from ablations.graph import Graph
from ablations.probes import probe
from ablations.recipes import DIGITS, IMAGENET, Recipe
from ablations.trial import main, run
from models.spec import Network, Shortcut
from orchestrator.ledger import Attempt, Ledger
from orchestrator.runs import Outcome, read_runs
from orchestrator.studies import read_study
from orchestrator.trial import Trial

ITERATIONS = 30
WINDOW = 8
"""Updates of a warm-up window in these tests, instead of 100."""


def recipe(**values: Any) -> Recipe:
    short = {"iterations": ITERATIONS, "batch": 16, "record_every": 5, "evaluate_every": 10}
    return replace(DIGITS, **{**short, **values})


AUGMENTED = {"augmentation": "pad-crop-flip", "pad": 2, "normalisation": "pixel-mean"}
RECIPES: Mapping[str, Recipe] = {
    "digits": recipe(),
    "augmented": recipe(**AUGMENTED),
    "warming": recipe(**AUGMENTED, lr=0.05, warmup_from_depth=8, warmup_until_error=87.0, drops=(0.7, 0.9)),
    "odd": recipe(
        iterations=29, record_every=7, evaluate_every=14, drops=(0.3, 0.31), batch=50, weight_decay_scope="all"
    ),
    "bf16": recipe(precision="bf16"),
    "dropout": recipe(**AUGMENTED, dropout=0.2),
    "replicas": recipe(bn_batch=8, nesterov=True),
    "plateau": recipe(schedule="plateau", held_out=200, patience=1, evaluate_every=5, lr=1e-3),
    "fixed warm-up": recipe(warmup_from_depth=8, warmup_iterations=7, clean_every=10),
    "watched": recipe(**AUGMENTED, probe_at=(0, 0.5, 1), probe_batches=2, precise_bn=64),
}
SHORTCUTS: Sequence[Shortcut] = ("none", "A", "B", "C")


def params(name: str = "digits", shortcut: Shortcut = "A", seed: int = 0, **values: Any) -> dict[str, Any]:
    network = Network(data="digits", depth=8, shortcut=shortcut, channels=1, size=8, width=4)
    changed = replace(RECIPES[name], **values)
    return json.loads(json.dumps(keys.params(network, changed, seed)))


@pytest.fixture(autouse=True)
def _short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_rate, "WARMUP_WINDOW", WINDOW)


class Killed(Exception):
    """The end of a process, at an instant that a test chooses."""


@dataclass
class Notebook:
    """A Progress in memory: what is committed, and what would be lost."""

    commits_at: Collection[int] = ()
    """Iterations after which a commit is due."""
    dies_at: int | None = None
    """Iteration after which the attempt is killed, ..."""
    instant: Literal["before", "during", "after"] = "before"
    """... at its commit if one is due then: before, between writing and renaming, or after."""
    committed: list[dict[str, Any]] = field(default_factory=list)
    pending: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: bytes | None = None
    at: int = 0
    """Iteration of the last commit."""
    asked: int = 0
    """How often `due` was asked in this attempt."""
    commits: int = 0
    result: dict[str, Any] | None = None
    parent: bytes | None = None
    """Final checkpoint of the trial that this one begins from."""
    facts: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    """Of this attempt: the next one keeps its own."""

    def restore(self) -> bytes | None:
        return self.checkpoint

    def about(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)

    def inherited(self) -> bytes:
        assert self.parent is not None
        return self.parent

    def probe(self, record: Mapping[str, Any]) -> None:
        self.pending.append({"probe": dict(record)})

    def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
        assert costs
        assert costs["images_per_second"] > 0
        self.pending.append({"iteration": iteration, **values})
        if iteration == self.dies_at and self.instant == "before":
            raise Killed

    def keep(self, name: str, data: bytes) -> None:
        self.kept[name] = data

    def due(self) -> bool:
        self.asked += 1
        now = self.at_start + self.asked
        if now == self.dies_at and (self.instant == "before" or now not in self.commits_at):
            raise Killed
        return now in self.commits_at

    def commit(self, iteration: int, checkpoint: bytes) -> None:
        assert iteration == self.at_start + self.asked
        dies = iteration == self.dies_at
        if dies and self.instant == "during":
            raise Killed
        self.committed, self.pending = self.committed + self.pending, []
        self.checkpoint, self.at, self.commits = checkpoint, iteration, self.commits + 1
        if dies:
            raise Killed

    def finish(self, iteration: int, checkpoint: bytes, result: Mapping[str, Any]) -> None:
        self.asked += 1
        if iteration == self.dies_at and self.instant != "after":
            raise Killed
        self.committed, self.pending = self.committed + self.pending, []
        self.checkpoint, self.at, self.result = checkpoint, iteration, dict(result)

    def begin(self, **changes: Any) -> "Notebook":
        """The next attempt: it sees what is committed, and nothing else."""
        kept = {
            "committed": list(self.committed),
            "checkpoint": self.checkpoint,
            "at": self.at,
            "commits": self.commits,
            "parent": self.parent,
        }
        return Notebook(**{**kept, **changes})

    def __post_init__(self) -> None:
        self.at_start = self.at

    @property
    def written(self) -> bytes:
        """The records, as a ledger would write them."""
        return b"".join(json.dumps(record).encode() + b"\n" for record in self.committed)


def trained(asked: Mapping[str, Any], notebook: Notebook | None = None) -> Notebook:
    """The trial, in one attempt."""
    notebook = notebook or Notebook()
    run(asked, notebook, data="nowhere")
    return notebook


@cache
def twin(name: str, shortcut: Shortcut = "A") -> Notebook:
    """The trial that nothing disturbs: no commit before its end."""
    return trained(params(name, shortcut))


def attempted(asked: Mapping[str, Any], *deaths: tuple[int, str], commits_at: Collection[int]) -> Notebook:
    """The trial in as many attempts as it takes, killed after these iterations."""
    notebook = Notebook()
    for dies_at, instant in deaths:
        notebook = notebook.begin(commits_at=commits_at, dies_at=dies_at, instant=instant)
        if notebook.at < dies_at:
            with pytest.raises(Killed):
                trained(asked, notebook)
    return trained(asked, notebook.begin(commits_at=commits_at))


def assert_same(found: Notebook, expected: Notebook) -> None:
    """Records byte for byte, weights, and all that the last checkpoint holds."""
    assert found.written == expected.written
    assert found.result == expected.result
    assert found.checkpoint == expected.checkpoint


# Records and results


@pytest.mark.parametrize(
    ("values", "recorded", "evaluated"),
    [
        ({}, [5, 10, 15, 20, 25, 30], [10, 20, 30]),
        ({"iterations": 28}, [5, 10, 15, 20, 25, 28], [10, 20, 28]),
        ({"iterations": 3}, [3], [3]),
        ({"iterations": 7, "record_every": 1, "evaluate_every": 3}, [1, 2, 3, 4, 5, 6, 7], [3, 6, 7]),
        ({"iterations": 10, "record_every": 10, "evaluate_every": 20}, [10], [10]),
    ],
)
def test_records_are_where_the_recipe_says(values: dict[str, Any], recorded: list[int], evaluated: list[int]) -> None:
    """A mean of each window, and a test evaluation in every so many of them and always in the last."""
    found = trained(params(**values)).committed
    assert [record["iteration"] for record in found] == recorded
    assert [record["iteration"] for record in found if "test_error" in record] == evaluated
    for record in found:
        measured = {"test_loss", "test_error"} if record["iteration"] in evaluated else set()
        if record is found[-1]:
            measured |= {"clean_train_loss", "clean_train_error"}
        assert set(record) == {"iteration", "train_loss", "train_error", "lr"} | measured
        assert all(0 <= record[name] <= 100 for name in record if name.endswith("error"))


def test_a_record_has_the_learning_rate_of_its_last_update() -> None:
    """Drops before updates 15 and 22 show in the records of iterations 20 and 25; iteration 15 is update 14's."""
    found = {record["iteration"]: record["lr"] for record in twin("digits").committed}
    rates = {5: 0.03, 10: 0.03, 15: 0.03, 20: 0.003, 25: 0.0003, 30: 0.0003}
    assert found == {iteration: pytest.approx(lr) for iteration, lr in rates.items()}


def test_a_result_has_the_digest_of_the_weights() -> None:
    """It is the same for the same trial, and another for another seed or shortcut."""
    first = twin("digits")
    assert first.result == {"outcome": "finished", "weights_sha256": trained(params()).result["weights_sha256"]}  # pyright: ignore[reportOptionalSubscript]
    others = [trained(params(seed=1)).result, twin("digits", "B").result]
    assert len({json.dumps(each) for each in (first.result, *others)}) == 3


def test_how_often_is_measured_changes_no_weight() -> None:
    """Records and evaluations are looks at the training, not part of it."""
    rare = trained(params(record_every=30, evaluate_every=30))
    assert rare.result == twin("digits").result
    assert rare.committed[-1]["test_error"] == twin("digits").committed[-1]["test_error"]


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_a_loss_that_is_not_finite_is_a_result(lr: float) -> None:
    """The trial ends there, as diverged, with what was recorded so far; it is no error, and nothing is tried again."""
    found = trained(params(lr=lr, momentum=0.99, iterations=400))
    assert found.result == {"outcome": "diverged", "diverged_at": found.committed[-1]["iteration"]}
    assert found.at == found.committed[-1]["iteration"] < 400
    *before, last = found.committed
    assert not np.isfinite(last["train_loss"])
    assert all(np.isfinite(record["train_loss"]) for record in before)


def test_a_last_update_that_breaks_the_network_is_divergence() -> None:
    """The training loss was still a number, what it left behind is not: no error rate of that is a result."""
    found = trained(params(lr=1e38, iterations=1))
    (last,) = found.committed
    assert np.isfinite(last["train_loss"])
    assert not np.isfinite(last["test_loss"])
    assert found.result == {"outcome": "diverged", "diverged_at": 1}


def test_a_diverged_trial_is_read_back_as_diverged(tmp_path: Path) -> None:
    """The ledger keeps NaN and infinity as text, and gives them back as what they are."""
    ledger, asked = Ledger(tmp_path), a_trial(params(lr=1e30, momentum=0.99, iterations=400))
    with ledger.attempt(asked, provenance={}, commit_seconds=1e9) as attempt:
        run(asked.params, attempt, data="nowhere")
    head = ledger.folder(asked.key).head()
    assert head is not None
    assert head.result is not None
    assert head.result["outcome"] == "diverged"
    last = ledger.folder(asked.key).records("curves.jsonl", head)[-1]
    assert not np.isfinite(float(last["train_loss"]))


# Resume


deaths = st.tuples(st.integers(1, ITERATIONS - 2), st.sampled_from(["before", "during", "after"]))
commits = st.one_of(
    st.just(frozenset(range(1, ITERATIONS))),
    st.integers(2, 12).map(lambda every: frozenset(range(every, ITERATIONS, every))),
    st.frozensets(st.integers(1, ITERATIONS - 1), max_size=4),
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(RECIPES)),
    shortcut=st.sampled_from(SHORTCUTS),
    killed=st.lists(deaths, min_size=1, max_size=3),
    commits_at=commits,
)
@example(name="warming", shortcut="A", killed=[(12, "before")], commits_at={11})  # amid a warm-up window and a record
@example(name="warming", shortcut="none", killed=[(8, "after")], commits_at={8})  # between two warm-up windows
@example(name="augmented", shortcut="C", killed=[(15, "after")], commits_at={15})  # just before a drop, after a record
@example(name="digits", shortcut="B", killed=[(20, "during")], commits_at={7, 20})  # a commit that was not
@example(name="odd", shortcut="A", killed=[(28, "after")], commits_at={28})  # before the last update
@example(name="bf16", shortcut="A", killed=[(13, "before")], commits_at={13, 12})
@example(name="dropout", shortcut="A", killed=[(17, "after")], commits_at={17})
@example(name="plateau", shortcut="none", killed=[(12, "after")], commits_at={12})  # between two evaluations
@example(name="watched", shortcut="A", killed=[(15, "during"), (16, "before")], commits_at={14, 15})  # at a probe
@example(
    name="digits", shortcut="A", killed=[(3, "before"), (4, "before"), (9, "before")], commits_at=()
)  # from nothing
def test_a_killed_trial_ends_as_its_undisturbed_twin(
    name: str, shortcut: Shortcut, killed: list[tuple[int, str]], commits_at: Collection[int]
) -> None:
    """Killed at any iteration, at any instant of a commit, as often as may be, and committed in any pattern.

    Weights, momenta and curves are equal to the bit: no gap, no duplicate, no trace.
    """
    assert_same(attempted(params(name, shortcut), *killed, commits_at=commits_at), twin(name, shortcut))


def test_a_plateau_of_these_tests_is_within_them() -> None:
    """So that resuming before and after a drop that an evaluation decided is what is tested."""
    rates = [record["lr"] for record in twin("plateau", "none").committed]
    assert len(set(rates)) > 1
    assert rates[0] == 1e-3
    assert {"validation_error", "test_error"} <= twin("plateau", "none").committed[0].keys()


@pytest.mark.parametrize("killed", [7, 16])
def test_blocks_are_dropped_as_if_there_had_been_no_kill(killed: int) -> None:
    """Stochastic depth and dropout draw by (seed, iteration); a block that is left out still decays."""
    asked = params("augmented", "B", stochastic_depth=0.5, dropout=0.1)
    whole = trained(asked)
    assert_same(attempted(asked, (killed, "after"), commits_at={killed}), whole)
    assert whole.result != twin("augmented", "B").result


def test_another_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where activations do not fit they are computed twice: the same bits, and the attempt says so."""
    for name in ("augmented", "dropout", "bf16"):
        kept = twin(name)
        monkeypatch.setattr(device, "_memory", lambda _: 1)
        again = trained(params(name))
        monkeypatch.undo()
        assert_same(again, kept)
        assert (kept.facts["activations"], again.facts["activations"]) == ("kept", "recomputed")


@pytest.mark.parametrize("shortcut", ["none", "A"])
def test_a_grown_network_begins_as_its_parent(shortcut: Shortcut) -> None:
    """Its loss starts far below that of random weights; it resumes as any other, and once something is committed it
    needs its parent no more."""
    parent = trained(params("digits", shortcut))
    asked = params("digits", shortcut, iterations=6, record_every=1, evaluate_every=2)
    asked["network"] |= {"depth": 20, "grown_from": 8}
    grown = trained(asked, Notebook(parent=parent.checkpoint))
    fresh = trained({**asked, "network": {**asked["network"], "grown_from": None}})
    assert grown.committed[0]["train_loss"] < 0.8 * fresh.committed[0]["train_loss"]
    assert grown.result
    assert fresh.result
    growth = grown.result["growth"]
    assert growth["logit_difference"] <= 1e-5
    assert growth["train_error"] == growth["parent_train_error"]
    assert growth["parent_train_error"] == parent.committed[-1]["clean_train_error"]
    assert growth["images"] == 1437
    assert "growth" not in fresh.result
    again = Notebook(commits_at={3}, dies_at=3, instant="after", parent=parent.checkpoint)
    with pytest.raises(Killed):
        trained(asked, again)
    again.parent = None
    assert_same(trained(asked, again.begin(parent=None)), grown)


def test_what_grew_from_a_diverged_parent_differs_from_it_without_bound() -> None:
    """No number is equal to none: NaN is not lost, and is written as JSON can."""
    parent = trained(params(lr=1e30, momentum=0.99))
    asked = params(iterations=2)
    asked["network"] |= {"depth": 20, "grown_from": 8}
    found = trained(asked, Notebook(parent=parent.checkpoint)).result
    assert found is not None
    assert (found["outcome"], found["growth"]["logit_difference"]) == ("diverged", "inf")


def test_a_damaged_parent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum that a checkpoint carries is checked; nothing begins from what is not what was written."""
    parent = trained(params())
    assert parent.checkpoint is not None
    state = train.load_checkpoint(parent.checkpoint, torch.device("cpu"))
    state["module"]["fc.bias"][0] += 1
    buffer = io.BytesIO()
    torch.save(
        {**state, "sha256": train.checksum(train.load_checkpoint(parent.checkpoint, torch.device("cpu")))}, buffer
    )
    asked = params()
    asked["network"] |= {"depth": 20, "grown_from": 8}
    with pytest.raises(train.DamagedCheckpointError, match="is damaged"):
        trained(asked, Notebook(parent=buffer.getvalue()))
    with pytest.raises(train.DamagedCheckpointError, match="cannot be read"):
        trained(asked, Notebook(parent=b"nothing"))


@pytest.mark.parametrize("instant", ["before", "during"])
def test_a_trial_killed_at_its_end_ends_as_its_twin(instant: str) -> None:
    """After the last update, at the last record or in the last commit."""
    assert_same(attempted(params(), (ITERATIONS, instant), commits_at={22}), twin("digits"))


def test_the_warm_up_of_these_tests_ends_within_them() -> None:
    """So that resuming before, in and after it is what is tested: its end is decided by the sums of a window."""
    for shortcut in SHORTCUTS:
        rates = [record["lr"] for record in twin("warming", shortcut).committed]
        at_20 = 0.01 if shortcut == "none" else 0.05  # the plain network leaves a window later
        assert rates == pytest.approx([0.01, 0.01, 0.01, at_20, 0.005, 0.0005])


@pytest.mark.parametrize("every", [1, 3, 5, 30, 1000])
def test_the_interval_of_commits_changes_nothing(every: int) -> None:
    """Nor whether there are any before the last."""
    found = trained(params("augmented"), Notebook(commits_at=range(every, ITERATIONS, every)))
    assert found.commits == (ITERATIONS - 1) // every
    assert_same(found, twin("augmented"))


def test_a_commit_is_asked_for_after_every_update_but_the_last() -> None:
    """The last goes with the result."""
    assert twin("digits").asked == ITERATIONS
    assert twin("digits").commits == 0


FORGOTTEN = ["module", "momenta", "iteration", "totals", "recorded", "schedule", "seen"]


@pytest.mark.parametrize("part", FORGOTTEN)
def test_these_tests_notice_what_a_checkpoint_forgets(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any part of the state left as at the start, the resumed trial is another one."""
    restore, fresh = train.Training.restore, train.Training.state

    def forgetful(self: train.Training, checkpoint: bytes) -> None:
        started = train.load_checkpoint(fresh(self), torch.device("cpu"))
        state = train.load_checkpoint(checkpoint, torch.device("cpu"))
        place, fresh_place = (state["schedule"], started["schedule"]) if part == "seen" else (state, started)
        place[part] = fresh_place[part]
        buffer = io.BytesIO()
        torch.save({**state, "sha256": train.checksum(state)}, buffer)
        restore(self, buffer.getvalue())

    monkeypatch.setattr(train.Training, "restore", forgetful)
    # The warm-up ends after update 16, by the errors of 9 to 16; those of 15 and 16 alone would not end it.
    at = {"schedule": 18, "seen": 14}.get(part, 13)
    found = attempted(params("warming"), (at, "after"), commits_at={at})
    with pytest.raises(AssertionError):
        assert_same(found, twin("warming"))


# A warm worker


def test_a_trial_does_not_depend_on_those_before_it() -> None:
    """One process, two trials back to back, twice, in both orders: each ends as it did the first time."""
    first = [twin(name, "A") for name in ("augmented", "bf16")]
    load.load.cache_clear()
    again = [trained(params(name)) for name in ("bf16", "augmented")]
    for found, expected in zip(reversed(again), first, strict=True):
        assert_same(found, expected)


def test_whatever_is_global_in_pytorch_is_set_for_each_trial() -> None:
    """Threads, TF32 and the search for algorithms, however a trial before left them; random numbers are not used."""
    expected = twin("digits")
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
    torch.set_num_threads(2)
    torch.manual_seed(99)
    generator = torch.get_rng_state()
    assert_same(trained(params()), expected)
    assert torch.get_num_threads() == 1
    assert {matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark} == {False}
    assert torch.equal(torch.get_rng_state(), generator)
    trained(params(iterations=1, precision="tf32"))
    assert matmul.allow_tf32
    assert cudnn.allow_tf32
    trained(params(iterations=1))
    assert not matmul.allow_tf32


# Through the ledger


def a_trial(asked: Mapping[str, Any]) -> Trial:
    return Trial(
        key=keys.key(asked), name="t.s0", arm="t", seed=asked["seed"], params=asked, parameters=1, multiply_adds=1,
        iterations=asked["recipe"]["iterations"], work=1.0, launches=1.0,
    )  # fmt: skip


class Doomed:
    """An attempt whose process is killed when `due` is asked for the n-th time."""

    def __init__(self, attempt: Attempt, calls: int) -> None:
        self.attempt, self.calls = attempt, calls
        self.restore, self.log, self.about = attempt.restore, attempt.log, attempt.about
        self.probe, self.inherited, self.keep = attempt.probe, attempt.inherited, attempt.keep
        self.commit, self.finish = attempt.commit, attempt.finish

    def due(self) -> bool:
        self.calls -= 1
        if self.calls < 0:
            raise Killed
        return self.attempt.due()


def curves(ledger: Ledger, asked: Trial) -> bytes:
    return (ledger.folder(asked.key).path / "curves.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["augmented", "warming"])
def test_the_ledger_holds_the_same_bytes_however_often_a_trial_was_killed(name: str, tmp_path: Path) -> None:
    """Curves, last checkpoint and result; the clock alone tells the attempts apart."""
    asked = a_trial(params(name))
    still, shaken = Ledger(tmp_path / "still"), Ledger(tmp_path / "shaken")
    with still.attempt(asked, provenance={}, commit_seconds=1e9) as attempt:
        run(asked.params, attempt, data="nowhere")
    for calls, seconds in ((7, 0.0), (0, 0.0), (6, 1e9), (9, 0.0)):
        with pytest.raises(Killed), shaken.attempt(asked, provenance={}, commit_seconds=seconds) as attempt:
            run(asked.params, Doomed(attempt, calls), data="nowhere")
        assert curves(still, asked).startswith(curves(shaken, asked))
    with shaken.attempt(asked, provenance={}, commit_seconds=0.0) as attempt:
        run(asked.params, attempt, data="nowhere")
    heads = [ledger.folder(asked.key).commits()[0] for ledger in (still, shaken)]
    assert heads[0].result == heads[1].result == twin(name).result
    assert curves(still, asked) == curves(shaken, asked)
    assert len(curves(still, asked).splitlines()) == 6
    checkpoints = [
        ledger.folder(asked.key).checkpoint(head) for ledger, head in zip((still, shaken), heads, strict=True)
    ]
    assert checkpoints[0] is not None
    assert checkpoints[0] == checkpoints[1]
    assert [each["from_iteration"] for each in shaken.folder(asked.key).attempts()] == [0, 7, 7, 7, 16]


# From a shell


SHORT = ("--set", "recipe.iterations=6", "--set", "recipe.record_every=3", "--set", "recipe.evaluate_every=3")
ARM = ("digits-depth", "--arm", "digits-resnet-20-A", "--seed", "1", "--device", "cpu")

ALONE = """
import runpy, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "mlflow", "plotly", "typer", "rich"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Forbidden())
runpy.run_module("ablations.trial", run_name="__main__", alter_sys=True)
"""


def test_a_trial_runs_from_a_shell_with_neither_ray_nor_mlflow(tmp_path: Path) -> None:
    """A process of its own, a resumable trial in the ledger, and a study record from which a report can be made.

    It is the trial that a warm process would have run: same weights, same curves.
    """
    results = tmp_path / "results"
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, *ARM, *SHORT, "--results", str(results)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith("done: digits-resnet-20-A.s1, ")
    study = read_study(results, "digits-depth")
    assert list(study.overrides) == list(SHORT[1::2])
    done = [each for each in read_runs(study, Ledger(results)) if each.outcome is not Outcome.MISSING]
    assert [(each.name, each.outcome, each.iteration) for each in done] == [("digits-resnet-20-A.s1", "finished", 6)]
    warm = Notebook()
    run(done[0].params, warm, data="nowhere")
    assert warm.result is not None
    assert done[0].result["weights_sha256"] == warm.result["weights_sha256"]
    assert list(done[0].curves["train_loss"].values) == [record["train_loss"] for record in warm.committed]


@pytest.fixture
def shell(results: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


Shell = Callable[..., tuple[int, str, str]]


def test_a_trial_that_is_done_is_not_run_again(shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results directory is the one of ABLATE_RESULTS, and the second call trains nothing."""
    assert shell(*ARM, *SHORT)[0] == 0
    monkeypatch.setattr(trial, "run", lambda *_, **__: pytest.fail("ran again"))
    code, out, err = shell(*ARM, *SHORT)
    assert (code, err) == (0, "")
    assert str(results) in out


def test_a_trial_whose_code_fails_is_exit_code_1(shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the reason; the attempt in the ledger has the traceback."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of paper")

    monkeypatch.setattr(trial, "run", fail)
    assert shell(*ARM, *SHORT) == (1, "", "failed: digits-resnet-20-A.s1: RuntimeError: out of paper\n")
    (key,) = [path.name for path in (results / "trials").iterdir()]
    assert "in fail" in Ledger(results).folder(key).attempts()[0]["traceback"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["digits-depth", "--arm", "digits-plane-20", "--seed", "0"],
            2,
            "--arm: study digits-depth has no arm 'digits-plane-20'; did you mean 'digits-plain-20'?",
        ),
        (["digits-depth", "--arm", "???", "--seed", "0"], 2, "has no arm '???'; its arms are digits-plain-20, digits-"),
        (
            ["digits-depth", "--arm", "digits-plain-20", "--seed", "3"],
            2,
            "--seed: study digits-depth asks for seeds 0 to 2 of digits-plain-20, not 3",
        ),
        (["digits-depht", "--arm", "digits-plain-20", "--seed", "0"], 2, "did you mean 'digits-depth'?"),
        (["nowhere/study.yaml", "--arm", "digits-plain-20", "--seed", "0"], 2, "nowhere/study.yaml"),
        (["digits-depth", "--arm", "digits-plain-20", "--seed", "0", "--set", "recipe.lr=-1"], 2, "recipe.lr"),
        (
            ["cifar10-jpeg-depth", "--arm", "cifar10-jpeg-plain-20", "--seed", "0"],
            4,
            "with --data FOLDER",
        ),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    arguments: list[str], code: int, said: str, shell: Shell, results: Path
) -> None:
    """What was given, what is allowed, what to do; nothing is written."""
    ended, out, err = shell(*arguments, "--device", "cpu", "--data", str(results / "nowhere"))
    assert (ended, out) == (code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not list(results.iterdir())


def test_a_gpu_that_is_not_there_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is not run on the CPU instead: whoever says cuda means it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = "error: --device cuda: PyTorch finds no NVIDIA GPU here; use --device cpu\n"
    assert shell("digits-depth", "--arm", "digits-plain-20", "--seed", "0", "--device", "cuda") == (4, "", expected)


def test_a_damaged_ledger_is_one_line(shell: Shell, results: Path) -> None:
    """It names the file and what to do, and nothing is trained over it."""
    assert shell(*ARM, *SHORT)[0] == 0
    (commit,) = results.glob("trials/*/commit.json")
    commit.write_text("{")
    code, out, err = shell(*ARM, *SHORT)
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert "commit.json: damaged" in err
    assert "remove it" in err
    assert commit.read_text() == "{"


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["digits-depth"], [*ARM, "--seed", "x"], [*ARM, "--device", "tpu"], [*ARM, "--commit-seconds", "-1"]),
        [*ARM, "--replicas", "0"],
    ],
)
def test_arguments_that_cannot_be_read_are_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with what is wrong, and where to look."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.endswith("; see `python -m ablations.trial --help`\n")
    assert said.count("\n") == 1


# Photographs


SHAPES: Mapping[str, Any] = {
    "iterations": 24, "batch": 8, "bn_batch": 4, "record_every": 3, "evaluate_every": 6, "precise_bn": 20,
    "held_out": 10, "sizes": (16, 32), "probe_at": (0, 0.5), "probe_batches": 2,
}  # fmt: skip
"""An epoch is 6.25 batches."""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that workers are told; the set itself lies elsewhere."""
    place = tmp_path_factory.mktemp("shapes")
    write_set(place / "data" / "shapes", {"train": 60, "test": 14}, raw=True)
    load.prepare("shapes", place / "data", place / "cache")
    return place / "cache"


@pytest.fixture
def asked_on_shapes(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def asked(shortcut: Shortcut = "A", **values: Any) -> dict[str, Any]:
        monkeypatch.setenv("ABLATE_DATA", str(shapes.parent / "data"))
        network = Network(data="shapes", layout="imagenet", depth=18, shortcut=shortcut, classes=4, size=32, width=4)
        params = keys.params(network, replace(IMAGENET, **{**SHAPES, **values}), 0)
        monkeypatch.setenv("ABLATE_DATA", "nowhere")  # as for a worker
        return json.loads(json.dumps(params))

    return asked


def photographed(asked: Mapping[str, Any], shapes: Path, notebook: Notebook | None = None) -> Notebook:
    notebook = notebook or Notebook()
    run(asked, notebook, data=str(shapes))
    return notebook


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"order": "quasi-random", "augmentation": "area-crop-flip-colour", "normalisation": "channel-mean"},
        {"precision": "bf16", "dropout": 0.1, "sizes": ()},
    ],
)
def test_a_trial_on_photographs_killed_in_mid_epoch_ends_as_its_twin(
    shapes: Path, asked_on_shapes: Callable[..., dict[str, Any]], values: dict[str, Any]
) -> None:
    """Weights, curves, probes and predictions, whichever updates came before the kill."""
    asked = asked_on_shapes(**values)
    expected, chance = photographed(asked, shapes), random.Random(json.dumps(values))
    assert set(expected.kept) == {"predictions-test.npz", "predictions-ten-crop.npz", "predictions-multi-scale.npz"}
    assert expected.committed[-1].keys() > {"test_error", "precise_test_error", "ten_crop_error", "multi_scale_error"}
    found = Notebook()
    for dies_at in sorted(chance.sample(range(1, 24), 3)):
        found = found.begin(commits_at=set(chance.sample(range(1, 24), 8)), dies_at=dies_at)
        if found.at < dies_at:
            with pytest.raises(Killed):
                photographed(asked, shapes, found)
    found = photographed(asked, shapes, found.begin())
    assert_same(found, expected)
    assert found.kept == expected.kept


@pytest.mark.skipif(importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed here")
def test_whoever_decodes_the_weights_are_the_same(
    shapes: Path, asked_on_shapes: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through FFCV with two workers, beside a trial that has one thread and keeps it."""
    expected = photographed(asked_on_shapes(), shapes)
    monkeypatch.setattr(trial, "decoding_threads", lambda *_: 2)
    found = photographed(asked_on_shapes(), shapes)
    assert (found.facts["loader"][:4], expected.facts["loader"][:4]) == ("FFCV", "the ")
    assert_same(found, expected)
    assert torch.get_num_threads() == 1


def test_a_trial_on_photographs_leaves_no_thread(shapes: Path, asked_on_shapes: Callable[..., dict[str, Any]]) -> None:
    """Neither at its end nor when it is ended: by a kill, by Ctrl-C, or in an evaluation."""
    before = threading.active_count()
    with pytest.raises(Killed):
        photographed(asked_on_shapes(), shapes, Notebook(dies_at=5))
    assert threading.active_count() == before

    class Interrupted(Notebook):
        def log(self, iteration: int, values: Mapping[str, float], costs: Mapping[str, float] | None = None) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        photographed(asked_on_shapes(), shapes, Interrupted())
    assert threading.active_count() == before


def test_a_set_that_was_prepared_anew_ends_a_trial_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial was asked on the old pictures, and a worker that has not opened them yet finds others."""
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "data"))
    network = Network(data="anew", layout="imagenet", depth=18, shortcut="A", classes=4, size=32, width=4)
    write_set(tmp_path / "data" / "anew", {"train": 60, "test": 14})
    asked = keys.params(network, replace(IMAGENET, **SHAPES), 0)
    load.prepare("anew", tmp_path / "data", tmp_path / "cache")
    write_set(tmp_path / "data" / "anew", {"train": 61, "test": 14})
    with pytest.raises(DataError, match="it was prepared anew since, so run the study again"):
        photographed(asked, tmp_path / "cache")
    load.prepare("anew", tmp_path / "data", tmp_path / "cache")
    with pytest.raises(DataError, match="prepared anew"):
        photographed(asked, tmp_path / "cache")
    photographed(keys.params(network, replace(IMAGENET, **SHAPES, views=()), 0), tmp_path / "cache")


def test_from_a_shell_a_prepared_set_is_known_by_the_folder_that_is_given(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data` says where, not the environment alone."""
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "nowhere"))
    write_set(tmp_path / "sets" / "shapes", {"train": 60, "test": 14})
    (tmp_path / "one.yaml").write_text(
        "name: one\nquestion: Is it found?\ndata: shapes\nrecipe: {name: imagenet, iterations: 2, batch: 8,"
        " bn_batch: 4, record_every: 1, evaluate_every: 1, precise_bn: 0, views: []}\n"
        "matrix: {shortcut: [A], depth: [18]}\n"
    )
    given = [str(tmp_path / "one.yaml"), "--arm", "shapes-resnet-18-A", "--seed", "0"]
    code, _, said = shell(*given)
    assert code == 2
    assert "data: 'shapes' is not one of digits" in said
    code, out, said = shell(*given, "--data", str(tmp_path / "sets"))
    assert (code, said) == (0, "")
    assert out.startswith("done: shapes-resnet-18-A.s0, ")


# On a GPU


def on_gpu(asked: Mapping[str, Any], notebook: Notebook | None = None) -> Notebook:
    notebook = notebook or Notebook()
    run(asked, notebook, data="nowhere", device="cuda")
    return notebook


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("width", [4, 16])
def test_a_killed_trial_ends_as_its_twin_on_a_gpu_too(name: str, width: int) -> None:
    """Contract 4 on CUDA: the algorithms that cuDNN chooses must give the same bits each time."""
    asked = params(name, precision="tf32" if name == "odd" else RECIPES[name].precision)
    asked["network"] |= {"width": width}
    expected = on_gpu(asked)
    found = Notebook(commits_at={11}, dies_at=13)
    with pytest.raises(Killed):
        on_gpu(asked, found)
    found = on_gpu(asked, found.begin())
    assert found.written == expected.written
    assert found.result == expected.result


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_graph_makes_the_bits_of_its_update(precision: str) -> None:
    """Twelve updates, nine of them replayed, against the same without a graph; probed and evaluated in between."""
    network, recipe, seed = keys.from_params(params("watched", precision=precision))
    feed = Resident(load.load("digits", Path("nowhere")), recipe, seed, torch.device("cuda"))
    found = []
    for graph in (True, False):
        device.settle(recipe, torch.device("cuda"), 1)
        one = train.Training(network, recipe, feed, seed, torch.device("cuda"))
        if not graph:
            one._execute = one._update
        for step in range(12):
            if step in (2, 8):
                one.evaluate(clean=True)
                probe(one)
            one.step()
        if graph:
            assert isinstance(one._execute, Graph)
            assert one._execute.captured
        found.append(one.state())
    assert found[0] == found[1]


@pytest.mark.gpu
def test_a_graph_makes_the_bits_of_its_update_of_photographs(
    shapes: Path, asked_on_shapes: Callable[..., dict[str, Any]]
) -> None:
    """Of two sizes, so it is captured twice, while another thread decodes and pins memory for the copies."""
    asked, found = asked_on_shapes(precise_bn=0), []
    network, recipe, seed = keys.from_params(asked)
    of, cuda = load.photographs("shapes", asked["data"]["fingerprint"], shapes), torch.device("cuda")
    for graph in (True, False):
        device.settle(recipe, cuda, 1)
        with closing(Stream(of, recipe, seed, cuda, network.size, workers=2)) as feed:
            one = train.Training(network, recipe, feed, seed, cuda)
            if not graph:
                one._execute = one._update
            for step in range(recipe.iterations):
                if step in (2, 9, 20):
                    one.evaluate(clean=True)
                    probe(one)
                one.step()
            assert not graph or (isinstance(one._execute, Graph) and one._execute.captured)
            found.append(one.state())
    assert found[0] == found[1]


@pytest.mark.gpu
def test_a_killed_trial_on_photographs_ends_as_its_twin_on_a_gpu_too(
    shapes: Path, asked_on_shapes: Callable[..., dict[str, Any]]
) -> None:
    asked, expected, found = asked_on_shapes(), Notebook(), Notebook(commits_at={7}, dies_at=9)
    run(asked, expected, data=str(shapes), device="cuda")
    with pytest.raises(Killed):
        run(asked, found, data=str(shapes), device="cuda")
    found = found.begin()
    run(asked, found, data=str(shapes), device="cuda")
    assert found.written == expected.written
    assert found.kept == expected.kept


@pytest.mark.gpu
def test_memory_changes_nothing_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputed activations give the bits of kept ones."""
    kept = on_gpu(params("augmented"))
    monkeypatch.setattr(device, "_memory", lambda _: 1)
    assert_same(on_gpu(params("augmented")), kept)


@pytest.mark.gpu
def test_compiled_kernels_repeat_their_bits() -> None:
    """From one trial to the next, and through a kill; two networks after each other in one process."""
    asked = [params("augmented", shortcut, compiled=True) for shortcut in ("A", "B")]
    first = [on_gpu(each) for each in asked]
    for each, expected in zip(asked, first, strict=True):
        found = Notebook(commits_at={11}, dies_at=13)
        with pytest.raises(Killed):
            on_gpu(each, found)
        assert_same(on_gpu(each, found.begin()), expected)
