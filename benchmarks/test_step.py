"""Our training step against the loop that a user would otherwise write, in one process, turn about, on one thread.

Images are noise in CIFAR-10's shape at batch 128. Times are the process's CPU seconds, which other processes disturb
less than the clock on the wall.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from straightforward import Loop
from torch.nn import functional as F  # noqa: N812

from ablations.data.images import Images
from ablations.data.resident import Resident
from ablations.device import settle
from ablations.recipes import CIFAR, Recipe
from ablations.train import Training
from models.spec import Network
from orchestrator.provenance import provenance

IMAGES, REPEATS = 1024, {20: 9, 56: 5, 110: 3}
UPDATES, TEST_IMAGES = 400, 10_000
"""Of the paper's recipe between two evaluations: what is called end to end is their sum."""
CPU = torch.device("cpu")


def images() -> Images:
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = noise.integers(0, 10, IMAGES)
    return Images(train=pixels, train_labels=labels, test=pixels, test_labels=labels)


def ours(network: Network, data: Images, precision: str) -> Training:
    recipe = Recipe(**{**vars(CIFAR), "precision": precision})
    settle(recipe, CPU, 1)
    return Training(network, recipe, Resident(data, recipe, 0, CPU), 0, CPU)


def bare(training: Training) -> Callable[[], None]:
    """Forward, backward and update of the same network on a batch that lies ready: what no step can do without."""
    pixels, labels = training.feed.batch(0)

    def step() -> None:
        with training.autocast():
            logits = training.module(pixels)
        training.optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits.float(), labels).backward()
        training.optimiser.step()

    return step


def measured(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of each, all in turn, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, each in contenders.items():
            started = time.process_time()
            each()
            if repeat:
                times[name].append(1000 * (time.process_time() - started))
    return {name: statistics.median(each) for name, each in times.items()}


def end_to_end(step: float, evaluation: float) -> float:
    """Milliseconds of an update with its share of an evaluation."""
    return step + evaluation * TEST_IMAGES / IMAGES / UPDATES


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("depth", REPEATS)
def test_training_step(depth: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints milliseconds per update, ratios, and the share of our step outside forward, backward and update."""
    torch.set_num_threads(1)
    network, data = Network(depth=depth, shortcut="A"), images()
    plain, easy = Loop(network, data, easy=False), Loop(network, data, easy=True)
    fp32, bf16 = ours(network, data, "fp32"), ours(network, data, "bf16")
    steps = measured(
        {
            "straightforward": plain.step,
            "straightforward, easy settings": easy.step,
            "ours fp32": fp32.step,
            "ours bf16": bf16.step,
            "bare bf16": bare(ours(network, data, "bf16")),
        },
        REPEATS[depth],
    )
    evaluations = measured(
        {
            "straightforward": plain.evaluate,
            "straightforward, easy settings": easy.evaluate,
            "ours fp32": fp32.evaluate,
            "ours bf16": bf16.evaluate,
        },
        1 if depth > 20 else 2,
    )
    whole = {name: end_to_end(steps[name], each) for name, each in evaluations.items()}
    about = provenance()
    facts = {
        "network": network.name,
        "n": REPEATS[depth],
        "step_cpu_ms": _rounded(steps, 1),
        "end_to_end_cpu_ms": _rounded(whole, 1),
        "end to end, straightforward / ours fp32": round(whole["straightforward"] / whole["ours fp32"], 2),
        "end to end, straightforward / ours bf16": round(whole["straightforward"] / whole["ours bf16"], 2),
        "end to end, easy settings / ours bf16": round(whole["straightforward, easy settings"] / whole["ours bf16"], 2),
        "outside forward, backward, update": f"{100 * (1 - steps['bare bf16'] / steps['ours bf16']):.1f} %",
        "batch norm": bf16.kernels,
        "torch": about["versions"]["torch"],
        "cpu": about["hardware"]["cpu"],
        "load": os.getloadavg()[0],
    }
    with capsys.disabled():
        print("\n" + json.dumps(facts, indent=1))  # noqa: T201 - what a benchmark is for
    assert all(each > 0 for each in (*steps.values(), *evaluations.values()))


def _rounded(values: Mapping[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}
