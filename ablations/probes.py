"""What happens inside a network, measured without leaving a trace in it: gradients, signals, responses.

The paper argues with these: gradients of plain networks that do not vanish (sec. 4.1), residual functions that respond
more weakly than plain ones (sec. 4.2, Figure 7). A probe passes over training batches in training mode, and over the
test images in evaluation mode; weights, moving averages and momenta are afterwards what they were before.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ablations.train import Training
from models.blocks import Block, nothing_dropped
from models.convolution import BatchNorm, averages_held
from models.layers import layers


def probe(training: Training) -> dict[str, Any]:
    """One look at the network as it is now; every list has one value for each of `layers`, or of `blocks`.

    `layers`: the convolutions outside shortcuts, in order: the L - 1 layers of sec. 4.2. `gradient`: |dL/dW| / |W|, the
    mean over the next `probe_batches` batches. `norm_variance`, `activation_variance`: the smallest variance of a
    channel of what leaves batch normalisation, and of what the next layer gets, over one batch. `response`: standard
    deviation after batch normalisation, before ReLU or addition, over the test images (Figure 7);
    `residual_over_input`: std(F) / std(x) of each residual block there. Both are empty before the first update of
    random weights, when moving averages hold nothing.

    All replicas share in the gradients; the rest is the first one's look, and the others' is without it.
    """
    named = [(layer.name, layer.norm) for layer in layers(training.network) if layer.norm and not layer.shortcut]
    names, norms = [name for name, _ in named], [norm for _, norm in named]
    found = {"iteration": training.iteration, "layers": names, "gradient": _gradients(training, names)}
    return found | _signals(training, norms) | _responses(training, norms) if training.group.leads else found


def _gradients(training: Training, names: Sequence[str]) -> list[float]:
    """Each layer's relative gradient norm, the mean over batches; nothing is read from the device until the end."""
    weights = [training.module.get_submodule(name).get_parameter("weight") for name in names]
    total = torch.zeros(len(weights), dtype=torch.float64, device=training.device)
    batches = training.recipe.probe_batches
    for ahead in range(batches):
        training.gradients(training.feed.draws(training.iteration + ahead))
        total += torch.stack([_norm(weight.grad) / _norm(weight) for weight in weights])
    training.optimiser.zero_grad(set_to_none=True)
    return (total / batches).tolist()


def _norm(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return torch.linalg.vector_norm(tensor.detach().double())


@torch.no_grad()
def _signals(training: Training, norms: Sequence[str]) -> dict[str, list[float]]:
    """Over one training batch, in training mode."""
    with _watched(training.module) as watched, averages_held(), nothing_dropped(training.module):
        images, _ = training.feed.batch(training.iteration)
        with training.autocast():
            training.module(images)
    modules = [(training.module.get_submodule(norm), watched[norm]) for norm in norms]
    return {
        "norm_variance": [
            float(_after(module, seen.entering, moving=False).variance.min()) for module, seen in modules
        ],
        "activation_variance": [float(seen.leaving.moments.variance.min()) for _, seen in modules],
    }


@torch.no_grad()
def _responses(training: Training, norms: Sequence[str]) -> dict[str, list[Any]]:
    """Over the test images, in evaluation mode."""
    if not training.iteration and training.network.parent is None:
        return {"response": [], "blocks": [], "residual_over_input": []}
    training.module.eval()
    with _watched(training.module) as watched:
        for images, _ in training.feed.test_batches(training.images):
            with training.autocast():
                training.module(images)
    training.module.train()
    names = {module: name for name, module in training.module.named_modules()}
    deviations = {
        name: _after(module, watched[name].entering, moving=True).deviation
        for module, name in names.items()
        if isinstance(module, BatchNorm)
    }
    residual = {name: block for block, name in names.items() if isinstance(block, Block) and block.shortcut is not None}
    return {
        "response": [deviations[norm] for norm in norms],
        "blocks": list(residual),
        "residual_over_input": [
            _ratio(deviations[names[block.last_norm]], watched[name].entering.moments.deviation)
            for name, block in residual.items()
        ],
    }


def _ratio(one: float, other: float) -> float:
    """Infinite over a block's input that is the same everywhere: that network is dead, and its probe is a result."""
    return one / other if other else math.inf


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and variance of each channel, (C,), over images and places, in double."""

    mean: Tensor
    variance: Tensor

    @property
    def deviation(self) -> float:
        """Standard deviation of all values of all channels."""
        second = (self.variance + self.mean**2).mean()
        return float((second - self.mean.mean() ** 2).clamp(min=0).sqrt())


class Sums:
    """Sums over all values of each channel that have passed so far."""

    def __init__(self) -> None:
        self._count, self._first, self._second = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """(N, C, H, W)."""
        x = x.double()
        self._count += x.numel() // x.shape[1]
        self._first = self._first.to(x) + x.sum((0, 2, 3))
        self._second = self._second.to(x) + (x * x).sum((0, 2, 3))

    @property
    def moments(self) -> Moments:
        mean = self._first / self._count
        return Moments(mean=mean, variance=(self._second / self._count - mean**2).clamp(min=0))


@dataclass(frozen=True)
class Seen:
    """What entered a module, and what left it."""

    entering: Sums = field(default_factory=Sums)
    leaving: Sums = field(default_factory=Sums)


@contextmanager
def _watched(module: nn.Module) -> Iterator[dict[str, Seen]]:
    """What passes each batch normalisation and each block while the `with` block lasts, by name."""
    parts = {name: part for name, part in module.named_modules() if isinstance(part, BatchNorm | Block)}
    seen = {name: Seen() for name in parts}
    with ExitStack() as hooks:
        for name, part in parts.items():
            hooks.enter_context(part.register_forward_pre_hook(partial(_enters, seen[name])))
            hooks.enter_context(part.register_forward_hook(partial(_leaves, seen[name])))
        yield seen


def _enters(seen: Seen, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    seen.entering.add(arguments[0])


def _leaves(seen: Seen, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
    seen.leaving.add(output)


def _after(norm: nn.Module, entering: Sums, *, moving: bool) -> Moments:
    """What batch normalisation makes of what entered it, by its moving averages or by the batch's own statistics.

    Computed, not watched: sum and ReLU are done by the same kernel.
    """
    assert isinstance(norm, BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    x = entering.moments
    mean, variance = (norm.running_mean.double(), norm.running_var.double()) if moving else (x.mean, x.variance)
    scale = norm.weight.double() / (variance + norm.eps).sqrt()
    return Moments(mean=(x.mean - mean) * scale + norm.bias.double(), variance=x.variance * scale**2)
