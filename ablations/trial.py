"""One trial, from its parameters to its result; the only place where a network meets its data.

Neither Ray nor MLflow is needed. From a shell, into a results directory that `ablate report` and `ablate publish`
take up here or, copied, elsewhere:

    python -m ablations.trial digits-depth --arm digits-plain-20 --seed 0 --results results

Where only PyTorch and NumPy are installed, a file that `ablate export` wrote stands for the study.
"""

import argparse
import hashlib
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from ablations.attempt import setting
from ablations.data.errors import DataError, NotThereError
from ablations.data.feed import Feed
from ablations.data.load import load as load_images
from ablations.data.load import photographs, prepare
from ablations.data.photographs.stream import Stream
from ablations.data.resident import Resident
from ablations.data.sets import FOLDER_VARIABLE, of_photographs
from ablations.device import decoding_threads, needs_recomputing, settle
from ablations.export import Export, ExportError, read
from ablations.keys import from_params
from ablations.meter import Meter
from ablations.nearest import nearest
from ablations.probes import probe
from ablations.recipes import Recipe, replica_counts
from ablations.replicas import Group, together
from ablations.train import Training
from ablations.views import judge
from orchestrator.ledger import Ledger, LedgerError, plain
from orchestrator.studies import RecordedStudy, StudyInUse, read_study, sole_run, write_study
from orchestrator.trial import Progress, Resources, Trial
from orchestrator.worker import Cause, execute

DONE, FAILED, WRONG_INPUT, UNREACHABLE, DAMAGED, INTERRUPTED = 0, 1, 2, 4, 5, 130
"""Exit codes, as those of `ablate run`."""


def run(
    params: Mapping[str, Any],
    progress: Progress,
    *,
    data: str,
    device: str = "cpu",
    threads: int = 1,
    share: float = 1.0,
    replicas: int = 1,
) -> None:
    """Train until the recipe's last iteration, from the last commit if there is one.

    `data` is the folder of prepared arrays, `device` is `cpu` or `cuda`, `threads` are PyTorch's on the CPU, `share` is
    the part of the device's memory that is this trial's. With several `replicas` each trains on its share of every
    batch, on a GPU or a core of its own; the others are processes that begin and end with this call. None changes what
    is asked, so none is in the key.
    """
    _, recipe, _ = from_params(params)
    if (problem := _not_replicas(recipe, replicas)) is not None:
        raise ValueError(f"replicas {replicas}: {problem}")
    site = {"data": data, "device": device, "threads": threads, "share": share}
    with together(params, site, replicas) as group:
        take_part(params, progress, group, **site)


def take_part(
    params: Mapping[str, Any],
    progress: Progress,
    group: Group,
    *,
    data: str,
    device: str,
    threads: int,
    share: float,
) -> None:
    """What one replica of a trial does, the same in all but that the first one's progress alone leads anywhere."""
    _, recipe, _ = from_params(params)
    place = group.device(device)
    settle(recipe, place, threads)
    with closing(_feed(params, group, place, Path(data), threads, share)) as feed:
        _train_with(params, progress, group, feed, place, share)


def _feed(params: Mapping[str, Any], group: Group, place: torch.device, data: Path, threads: int, share: float) -> Feed:
    """Small images lie on the device, photographs are decoded as they are needed."""
    network, recipe, seed = from_params(params)
    part = {"rank": group.rank, "count": group.count}
    if network.layout != "imagenet":
        return Resident(load_images(network.data, data), recipe, seed, place, **part)
    of = photographs(network.data, params["data"]["fingerprint"], data)
    return Stream(
        of, recipe, seed, place, network.size, workers=decoding_threads(place, threads, share, group.count), **part
    )


def _train_with(
    params: Mapping[str, Any], progress: Progress, group: Group, feed: Feed, place: torch.device, share: float
) -> None:
    network, recipe, seed = from_params(params)
    recompute = needs_recomputing(network, recipe, place, share, group.count)
    training = Training(network, recipe, feed, seed, place, recompute=recompute, group=group)
    progress.about(
        {
            "kernels": training.kernels,
            "activations": "recomputed" if recompute else "kept",
            "updates": training.execution,
            **({"loader": feed.loader} if feed.loader else {}),
        }
    )
    if group.leads:
        _begin(training, progress)
    training.align()
    if not training.iteration:
        _probe(training, progress)
    _train(training, progress)


def _begin(training: Training, progress: Progress) -> None:
    """From the last commit if there is one, otherwise from the end of the trial that this one comes after, if any."""
    if (checkpoint := progress.restore()) is not None:
        training.restore(checkpoint)
    elif training.network.parent is not None:
        training.grow(progress.inherited())


