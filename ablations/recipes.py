"""Every value that shapes training and testing, and the recipes that have a name. Standard library alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, get_type_hints

from ablations.bounds import Bounds, Check, Entries, check

Positive = Annotated[float, Bounds(above=0)]
Count = Annotated[int, Bounds(at_least=1, at_most=10**9)]
Images = Annotated[int, Bounds(at_least=0, at_most=10**9)]
"""A number of images; 0: none."""
Inside = Annotated[float, Bounds(above=0, below=1)]
Rate = Annotated[float, Bounds(at_least=0, below=1)]
CROP = 224
"""Side of the paper's crops of a photograph (sec. 3.4), for which its shorter sides are given."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults are the paper's CIFAR-10 training (sec. 4.2); other recipes say where they differ.

    Raises ValueError, whose first word is the field, for a value that is of another type, out of bounds, or at odds
    with another. Whole numbers are taken for floats and lists for tuples, as JSON has them.
    """

    iterations: Count = 64_000
    """SGD updates (sec. 4.2: 64k)."""
    batch: Count = 128
    """Images per SGD update."""
    lr: Positive = 0.1
    schedule: Literal["iterations", "plateau"] = "iterations"
    """`iterations`: the learning rate drops where `drops` says. `plateau`: it drops when the validation error has not
    got lower for `patience` evaluations (sec. 3.4: "divided by 10 when the error plateaus")."""
    drops: Annotated[tuple[Inside, ...], Entries(most=16)] = (0.5, 0.75)
    """Where the learning rate drops, as shares of `iterations` (sec. 4.2: at 32k and 48k of 64k)."""
    drop_factor: Inside = 0.1
    """What the learning rate is multiplied by at each drop."""
    patience: Count = 10
    """Evaluations without a lower validation error before a drop; under `plateau` alone."""
    warmup_lr: Positive = 0.01
    """Learning rate until the training error is below `warmup_until_error` (sec. 4.2, 110 layers)."""
    warmup_until_error: Annotated[float, Bounds(above=0, below=100)] = 80.0
    """Percent, over the last 100 iterations."""
    warmup_iterations: Count | None = None
    """A warm-up of so many iterations, whatever the training error; null: until the error is low enough."""
    warmup_from_depth: Count | None = 110
    """Networks of at least this many layers warm up; null: none does."""
    momentum: Rate = 0.9
    nesterov: bool = False
    """Nesterov's momentum; the paper's is the plain one."""
    weight_decay: Annotated[float, Bounds(at_least=0)] = 1e-4
    weight_decay_scope: Literal["weights", "all"] = "weights"
    """`weights`: convolutions and the classifier's weight, as the authors seem to have done; `all`: biases and batch
    normalisation too. The paper does not say."""
    dropout: Rate = 0.0
    """Share of a block's activations that are dropped in training; the paper uses none (sec. 3.4)."""
    stochastic_depth: Rate = 0.0
    """Probability that the last block is left out of an update, rising linearly from 0 before the first (Huang et al.
    2016); residual networks only."""
    bn_batch: Count | None = None
    """Images over which batch normalisation takes its statistics in training: one replica's share of the batch (128 on
    two GPUs, 256 on eight); null: the whole batch. It divides `batch`. The paper does not say."""
    held_out: Images = 0
    """Training images kept out of training, on which the validation error is measured (sec. 4.2: 45k/5k split)."""
    augmentation: Literal["pad-crop-flip", "scale-crop-flip-colour", "area-crop-flip-colour", "none"] = "pad-crop-flip"
    """`pad-crop-flip`: zero pad, random crop, random mirror (sec. 4.2). `scale-crop-flip-colour`: the shorter side is
    drawn, then a crop, its mirror, and colour noise (sec. 3.4). `area-crop-flip-colour`: a crop of 8 to 100 % of the
    area and of aspect 3/4 to 4/3 instead, as GoogLeNet's. `none`: the image, of a photograph its centre."""
    shorter_side: Annotated[tuple[Annotated[int, Bounds(at_least=8, at_most=4096)], ...], Entries(most=2)] = (256, 480)
    """Between these the shorter side of a photograph is drawn (sec. 3.4), in pixels where the crop has 224; for other
    crops in proportion."""
    colour_noise: Annotated[float, Bounds(at_least=0, at_most=10)] = 0.1
    """Standard deviation of the colour noise along the principal components (sec. 3.4 cites AlexNet); 0: none."""
    sizes: Annotated[tuple[Annotated[int, Bounds(at_least=8, at_most=4096)], ...], Entries(most=16)] = ()
    """Progressive resizing: sides of the crops in training, each for an equal share of the iterations; empty: the
    network's own throughout. Tests are at the network's own size."""
    order: Literal["random", "quasi-random"] = "random"
    """`random`: every epoch is a permutation. `quasi-random`: neighbours in the file stay near each other, so that a
    file larger than memory is read in sequence. For photographs alone."""
    pad: Annotated[int, Bounds(at_least=0, at_most=64)] = 4
    """Pixels on each side, zero after mean subtraction."""
    normalisation: Literal["pixel-mean", "channel-mean", "mean-std"] = "pixel-mean"
    """`pixel-mean`: subtract the training set's mean image, no division (sec. 3.4 and 4.2). `channel-mean`: subtract
    its mean colour. `mean-std`: one mean and one standard deviation for all pixels; not for photographs."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Arithmetic of convolutions and the classifier; `bf16` is autocast with fp32 weights."""
    deterministic: bool = True
    """On a GPU, only algorithms that give the same bits each time, so that a resumed attempt repeats a killed one's;
    the CPU's always do."""
    compiled: bool = False
    """On a GPU, kernels fused by torch.compile; they round otherwise than PyTorch's own."""
    record_every: Count = 200
    """Iterations between points of the training curves; each is a mean since the point before."""
    evaluate_every: Count = 400
    """Iterations between test evaluations; the last iteration is always evaluated."""
    clean_every: Count | None = None
    """Iterations between evaluations on the training images without augmentation, a multiple of `evaluate_every`; null:
    at the end alone."""
    precise_bn: Images = 0
    """Training images over which batch normalisation's statistics are computed anew for a second test evaluation,
    beside the one with moving averages; 0: no second one."""
    views: Annotated[tuple[Literal["centre", "ten-crop", "multi-scale"], ...], Entries(most=3)] = ()
    """How the final network sees each test photograph, its predictions kept. `ten-crop`: four corners, the centre and
    their mirrors at shorter side 256. `multi-scale`: fully convolutional at shorter sides 224 to 640 (sec. 3.4)."""
    probe_at: Annotated[tuple[Annotated[float, Bounds(at_least=0, at_most=1)], ...], Entries(most=32)] = ()
    """When the probes look into the network, as rising shares of `iterations`: 0 is the initialisation, 1 the end."""
    probe_batches: Count = 50
    """Batches over which a probe averages gradients."""

    def __post_init__(self) -> None:
        for name, checked in _checks().items():
            try:
                object.__setattr__(self, name, checked(getattr(self, name)))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        for problem in self._problems():
            raise ValueError(problem)

    @property
    def drop_iterations(self) -> tuple[int, ...]:
        """The SGD update before which each drop takes effect."""
        return tuple(round(share * self.iterations) for share in self.drops)

    @property
    def probe_iterations(self) -> frozenset[int]:
        """The SGD updates after which the probes look; 0: before the first."""
        return frozenset(round(share * self.iterations) for share in self.probe_at)

    def warms_up(self, depth: int) -> bool:
        """Whether a network of so many layers starts at the low learning rate."""
        return self.warmup_from_depth is not None and depth >= self.warmup_from_depth

    @property
    def needs_gpu(self) -> str | None:
        """The value that no CPU can compute, and what to do about it; None where there is none."""
        if self.precision == "tf32":
            return "precision tf32 needs a GPU; on the CPU use fp32 or bf16"
        return "compiled true needs a GPU; on the CPU leave it out" if self.compiled else None

    def _problems(self) -> Iterator[str]:
        """Values that are at odds with each other."""
        if not _rises(self.drops):
            yield f"drops must rise strictly, as [0.5, 0.75], not {list(self.drops)}"
        if not _rises(self.probe_at):
            yield f"probe_at must rise strictly, as [0, 0.5, 1], not {list(self.probe_at)}"
        if self.evaluate_every % self.record_every:
            yield f"evaluate_every must be a multiple of record_every ({self.record_every}), not {self.evaluate_every}"
        if self.clean_every and self.clean_every % self.evaluate_every:
            yield f"clean_every must be a multiple of evaluate_every ({self.evaluate_every}), not {self.clean_every}"
        if self.bn_batch and self.batch % self.bn_batch:
            yield f"bn_batch must divide batch ({self.batch}), not {self.bn_batch}; give its share on one replica"
        if len(self.shorter_side) != 2 or self.shorter_side[0] > self.shorter_side[1]:
            yield f"shorter_side is the least and the most, as [256, 480], not {list(self.shorter_side)}"
        if self.shorter_side[:1] and self.shorter_side[0] < CROP:
            yield f"shorter_side must be at least that of the crop, {CROP}, not {self.shorter_side[0]}"
        if self.precise_bn == 1:
            yield "precise_bn must be 0 or at least 2, not 1: one image has no variance"
        if len(set(self.views)) < len(self.views):
            yield f"views must differ, not {list(self.views)}"
        if self.nesterov and not self.momentum:
            yield "nesterov true needs momentum above 0; leave one of them out"
        if self.schedule == "plateau" and not self.held_out:
            yield "schedule plateau watches the validation error, and held_out is 0; give held_out too, as 5000"


