"""Training one network under one recipe: the SGD update, its execution on a device, and what is evaluated."""

import hashlib
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from ablations.data.feed import Batch, Draws, Feed
from ablations.device import full_precision
from ablations.graph import Graph
from ablations.kernels.batch_norm import install
from ablations.learning_rate import Schedule
from ablations.recipes import Recipe
from ablations.replicas import ALONE, Group
from models.blocks import Block, nothing_dropped
from models.convolution import BatchNorm, averages_held
from models.growth import grow, stage_statistics
from models.networks import build, initialise
from models.spec import Network

EVALUATION_BATCH, PHOTOGRAPHS = 500, 100
COMPARED = 2000
"""Training images on which a grown network is compared with its parent."""


class DamagedCheckpointError(Exception):
    """A checkpoint whose content is not what its own checksum says."""


class Training:
    """A network in training: everything that an iteration changes, and nothing else.

    `state` and `restore` carry it across processes bit for bit. With `recompute`, a block keeps nothing but its input
    for the backward pass and is computed a second time there: a quarter of the memory, the same bits.

    With a group of several replicas each trains on its share of every batch, and all do the same at the same time:
    `align`, `step`, `evaluate` and `gradients` wait for the others. Weights, momenta, totals and schedule are the same
    in each of them; of the moving averages, which follow each one's own share, the first replica's count.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        feed: Feed,
        seed: int,
        device: torch.device,
        *,
        recompute: bool = False,
        group: Group = ALONE,
    ) -> None:
        self.network, self.recipe, self.feed, self.seed, self.device = network, recipe, feed, seed, device
        self.group = group
        self.module = build(network, dropout=recipe.dropout, stochastic_depth=recipe.stochastic_depth)
        initialise(self.module, network, torch.Generator().manual_seed(seed))
        self.module = self.module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        for part in self.module.modules():
            if isinstance(part, BatchNorm):
                part.replica = recipe.bn_batch
            elif isinstance(part, Block):
                part.recompute = recompute
        self.kernels = install(self.module) if device.type == "cpu" else "PyTorch's"
        """What computes batch normalisation, in words."""
        self.optimiser = torch.optim.SGD(
            _decayed(self.module, recipe),
            lr=recipe.lr if device.type == "cpu" else torch.tensor(recipe.lr, device=device),
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            fused=True,
        )
        for parameter in _parameters(self.optimiser):  # zero is no momentum, and needs no first update of another kind
            self.optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.schedule = Schedule(recipe, network.depth)
        self.iteration = 0
        self.lr = recipe.lr
        """Learning rate of the latest SGD update."""
        self._totals = torch.zeros(3, dtype=torch.float64, device=device)
        """Loss, wrong predictions and images of all updates so far; read only when something asks."""
        self._recorded = [0.0, 0.0, 0.0]
        self.growth: dict[str, float] = {}
        """Of a network that was grown from another: how far the two were apart before the first update."""
        self.images = PHOTOGRAPHS if network.layout == "imagenet" else EVALUATION_BATCH
        """Of an evaluation's batch."""
        self._top_5 = network.layout == "imagenet" and network.classes > 5
        self._random = recipe.dropout > 0 or recipe.stochastic_depth > 0
        forward: Callable[[Tensor], Tensor] = self.module
        if recipe.compiled:
            forward = torch.compile(self.module, dynamic=False)
        self._forward = group.averaged(forward, skips=recipe.stochastic_depth > 0)
        graph = device.type == "cuda" and not self._random and not recompute and group.count == 1
        self._execute: Callable[[Draws], None] = Graph(self._update) if graph else self._update
        self.execution = ("compiled, " if recipe.compiled else "") + ("as a CUDA graph" if graph else "eager")
        if group.count > 1:
            self.execution += f", data parallel over {group.count} replicas"
        """How an update is carried out, in words."""

    def grow(self, checkpoint: bytes) -> None:
        """Begin from the trained weights of the network's parent, whatever is new between its layers the identity."""
        assert self.network.parent is not None
        state = load_checkpoint(checkpoint, self.device)["module"]
        parent = build(self.network.parent).to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        parent.load_state_dict(state)
        images = (images for images, _ in self.feed.clean_batches(self.images))
        grow(self.module, self.network, state, stage_statistics(parent, images))
        self.growth = self._compare(parent)

    @torch.no_grad()
    def _compare(self, parent: nn.Module) -> dict[str, float]:
        """How the network and its parent answer to the same training images, in evaluation and before any update:
        largest difference of a logit, and the error of each in percent (claim DEG-09). In full precision, whatever
        the recipe's: TF32 rounds what goes into an identity layer, and its parent has none there."""
        furthest, wrong, seen = 0.0, [0, 0], 0
        for module in (self.module, parent):
            module.eval()
        for images, labels in self.feed.clean_batches(self.images, COMPARED):
            with full_precision():
                logits = [module(images) for module in (self.module, parent)]
            apart = (logits[0] - logits[1]).abs().max().item()
            furthest = max(furthest, apart if math.isfinite(apart) else math.inf)  # NaN is above nothing
            wrong = [so_far + int((of.argmax(1) != labels).sum()) for so_far, of in zip(wrong, logits, strict=True)]
            seen += len(labels)
        self.module.train()
        mine, theirs = (100 * each / seen for each in wrong)
        return {"logit_difference": furthest, "train_error": mine, "parent_train_error": theirs, "images": seen}

    def align(self) -> None:
        """Give all replicas the state of the first; once, before the first step."""
        if self.group.count == 1:
            return
        state = self.group.told(self.state() if self.group.leads else b"", self.device)
        if not self.group.leads:
            self.restore(state)
        # DDP orders its buckets anew after its first pass, and of more than two summands their order decides the bits:
        # a resumed attempt must not make its first update with other buckets than its twin.
        self.gradients(self.feed.draws(self.iteration))
        self.optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One SGD update on one augmented batch; its loss and errors join the totals, on the device."""
        self._set_rate(self.schedule.rate(self.iteration))
        if self._random:
            self._seed_draws()
        self._execute(self.feed.draws(self.iteration))
        self.iteration += 1
        if self.schedule.looks(self.iteration):
            _, wrong, images = self._totals.tolist()
            self.schedule.look(wrong, images)

    def running(self) -> dict[str, float]:
        """Mean loss (nats) and error (%) on the augmented batches since the last call."""
        before, self._recorded = self._recorded, self._totals.tolist()
        loss, errors = _means([now - then for now, then in zip(self._recorded, before, strict=True)])
        return {"train_loss": loss, "train_error": errors}

    def evaluate(self, *, clean: bool = False) -> dict[str, float]:
        """Mean loss (nats) and error (%) on the test images, one view each (sec. 4.2), and on whatever else is asked.

        `clean`: on all training images without augmentation. Held-out images and recomputed batch-norm statistics are
        evaluated where the recipe has them; a validation error may end a plateau.
        """
        part = self.group.share
        found = self._evaluate("test", self.feed.test_batches(self.images, part))
        if self.recipe.held_out:
            found |= self._evaluate("validation", self.feed.validation_batches(self.images, part))
            self.schedule.validated(found["validation_error"])
        if clean:
            found |= self._evaluate("clean_train", self.feed.clean_batches(self.images, part=part))
        if self.recipe.precise_bn:
            with self.precise():
                found |= self._evaluate("precise_test", self.feed.test_batches(self.images, part))
        return found

    def gradients(self, draws: Draws) -> None:
        """Leave the gradients of one batch in the parameters, and no trace anywhere else: what a probe looks at.

        Nothing is dropped: a probe sees the whole network.
        """
        self.optimiser.zero_grad(set_to_none=True)
        with averages_held(), nothing_dropped(self.module):
            loss, _, _ = self._losses(self.feed.drawn(draws))
            loss.backward()

    def state(self) -> bytes:
        """A checkpoint: weights, batch-norm statistics, momenta, schedule and the sums of the unfinished record.

        It carries a checksum of its own content, so that a copy of it can be trusted alone.
        """
        state = {
            "iteration": self.iteration,
            "schedule": self.schedule.state(),
            "totals": self._totals,
            "recorded": self._recorded,
            "module": self.module.state_dict(),
            "momenta": _momenta(self.optimiser),
            **({"growth": self.growth} if self.growth else {}),
        }
        buffer = io.BytesIO()
        torch.save(state | {"sha256": checksum(state)}, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes) -> None:
        """Continue where `state` was taken. Raises DamagedCheckpointError."""
        state = load_checkpoint(checkpoint, self.device)
        self.module.load_state_dict(state["module"])
        for momentum, kept in zip(_momenta(self.optimiser), state["momenta"], strict=True):
            momentum.copy_(kept)
        self.iteration = state["iteration"]
        self.schedule.restore(state["schedule"])
        self._totals.copy_(state["totals"])
        self._recorded = list(state["recorded"])
        self.growth = state.get("growth", {})

    def _update(self, draws: Draws) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss, logits, labels = self._losses(self.feed.drawn(draws))
        loss.backward()
        if self.recipe.stochastic_depth:
            _fill_gradients(self.module)
        self.optimiser.step()
        self._totals += self.group.sum(_sums(loss.detach() * len(labels), logits.detach(), labels))

    def _seed_draws(self) -> None:
        """Of dropout, whose masks differ between replicas, and of which blocks are left out, which is the batch's."""
        seed = _step_seed(self.seed, self.iteration)
        if self.group.count > 1:
            blocks = [part for part in self.module.modules() if isinstance(part, Block)]
            lots = torch.rand(len(blocks), generator=torch.Generator().manual_seed(seed))
            for block, lot in zip(blocks, lots, strict=True):
                block.lot = lot
        torch.manual_seed(seed if self.group.leads else _step_seed(self.seed, self.iteration, self.group.rank))

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Mean loss, logits and labels of a batch."""
        images, labels = batch
        with self.autocast():
            logits = self._forward(images)
        return F.cross_entropy(logits.float(), labels), logits, labels

    @torch.inference_mode()
    def _evaluate(self, name: str, batches: Iterable[Batch]) -> dict[str, float]:
        """The batches are this replica's part."""
        self.group.follow(list(self.module.buffers()))
        self.module.eval()
        total, beyond = torch.zeros_like(self._totals), torch.zeros_like(self._totals[:1])
        for images, labels in batches:
            with self.autocast():
                logits = self.module(images)
            total += _sums(F.cross_entropy(logits.float(), labels, reduction="sum"), logits, labels)
            if self._top_5:
                beyond += (logits.topk(5).indices != labels[:, None]).all(dim=1).sum()
        self.module.train()
        loss, errors = _means(self.group.sum(total).tolist())
        found = {f"{name}_loss": loss, f"{name}_error": errors}
        if self._top_5:
            found[f"{name}_top5_error"] = 100 * self.group.sum(beyond).item() / total[2].item()
        return found

    @contextmanager
    def precise(self) -> Iterator[None]:
        """Batch-norm statistics that are the mean over many training images, not the moving one, while the block lasts.

        The authors published such models; early in training moving averages lag behind the weights.
        """
        norms = [part for part in self.module.modules() if isinstance(part, BatchNorm)]
        kept = {name: tensor.clone() for name, tensor in self.module.named_buffers()}
        momenta = [norm.momentum for norm in norms]
        if self.group.leads:  # the others get them
            self._average_statistics(norms)
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum, norm.replica = momentum, self.recipe.bn_batch
            with torch.no_grad():
                for name, tensor in self.module.named_buffers():
                    tensor.copy_(kept[name])

    @torch.no_grad()
    def _average_statistics(self, norms: Sequence[BatchNorm]) -> None:
        self.module.eval()  # nothing is dropped; batch normalisation alone is in training
        for norm in norms:
            norm.train()
        seen = 0
        for images, _ in self.feed.clean_batches(self.images, self.recipe.precise_bn):
            seen += len(images)
            for norm in norms:  # each image weighs the same, also where the last batch is short
                norm.momentum, norm.replica = len(images) / seen, None
            with self.autocast():
                self.module(images)

    def _set_rate(self, rate: float) -> None:
        if rate == self.lr and self.iteration:
            return
        self.lr = rate
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def autocast(self) -> AbstractContextManager[Any]:
        bf16 = self.recipe.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if bf16 else nullcontext()


