"""One trial, from its parameters to its result; the only place where a network meets its data.

`run` needs neither Ray nor MLflow. From a shell, on a machine that has only PyTorch:

    python -m ablations.trial digits-depth --arm digits-plain-20 --seed 0 --results results
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ablations.data.feed import Feed
from ablations.data.load import load
from ablations.keys import from_params
from ablations.recipes import Recipe
from ablations.train import Training
from orchestrator.trial import Progress

THREADS_PER_TRIAL = 1
"""On the CPU. Results differ between one and two threads, so it is never left to the machine."""


def run(params: Mapping[str, Any], progress: Progress, *, data: str, device: str = "cpu") -> None:
    """Train until the recipe's last iteration, from the last commit if there is one.

    `data` is the folder of prepared arrays; `device` is `cpu` or `cuda`. Neither changes what is asked, so neither is
    in the key.
    """
    network, recipe, seed = from_params(params)
    place = torch.device(device)
    _settle(recipe, place)
    training = Training(network, recipe, Feed(load(network.data, Path(data)), recipe, seed, place), seed, place)
    if (checkpoint := progress.restore()) is not None:
        training.restore(checkpoint)
    while training.iteration < recipe.iterations:
        training.step()
        record = _record(training, recipe)
        if record is not None:
            progress.log(training.iteration, record)
            if not math.isfinite(record["train_loss"]):
                result = {"outcome": "diverged", "diverged_at": training.iteration}
                progress.finish(training.iteration, training.state(), result)
                return
        if training.iteration < recipe.iterations and progress.due():
            progress.commit(training.iteration, training.state())
    result = {"outcome": "finished", "weights_sha256": digest(training)}
    progress.finish(training.iteration, training.state(), result)


def digest(training: Training) -> str:
    """sha256 of the network's tensors in the order of their names: equal digests mean equal weights, bit for bit."""
    total = hashlib.sha256()
    for name, tensor in sorted(training.module.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _record(training: Training, recipe: Recipe) -> dict[str, float] | None:
    """The curve record that is due after this iteration, if one is."""
    now, last = training.iteration, training.iteration == recipe.iterations
    if now % recipe.record_every and not last:
        return None
    record = training.running() | {"lr": training.lr}
    if now % recipe.evaluate_every == 0 or last:
        record |= training.evaluate()
    return record


def _settle(recipe: Recipe, device: torch.device) -> None:
    """A worker runs one trial after another: whatever is global in PyTorch is set anew for each."""
    if device.type == "cpu":
        torch.set_num_threads(THREADS_PER_TRIAL)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = recipe.precision == "tf32"
    torch.backends.cudnn.benchmark = False
