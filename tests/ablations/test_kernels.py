"""The kernels of the training step against float64 and against PyTorch, and what happens without a compiler."""

import gc
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ablations.data.images import Images
from ablations.data.resident import Resident
from ablations.kernels import batch_norm
from ablations.kernels.batch_norm import LANES, fork, fused, install
from ablations.kernels.compiler import NoCompilerError, library
from ablations.recipes import CIFAR, Recipe
from models.blocks import Block
from models.convolution import BatchNorm, averages_held
from models.networks import build, initialise
from models.spec import Network

LAYOUT = torch.channels_last


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm(channels: int, dtype: torch.dtype = torch.float32, *, kernel: bool = True) -> BatchNorm:
    made = BatchNorm(channels).to(dtype)
    with torch.no_grad():
        made.weight.copy_(noise(1, channels).abs() + 0.5)
        made.bias.copy_(noise(2, channels))
    if kernel:
        assert install(made) == "fused", "these tests need a C compiler"
    return made


def passed(layer: BatchNorm, x: Tensor, plus: Tensor | None, dy: Tensor, *, rectify: bool) -> dict[str, Tensor]:
    """What comes out of a forward and a backward pass, and what it leaves behind."""
    x = x.to(memory_format=LAYOUT).requires_grad_()
    plus = plus.to(memory_format=LAYOUT).requires_grad_() if plus is not None else None
    y = layer(x, plus, rectify=rectify)
    y.backward(dy)
    found = {"y": y.detach(), "dx": x.grad, "dgamma": layer.weight.grad, "dbeta": layer.bias.grad}
    found |= {"moving mean": layer.running_mean, "moving variance": layer.running_var}
    if plus is not None:
        found["dplus"] = plus.grad
    assert all(each is not None for each in found.values())
    return {name: each for name, each in found.items() if each is not None}


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("shape", [(128, 16, 8, 8), (5, 32, 3, 3), (3, 256, 2, 2), (1, 64, 9, 7)])
def test_fp32_is_float64_to_rounding(shape: tuple[int, ...], added: bool, rectify: bool) -> None:
    """Mean error of every output and gradient below 1e-6 of its mean size; channel means far from zero included."""
    x, dy = noise(3, *shape) * 3 + 5, noise(4, *shape)
    plus = noise(5, *shape) if added else None
    ours = passed(norm(shape[1]), x, plus, dy, rectify=rectify)
    double = norm(shape[1], torch.float64, kernel=False)
    wanted = passed(double, x.double(), plus.double() if plus is not None else None, dy.double(), rectify=rectify)
    assert ours.keys() == wanted.keys()
    for name, each in ours.items():
        assert (each.double() - wanted[name]).abs().mean() <= 1e-6 * wanted[name].abs().mean() + 1e-7, name


@pytest.mark.parametrize("added", [True, False])
def test_bf16_differs_from_float64_by_its_rounding_alone(added: bool) -> None:
    """Images are rounded once, to 8 bits; sums and statistics are not."""
    shape = (64, 16, 8, 8)
    x, dy = noise(3, *shape).bfloat16(), noise(4, *shape).bfloat16()
    plus = noise(5, *shape).bfloat16() if added else None
    ours = passed(norm(16), x, plus, dy, rectify=True)
    double = norm(16, torch.float64, kernel=False)
    wanted = passed(double, x.double(), plus.double() if plus is not None else None, dy.double(), rectify=True)
    for name in ("moving mean", "moving variance", "dgamma", "dbeta"):
        assert torch.allclose(ours[name].double(), wanted[name], rtol=1e-3, atol=1e-2), name
    for name in ("y", "dx"):
        assert ours[name].dtype is torch.bfloat16
        gap = (ours[name].double() - wanted[name]).abs()
        assert gap.mean() <= 2**-8 * wanted[name].abs().mean(), name


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(2, 9),
    channels=st.sampled_from([16, 48, 128]),
    size=st.integers(2, 9),
    added=st.booleans(),
    rectify=st.booleans(),
)
def test_it_is_pytorch_s(seed: int, images: int, channels: int, size: int, added: bool, rectify: bool) -> None:
    """Any number of rows, whole blocks or not; outputs of PyTorch's operations on the same fp32 images."""
    shape = (images, channels, size, size)
    x, dy, plus = noise(seed, *shape), noise(seed + 1, *shape), noise(seed + 2, *shape) if added else None
    ours, theirs = (passed(norm(channels, kernel=kernel), x, plus, dy, rectify=rectify) for kernel in (True, False))
    for name, each in ours.items():
        gap = (each - theirs[name]).abs().mean()  # a value at the edge of ReLU may fall on either side
        assert gap <= 2e-3 * theirs[name].abs().mean() + 1e-5, name


