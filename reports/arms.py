"""A study's arms joined with what was recorded of them, and the arms that may stand side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from models.spec import Layout, Network, Shortcut
from orchestrator.runs import Outcome, Run
from orchestrator.studies import RecordedArm, RecordedStudy

SHORTCUT_TITLES: Mapping[str, str] = {
    "none": "Plain",
    "A": "ResNet, option A",
    "B": "ResNet, option B",
    "C": "ResNet, option C",
}


def called(shortcut: Shortcut, depth: int, departures: Sequence[str] = ()) -> str:
    """A network in captions and sentences: family, depth, option, and what sets it apart from the paper's."""
    family = [f"plain-{depth}"] if shortcut == "none" else [f"ResNet-{depth}", shortcut]
    return " ".join((*family, *departures))


@dataclass(frozen=True, kw_only=True)
class MeasuredArm:
    """An arm and one run for each of its trials; a trial without record is a run that is `missing`."""

    arm: RecordedArm
    network: Network
    runs: tuple[Run, ...]

    @property
    def paper(self) -> bool:
        """Whether network, data and recipe are the paper's, so that its numbers may stand beside the paper's."""
        return not self.arm.deviations

    @property
    def label(self) -> str:
        """`plain-56`, `ResNet-56 A`, `ResNet-56 A split`."""
        return called(self.network.shortcut, self.network.depth, self.network.departures)

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.outcome is Outcome.FINISHED)

    @property
    def iterations(self) -> int:
        """SGD updates of one complete trial."""
        return int(self.arm.recipe.get("iterations", 0))

    @property
    def warms_up(self) -> bool:
        """Whether the recipe starts this network at the low learning rate."""
        start = self.arm.recipe.get("warmup_from_depth")
        return start is not None and self.network.depth >= start


def _network(values: Mapping[str, Any]) -> Network:
    known = {field.name for field in fields(Network)}
    return Network(**{name: value for name, value in values.items() if name in known})


def _run(arm: RecordedArm, seed: int, key: str, recorded: Mapping[str, Run]) -> Run:
    if key in recorded:
        return recorded[key]
    return Run(key=key, name=f"{arm.name}.s{seed}", arm=arm.name, seed=seed, params={}, outcome=Outcome.MISSING)


def gather(study: RecordedStudy, runs: Iterable[Run]) -> tuple[MeasuredArm, ...]:
    """The study's arms in its order, each with its trials in order of seed. Runs of other studies are left out."""
    recorded = {run.key: run for run in runs}
    return tuple(
        MeasuredArm(
            arm=arm,
            network=_network(arm.network),
            runs=tuple(_run(arm, seed, key, recorded) for seed, key in sorted(arm.trials)),
        )
        for arm in study.arms
    )


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Arms that share data and recipe and differ in depth and shortcut alone: only these are compared.

    In a pool of `families` they differ in the network's other options too, and a variant is asked for by name.
    """

    arms: tuple[MeasuredArm, ...]
    apart: tuple[str, ...] = ()
    """What sets it apart from pools that would have the same title."""

    @property
    def paper(self) -> bool:
        return self.arms[0].paper

    @property
    def layout(self) -> Layout:
        return self.arms[0].network.layout

    @property
    def deviations(self) -> tuple[str, ...]:
        """Of any arm, in order of appearance."""
        return tuple(dict.fromkeys(each for arm in self.arms for each in arm.arm.deviations))

    @property
    def title(self) -> str:
        """`measured on cifar10-jpeg, 2,000 iterations`: what the numbers are, where they are not the paper's."""
        first = self.arms[0]
        if self.paper:
            return ", ".join(("measured, the paper's recipe", *self.apart))
        words = [f"measured on {first.network.data}", f"{first.iterations:,} iterations"]
        other = [each for each in self.deviations if each.split(" ")[0] not in ("data", "iterations")]
        if len(other) == len(self.deviations):
            words.append(other[0])
        return ", ".join((*words, *self.apart))

    def find(self, shortcut: Shortcut, depth: int, variant: str | None = None) -> MeasuredArm | None:
        """The arm with this network; of any variant where none is named, `""` is the paper's architecture."""
        for arm in self.arms:
            network = arm.network
            if (network.shortcut, network.depth) == (shortcut, depth) and variant in (None, network.variant):
                return arm
        return None

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(sorted({arm.network.depth for arm in self.arms}))

    @property
    def shortcuts(self) -> tuple[Shortcut, ...]:
        """In the paper's order: plain, A, B, C."""
        present = {arm.network.shortcut for arm in self.arms}
        return tuple(each for each in ("none", "A", "B", "C") if each in present)


_OPTIONS = ("width", "stride", "init", "padding", "block_layers", "bottlenecks", "grown_from")
"""Fields of a network that are neither its data nor its depth and shortcut."""


def _shared(arm: MeasuredArm, without: Sequence[str] = ()) -> dict[str, str]:
    """The values that arms of a pool have in common, network's and recipe's, as `width 32`.

    A record of an older version lacks fields; they are at their default, as `Network` knows it.
    """
    network = dict(arm.arm.network) | asdict(arm.network)
    network = {name: value for name, value in network.items() if name not in ("depth", "shortcut", "name", *without)}
    return {str(name): f"{name} {value}" for part in (network, arm.arm.recipe) for name, value in part.items()}


def _kind(arm: MeasuredArm) -> str:
    """Equal for two arms that may be compared: everything but depth and shortcut."""
    return f"paper {arm.network.data}" if arm.paper else repr(sorted(_shared(arm).items()))


def _gathered(arms: Sequence[MeasuredArm], kind: Callable[[MeasuredArm], str]) -> list[Pool]:
    """The paper's arms first, then the others in the study's order."""
    kinds: dict[str, list[MeasuredArm]] = {}
    for arm in arms:
        kinds.setdefault(kind(arm), []).append(arm)
    return sorted((Pool(arms=tuple(each)) for each in kinds.values()), key=lambda pool: not pool.paper)


def pools(arms: Sequence[MeasuredArm]) -> tuple[Pool, ...]:
    """The sets of comparable arms, no two with the same title: the paper's first, then in the study's order."""
    found = _gathered(arms, _kind)
    for words in (_departures, lambda pool: tuple(_shared(pool.arms[0]).values())):
        found = _told_apart(found, words)
    return tuple(found)


def _departures(pool: Pool) -> tuple[str, ...]:
    """Those of a pool; the paper's pools have none, and no two of them one data set."""
    return (pool.arms[0].network.data,) if pool.paper else pool.deviations


def _told_apart(found: Sequence[Pool], words: Callable[[Pool], Sequence[str]]) -> list[Pool]:
    """Where titles are alike, each pool with those of its words that not all of these pools have."""
    told = []
    for pool in found:
        alike = [set(words(each)) for each in found if each.title == pool.title]
        own = tuple(word for word in words(pool) if not all(word in each for each in alike))
        told.append(replace(pool, apart=(*pool.apart, *own)))
    return told


def families(arms: Sequence[MeasuredArm]) -> tuple[Pool, ...]:
    """Arms that share data and recipe, whatever their network's options: an arm beside its variants."""
    return tuple(_gathered(arms, lambda arm: repr(sorted(_shared(arm, without=_OPTIONS).items()))))
