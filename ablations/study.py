"""A study: a question, and the arms, seeds, claims and report that answer it.

It is given by the name of one that ships or by the path of a YAML file, and is wholly checked before anything runs.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from ablations import reader
from ablations.data.sets import DataSet, known, names
from ablations.grid import Cell, Setting, cells
from ablations.nearest import nearest
from ablations.reader import Document, StudyError, shown
from ablations.recipes import RECIPES, Recipe, effective
from ablations.shape import (
    FIELDS,
    MOST_SEEDS,
    MULTIPLIER,
    NETWORK_FIELDS,
    REPORT_FIGURES,
    REPORT_TABLES,
    Claim,
    Report,
    fields,
    schema,
    study_file,
)
from ablations.template import template
from models.spec import Network

__all__ = [
    "REPORT_FIGURES",
    "REPORT_TABLES",
    "Arm",
    "Claim",
    "Report",
    "Study",
    "StudyError",
    "load",
    "schema",
    "shipped",
    "template",
]

_STUDIES = Path(__file__).parent / "studies"
_LONGEST_SUFFIX = 120
_SETTABLE = tuple(f"network.{name}" for name in NETWORK_FIELDS) + tuple(f for f in FIELDS if f.startswith("recipe."))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A network under a recipe, and how many seeds measure it: a cell of a table."""

    network: Network
    recipe: Recipe
    seeds: int
    suffix: str = ""
    """What tells it from arms of this study with the same network: `+lr=0.03`."""

    @property
    def name(self) -> str:
        """`cifar10-resnet-20-A`, `cifar10-resnet-20-A+lr=0.03`; fit for a file's name."""
        return self.network.name + self.suffix


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study file, resolved: every arm is built and every value checked."""

    name: str
    question: str
    source: str
    """Where in the paper: `sec. 4.2, Table 6, Figure 6`."""
    arms: tuple[Arm, ...]
    """In the order of the file: the matrix with its last axis fastest, then `include`."""
    claims: tuple[Claim, ...]
    report: Report
    text: str
    """The study file, to the letter."""
    sha256: str
    overrides: tuple[str, ...]
    """What `--set` and `--seeds` gave beside the file: `recipe.iterations=400`, `seeds=2`."""


def load(
    source: str,
    *,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    known_claims: Collection[str] | None = None,
    say_problem: Callable[[str], str | None] | None = None,
) -> Study:
    """The study of this name or path; a StudyError says in one line what is wrong with it.

    `overrides` are values of `--set`, each for every arm. `seeds` replaces the study's number; an arm with a number of
    its own keeps it, unless it is larger. `known_claims` are the ids of the paper's claims, and `say_problem` says what
    is wrong with the test of an own claim, where the caller knows them.
    """
    if seeds is not None and not 1 <= seeds <= MOST_SEEDS:
        raise StudyError(f"--seeds: must be 1 to {MOST_SEEDS:,}, not {seeds}")
    document = _document(source)
    file = study_file(document)
    _check_claims(file.claims, document, known_claims, say_problem)
    given = _overrides(overrides)
    asked = [replace(cell, settings={**cell.settings, **given}) for cell in cells(file, document, seeds)]
    return Study(
        name=file.name,
        question=file.question,
        source=file.source,
        arms=_arms(asked, overrides),
        claims=tuple(file.claims),
        report=file.report,
        text=document.text,
        sha256=document.sha256,
        overrides=(*overrides, *([f"seeds={seeds}"] if seeds else [])),
    )


def named(source: str) -> tuple[str, str]:
    """Name of the study of this name or path, and sha256 of its file, of which nothing else is looked at."""
    document = _document(source)
    return str(document.value.get("name")), document.sha256


def shipped() -> list[str]:
    """Names of the studies that ship."""
    return sorted(path.stem for path in _STUDIES.glob("*.yaml"))


def _document(source: str) -> Document:
    if source in shipped():
        return reader.read(_STUDIES / f"{source}.yaml", called=f"{source}.yaml")
    if "/" in source or source.endswith((".yaml", ".yml")) or _exists(source):
        return reader.read(source)
    near = nearest(source, shipped()) or f"; these ship: {', '.join(shipped())}"
    raise StudyError(f"no study {shown(source)} ships, and a file of your own is given by its path{near}")


def _exists(source: str) -> bool:
    try:
        return bool(source) and Path(source).exists()
    except (OSError, ValueError):  # too long for a file's name, or a NUL in it
        return False


def _check_claims(
    claims: Sequence[Claim],
    document: Document,
    known: Collection[str] | None,
    say_problem: Callable[[str], str | None] | None,
) -> None:
    for at, claim in enumerate(claims):
        where = document.where(("claims", at))
        if claim.id in (earlier.id for earlier in claims[:at]):
            raise StudyError(f"{where}: {claim.id} is given twice; keep one, or give yours another id")
        if claim.of_the_paper and known is not None and claim.id not in known:
            raise StudyError(f"{where}: the paper has no claim {claim.id}{_nearest_claim(claim.id, known)}")
        problem = say_problem(claim.say) if claim.say and say_problem else None
        if problem:
            raise StudyError(f"{document.where(('claims', at, 'say'))}: {problem}")


def _nearest_claim(given: str, known: Collection[str]) -> str:
    group = sorted(each for each in known if each[:-2] == given[:-2])
    return f"; {group[0]} to {group[-1]} are known" if group else f"; known are {', '.join(sorted(known))}"


def _overrides(given: Iterable[str]) -> dict[str, Setting]:
    """`--set` values as settings of every arm: `network.init=fan_in` gives `init`."""
    found: dict[str, Setting] = {}
    for text in given:
        name, equals, written = text.partition("=")
        where = f"--set {text[:200]}"
        if not equals:
            raise StudyError(f"{where}: expected name=value, as recipe.lr=0.03")
        if name not in _SETTABLE:
            raise StudyError(f"{where}: {_not_settable(name)}")
        field = name.removeprefix("network.")
        if field in found:
            raise StudyError(f"{where}: {name} is given twice; keep one")
        flat = fields({field: reader.value(written, where)}, where).flat()
        found[field] = Setting(flat[field], where)
    return found


def _not_settable(name: str) -> str:
    if name == "seeds":
        return "seeds are given by --seeds"
    meant = next((each for each in _SETTABLE if each.partition(".")[2] == name.rpartition(".")[2]), None)
    if meant:
        return f"'{name[:60]}' cannot be set; did you mean '{meant}'?"
    return f"'{name[:60]}' cannot be set{nearest(name, _SETTABLE)}; names are {', '.join(_SETTABLE)}"


def _arms(asked: Sequence[Cell], overrides: Sequence[str]) -> tuple[Arm, ...]:
    first: dict[tuple[Network, Recipe], Cell] = {}
    arms = []
    for cell in asked:
        arm = Arm(network=_network(cell), recipe=_recipe(cell), seeds=cell.get("seeds"))
        _check_together(arm, cell)
        earlier = first.setdefault((arm.network, effective(arm.recipe, arm.network.depth)), cell)
        if earlier is not cell:
            raise StudyError(_twice(arm, earlier, cell, overrides))
        arms.append(arm)
    for arm, cell in zip(arms, asked, strict=True):
        _check_parent(arm, cell, arms)
    _refuse_idle(overrides, arms)
    return _named(arms, [cell.get("recipe") for cell in asked])


def _network(cell: Cell) -> Network:
    if not cell.get("data"):
        raise StudyError(f"{cell.where}: no data set is named; give `data`, one of {', '.join(names())}")
    if not cell.get("depth"):
        raise StudyError(f"{cell.where}: an arm needs a depth; give `depth` in the matrix or the include")
    data = known(cell.get("data"))
    try:
        return Network(
            data=data.name,
            layout=data.layout,
            channels=data.channels,
            classes=data.classes,
            size=data.size,
            **{name: cell.get(name) for name in NETWORK_FIELDS if name != "data"},
        )
    except ValueError as error:
        raise StudyError(f"{cell.where_of(str(error).split()[0], 'depth')}: {error}") from None


def _recipe(cell: Cell) -> Recipe:
    given = {name: setting for name, setting in cell.settings.items() if name.startswith("recipe.")}
    values = {name.removeprefix("recipe."): setting.value for name, setting in given.items()}
    if MULTIPLIER in values:  # equal work has an equal key, however its length is written
        values["iterations"] = values.pop(MULTIPLIER) * cell.get("recipe.iterations")
    try:
        return _built_recipe(cell.get("recipe"), tuple(values.items()))
    except ValueError as error:
        message = str(error)
        raise StudyError(f"{cell.where_of(f'recipe.{message.split()[0]}', *given)}: {message}") from None


@lru_cache(maxsize=1024)
def _built_recipe(name: str, values: tuple[tuple[str, Any], ...]) -> Recipe:
    return replace(RECIPES[name], **dict(values))


def _check_together(arm: Arm, cell: Cell) -> None:
    """What neither the network nor the recipe can know alone."""
    data = known(arm.network.data)
    if arm.recipe.batch > data.train_images:
        raise StudyError(
            f"{cell.where_of('recipe.batch', 'recipe', 'data')}: a batch of {arm.recipe.batch:,} is larger than"
            f" the {data.train_images:,} training images of {data.name}; give at most these"
        )
    used = arm.recipe.held_out + arm.recipe.batch
    if used > data.train_images:
        raise StudyError(
            f"{cell.where_of('recipe.held_out', 'recipe', 'data')}: held_out {arm.recipe.held_out:,} leaves fewer than"
            f" a batch of {arm.recipe.batch:,} of the {data.train_images:,} training images of {data.name};"
            f" give at most {data.train_images - arm.recipe.batch:,}"
        )
    if arm.recipe.precise_bn > data.train_images - arm.recipe.held_out:
        raise StudyError(
            f"{cell.where_of('recipe.precise_bn', 'recipe', 'data')}: precise_bn {arm.recipe.precise_bn:,} is more"
            f" than the training images of {data.name}; give at most {data.train_images - arm.recipe.held_out:,}"
        )
    if arm.recipe.stochastic_depth and arm.network.shortcut == "none":
        raise StudyError(
            f"{cell.where_of('recipe.stochastic_depth', 'recipe', 'shortcut')}: stochastic_depth"
            f" {arm.recipe.stochastic_depth} leaves blocks out, and {arm.network.name} has no shortcuts around them;"
            " remove it there, or give a shortcut"
        )
    _check_photographs(arm.recipe, data, cell)
    if arm.recipe.stochastic_depth and arm.network.grown_from is not None:
        raise StudyError(
            f"{cell.where_of('grown_from', 'recipe.stochastic_depth', 'recipe')}: under stochastic_depth a block's"
            " chance depends on its place, so a grown network is not what it grew from; give one of them"
        )
    if arm.network.stride != "1x1" and not arm.network.bottleneck:
        raise StudyError(
            f"{cell.where_of('stride')}: stride {arm.network.stride} changes nothing in {arm.network.name};"
            " only bottleneck networks (imagenet, 50, 101 or 152 layers) have it; remove it there"
        )


def _check_photographs(recipe: Recipe, data: DataSet, cell: Cell) -> None:
    """Values that are for photographs alone, and those that are for small images alone."""
    photographs = data.layout == "imagenet"
    fields = ("augmentation", "normalisation", *(() if photographs else ("sizes", "order", "views")))
    for name in fields:
        given, default = getattr(recipe, name), getattr(Recipe, name)
        allowed = _IMAGES_OF[photographs].get(name, (default,))
        if given not in allowed:
            do = f"give {' or '.join(allowed)}" if name in _IMAGES_OF[photographs] else "leave it out"
            raise StudyError(
                f"{cell.where_of(f'recipe.{name}', 'recipe', 'data')}: {name} {shown(given)} is not for {data.name},"
                f" which has {'photographs' if photographs else 'small images'}; {do}"
            )


_IMAGES_OF: Mapping[bool, Mapping[str, tuple[str, ...]]] = {
    True: {
        "augmentation": ("scale-crop-flip-colour", "area-crop-flip-colour", "none"),
        "normalisation": ("pixel-mean", "channel-mean"),
    },
    False: {"augmentation": ("pad-crop-flip", "none"), "normalisation": ("pixel-mean", "channel-mean", "mean-std")},
}
"""What may be done to photographs, and to small images."""


def parent(network: Network) -> Network | None:
    """The network from whose trained weights this one is grown; None where it begins from random ones."""
    return getattr(network, "parent", None)


def _refuse_idle(overrides: Sequence[str], arms: Sequence[Arm]) -> None:
    """A value that was asked for and changes nothing anywhere is a mistake that would only be seen in the results."""
    for text in overrides:
        place, _, name = text.partition("=")[0].partition(".")
        if place == "recipe" and all(_idles(name, arm) for arm in arms):
            raise StudyError(f"--set {text[:200]}: changes nothing in any arm of this study; leave it out")


def _idles(name: str, arm: Arm) -> bool:
    return name in Recipe.__dataclass_fields__ and getattr(arm.recipe, name) != getattr(
        effective(arm.recipe, arm.network.depth), name
    )


def _check_parent(arm: Arm, cell: Cell, arms: Sequence[Arm]) -> None:
    """A grown arm begins from the end of another one, seed by seed, so the study trains that one too."""
    grown_from = parent(arm.network)
    if grown_from is None:
        return
    seeds = max((each.seeds for each in arms if (each.network, each.recipe) == (grown_from, arm.recipe)), default=0)
    if seeds < arm.seeds:
        has = f"that arm has {seeds} of the {arm.seeds} seeds" if seeds else "the study has no such arm"
        raise StudyError(
            f"{cell.where_of('grown_from', 'depth')}: {arm.name} is grown from {grown_from.name} under the same"
            f" recipe, what it measures included, and {has}; add {{depth: {grown_from.depth},"
            f" shortcut: {grown_from.shortcut}, seeds: {arm.seeds}}}"
        )


def _twice(arm: Arm, first: Cell, second: Cell, overrides: Sequence[str]) -> str:
    pairs = zip(first.places, second.places, strict=False)
    earlier, later = next(((a, b) for a, b in pairs if a != b), (first.where, second.where))
    given = f" with --set {' --set '.join(overrides)}" if overrides else ""
    return (
        f"{later}: arm {arm.network.name} is given twice{given}, first by {earlier}, the same or with other values that"
        " change nothing; keep one"
    )


def _named(arms: Sequence[Arm], recipes: Sequence[str]) -> tuple[Arm, ...]:
    """The arms, those that share a network each with what tells its recipe from the others'."""
    groups: dict[Network, list[int]] = {}
    for at, arm in enumerate(arms):
        groups.setdefault(arm.network, []).append(at)
    named = list(arms)
    for places in groups.values():
        if len(places) > 1:
            suffixes = _suffixes([arms[at].recipe for at in places], [recipes[at] for at in places])
            for at, suffix in zip(places, suffixes, strict=True):
                named[at] = replace(arms[at], suffix=suffix)
    return tuple(named)