def replica_counts(recipe: Recipe) -> tuple[int, ...]:
    """Over how many replicas the batch can be split such that each takes whole groups of `bn_batch` images.

    Batch 256 and bn_batch 32: 1, 2, 4 or 8. It changes rounding alone, so it is in no key.
    """
    groups = recipe.batch // (recipe.bn_batch or recipe.batch)
    return tuple(count for count in range(1, groups + 1) if groups % count == 0)


@lru_cache(maxsize=1024)  # a study asks once for each trial, and has few recipes
def effective(recipe: Recipe, depth: int) -> Recipe:
    """The same training of a network of this depth, each value that changes nothing in it at its default.

    Two recipes that are equal so are the same work.
    """
    unused = set(_idle(recipe, depth))
    idle: dict[str, Any] = {field.name: field.default for field in fields(Recipe) if field.name in unused}
    if recipe.bn_batch == recipe.batch:
        idle["bn_batch"] = None
    if Recipe().warms_up(depth) != recipe.warms_up(depth):
        idle["warmup_from_depth"] = depth if recipe.warms_up(depth) else None
    else:
        idle["warmup_from_depth"] = Recipe.warmup_from_depth
    return replace(recipe, **idle)


def _idle(recipe: Recipe, depth: int) -> Iterator[str]:
    """Fields that change nothing beside the others."""
    if not recipe.warms_up(depth):
        yield from ("warmup_lr", "warmup_until_error", "warmup_iterations")
    elif recipe.warmup_iterations is not None:
        yield "warmup_until_error"
    yield from ("patience",) if recipe.schedule == "iterations" else ("drops",)
    if recipe.schedule == "iterations" and not recipe.drops:
        yield "drop_factor"
    if recipe.augmentation != "pad-crop-flip":
        yield "pad"
    if recipe.augmentation != "scale-crop-flip-colour":
        yield "shorter_side"
    if not recipe.augmentation.endswith("-colour"):
        yield "colour_noise"
    if not recipe.weight_decay:
        yield "weight_decay_scope"
    if not recipe.probe_at:
        yield "probe_batches"