def test_the_same_bits_every_time() -> None:
    """Also beside other threads of PyTorch: the kernel has none."""
    shape = (32, 32, 8, 8)
    x, dy = noise(3, *shape).bfloat16(), noise(4, *shape).bfloat16()
    first = passed(norm(32), x, x, dy, rectify=True)
    torch.set_num_threads(2)
    again = passed(norm(32), x, x, dy, rectify=True)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_value_that_is_none_is_not_swallowed(value: float, dtype: torch.dtype) -> None:
    """ReLU of NaN is NaN, so that a diverged trial is seen as one."""
    x = noise(3, 4, 16, 4, 4).to(dtype)
    x[2, 5, 1, 1] = value
    y = norm(16)(x.to(memory_format=LAYOUT), rectify=True)
    assert y[:, 5].isnan().all()
    assert y[:, [0, 15]].isfinite().all()


def test_evaluation_uses_the_moving_averages() -> None:
    """And needs no gradient; where one is asked for, PyTorch does it."""
    layer, theirs = norm(16), norm(16, kernel=False)
    for each in (layer, theirs):
        each.running_mean.copy_(noise(6, 16))  # pyright: ignore[reportOptionalMemberAccess]
        each.running_var.copy_(noise(7, 16).abs() + 0.1)  # pyright: ignore[reportOptionalMemberAccess]
        each.eval()
    x, plus = noise(3, 4, 16, 5, 5).to(memory_format=LAYOUT), noise(4, 4, 16, 5, 5).to(memory_format=LAYOUT)
    with torch.inference_mode():
        assert torch.allclose(layer(x, plus, rectify=True), theirs(x, plus, rectify=True), atol=1e-5)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("kernel", [True, False])
def test_averages_can_be_held(kernel: bool) -> None:
    """A look at a batch in training mode moves nothing; the next pass does."""
    layer = norm(16, kernel=kernel)
    x = noise(3, 4, 16, 5, 5)
    with averages_held():
        held = layer(x)
    assert layer.running_mean is not None
    assert not layer.running_mean.any()
    assert torch.equal(layer(x), held)
    assert layer.running_mean.any()


@pytest.mark.parametrize("kernel", [True, False])
def test_statistics_of_a_replica(kernel: bool) -> None:
    """Each share of the batch is normalised alone; the moving averages follow the first, as with several GPUs."""
    layer, alone = norm(16, kernel=kernel), norm(16, kernel=kernel)
    layer.replica = 3
    x, plus = noise(3, 8, 16, 5, 5), noise(4, 8, 16, 5, 5)
    y = layer(x, plus, rectify=True)
    assert torch.equal(y[:3], alone(x[:3], plus[:3], rectify=True))
    assert torch.equal(layer.running_var, alone.running_var)  # pyright: ignore[reportArgumentType]
    assert torch.equal(y[3:6], alone(x[3:6], plus[3:6], rectify=True))
    assert torch.equal(y[6:], alone(x[6:], plus[6:], rectify=True))


def test_what_the_kernel_is_not_made_for() -> None:
    """Other widths, other types, one value of a channel: None, and the layer lets PyTorch do it."""
    assert fused(norm(16), noise(1, 2, 8, 4, 4), None, True, True) is None
    assert fused(norm(16), noise(1, 2, 16, 4, 4).double(), None, True, True) is None
    assert fused(norm(16), noise(1, 1, 16, 1, 1), None, True, True) is None
    odd = norm(LANES + 1)
    assert torch.equal(odd(noise(1, 2, 17, 4, 4)), norm(17, kernel=False)(noise(1, 2, 17, 4, 4)))


def test_a_fork_sums_two_gradients() -> None:
    """In fp32 exactly PyTorch's sum; one branch without a gradient is no obstacle."""
    x = noise(1, 2, 16, 4, 4).to(memory_format=LAYOUT).requires_grad_()
    one, other = fork(x * 1)
    (one * 2 + other * other).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 2 + 2 * x.detach())
    x.grad = None
    one, _ = fork(x * 1)
    one.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # pyright: ignore[reportArgumentType]


def test_what_a_pass_made_is_gone_without_a_garbage_collection() -> None:
    """Images that feed a residual block hold their second use, and nothing holds both: memory does not grow."""
    module = build(Network(depth=8, shortcut="A"))
    initialise(module, Network(depth=8, shortcut="A"), torch.Generator().manual_seed(0))
    install(module)
    made: list[weakref.ref[Tensor]] = []

    def remember(_: nn.Module, __: Any, y: Any) -> None:
        made.append(weakref.ref(y))

    for part in module.modules():
        if isinstance(part, Block | BatchNorm):
            part.register_forward_hook(remember)
    gc.disable()
    try:
        module(noise(8, 4, 3, 32, 32)).sum().backward()
        assert len(made) == 10
        assert all(each() is None for each in made)
    finally:
        gc.enable()


@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_a_network_with_kernels_is_the_network_without(shortcut: str) -> None:
    """Logits agree to fp32's rounding, gradients to what it does at the edges of ReLU."""
    found = []
    for kernel in (True, False):
        network = Network(depth=14, shortcut=shortcut)  # pyright: ignore[reportArgumentType]
        module = build(network)
        initialise(module, network, torch.Generator().manual_seed(0))
        module = module.to(memory_format=LAYOUT)  # pyright: ignore[reportCallIssue]
        if kernel:
            install(module)
        logits = module(noise(8, 16, 3, 32, 32).to(memory_format=LAYOUT))
        torch.nn.functional.cross_entropy(logits, torch.arange(16) % 10).backward()
        found.append((logits.detach(), {name: each.grad for name, each in module.named_parameters()}))
    (ours, gradients), (theirs, wanted) = found
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    for name, each in gradients.items():
        assert (each - wanted[name]).norm() <= 2e-2 * wanted[name].norm() + 1e-6, name


