"""One trial, from its parameters to its result; the only place where a network meets its data.

Neither Ray nor MLflow is needed. From a shell, into a results directory that `ablate report` and `ablate publish`
take up here or, copied, elsewhere:

    python -m ablations.trial digits-depth --arm digits-plain-20 --seed 0 --results results
"""

import argparse
import ctypes
import hashlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ablations.data.feed import Feed
from ablations.data.load import load
from ablations.kernels.compiler import cache
from ablations.keys import from_params
from ablations.meter import Meter
from ablations.probes import probe
from ablations.recipes import Recipe
from ablations.train import Training
from models.complexity import activations
from models.spec import Network
from orchestrator.trial import Progress

if TYPE_CHECKING:
    from ablations.study import Study
    from orchestrator.studies import RecordedStudy
    from orchestrator.trial import Trial

MOST_MEMORY = 0.6
"""Share of a device's memory for what the backward pass needs; weights, gradients and workspaces need some too."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h."""
DONE, FAILED, WRONG_INPUT, UNREACHABLE, DAMAGED = 0, 1, 2, 4, 5
"""Exit codes, as those of `ablate run`."""


def run(
    params: Mapping[str, Any],
    progress: Progress,
    *,
    data: str,
    device: str = "cpu",
    threads: int = 1,
    share: float = 1.0,
) -> None:
    """Train until the recipe's last iteration, from the last commit if there is one.

    `data` is the folder of prepared arrays, `device` is `cpu` or `cuda`, `threads` are PyTorch's on the CPU, `share` is
    the part of the device's memory that is this trial's. None changes what is asked, so none is in the key.
    """
    network, recipe, seed = from_params(params)
    place = torch.device(device)
    settle(recipe, place, threads)
    feed = Feed(load(network.data, Path(data)), recipe, seed, place)
    recompute = needs_recomputing(network, recipe, place, share)
    training = Training(network, recipe, feed, seed, place, recompute=recompute)
    progress.about({"kernels": training.kernels, "activations": "recomputed" if recompute else "kept"})
    if (checkpoint := progress.restore()) is not None:
        training.restore(checkpoint)
    else:
        if network.parent is not None:
            training.grow(progress.inherited())
        _probe(training, progress)
    _train(training, progress)


def _train(training: Training, progress: Progress) -> None:
    recipe, meter, read = training.recipe, Meter(training.device), training.iteration
    while training.iteration < recipe.iterations:
        training.step()
        now, last = training.iteration, training.iteration == recipe.iterations
        if now % recipe.record_every == 0 or last:
            record = training.running() | {"lr": training.lr}
            costs, read = meter.read((now - read) * recipe.batch), now
            with meter.paused():
                record |= _evaluated(training, last=last)
            progress.log(now, record, costs)
            if _diverged(record, last=last):
                progress.finish(now, training.state(), {"outcome": "diverged", "diverged_at": now})
                return
        with meter.paused():
            _probe(training, progress)
            if not last and progress.due():
                progress.commit(now, training.state())
    progress.finish(training.iteration, training.state(), {"outcome": "finished", "weights_sha256": digest(training)})


def _evaluated(training: Training, *, last: bool) -> dict[str, float]:
    """What is due after this iteration beside the training curve."""
    recipe, now = training.recipe, training.iteration
    if now % recipe.evaluate_every and not last:
        return {}
    return training.evaluate(clean=last or (recipe.clean_every is not None and now % recipe.clean_every == 0))


def _probe(training: Training, progress: Progress) -> None:
    """Look into the network where the recipe says so."""
    if training.iteration in training.recipe.probe_iterations:
        progress.probe(probe(training))


def digest(training: Training) -> str:
    """sha256 of the network's tensors in the order of their names: equal digests mean equal weights, bit for bit."""
    total = hashlib.sha256()
    for name, tensor in sorted(training.module.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _diverged(record: Mapping[str, float], *, last: bool) -> bool:
    """Whether the loss is no number any more; at the end, whether anything measured is none."""
    return not all(map(math.isfinite, record.values() if last else [record["train_loss"]]))


def settle(recipe: Recipe, device: torch.device, threads: int) -> None:
    """A worker runs one trial after another: whatever is global in PyTorch is set anew for each."""
    if device.type == "cpu":
        torch.set_num_threads(threads)
        _keep_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = recipe.precision == "tf32"
    torch.backends.cudnn.benchmark = not recipe.deterministic
    torch.backends.cudnn.deterministic = recipe.deterministic  # a resumed attempt must repeat what a killed one did
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(recipe.deterministic, warn_only=True)
    if recipe.compiled:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache() / "inductor"))  # compiled once for all trials


