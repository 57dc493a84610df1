"""Training one network under one recipe: the SGD update, the learning rate, the test evaluation."""

import io
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ablations.data.feed import Feed
from ablations.recipes import Recipe
from models.networks import build, initialise
from models.spec import Network

EVALUATION_BATCH = 500
WARMUP_WINDOW = 100
"""Iterations over which the training error that ends the warm-up is taken; it is looked at as often."""


class Training:
    """A network in training: everything that an iteration changes, and nothing else.

    `state` and `restore` carry it across processes bit for bit.
    """

    def __init__(self, network: Network, recipe: Recipe, feed: Feed, seed: int, device: torch.device) -> None:
        self.recipe, self.feed, self.device = recipe, feed, device
        self.module = build(network)
        initialise(self.module, network, torch.Generator().manual_seed(seed))
        self.module = self.module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimiser = torch.optim.SGD(
            _decayed(self.module, recipe), lr=recipe.lr, momentum=recipe.momentum, fused=True
        )
        self.iteration = 0
        self.lr = recipe.lr
        """Learning rate of the latest SGD update."""
        self.warming = recipe.warmup_from_depth is not None and network.depth >= recipe.warmup_from_depth
        self.window = self._empty()
        self.warmup_window = self._empty()

    def step(self) -> None:
        """One SGD update on one augmented batch; its loss and errors join the running sums, on the device."""
        images, labels = self.feed.batch(self.iteration)
        self.lr = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr
        with _autocast(self.recipe, self.device):
            logits = self.module(images)
        loss = F.cross_entropy(logits.float(), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.iteration += 1
        sums = _sums(loss.detach() * len(labels), logits.detach(), labels)
        self.window += sums
        if self.warming:
            self._warm(sums)

    def running(self) -> dict[str, float]:
        """Mean loss (nats) and error (%) on the augmented batches since the last call."""
        loss, errors = _means(self.window)
        self.window = self._empty()
        return {"train_loss": loss, "train_error": errors}

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Mean loss (nats) and error (%) on the test images, one view each (sec. 4.2)."""
        self.module.eval()
        total = self._empty()
        for images, labels in self.feed.test_batches(EVALUATION_BATCH):
            with _autocast(self.recipe, self.device):
                logits = self.module(images)
            total += _sums(F.cross_entropy(logits.float(), labels, reduction="sum"), logits, labels)
        self.module.train()
        loss, errors = _means(total)
        return {"test_loss": loss, "test_error": errors}

    def state(self) -> bytes:
        """A checkpoint: weights, batch-norm statistics, momenta, and the sums of the unfinished record."""
        buffer = io.BytesIO()
        torch.save(
            {
                "iteration": self.iteration,
                "warming": self.warming,
                "window": self.window,
                "warmup_window": self.warmup_window,
                "module": self.module.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            buffer,
        )
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Continue where `state` was taken."""
        state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), map_location=self.device, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.iteration, self.warming = state["iteration"], state["warming"]
        self.window, self.warmup_window = state["window"], state["warmup_window"]

    def _empty(self) -> Tensor:
        return torch.zeros(3, dtype=torch.float64, device=self.device)

    def _rate(self) -> float:
        """Learning rate of the next SGD update."""
        if self.warming:
            return self.recipe.warmup_lr
        return self.recipe.lr * self.recipe.drop_factor ** sum(
            self.iteration >= drop for drop in self.recipe.drop_iterations
        )

    def _warm(self, sums: Tensor) -> None:
        """Sec. 4.2: start at 0.01 until the training error is below 80 %, then go back to 0.1."""
        self.warmup_window += sums
        if self.iteration % WARMUP_WINDOW == 0:
            self.warming = _means(self.warmup_window)[1] >= self.recipe.warmup_until_error
            self.warmup_window = self._empty()


def _decayed(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups: with weight decay, and (under scope `weights`) without."""
    decayed, free = [], []
    for parameter in module.parameters():
        is_weight = parameter.ndim > 1 or recipe.weight_decay_scope == "all"
        (decayed if is_weight else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=torch.bfloat16) if recipe.precision == "bf16" else nullcontext()


def _sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """(3,): summed loss, number of wrong predictions, number of images; stays on the device."""
    wrong = (logits.argmax(dim=1) != labels).sum()
    return torch.stack([loss.double(), wrong.double(), wrong.new_tensor(len(labels)).double()])


def _means(sums: Tensor) -> tuple[float, float]:
    loss, wrong, count = sums.tolist()
    return loss / count, 100 * wrong / count