def load_checkpoint(checkpoint: bytes, device: torch.device) -> dict[str, Any]:
    """What `Training.state` wrote, unpickled as tensors and plain values alone.

    Raises DamagedCheckpointError if it is not what its checksum says.
    """
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)
        said = state.pop("sha256")
    except Exception as error:
        raise DamagedCheckpointError(
            f"a checkpoint cannot be read ({type(error).__name__}); run the trial again"
        ) from error
    if said != checksum(state):
        raise DamagedCheckpointError("a checkpoint is damaged (its checksum differs); run the trial again")
    return state


def checksum(part: Any) -> str:
    """sha256 of nested values and tensors, bit for bit: equal for equal content, whatever device holds it."""
    total = hashlib.sha256()
    _digest(part, total)
    return total.hexdigest()


def _digest(part: Any, total: "hashlib._Hash") -> None:
    if isinstance(part, Tensor):
        total.update(f"{part.dtype}{tuple(part.shape)}".encode())
        total.update(part.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(part, Mapping):
        for name, value in part.items():
            total.update(f"{name}:".encode())
            _digest(value, total)
    elif isinstance(part, list | tuple):
        total.update(f"[{len(part)}]".encode())
        for value in part:
            _digest(value, total)
    else:
        total.update(repr(part).encode())


def _parameters(optimiser: torch.optim.SGD) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _momenta(optimiser: torch.optim.SGD) -> list[Tensor]:
    """In the order of the parameters."""
    return [optimiser.state[each]["momentum_buffer"] for each in _parameters(optimiser)]


def _decayed(module: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups: with weight decay, and (under scope `weights`) without."""
    decayed, free = [], []
    for parameter in module.parameters():
        is_weight = parameter.ndim > 1 or recipe.weight_decay_scope == "all"
        (decayed if is_weight else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _step_seed(*parts: int) -> int:
    """Of the draws inside the network, for one update of one trial (and replica): none depends on another's."""
    text = ":".join(map(str, ("network", *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _fill_gradients(module: nn.Module) -> None:
    """What was left out of an update has gradient zero, and decays and moves on like all else [Huang et al., 2016]."""
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def _sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """(3,): summed loss, number of wrong predictions, number of images; stays on the device."""
    wrong = (logits.argmax(dim=1) != labels).sum()
    return torch.stack([loss.double(), wrong.double(), loss.new_full((), len(labels), dtype=torch.float64)])


def _means(sums: Iterable[float]) -> tuple[float, float]:
    loss, wrong, count = sums
    return loss / count, 100 * wrong / count