@cache
def _checks() -> Mapping[str, Check]:
    """The check of each field, in their order."""
    return {name: check(hint) for name, hint in hints().items()}


@cache
def hints() -> Mapping[str, Any]:
    """Each field's type with its bounds."""
    return get_type_hints(Recipe, include_extras=True)


def _rises(shares: tuple[float, ...]) -> bool:
    return all(first < second for first, second in pairwise(shares))


CIFAR = Recipe()
"""Sec. 4.2, as in Table 6 and Figure 6."""

IMAGENET = Recipe(
    iterations=600_000,
    batch=256,
    drops=(0.25, 0.5, 0.75),
    warmup_from_depth=None,
    bn_batch=32,
    augmentation="scale-crop-flip-colour",
    pad=0,
    record_every=1000,
    evaluate_every=5000,
    precise_bn=10_000,
    views=("centre", "ten-crop", "multi-scale"),
)
"""Sec. 3.4; the drops are where Figure 4 shows them (30, 60, 90 epochs). The authors' 8 GPUs had 32 images each, over
which batch normalisation took its statistics; at the end they took them over many training images."""

IMAGENET_16 = replace(
    IMAGENET,
    iterations=80_000,
    precision="bf16",
    sizes=(128, 160, 192, 224),
)
"""Not the paper's: 16 epochs instead of 120, progressive resizing, bf16. A first look for a tenth of the cost."""

IMAGENET_32 = replace(IMAGENET_16, iterations=160_000)
"""The same in 32 epochs."""

DIGITS = Recipe(
    iterations=150,
    batch=64,
    lr=0.03,
    warmup_from_depth=None,
    augmentation="none",
    pad=0,
    normalisation="mean-std",
    record_every=5,
    evaluate_every=30,
)
"""A demonstration in seconds. At the paper's lr 0.1 so short a run shows nothing."""

RECIPES: Mapping[str, Recipe] = {
    "cifar": CIFAR,
    "imagenet": IMAGENET,
    "imagenet-16": IMAGENET_16,
    "imagenet-32": IMAGENET_32,
    "digits": DIGITS,
}