def needs_recomputing(network: Network, recipe: Recipe, device: torch.device, share: float) -> bool:
    """Whether what the backward pass needs is too much to keep in this share of the device's memory."""
    value = 2 if recipe.precision == "bf16" else 4
    kept = 2 * activations(network) * recipe.batch * value  # a convolution's output, and what BN and ReLU make of it
    return kept > MOST_MEMORY * share * _memory(device)


def _memory(device: torch.device) -> int:
    """Bytes of a GPU, or of this machine for each of its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (os.cpu_count() or 1)


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Let the C library keep what PyTorch frees, for the next update asks for the same: 2 % less time."""
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 2**30)
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """One trial of a study, from its last commit if there is one; returns the exit code.

    0: it is done, 1: its code failed, 2: wrong input, 4: data or device are not there, 5: the ledger is damaged.
    """
    from ablations.data.images import DataError
    from ablations.data.load import prepare
    from ablations.study import StudyError
    from ablations.study import load as load_study
    from ablations.trials import recorded, setting
    from orchestrator.ledger import Ledger, LedgerError
    from orchestrator.worker import execute

    given = _arguments().parse_args(arguments)
    results = Path(given.results).resolve()
    device = given.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif given.device == "cuda" and not torch.cuda.is_available():
        return _refuse("--device cuda: PyTorch finds no NVIDIA GPU here; use --device cpu", UNREACHABLE)
    try:
        study = load_study(given.study, overrides=given.overrides)
        trial = _asked(study, given.arm, given.seed, gpus=float(device == "cuda"))
        head = Ledger(results).folder(trial.key).head()
        if head is None or head.result is None:
            prepare(trial.params["data"]["name"], Path(given.data), results / "data")
        _remember(results, recorded(study))
    except (StudyError, OSError) as error:
        return _refuse(str(error), WRONG_INPUT)
    except LedgerError as error:
        return _refuse(str(error), DAMAGED)
    except DataError as error:
        return _refuse(str(error), UNREACHABLE)
    reason = execute(trial, setting(results, device, given.commit_seconds))
    if reason is not None:
        sys.stderr.write(f"failed: {trial.name}: {reason}\n")
        return FAILED
    sys.stdout.write(f"done: {trial.name}, {Ledger(results).folder(trial.key).path}\n")
    return DONE


def _remember(results: Path, study: "RecordedStudy") -> None:
    """Record the study for reports, unless the results know one of that name: that record is `ablate run`'s."""
    from orchestrator.studies import StudyInUse, sole_run, write_study

    with suppress(StudyInUse), sole_run(results, study.name):
        if not (results / "studies" / study.name / "study.json").exists():
            write_study(results, study)


def _asked(study: "Study", arm: str, seed: int, *, gpus: float) -> "Trial":
    """The study's trial of this arm and seed. Raises StudyError, naming the nearest, where it has none."""
    from ablations.shape import nearest
    from ablations.study import StudyError
    from ablations.trials import trials

    names = [each.name for each in study.arms]
    if arm not in names:
        near = nearest(arm, names) or f"; its arms are {', '.join(names)}"
        raise StudyError(f"--arm: study {study.name} has no arm {arm[:200]!r}{near}")
    found = {each.seed: each for each in trials(study, gpus=gpus) if each.arm == arm}
    if seed not in found:
        raise StudyError(f"--seed: study {study.name} asks for seeds 0 to {max(found)} of {arm}, not {seed}")
    return found[seed]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ablations.trial", description="Run one trial of a study, with neither Ray nor MLflow."
    )
    parser.add_argument("study", metavar="STUDY", help="name of a study that ships, or path of a study file")
    parser.add_argument("--arm", required=True, help="name of the arm, as digits-plain-20")
    parser.add_argument("--seed", type=int, required=True, metavar="N", help="from 0")
    parser.add_argument("--results", default=os.environ.get("ABLATE_RESULTS") or "results", metavar="DIR")
    parser.add_argument("--data", default=os.environ.get("ABLATE_DATA") or "data", metavar="DIR")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one value, as recipe.lr=0.03",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--commit-seconds", type=_seconds, default=30.0, metavar="S", help="between commits")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise ValueError
    return seconds


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
