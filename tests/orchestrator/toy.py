"""A trial without a network: its state is a number that every iteration changes, so that lost or doubled work shows."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.driver import Driver
from orchestrator.placement import Node
from orchestrator.planning.plan import PlannedTrial
from orchestrator.queue import Standing
from orchestrator.studies import RecordedArm, RecordedStudy
from orchestrator.trial import Progress, Resources, State, Trial


def run(params: Mapping[str, Any], progress: Progress, **site: Any) -> None:
    """Multiply a state `iterations` times, log it each time, and misbehave as the parameters say."""
    checkpoint = progress.restore()
    iteration, state = map(int, checkpoint.split(b",")) if checkpoint else (0, _first(params, progress))
    if checkpoint is None:
        _look(0, params, progress)
    while iteration < params["iterations"]:
        iteration, state = iteration + 1, state * 1_103_515_245 % 2_147_483_647
        time.sleep(params.get("sleep", 0.0))
        progress.log(iteration, {"train_error": state / 21_474_836.47}, {"images_per_second": float(iteration)})
        _look(iteration, params, progress)
        if "says" in params:
            name, _, words = params["says"].partition(": ")
            raise type(name, (RuntimeError,), {"__module__": "builtins"})(words)
        if params.get("dies_on", "") == os.environ.get("ON_HOST"):
            os.kill(os.getpid(), signal.SIGKILL)
        if iteration == params.get("raise_at"):
            raise RuntimeError(f"iteration {iteration} cannot be done")
        if iteration == params.get("die_at") and checkpoint is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if iteration < params["iterations"] and progress.due():
            progress.commit(iteration, b"%d,%d" % (iteration, state))
    for number in range(params.get("keeps", 0)):
        progress.keep(f"predictions-{number}.npz", b"%d of %d" % (state, number))
    progress.finish(iteration, b"%d,%d" % (iteration, state), {"outcome": "finished", "pid": os.getpid()})


def _first(params: Mapping[str, Any], progress: Progress) -> int:
    """The state to begin with: of its own, or the last of the trial that it comes after."""
    return int(progress.inherited().split(b",")[1]) if params.get("grown") else params["seed"] + 1


def _look(iteration: int, params: Mapping[str, Any], progress: Progress) -> None:
    """A probe, where the parameters ask for one at this iteration."""
    if "probe_every" in params and iteration % params["probe_every"] == 0:
        progress.probe(seen(iteration))


def seen(iteration: int) -> dict[str, Any]:
    """What a probe would see: its summary has another value at every iteration."""
    return {
        "iteration": iteration,
        "layers": ["conv1", "conv2"],
        "gradient": [iteration + 6.0, 2.0],
        "norm_variance": [1.0, 0.5],
        "activation_variance": [0.25, iteration / 8],
        "response": [iteration / 2, iteration / 4] if iteration else [],
        "blocks": [],
        "residual_over_input": [],
    }


def trial(
    number: int = 0,
    *,
    iterations: int = 10,
    blocked: str | None = None,
    gpus: float = 0,
    cpus: float = 1,
    after: int | None = None,
    **params: Any,
) -> Trial:
    """`after` is the number of the trial from whose end it begins."""
    if after is not None:
        params["grown"] = True
    return Trial(
        key=f"{number:016x}",
        name=f"toy-{number}.s0",
        arm=f"toy-{number}",
        seed=0,
        params={"seed": number, "iterations": iterations, "network": {"data": "toy", "depth": number}, **params},
        parameters=1,
        multiply_adds=1,
        iterations=iterations,
        work=1e9 * iterations,
        launches=0.0,
        resources=Resources(cpus=cpus, gpus=gpus),
        blocked=blocked,
        after=None if after is None else f"{after:016x}",
    )


def planned(*trials: Trial, seconds: float = 10.0) -> list[PlannedTrial]:
    """The trials as a plan has them, in this order, each expected to take so long."""
    return [PlannedTrial(trial=each, state=State.NEW, iteration=0, expected_seconds=seconds) for each in trials]


def node(name: str = "one", *, cpus: float = 2, gpus: int = 0) -> Node:
    return Node(id=name, host=name, cpus=cpus, gpus=gpus)


def told(driver: Driver, standing: Standing, nodes: Sequence[Node], *, ended: bool = False) -> None:
    """The driver's record as a run writes it."""
    driver.write(driver.record(standing, nodes, time.monotonic(), ended=ended))


def study(*trials: Trial, name: str = "toys") -> RecordedStudy:
    arms = [
        RecordedArm(
            name=each.arm,
            network={"data": "toy", "depth": 20, "shortcut": "none"},
            recipe={"iterations": each.iterations},
            deviations=[],
            parameters=1,
            multiply_adds=1,
            trials=[(each.seed, each.key)],
            blocked=each.blocked,
        )
        for each in trials
    ]
    return RecordedStudy(
        name=name, question="Does it count?", source="", text="", sha256="", overrides=[], arms=arms,
        tables=[], figures=[], claims=[],
    )  # fmt: skip
