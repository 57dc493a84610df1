"""Every value that shapes training and testing, and the recipes that have a name."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class Recipe(BaseModel):
    """The defaults are the paper's CIFAR-10 training (sec. 4.2); other recipes say where they differ."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    iterations: Count = 64_000
    """SGD updates (sec. 4.2: 64k)."""
    batch: Count = 128
    """Images per SGD update."""
    lr: Positive = 0.1
    drops: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=16)] = (0.5, 0.75)
    """Where the learning rate drops, as shares of `iterations` (sec. 4.2: at 32k and 48k of 64k)."""
    drop_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    warmup_lr: Positive = 0.01
    """Learning rate until the training error is below `warmup_until_error` (sec. 4.2, 110 layers)."""
    warmup_until_error: Annotated[float, Field(gt=0, lt=100)] = 80.0
    """Percent, over the last 100 iterations."""
    warmup_from_depth: Count | None = 110
    """Networks of at least this many layers warm up; null: none does."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    weight_decay_scope: Literal["weights", "all"] = "weights"
    """`weights`: convolutions and the classifier's weight, as the authors seem to have done; `all`: biases and batch
    normalisation too. The paper does not say."""
    augmentation: Literal["pad-crop-flip", "scale-crop-flip-colour", "none"] = "pad-crop-flip"
    """`pad-crop-flip`: zero pad, random crop, random mirror (sec. 4.2). `scale-crop-flip-colour`: sec. 3.4."""
    pad: Annotated[int, Field(ge=0, le=64)] = 4
    """Pixels on each side, zero after mean subtraction."""
    normalisation: Literal["pixel-mean", "mean-std"] = "pixel-mean"
    """`pixel-mean`: subtract the training set's mean image, no division (sec. 4.2). `mean-std`: one mean and one
    standard deviation for all pixels."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Arithmetic of convolutions and the classifier; `bf16` is autocast with fp32 weights."""
    record_every: Count = 200
    """Iterations between points of the training curves; each is a mean since the point before."""
    evaluate_every: Count = 400
    """Iterations between test evaluations; the last iteration is always evaluated."""

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if list(self.drops) != sorted(set(self.drops)):
            raise ValueError(f"drops must rise strictly, as [0.5, 0.75], not {list(self.drops)}")
        if self.evaluate_every % self.record_every:
            raise ValueError(
                f"evaluate_every must be a multiple of record_every ({self.record_every}), not {self.evaluate_every}"
            )
        return self

    @property
    def drop_iterations(self) -> tuple[int, ...]:
        """The SGD update before which each drop takes effect."""
        return tuple(round(share * self.iterations) for share in self.drops)


CIFAR = Recipe()
"""Sec. 4.2, as in Table 6 and Figure 6."""

IMAGENET = Recipe(
    iterations=600_000,
    batch=256,
    drops=(0.25, 0.5, 0.75),
    warmup_from_depth=None,
    augmentation="scale-crop-flip-colour",
    pad=0,
    record_every=1000,
    evaluate_every=5000,
)
"""Sec. 3.4; the drops are where Figure 4 shows them (30, 60, 90 epochs)."""

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

RECIPES: Mapping[str, Recipe] = {"cifar": CIFAR, "imagenet": IMAGENET, "digits": DIGITS}
