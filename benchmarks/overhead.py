"""So many trivial trials, two at a time, in one of several ways. Prints seconds from a running Ray to the last result.

`ours` does all that it does for any trial: ledger, and one commit that is synced to the disk. `tune` is Ray Tune's
default function trainable, `pool` two bare Ray actors; neither keeps anything. With `torch`, a trial imports it first,
as every real one does.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster import embedded
from orchestrator.ledger import Ledger
from orchestrator.planning.plan import plan
from orchestrator.queue import Queue
from orchestrator.schedule import run
from orchestrator.trial import Progress, Trial
from orchestrator.worker import Setting

SLOTS = 2


def trivial(params: Mapping[str, Any], progress: Progress, **_: Any) -> None:
    """One record and the end."""
    work(params)
    progress.restore()
    progress.log(1, {"train_error": 1.0})
    progress.finish(1, b"state", {"outcome": "finished"})


def work(params: Mapping[str, Any]) -> float:
    if params["torch"]:
        import torch
        import torchvision  # noqa: F401

        assert torch.get_num_threads() == 1
    return 1.0


def ours(count: int, torch: bool) -> None:
    """The same calls as a run of a study makes once Ray is there."""
    with tempfile.TemporaryDirectory() as place:
        ledger = Ledger(Path(place))
        queue = Queue(plan(trials(count, torch), ledger).open, ledger)
        with embedded(SLOTS, sys.exit) as cluster:
            started = time.perf_counter()
            run(queue, Setting(results=place, entry="overhead:trivial", site={}), cluster, lambda: None)
            tell(started)
        assert len(queue.standing.done) == count


def tune(count: int, torch: bool) -> None:
    with tempfile.TemporaryDirectory() as place, embedded(SLOTS, sys.exit):
        from ray import tune

        def train(config: dict[str, Any]) -> None:
            tune.report({"train_error": work(config["trial"])})

        started = time.perf_counter()
        space = {"trial": tune.grid_search([{"number": number, "torch": torch} for number in range(count)])}
        found = tune.Tuner(train, param_space=space, run_config=tune.RunConfig(storage_path=place, verbose=0)).fit()
        tell(started)
        assert len([each for each in found if each.metrics]) == count


def pool(count: int, torch: bool) -> None:
    class Worker:
        def train(self, params: dict[str, Any]) -> float:
            return work(params)

    with embedded(SLOTS, sys.exit):
        import ray  # not before its token is set
        from ray.util import ActorPool

        started = time.perf_counter()
        workers = ActorPool([ray.remote(num_cpus=1)(Worker).remote() for _ in range(SLOTS)])
        params: Sequence[dict[str, Any]] = [{"number": number, "torch": torch} for number in range(count)]
        found = list(workers.map_unordered(lambda worker, each: worker.train.remote(each), params))
        tell(started)
        assert len(found) == count


def trials(count: int, torch: bool) -> list[Trial]:
    return [
        Trial(
            key=f"{number:016x}", name=f"trivial-{number}.s0", arm=f"trivial-{number}", seed=0,
            params={"number": number, "torch": torch}, parameters=1, multiply_adds=1, iterations=1, work=1.0,
            launches=1.0,
        )
        for number in range(count)
    ]  # fmt: skip


def tell(started: float) -> None:
    sys.stderr.write(f"seconds: {time.perf_counter() - started:.3f}\n")


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    {"ours": ours, "tune": tune, "pool": pool}[sys.argv[1]](int(sys.argv[2]), sys.argv[3] == "torch")