def _not_replicas(recipe: Recipe, replicas: int) -> str | None:
    """Why so many replicas cannot train under the recipe, and what can be done; None if they can."""
    counts = replica_counts(recipe)
    if replicas in counts:
        return None
    if counts == (1,):
        return (
            f"batch normalisation takes its statistics over the whole batch of {recipe.batch}, which one replica alone"
            " has; give 1, or another recipe: its bn_batch is one replica's share of the batch"
        )
    allowed = ", ".join(map(str, counts[:-1]))
    return (
        f"batch {recipe.batch} with bn_batch {recipe.bn_batch} can be split over {allowed} or {counts[-1]} replicas;"
        " give one of these"
    )


def _train(training: Training, progress: Progress) -> None:
    recipe, read = training.recipe, training.iteration
    meter = Meter(training.device, training.group.count)
    while training.iteration < recipe.iterations:
        training.step()
        now, last = training.iteration, training.iteration == recipe.iterations
        if now % recipe.record_every == 0 or last:
            record = training.running() | {"lr": training.lr}
            costs, read = meter.read((now - read) * recipe.batch), now
            with meter.paused():
                record |= _evaluated(training, last=last)
                if last and recipe.views:
                    record |= judge(training, progress.keep)
            progress.log(now, record, costs)
            if _diverged(record, last=last):
                progress.finish(now, training.state(), {"outcome": "diverged", "diverged_at": now} | _growth(training))
                return
        probes, commits = now in recipe.probe_iterations, not last and progress.due()
        if probes or commits:  # rare, for a pause waits for the device
            with meter.paused():
                _probe(training, progress)
                if commits:
                    progress.commit(now, training.state())
    result = {"outcome": "finished", "weights_sha256": digest(training)}
    progress.finish(training.iteration, training.state(), result | _growth(training))


def _growth(training: Training) -> dict[str, Any]:
    """How a grown network began, as JSON has it; nothing of others, nor of one that an older version began."""
    return {"growth": plain(training.growth)} if training.growth else {}


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


def main(arguments: Sequence[str] | None = None) -> int:
    """One trial of a study, from its last commit if there is one; returns the exit code.

    0: it is done, 1: its code failed, 2: wrong input, 4: data, device, a package or an earlier trial are not there,
    5: the ledger or a prepared set is damaged, 130: interrupted.
    """
    given = _arguments().parse_args(arguments)
    os.environ[FOLDER_VARIABLE] = given.data  # what was prepared there is known from here on
    results = Path(given.results).resolve()
    try:
        device = _device(given.device)
        export = _export(given.study, given.overrides)
        trial = _asked(export, given.arm, given.seed)
        trial = replace(trial, resources=_resources(trial, given, device))
        _make_ready(trial, export, given, device)
        _remember(results, export.study)
    except _Refused as refused:
        return _refuse(str(refused), refused.code)
    except (ExportError, OSError) as error:
        return _refuse(str(error), WRONG_INPUT)
    except LedgerError as error:
        return _refuse(str(error), DAMAGED)
    except DataError as error:
        return _refuse(str(error), UNREACHABLE)
    try:
        ending = execute(trial, replace(setting(results, device, given.commit_seconds), echo=True))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was committed is kept, and the same command goes on from there\n")
        return INTERRUPTED
    if ending.cause is not Cause.DONE:
        sys.stderr.write(f"failed: {trial.name}: {ending.reason}\n")
        return FAILED
    sys.stdout.write(f"done: {trial.name}, {Ledger(results).folder(trial.key).path}\n")
    return DONE


