"""Which arms a study asks for: the product of its axes, less what is excluded, and what is included beside it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ablations.data.sets import known
from ablations.reader import Document, Path, StudyError
from ablations.recipes import RECIPES
from ablations.shape import MULTIPLIER, Fields, StudyFile, flat_recipe
from models.spec import Network

MOST_TRIALS = 10_000
WIDTHS = {"cifar": 16, "imagenet": 64}
"""Filters of the first stage in the paper's networks."""


class Setting(NamedTuple):
    """A value and the place that gave it, as an error about it begins: `study.yaml:7: matrix.depth[0]`."""

    value: Any
    where: str


Settings = Mapping[str, Setting]
"""Fields of an arm that were given: `depth`, `shortcut`, `recipe.lr`, ..."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm as it was asked for, before its defaults are filled in."""

    settings: Settings
    where: str
    places: tuple[str, ...]
    """The axis values, or the include, that make it this arm and no other."""

    def get(self, field: str) -> Any:
        """A field's value, given or by default; None where neither says anything."""
        return self.settings[field].value if field in self.settings else self._default(field)

    def where_of(self, *fields: str) -> str:
        """The place that gave one of these fields, or else the arm."""
        return next((self.settings[field].where for field in fields if field in self.settings), self.where)

    def _default(self, field: str) -> Any:
        if field == "data":
            return None
        data = known(self.get("data")) if "data" in self.settings else None
        if field == "recipe":
            return data and data.recipe
        if field == f"recipe.{MULTIPLIER}":
            return 1
        if field.startswith("recipe."):
            recipe = self.get("recipe")
            return recipe and getattr(RECIPES[recipe], field.removeprefix("recipe."))
        if field == "width":
            return data and WIDTHS[data.layout]
        return getattr(Network, field, None)


def cells(file: StudyFile, document: Document, seeds: int | None = None) -> list[Cell]:
    """The arms in their order: the matrix, its last axis fastest, then `include`.

    `seeds` replaces the study's number; an arm with a number of its own keeps it, unless it is larger.
    """
    base = _base(file, document, seeds)
    axes = {
        label: [_settings(values, document, ("matrix", label, at)) for at, values in enumerate(axis)]
        for label, axis in file.matrix.items()
    }
    included = [_settings(values, document, ("include", at)) for at, values in enumerate(file.include)]
    _refuse_shared_fields(axes, document)
    _refuse_too_many(axes, included, base["seeds"].value, document)
    where = document.where(("matrix",))
    matrix = [_in_matrix(combination, base, where) for combination in itertools.product(*axes.values())]
    found = _without_excluded(matrix if axes else [], file.exclude, document)
    found += [_included(settings, at, base, document) for at, settings in enumerate(included)]
    if not found:
        raise StudyError(f"{document.where(())}: the study has 0 arms; give a `matrix`, as {{depth: [20, 32]}}")
    return [_capped(cell, seeds) for cell in found] if seeds else found


def count(axes: Mapping[str, Sequence[Settings]], included: Sequence[Settings], seeds: int) -> int:
    """Trials of a study, by multiplication: nothing is expanded."""
    if not axes:
        return sum(_seeds(each, seeds) for each in included)
    # At most one axis gives seeds; every other value takes part with the study's.
    weights = [[_seeds(each, 0) for each in axis] for axis in axes.values()]
    own = next((axis for axis in weights if any(axis)), None)
    each = sum(number or seeds for number in own) if own else seeds
    others = math.prod(len(axis) for axis in weights if axis is not own)
    return each * others + sum(_seeds(each, seeds) for each in included)


def _seeds(settings: Settings, default: int) -> int:
    return settings["seeds"].value if "seeds" in settings else default


def _base(file: StudyFile, document: Document, seeds: int | None) -> dict[str, Setting]:
    """What the study says of every arm that says nothing else."""
    given = flat_recipe(file.recipe.model_dump(by_alias=True, exclude_unset=True)) | {"seeds": seeds or file.seeds}
    if file.data:
        given["data"] = file.data
    return {name: Setting(value, document.where(tuple(name.split(".")))) for name, value in given.items()}


def _settings(given: Fields, document: Document, path: Path) -> dict[str, Setting]:
    flat = given.flat()
    if len(flat) == 1 and path[:1] == ("matrix",):
        return {name: Setting(value, document.where(path)) for name, value in flat.items()}
    return {name: Setting(value, document.where((*path, name))) for name, value in flat.items()}


def _over(base: Settings, own: Settings) -> dict[str, Setting]:
    """An arm's settings over the study's; a recipe that the arm names takes no single value of the study's."""
    if "recipe" in own:
        base = {name: setting for name, setting in base.items() if not name.startswith("recipe.")}
    return {**base, **own}


def _in_matrix(combination: Sequence[Settings], base: Settings, where: str) -> Cell:
    own = {name: setting for settings in combination for name, setting in settings.items()}
    places = tuple(next(iter(settings.values())).where if settings else "" for settings in combination)
    return Cell(settings=_over(base, own), where=where, places=places)


def _included(settings: Settings, at: int, base: Settings, document: Document) -> Cell:
    where = document.where(("include", at))
    return Cell(settings=_over(base, settings), where=where, places=(where,))


def _capped(cell: Cell, seeds: int) -> Cell:
    given = cell.settings["seeds"]
    number = given._replace(value=min(given.value, seeds))
    return replace(cell, settings={**cell.settings, "seeds": number})


def _without_excluded(matrix: list[Cell], excluded: Sequence[Fields], document: Document) -> list[Cell]:
    for at, fields in enumerate(excluded):
        flat = fields.flat()
        if not flat:
            raise StudyError(f"{document.where(('exclude', at))}: names no field; say which arms, as {{depth: 20}}")
        kept = [cell for cell in matrix if any(cell.get(name) != value for name, value in flat.items())]
        if len(kept) == len(matrix):
            raise StudyError(
                f"{document.where(('exclude', at))}: matches no arm of the matrix, or none that is left;"
                " correct its values or remove it"
            )
        matrix = kept
    return matrix


def _refuse_shared_fields(axes: Mapping[str, Sequence[Settings]], document: Document) -> None:
    owner: dict[str, str] = {}
    for label, axis in axes.items():
        for name in dict.fromkeys(name for settings in axis for name in settings):
            if owner.setdefault(name, label) != label:
                raise StudyError(
                    f"{document.where(('matrix', label))}: gives {name}, as the axis '{owner[name][:60]}' does;"
                    " leave it to one of them"
                )


def _refuse_too_many(
    axes: Mapping[str, Sequence[Settings]], included: Sequence[Settings], seeds: int, document: Document
) -> None:
    number = count(axes, included, seeds)
    if number > MOST_TRIALS:
        where = document.where(("matrix",) if axes else ("include",))
        raise StudyError(
            f"{where}: {number:,} trials; at most {MOST_TRIALS:,} in one study; shorten an axis or split the study"
        )
