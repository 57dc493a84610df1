"""Parameters, multiply-adds and layers of every network of the paper, from the description and from the module."""

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor, nn

from models.complexity import multiply_adds, parameters, weights
from models.convolution import BatchNorm
from models.layers import Layer, layers
from models.networks import build
from models.spec import Network, NewChannels, Shortcut

ROOT = Path(__file__).parents[2]


def cifar(depth: int, shortcut: Shortcut = "none") -> Network:
    return Network(depth=depth, shortcut=shortcut)


def imagenet(depth: int, shortcut: Shortcut = "none", stride: str = "1x1") -> Network:
    return Network(
        data="imagenet",
        layout="imagenet",
        depth=depth,
        shortcut=shortcut,
        classes=1000,
        size=224,
        width=64,
        stride=cast(Any, stride),
    )


def golden() -> list[tuple[Network, dict[str, int]]]:
    """Each row of data/complexity.csv: the network, and its counts."""
    text = (Path(__file__).parent / "data" / "complexity.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in text if not line.startswith("#"))
    counts = ("convolutions", "projections", "parameters", "multiply_adds")
    return [
        (
            cifar(int(row["depth"]), cast(Shortcut, row["shortcut"]))
            if row["data"] == "cifar10"
            else imagenet(int(row["depth"]), cast(Shortcut, row["shortcut"]), row["stride"]),
            {count: int(row[count]) for count in counts},
        )
        for row in rows
    ]


ONE_LAYER = (
    Network(depth=20, shortcut="A", block_layers=1),
    Network(depth=20, shortcut="B", block_layers=1),
    Network(depth=20, shortcut="C", block_layers=1),
    replace(imagenet(34, "B"), block_layers=1),
)


def options() -> list[Network]:
    """Networks that depart from the paper's, on both layouts."""
    return [
        *(Network(depth=20, shortcut="A", padding=padding) for padding in get_args(NewChannels)),
        *(replace(imagenet(50, "A"), padding=padding) for padding in get_args(NewChannels)),
        *ONE_LAYER,
        replace(imagenet(50, "B"), bottlenecks=False),
        Network(depth=32, grown_from=20),
        Network(depth=32, shortcut="A", padding="split", block_layers=1, grown_from=8),
        replace(imagenet(34, "C"), grown_from=18),
    ]


every_network = pytest.mark.parametrize(("network", "row"), [pytest.param(*case, id=case[0].name) for case in golden()])


def test_the_golden_file_holds_every_network_of_the_paper() -> None:
    """Six CIFAR and five ImageNet depths, plain and with options A, B and C; bottlenecks with both strides."""
    assert len({network for network, _ in golden()}) == 6 * 4 + 5 * 4 + 3 * 4 == 56


@every_network
def test_the_description_counts_what_the_golden_file_holds(network: Network, row: dict[str, int]) -> None:
    """Without a tensor, to the last parameter and multiply-add."""
    assert parameters(network) == row["parameters"]
    assert multiply_adds(network) == row["multiply_adds"]
    found = layers(network)
    assert sum(layer.shortcut for layer in found) == row["projections"]
    assert sum(layer.norm is not None and not layer.shortcut for layer in found) == row["convolutions"]


@every_network
def test_the_depth_counts_the_weighted_layers_outside_shortcuts(network: Network, row: dict[str, int]) -> None:
    """Convolutions and the classifier; a projection shortcut adds parameters, and no depth."""
    assert sum(not layer.shortcut for layer in layers(network)) == network.depth


@every_network
def test_the_module_is_what_the_description_says(
    network: Network, row: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched while shapes run through it, the module has the described layers in order, and the golden counts."""
    assert_module_is_as_described(network, row["parameters"], row["multiply_adds"], monkeypatch)


@pytest.mark.parametrize("network", options(), ids=lambda network: network.name)
def test_so_is_the_module_of_every_option(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what option A pads with, blocks of one layer, and networks that are grown."""
    assert_module_is_as_described(network, parameters(network), multiply_adds(network), monkeypatch)


def test_no_option_but_projections_costs_anything() -> None:
    """Padding has no parameters, blocks of one layer have the same convolutions, and growing changes values only."""
    for network in options():
        plain = replace(network, shortcut="none", padding="appended", block_layers=2, grown_from=None)
        projections = [layer for layer in layers(network) if layer.shortcut]
        assert parameters(network) - parameters(plain) == sum(weights(each) + 2 * each.outputs for each in projections)
        assert multiply_adds(network) - multiply_adds(plain) == sum(
            weights(each) * each.size**2 for each in projections
        )
    one_layer = [len([layer for layer in layers(network) if layer.shortcut]) for network in ONE_LAYER]
    assert one_layer == [0, 2, 18, 3], "option C has a projection beside every layer"


def assert_module_is_as_described(
    network: Network, expected_parameters: int, expected_macs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers of the description run in its order, without data."""
    monkeypatch.setattr(
        BatchNorm, "forward", lambda self, x, *_, **__: x
    )  # keeps every shape, and is slow without data
    with torch.device("meta"):
        module = build(network).eval()
        image = torch.empty(1, network.channels, network.size, network.size)
    assert sum(parameter.numel() for parameter in module.parameters()) == expected_parameters

    seen, macs = watched(module, image)
    assert seen == [
        (each.name, each.inputs, each.outputs, each.kernel, each.stride, each.size) for each in layers(network)
    ]
    assert macs == expected_macs


def watched(module: nn.Module, image: Tensor) -> tuple[list[tuple[str, int, int, int, int, int]], int]:
    """Name, channels, kernel, stride and output size of each weighted layer as it runs, and their multiply-adds."""
    seen: list[tuple[str, int, int, int, int, int]] = []
    macs = 0

    def watch(name: str, layer: nn.Module) -> None:
        def hook(layer: nn.Module, _: Any, output: Tensor) -> None:
            nonlocal macs
            match layer:
                case nn.Conv2d():
                    channels, kernel, stride = (layer.in_channels, layer.out_channels), layer.kernel_size, layer.stride
                case nn.Linear():
                    channels, kernel, stride = (layer.in_features, layer.out_features), (1, 1), (1, 1)
                case _:
                    raise AssertionError(layer)
            sizes = output.shape[2:] or (1, 1)
            assert kernel[0] == kernel[1]
            assert stride[0] == stride[1]
            assert sizes[0] == sizes[1]
            seen.append((name, *channels, int(kernel[0]), int(stride[0]), sizes[0]))
            macs += channels[0] * channels[1] * int(kernel[0]) ** 2 * sizes[0] ** 2

        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)

    for name, layer in module.named_modules():
        watch(name, layer)
    with torch.no_grad():
        module(image)
    return seen, macs


@pytest.mark.parametrize(
    "network", [cifar(20, "C"), imagenet(34, "B"), imagenet(50, "C")], ids=lambda network: network.name
)
def test_a_layer_names_the_batch_normalisation_that_follows_it(network: Network) -> None:
    """All batch normalisations are named once, each with its layer's channels, and only the classifier has none."""
    with torch.device("meta"):
        module = build(network)
    norms = {name: part.num_features for name, part in module.named_modules() if isinstance(part, BatchNorm)}
    assert norms == {layer.norm: layer.outputs for layer in layers(network) if layer.norm}
    assert [layer.name for layer in layers(network) if layer.norm is None] == ["fc"]


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7), (1202, 19.4)]
)
def test_parameters_match_table_6(depth: int, millions: float) -> None:
    """Within 2 %: the paper prints two or three digits."""
    assert parameters(cifar(depth, "A")) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("depth", "billions"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)])
