"""The device that a trial runs on: what is global in PyTorch there, and how much memory is the trial's."""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import torch

from ablations.kernels.compiler import NoCompilerError, cache
from ablations.recipes import Recipe
from models.complexity import activations
from models.spec import Network
from orchestrator.provenance import gpus, memory

MOST_MEMORY = 0.6
"""Share of a device's memory for what the backward pass needs; weights, gradients and workspaces need some too."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h."""


def settle(recipe: Recipe, device: torch.device, threads: int) -> None:
    """A worker runs one trial after another: whatever is global in PyTorch is set anew for each."""
    gc.collect()  # the network and the data of the trial before, which hold each other
    if device.type == "cpu":
        torch.set_num_threads(threads)
        _keep_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = recipe.precision == "tf32"
    torch.backends.cudnn.benchmark = not recipe.deterministic
    torch.backends.cudnn.deterministic = recipe.deterministic  # a resumed attempt must repeat what a killed one did
    if device.type == "cuda":
        torch.cuda.empty_cache()
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(recipe.deterministic, warn_only=True)
        deterministic: Any = torch.utils.deterministic
        deterministic.fill_uninitialized_memory = False  # hundreds of kernels a step, and no bit
    if recipe.compiled:
        _settle_compiler(recipe)


@contextmanager
def full_precision() -> Iterator[None]:
    """Without TF32 while the block lasts, whatever was settled."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    kept = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = kept


def _settle_compiler(recipe: Recipe) -> None:
    """What is compiled is kept for all trials; what a trial before compiled does not count against this one's limit."""
    import torch._inductor.config as inductor

    with suppress(NoCompilerError):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache() / "inductor"))
    inductor.deterministic = recipe.deterministic
    torch.compiler.reset()


def needs_recomputing(network: Network, recipe: Recipe, device: torch.device, share: float, replicas: int = 1) -> bool:
    """Whether what the backward pass of one replica needs is too much to keep in this share of its device's memory.

    Never where kernels are compiled: those do not know how, and other kernels would round otherwise.
    """
    if recipe.compiled:
        return False
    value = 2 if recipe.precision == "bf16" else 4
    kept = (
        2 * activations(network) * (recipe.batch // replicas) * value
    )  # a convolution's output, and what BN and ReLU make of it
    if device.type == "cuda" and recipe.probe_at:
        kept *= 2  # a graph keeps its memory, and a probe's pass has its own
    return kept > MOST_MEMORY * share * _memory(device)


def decoding_threads(device: torch.device, threads: int, share: float, replicas: int) -> int:
    """For a replica's photographs: its own on the CPU, beside a GPU its part of the cores of this machine."""
    if device.type == "cpu":
        return threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, round(cores * share / max(len(gpus()), replicas, 1)))


def _memory(device: torch.device) -> int:
    """Bytes of a GPU, or of this machine for each of its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return memory() // (os.cpu_count() or 1)


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Let the C library keep what PyTorch frees, for the next update asks for the same: 2 % less time."""
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_THRESHOLD, 2**26)  # larger ones are rare, and would tear holes in the heap
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