class _Refused(Exception):
    """Why the trial is not begun, in one line, and the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _device(asked: str) -> str:
    if asked == "cuda" and not torch.cuda.is_available():
        raise _Refused("--device cuda: PyTorch finds no NVIDIA GPU here; use --device cpu", UNREACHABLE)
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def _resources(trial: Trial, given: argparse.Namespace, device: str) -> Resources:
    """A core or a GPU for each replica, or a share of one GPU."""
    _, recipe, _ = from_params(trial.params)
    count = given.replicas
    if (problem := _not_replicas(recipe, count)) is not None:
        raise _Refused(f"--replicas {count}: {problem}", WRONG_INPUT)
    if device == "cpu":
        return Resources(cpus=count, replicas=count)
    if count == 1:
        return Resources(gpus=1 / given.per_gpu)
    if given.per_gpu > 1:
        raise _Refused(
            f"--per-gpu {given.per_gpu}: a trial of {count} replicas has each GPU for itself; leave one of both out",
            WRONG_INPUT,
        )
    if (there := torch.cuda.device_count()) < count:
        raise _Refused(
            f"--replicas {count}: each replica has a GPU of its own, and PyTorch finds {there} here; give at most"
            f" {max(each for each in replica_counts(recipe) if each <= there)}",
            UNREACHABLE,
        )
    return Resources(cpus=count, gpus=count, replicas=count)


def _export(study: str, overrides: Sequence[str]) -> Export:
    """The study, from its export, or from its file where what reads that is installed."""
    if study.endswith(".json"):
        if overrides:
            raise _Refused(f"--set {overrides[0]}: an exported study is fixed; give it to `ablate export`", WRONG_INPUT)
        return read(Path(study))
    try:
        from ablations.study import StudyError, load
        from ablations.trials import recorded, trials
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "ablations":
            raise
        raise _Refused(
            f"{study}: reading a study needs {error.name}, which is not installed here; where it is, `ablate export"
            f" {study} --to FILE.json` writes a file that can be given here instead",
            UNREACHABLE,
        ) from None
    try:
        loaded = load(study, overrides=overrides)
    except StudyError as error:
        raise _Refused(str(error), WRONG_INPUT) from None
    return Export(study=recorded(loaded), trials=trials(loaded))


def _make_ready(trial: Trial, export: Export, given: argparse.Namespace, device: str) -> None:
    """See to what the trial needs before it begins: a GPU, the end of another trial, its data."""
    results = Path(given.results).resolve()
    _, recipe, _ = from_params(trial.params)
    if device == "cpu" and recipe.needs_gpu:
        raise _Refused(f"{trial.arm}: {recipe.needs_gpu}", WRONG_INPUT)
    folder = Ledger(results).folder(trial.key)
    head = folder.check()
    if folder.alive():
        sys.stderr.write(f"{trial.name}: another attempt is at work on it; waiting for its end\n")
    if head is None and trial.after is not None:
        earlier = Ledger(results).folder(trial.after).head()
        if earlier is None or earlier.result is None:
            raise _Refused(_run_first(trial, export, given), UNREACHABLE)
    if head is None or head.result is None:
        _prepare(trial.params["data"]["name"], Path(given.data), results / "data")


def _prepare(name: str, data: Path, to: Path) -> None:
    try:
        prepare(name, data, to)
    except DataError as error:
        damaged = of_photographs(name) and not isinstance(error, NotThereError)
        raise _Refused(str(error), DAMAGED if damaged else UNREACHABLE) from error


def _run_first(trial: Trial, export: Export, given: argparse.Namespace) -> str:
    parent = next(each for each in export.trials if each.key == trial.after)
    command = ["python", "-m", "ablations.trial", given.study, "--arm", parent.arm, "--seed", str(parent.seed)]
    command += [word for value in given.overrides for word in ("--set", value)] + ["--results", given.results]
    return f"{trial.name} begins from the end of {parent.name}, which is not done; run first: {shlex.join(command)}"


def _remember(results: Path, study: RecordedStudy) -> None:
    """Record the study for reports, unless the results know one of that name that has other trials, or more.

    That record is `ablate run`'s, or of an export with more seeds.
    """
    with suppress(StudyInUse), sole_run(results, study.name):
        try:
            known = _keys(read_study(results, study.name))
        except FileNotFoundError:
            known = set()
        if known < _keys(study):
            write_study(results, study)


def _keys(study: RecordedStudy) -> set[str]:
    return {key for arm in study.arms for _, key in arm.trials}


def _asked(export: Export, arm: str, seed: int) -> Trial:
    """The study's trial of this arm and seed; where it has none, the nearest is named."""
    study, names = export.study.name, [each.name for each in export.study.arms]
    if arm not in names:
        near = nearest(arm, names) or f"; its arms are {', '.join(names)}"
        raise _Refused(f"--arm: study {study} has no arm {arm[:200]!r}{near}", WRONG_INPUT)
    found = {each.seed: each for each in export.trials if each.arm == arm}
    if seed not in found:
        raise _Refused(f"--seed: study {study} asks for seeds 0 to {max(found)} of {arm}, not {seed}", WRONG_INPUT)
    return found[seed]


class _Parser(argparse.ArgumentParser):
    """What is wrong is one line here too, without the six of the usage."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(f"{message}; see `{self.prog} --help`", WRONG_INPUT))


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m ablations.trial", description="Run one trial of a study, with neither Ray nor MLflow."
    )
    parser.add_argument(
        "study",
        metavar="STUDY",
        help="name of a study that ships, path of a study file, or FILE.json of `ablate export`",
    )
    parser.add_argument("--arm", required=True, help="name of the arm, as digits-plain-20")
    parser.add_argument("--seed", type=int, required=True, metavar="N", help="from 0")
    parser.add_argument("--results", default=os.environ.get("ABLATE_RESULTS") or "results", metavar="DIR")
    parser.add_argument("--data", default=os.environ.get(FOLDER_VARIABLE) or "data", metavar="DIR")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one value, as recipe.lr=0.03",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--per-gpu", type=_count, default=1, metavar="K", help="so many trials share the GPU's memory")
    parser.add_argument(
        "--replicas",
        type=_count,
        default=1,
        metavar="N",
        help="split each batch over N GPUs, or cores with --device cpu",
    )
    parser.add_argument("--commit-seconds", type=_seconds, default=30.0, metavar="S", help="between commits")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text[:60]!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0 or more, not {text[:60]!r}")
    return seconds


def _refuse(message: str, code: int) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