def test_multiply_adds_match_table_1(depth: int, billions: float) -> None:
    """Within 2 %, with option B and the stride in the first 1x1; in the 3x3, the 50 layers would cost 4.09."""
    assert multiply_adds(imagenet(depth, "B")) / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize(
    "plain", [*(cifar(depth) for depth in (20, 110)), *(imagenet(depth) for depth in (18, 50))], ids=lambda n: n.name
)
def test_plain_and_option_a_have_the_same_layers(plain: Network) -> None:
    """Option A adds nothing that is learned (sec. 4.1), so the comparison is of shortcuts alone."""
    make = cifar if plain.layout == "cifar" else imagenet
    assert layers(make(plain.depth, "A")) == layers(plain)


def test_layers_of_the_smallest_network_are_these() -> None:
    """8 layers with option B, on 25 x 25 images of one channel: odd sizes round up, as padded convolutions do."""
    assert layers(Network(depth=8, shortcut="B", channels=1, size=25)) == (
        Layer("conv1", 1, 16, 3, 1, 25, "bn1"),
        Layer("stage1.0.conv1", 16, 16, 3, 1, 25, "stage1.0.bn1"),
        Layer("stage1.0.conv2", 16, 16, 3, 1, 25, "stage1.0.bn2"),
        Layer("stage2.0.conv1", 16, 32, 3, 2, 13, "stage2.0.bn1"),
        Layer("stage2.0.conv2", 32, 32, 3, 1, 13, "stage2.0.bn2"),
        Layer("stage2.0.shortcut.conv", 16, 32, 1, 2, 13, "stage2.0.shortcut.bn", shortcut=True),
        Layer("stage3.0.conv1", 32, 64, 3, 2, 7, "stage3.0.bn1"),
        Layer("stage3.0.conv2", 64, 64, 3, 1, 7, "stage3.0.bn2"),
        Layer("stage3.0.shortcut.conv", 32, 64, 1, 2, 7, "stage3.0.shortcut.bn", shortcut=True),
        Layer("fc", 64, 10, 1, 1, 1, None),
    )


def test_describing_and_counting_load_no_torch() -> None:
    """A plan of a study counts its networks, and must not wait for torch."""
    program = (
        "import sys, models.spec, models.layers, models.complexity as c\n"
        "assert c.parameters(models.spec.Network(depth=1202, shortcut='A')) == 19_421_274\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
