"""From a study to what the orchestrator runs and the results directory remembers: trials, with keys and prices."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ablations import keys
from ablations.data.sets import known
from ablations.grid import WIDTHS
from ablations.recipes import CIFAR, IMAGENET, Recipe, effective, replica_counts
from ablations.study import Arm, Study, parent
from models.complexity import multiply_adds, parameters
from models.layers import layers
from models.spec import Network
from orchestrator.studies import RecordedArm, RecordedStudy
from orchestrator.trial import Resources, Trial

_PAPER = {"cifar": ("cifar10", CIFAR), "imagenet": ("imagenet", IMAGENET)}
"""The paper's data set and recipe for each layout."""
_MEASUREMENT = ("record_every", "evaluate_every", "clean_every", "precise_bn", "views", "probe_at", "probe_batches")
"""What is measured, and how often; the paper does not say, and training does not change with it."""
_EXECUTION = ("deterministic", "compiled")
"""How the same arithmetic is done: it rounds otherwise, as any other machine does."""
_NOT_IN_PAPER = ("weight_decay_scope", "bn_batch", "held_out", "patience")
_WARMUP = ("warmup_lr", "warmup_until_error", "warmup_iterations", "warmup_from_depth")


def trials(study: Study, *, gpus: float = 0) -> list[Trial]:
    """One trial for each arm and seed, in the order of the study. `gpus` is the share of a GPU that each occupies."""
    return [trial for arm in study.arms for trial in _of_arm(arm, Resources(gpus=gpus))]


def recorded(study: Study) -> RecordedStudy:
    """What the results directory remembers of the study, so that a report needs no study file."""
    return RecordedStudy(
        name=study.name,
        question=study.question,
        source=study.source,
        text=study.text,
        sha256=study.sha256,
        overrides=list(study.overrides),
        arms=[_recorded_arm(arm) for arm in study.arms],
        tables=[*study.report.tables, *[pivot.name for pivot in study.report.pivots]],
        figures=list(study.report.figures),
        claims=[_recorded_claim(claim.id, claim.say, claim.text) for claim in study.claims],
    )


def deviations(network: Network, recipe: Recipe) -> list[str]:
    """Departures from the paper's data, network and recipe, as `lr 0.03 (paper 0.1)`; none: it is the paper's own.

    Values that change nothing in this arm are no departures: a warm-up that begins at 110 layers says nothing of 56.
    """
    data, paper = _PAPER[network.layout]
    found = [] if known(network.data).paper else [f"data {network.data} (paper {data})"]
    found += _network_deviations(network)
    unsaid = (*_MEASUREMENT, *_EXECUTION, *_WARMUP, *_another_reading(recipe, paper))
    said = effective(paper, network.depth)
    for name, value in asdict(effective(recipe, network.depth)).items():
        if name not in unsaid and value != getattr(said, name):
            expected = "does not say" if name in _NOT_IN_PAPER else _written(getattr(paper, name))
            found.append(f"{name} {_written(value)} (paper {expected})")
    return found + _warmup_deviations(network, recipe, paper)


def _of_arm(arm: Arm, resources: Resources) -> Iterator[Trial]:
    cost = _cost(arm.network)
    for seed in range(arm.seeds):
        params = keys.params(arm.network, arm.recipe, seed)
        yield Trial(
            key=keys.key(params),
            name=f"{arm.name}.s{seed}",
            arm=arm.name,
            seed=seed,
            params=params,
            parameters=cost["parameters"],
            multiply_adds=cost["multiply_adds"],
            iterations=arm.recipe.iterations,
            # Backward costs about twice what forward does.
            work=3.0 * cost["multiply_adds"] * arm.recipe.batch * arm.recipe.iterations,
            launches=float(arm.recipe.iterations * cost["layers"]),
            resources=resources,
            replica_counts=replica_counts(arm.recipe),
            blocked=known(arm.network.data).blocked,
            after=_parent_key(arm, seed),
        )


def _parent_key(arm: Arm, seed: int) -> str | None:
    """Key of the trial from whose end this one begins: the smaller network under the same recipe and seed."""
    grown_from = parent(arm.network)
    return None if grown_from is None else keys.key(keys.params(grown_from, arm.recipe, seed))


@lru_cache(maxsize=256)
def _cost(network: Network) -> dict[str, int]:
    return {
        "parameters": parameters(network),
        "multiply_adds": multiply_adds(network),
        "layers": sum(1 for _ in layers(network)),
    }


def _recorded_arm(arm: Arm) -> RecordedArm:
    cost, params = _cost(arm.network), keys.params(arm.network, arm.recipe, 0)
    return RecordedArm(
        name=arm.name,
        network=params["network"],
        recipe=params["recipe"],
        deviations=deviations(arm.network, arm.recipe),
        parameters=cost["parameters"],
        multiply_adds=cost["multiply_adds"],
        trials=[(seed, keys.key(keys.params(arm.network, arm.recipe, seed))) for seed in range(arm.seeds)],
        blocked=known(arm.network.data).blocked,
    )


def _recorded_claim(claim: str, say: str, text: str) -> dict[str, str]:
    return {"id": claim, "say": say, "text": text or say} if say else {"id": claim}


def _network_deviations(network: Network) -> list[str]:
    found = []
    if network.width != WIDTHS[network.layout]:
        found.append(f"width {network.width} (paper {WIDTHS[network.layout]})")
    if network.stride != "1x1":
        found.append(f"stride {network.stride} (paper 1x1)")
    if network.init != "fan_out":
        found.append(f"init {network.init} (paper does not say)")
    if network.padding != "appended":
        found.append(f"padding {network.padding} (paper {'does not say' if network.padding == 'split' else 'zeros'})")
    if network.block_layers != 2:
        found.append(f"block_layers {network.block_layers} (paper 2)")
    if not network.bottlenecks:
        found.append("bottlenecks false (paper true)")
    if network.grown_from is not None:
        found.append(f"grown_from {network.grown_from} (paper random weights)")
    return found


def _another_reading(recipe: Recipe, paper: Recipe) -> tuple[str, ...]:
    """Fields that are but another reading of the paper's words.

    Sec. 3.4 drops "when the error plateaus"; the named recipe has the places where Figure 4 shows that it did.
    """
    if recipe.schedule != "plateau":
        return ()
    return ("drops", "schedule") if paper is IMAGENET else ("drops",)


def _warmup_deviations(network: Network, recipe: Recipe, paper: Recipe) -> list[str]:
    found, expected = _warmup(network, recipe), _warmup(network, paper)
    return [] if found == expected else [f"warm-up {found} (paper {expected})"]


def _warmup(network: Network, recipe: Recipe) -> str:
    """`0.01 until 80 %`, `0.01 for 400 iterations`, `none`."""
    if not recipe.warms_up(network.depth):
        return "none"
    if recipe.warmup_iterations is not None:
        return f"{recipe.warmup_lr:g} for {recipe.warmup_iterations:,} iterations"
    return f"{recipe.warmup_lr:g} until {recipe.warmup_until_error:g} %"


def _written(value: Any) -> str:
    """A value as a study file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(list(value) if isinstance(value, tuple) else value)
