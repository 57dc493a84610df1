"""A study's arms joined with what was recorded of them, and the arms that may stand side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
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
        """`plain-56`, `ResNet-56 A`."""
        network = self.network
        return f"plain-{network.depth}" if network.shortcut == "none" else f"ResNet-{network.depth} {network.shortcut}"

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
    """Arms that share data and recipe and differ in depth and shortcut alone: only these are compared."""

    arms: tuple[MeasuredArm, ...]

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
            return "measured, the paper's recipe"
        words = [f"measured on {first.network.data}", f"{first.iterations:,} iterations"]
        other = [each for each in self.deviations if each.split(" ")[0] not in ("data", "iterations")]
        if len(other) == len(self.deviations):
            words.append(other[0])
        return ", ".join(words)

    def find(self, shortcut: Shortcut, depth: int) -> MeasuredArm | None:
        for arm in self.arms:
            if (arm.network.shortcut, arm.network.depth) == (shortcut, depth):
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


def _kind(arm: MeasuredArm) -> str:
    """Equal for two arms that may be compared: everything but depth and shortcut."""
    if arm.paper:
        return f"paper {arm.network.data}"
    network = {name: value for name, value in arm.arm.network.items() if name not in ("depth", "shortcut", "name")}
    return repr((sorted(network.items(), key=str), sorted(arm.arm.recipe.items(), key=str)))


def pools(arms: Sequence[MeasuredArm]) -> tuple[Pool, ...]:
    """The paper's arms first, then the others in the study's order."""
    kinds: dict[str, list[MeasuredArm]] = {}
    for arm in arms:
        kinds.setdefault(_kind(arm), []).append(arm)
    return tuple(sorted((Pool(arms=tuple(each)) for each in kinds.values()), key=lambda pool: not pool.paper))
