"""The learning rate of each SGD update: warm-up, drops at stated iterations or where the error plateaus."""

from collections.abc import Mapping
from typing import Any

from ablations.recipes import Recipe

WARMUP_WINDOW = 100
"""Iterations over which the training error that ends the warm-up is taken; it is looked at as often."""


class Schedule:
    """What the learning rate depends on beside the iteration: whether the warm-up is over, and the plateaus so far."""

    def __init__(self, recipe: Recipe, depth: int) -> None:
        self.recipe = recipe
        self.warming = recipe.warms_up(depth)
        self._seen = (0.0, 0.0)
        """Wrong predictions and images of training up to the last look."""
        self._best, self._stale, self._plateaus = float("inf"), 0, 0

    def rate(self, iteration: int) -> float:
        """Of the SGD update after this many; a warm-up of fixed length ends here."""
        recipe = self.recipe
        if self.warming and recipe.warmup_iterations is not None:
            self.warming = iteration < recipe.warmup_iterations
        if self.warming:
            return recipe.warmup_lr
        if recipe.schedule == "plateau":
            return recipe.lr * recipe.drop_factor**self._plateaus
        return recipe.lr * recipe.drop_factor ** sum(iteration >= drop for drop in recipe.drop_iterations)

    def looks(self, iteration: int) -> bool:
        """Whether the training error after this many updates can end the warm-up: only then is it read."""
        return self.warming and self.recipe.warmup_iterations is None and iteration % WARMUP_WINDOW == 0

    def look(self, wrong: float, images: float) -> None:
        """Wrong predictions and images of training so far. Sec. 4.2: 0.01 until the error is below 80 %, then 0.1."""
        before, self._seen = self._seen, (wrong, images)
        error = 100 * (wrong - before[0]) / (images - before[1])
        self.warming = not error < self.recipe.warmup_until_error

    def validated(self, error: float) -> None:
        """A validation error in percent, one per evaluation. Sec. 3.4: "divided by 10 when the error plateaus"."""
        if error < self._best:
            self._best, self._stale = error, 0
            return
        self._stale += 1
        if self._stale == self.recipe.patience:
            self._plateaus, self._stale = self._plateaus + 1, 0

    def state(self) -> dict[str, Any]:
        return {
            "warming": self.warming,
            "seen": self._seen,
            "best": self._best,
            "stale": self._stale,
            "plateaus": self._plateaus,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.warming, self._seen = state["warming"], state["seen"]
        self._best, self._stale, self._plateaus = state["best"], state["stale"], state["plateaus"]
