"""What trials run on: CPU or GPU, so many of them on one GPU, and the nodes of this machine or assumed ones."""

import os
import re
from typing import TYPE_CHECKING

from ablations.cli.exits import UNREACHABLE, fail
from ablations.reader import StudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ablations.study import Study
    from orchestrator.placement import Node

MOST_PER_GPU = 64
MOST_GPUS = 4096


def choose_device(asked: str, nodes: "Sequence[Node] | None" = None) -> str:
    """What trials run on: `auto` is cuda where the cluster, or this machine, has GPUs."""
    from orchestrator.provenance import gpus

    if asked not in ("auto", "cpu", "cuda"):
        raise StudyError(f"--device: is auto, cpu or cuda, not {asked!r}")
    there = bool(gpus()) if nodes is None else any(node.gpus for node in nodes)
    if asked == "cuda" and not there:
        where = "this machine has no NVIDIA GPU" if nodes is None else "no node of the cluster has a GPU"
        fail(f"--device cuda: {where}; use --device cpu", UNREACHABLE)
    return "cuda" if asked == "cuda" or (asked == "auto" and there) else "cpu"


def refuse_without_gpu(study: "Study", device: str) -> None:
    for arm in study.arms:
        if device == "cpu" and arm.recipe.needs_gpu:
            raise StudyError(f"{arm.name}: {arm.recipe.needs_gpu}")


def trials_per_gpu(per_gpu: str, device: str) -> int | None:
    """Trials on one GPU; None: the plan chooses."""
    if per_gpu == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,3}", per_gpu) or not 1 <= int(per_gpu) <= MOST_PER_GPU:
        raise StudyError(f"--per-gpu: is auto or a whole number from 1 to {MOST_PER_GPU}, not {per_gpu[:200]!r}")
    if device == "cpu" and int(per_gpu) > 1:
        raise StudyError(f"--per-gpu {per_gpu}: these trials run on the CPU, one per core; leave it out")
    return int(per_gpu)


def hardware_model(device: str) -> str:
    """Model of this machine's GPUs, or of its processor; empty where trials need a GPU and it has none."""
    from orchestrator.provenance import gpus, processor

    return next(iter(gpus()), "") if device == "cuda" else processor()


def this_machine(device: str, per_gpu: int | None, slots: int | None) -> "list[Node]":
    """What a run may use here: more `slots` than cores would only make trials on the CPU wait for each other."""
    from orchestrator.placement import Node
    from orchestrator.provenance import gpus

    cores, found = cores_here(), gpus() if device == "cuda" else []
    if slots is not None and slots > cores and not found:
        has = f"{cores} core{'s' * (cores != 1)}"
        raise StudyError(
            f"--slots {slots}: trials on the CPU have a core each, and this machine has {has}; give at most"
            f" {cores}, or leave it out"
        )
    cpus = max(cores, len(found) * (per_gpu or 1)) if found else cores
    return [Node(id="local", host="this machine", cpus=float(cpus), gpus=len(found))]


def refuse_empty(gpus: str | None) -> str | None:
    """An empty text, as of a shell's variable that is not set, is no option left out."""
    if gpus == "":
        assumed_nodes(gpus)
    return gpus


def assumed_nodes(asked: str) -> "list[Node]":
    """A cluster of so many GPUs, in which cores are not what is short."""
    from orchestrator.placement import Node

    said = re.fullmatch(r"(?:([0-9]{1,4})x)?([0-9]{1,4})", asked)
    nodes, gpus = (int(said.group(1) or 1), int(said.group(2))) if said else (0, 0)
    if not (nodes and gpus and nodes * gpus <= MOST_GPUS):
        raise StudyError(
            f"--gpus: is the number of GPUs of one node, as 8, or nodes and GPUs of each, as 4x8, {MOST_GPUS:,} in all"
            f" at most, not {asked[:200]!r}"
        )
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    return [Node(id=name, host=name, cpus=float(MOST_PER_GPU * gpus), gpus=gpus) for name in names]


def cores_here() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