def _suffixes(recipes: Sequence[Recipe], names: Sequence[str]) -> list[str]:
    """`+lr=0.03` for each recipe: the one value in which they differ; its departures where they differ in several."""
    all_values = [asdict(recipe) for recipe in recipes]
    differing = [each.name for each in fields_of(Recipe) if len({values[each.name] for values in all_values}) > 1]
    several = len(set(names)) > 1
    found = []
    for values, name in zip(all_values, names, strict=True):
        bases = asdict(RECIPES[name]) if several or len(differing) > 1 else {}
        parts = [f"{each}={_written(values[each])}" for each in differing if values[each] != bases.get(each, ...)]
        found.append(_short("".join(f"+{part}" for part in ([name] if several else []) + parts)))
    return found


def _written(value: Any) -> str:
    """A recipe's value in an arm's name, with no character that a file's name may not have."""
    if isinstance(value, tuple):
        return "_".join(_written(each) for each in value) or "none"
    return "none" if value is None else re.sub(r"[^A-Za-z0-9._=-]", "-", str(value))


def _short(suffix: str) -> str:
    if len(suffix) <= _LONGEST_SUFFIX:
        return suffix
    return f"{suffix[:60]}+{sha256(json.dumps(suffix).encode()).hexdigest()[:8]}"
