"""How much of a network's activations a device can hold; what is global in PyTorch is tested in test_trial."""

from contextlib import suppress
from typing import Any

import pytest
import torch

from ablations import device
from ablations.device import full_precision, needs_recomputing
from ablations.recipes import CIFAR, Recipe
from models.complexity import activations
from models.spec import Network

GIGABYTE = 10**9
RESNET_1202 = Network(depth=1202, shortcut="A")


@pytest.mark.parametrize(("depth", "gigabytes"), [(20, 0.19), (56, 0.55), (110, 1.08), (1202, 11.76)])
def test_what_a_backward_pass_keeps(depth: int, gigabytes: float) -> None:
    """Twice what the convolutions put out, in fp32 at batch 128: what hooks on saved tensors measured."""
    kept = 2 * activations(Network(depth=depth, shortcut="A")) * 128 * 4
    assert kept / GIGABYTE == pytest.approx(gigabytes, rel=0.02)


@pytest.mark.parametrize(
    ("gigabytes", "share", "precision", "needed"),
    [(24, 1.0, "fp32", False), (24, 0.5, "fp32", True), (24, 0.5, "bf16", False), (16, 1.0, "fp32", True)],
)
def test_resnet_1202_fits_in_24_gb(
    gigabytes: int, share: float, precision: Any, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At batch 128; on half such a device in fp32, or on a smaller one, by computing activations twice."""
    monkeypatch.setattr(device, "_memory", lambda _: gigabytes * GIGABYTE)
    recipe = Recipe(**{**vars(CIFAR), "precision": precision})
    assert needs_recomputing(RESNET_1202, recipe, torch.device("cpu"), share) is needed


def test_this_machine_has_memory() -> None:
    """Of the machine, for each core."""
    assert GIGABYTE / 8 < device._memory(torch.device("cpu")) < 10_000 * GIGABYTE


@pytest.mark.parametrize("settled", [True, False])
def test_full_precision_is_without_tf32_and_leaves_what_was_settled(settled: bool) -> None:
    """Also where what it holds raises."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    matmul.allow_tf32 = cudnn.allow_tf32 = settled
    with suppress(ValueError), full_precision():
        assert not matmul.allow_tf32
        assert not cudnn.allow_tf32
        raise ValueError
    assert matmul.allow_tf32 is cudnn.allow_tf32 is settled
    matmul.allow_tf32 = cudnn.allow_tf32 = False
