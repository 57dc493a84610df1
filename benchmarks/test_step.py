"""Our training step against the loop that a user would otherwise write, in one process, turn about.

The other loop: the same network in fp32 and contiguous memory, torchvision's transforms on PIL images in a DataLoader,
`loss.item()` and the error read at every step. Both see CIFAR-shaped images of noise at batch 128 on one thread.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ablations.data.feed import Feed
from ablations.data.images import Images
from ablations.recipes import CIFAR
from ablations.train import Training
from models.networks import build, initialise
from models.spec import Network
from orchestrator.provenance import provenance

IMAGES, STEPS = 1024, 7
CPU = torch.device("cpu")


class Pictures(Dataset[tuple[Tensor, int]]):
    """A data set of PIL images, each transformed when it is asked for."""

    def __init__(self, data: Images, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = [Image.fromarray(pixels) for pixels in data.train]
        self.labels, self.transform = data.train_labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def images() -> Images:
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = noise.integers(0, 10, IMAGES)
    return Images(train=pixels, train_labels=labels, test=pixels[:10], test_labels=labels[:10])


def straightforward(network: Network, data: Images) -> Callable[[], None]:
    """One step of the loop in every tutorial."""
    augment = transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    module = build(network)
    initialise(module, network, torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    pictures = Pictures(data, augment)

    def epochs() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from DataLoader(pictures, batch_size=128, shuffle=True)

    batches = epochs()

    def step() -> None:
        inputs, labels = next(batches)
        loss = F.cross_entropy(logits := module(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        (logits.argmax(1) != labels).sum().item()

    return step


def ours(network: Network, data: Images, precision: str) -> Training:
    recipe = replace(CIFAR, precision=precision)
    return Training(network, recipe, Feed(data, recipe, 0, CPU), 0, CPU)


def seconds(step: Callable[[], object]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


@pytest.mark.bench
@pytest.mark.parametrize("depth", [20, 56])
def test_training_step(depth: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints CPU seconds per step, ratios, and the share of our step outside forward, backward and update."""
    torch.set_num_threads(1)
    network, data = Network(depth=depth, shortcut="A"), images()
    loop, fp32, bf16 = straightforward(network, data), ours(network, data, "fp32"), ours(network, data, "bf16")
    contenders = {"straightforward": loop, "ours fp32": fp32.step, "ours bf16": bf16.step, "batch": _batch(bf16)}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for each in contenders.values():
        each()
    for _ in range(STEPS):
        for name, step in contenders.items():
            times[name].append(seconds(step))
    median = {name: statistics.median(each) for name, each in times.items()}
    about = provenance()
    with capsys.disabled():
        facts = {
            "network": network.name,
            "n": STEPS,
            "cpu_ms": {name: round(1000 * each, 1) for name, each in median.items()},
            "straightforward / ours fp32": round(median["straightforward"] / median["ours fp32"], 2),
            "straightforward / ours bf16": round(median["straightforward"] / median["ours bf16"], 2),
            "batch share of our bf16 step": round(median["batch"] / median["ours bf16"], 4),
            "torch": about["versions"]["torch"],
            "cpu": about["hardware"]["cpu"],
        }
        print("\n" + json.dumps(facts))  # noqa: T201 - what a benchmark is for
    assert all(each > 0 for each in median.values())


def _batch(training: Training) -> Callable[[], object]:
    """Making a batch: what our step does beside the network."""
    return lambda: training.feed.batch(training.iteration)