# Augmentation


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 9),
    channels=st.integers(1, 4),
    batch=st.integers(1, 12),
    pad=st.integers(0, 12),
    normalisation=st.sampled_from(["pixel-mean", "mean-std"]),
)
def test_augmentation_is_pytorch_s_to_the_bit(
    seed: int, size: int, channels: int, batch: int, pad: int, normalisation: str
) -> None:
    """Whatever the shape, the pad and the draws: a trial does not depend on which of the two its machine has."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (10, size, size, channels), dtype=np.uint8)
    pixels[0] = 255  # so that no image is constant with the rest
    pixels[1] = 0
    every = Images(train=pixels, train_labels=np.arange(10), test=pixels[:1], test_labels=np.arange(1))
    recipe = Recipe(**{**vars(CIFAR), "batch": batch, "pad": pad, "normalisation": normalisation})
    with_kernel, without = (Resident(every, recipe, seed, torch.device("cpu")) for _ in range(2))
    assert with_kernel._kernel is not None, "these tests need a C compiler"
    without._kernel = None
    for iteration in range(3):
        ours, theirs = with_kernel.batch(iteration), without.batch(iteration)
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        assert ours[0].is_contiguous(memory_format=LAYOUT) == theirs[0].is_contiguous(memory_format=LAYOUT)


# The compiler

CODE = "int answer(void) { return 42; }\n"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, and nothing remembered."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    library.cache_clear()
    yield tmp_path
    library.cache_clear()


def test_what_was_compiled_is_kept(cached: Path) -> None:
    """A second process needs no compiler run; another source is another file."""
    source = cached / "answer.c"
    source.write_text(CODE)
    assert library(source).answer() == 42
    (kept,) = (cached / "cache").glob("*.so")
    library.cache_clear()
    before = kept.stat().st_mtime_ns
    assert library(source).answer() == 42
    assert kept.stat().st_mtime_ns == before
    source.write_text(CODE.replace("42", "43"))
    library.cache_clear()
    assert library(source).answer() == 43
    assert len(list((cached / "cache").glob("*.so"))) == 2
    assert not list((cached / "cache").glob(".compile*"))


@pytest.mark.parametrize("damage", [b"", b"no library", None])
def test_a_damaged_library_is_compiled_again(cached: Path, damage: bytes | None) -> None:
    """Cut short it would end the process that loads it with a bus error, and every other after it."""
    source = cached / "answer.c"
    source.write_text(CODE)
    assert library(source).answer() == 42
    (kept,) = (cached / "cache").glob("*.so")
    whole = kept.read_bytes()
    kept.unlink()  # the loaded one stays as it is
    kept.write_bytes(whole[:3000] if damage is None else damage)
    library.cache_clear()
    assert library(source).answer() == 42
    assert kept.read_bytes() == whole


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container under a foreign number: the kernels are PyTorch's, and one line says what would help."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ABLATE_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", home)
    library.cache_clear()
    batch_norm._functions.cache_clear()
    try:
        expected = "PyTorch's: there is no home folder to keep it in; name one in ABLATE_CACHE"
        assert install(BatchNorm(16)) == expected
    finally:
        library.cache_clear()
        batch_norm._functions.cache_clear()


def test_a_source_that_does_not_compile(cached: Path) -> None:
    """One line with what the compiler said, and nothing left in the cache."""
    source = cached / "wrong.c"
    source.write_text("int answer(void) { return nothing; }\n")
    with pytest.raises(NoCompilerError, match=r"wrong\.c cannot be compiled \(.*nothing"):
        library(source)
    assert not list((cached / "cache").glob("*"))


def test_a_cache_that_cannot_be_written(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial goes on with PyTorch's operations."""
    source = cached / "answer.c"
    source.write_text(CODE)
    (cached / "file").write_text("")
    monkeypatch.setenv("ABLATE_CACHE", str(cached / "file"))
    with pytest.raises(NoCompilerError, match="cannot be compiled"):
        library(source)


def test_without_a_compiler(cached: Path) -> None:
    """In a process that finds none: the layers are PyTorch's, and the reason is told."""
    code = (
        "from ablations.kernels.batch_norm import install\n"
        "from models.convolution import BatchNorm\n"
        "layer = BatchNorm(16)\n"
        "print(install(layer), layer.fused)\n"
    )
    empty = cached / "empty"
    empty.mkdir()
    environment = {**os.environ, "PATH": str(empty), "ABLATE_CACHE": str(cached / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "PyTorch's: none of cc, gcc, clang is on the PATH; install a C compiler, as gcc None\n"
