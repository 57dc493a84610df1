"""What a `Network` allows, refuses, and is called."""

import re
from typing import Any

import pytest

from models.spec import CIFAR_DEPTHS, IMAGENET_BLOCKS, SHORTCUTS, VARIANT, Network

IMAGENET: dict[str, Any] = {"data": "imagenet", "layout": "imagenet", "classes": 1000, "size": 224, "width": 64}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"depth": 56}, "cifar10-plain-56"),
        ({"depth": 110, "shortcut": "A"}, "cifar10-resnet-110-A"),
        ({"depth": 1202, "shortcut": "C"}, "cifar10-resnet-1202-C"),
        ({"depth": 20, "data": "digits", "channels": 1, "size": 8}, "digits-plain-20"),
        ({"depth": 20, "data": "cifar10-jpeg", "shortcut": "B"}, "cifar10-jpeg-resnet-20-B"),
        (IMAGENET | {"depth": 18}, "imagenet-plain-18"),
        (IMAGENET | {"depth": 34, "shortcut": "B"}, "imagenet-resnet-34-B"),
        ({"depth": 20, "width": 8}, "cifar10-plain-20-w8"),
        (IMAGENET | {"depth": 50, "shortcut": "B", "stride": "3x3"}, "imagenet-resnet-50-B-stride3x3"),
        ({"depth": 20, "shortcut": "A", "init": "fan_in"}, "cifar10-resnet-20-A-fan_in"),
        (
            IMAGENET | {"depth": 101, "shortcut": "C", "width": 32, "stride": "3x3", "init": "fan_in"},
            "imagenet-resnet-101-C-w32-stride3x3-fan_in",
        ),
        ({"depth": 20, "shortcut": "A", "padding": "split"}, "cifar10-resnet-20-A-split"),
        (IMAGENET | {"depth": 50, "shortcut": "A", "padding": "duplicate"}, "imagenet-resnet-50-A-duplicate"),
        (IMAGENET | {"depth": 34, "shortcut": "C", "block_layers": 1}, "imagenet-resnet-34-C-one-layer"),
        (IMAGENET | {"depth": 50, "shortcut": "B", "bottlenecks": False}, "imagenet-resnet-50-B-basic"),
        ({"depth": 56, "grown_from": 20}, "cifar10-plain-56-from20"),
        (
            {"depth": 32, "shortcut": "A", "init": "fan_in", "padding": "average", "block_layers": 1, "grown_from": 8},
            "cifar10-resnet-32-A-fan_in-average-one-layer-from8",
        ),
    ],
)
def test_the_name_says_the_data_the_family_the_depth_and_every_departure(fields: dict[str, Any], name: str) -> None:
    """The paper's architecture has the short name; whatever differs from it is appended, as claims may name it."""
    network = Network(**fields)
    assert network.name == name
    assert network.name.removesuffix(f"-{network.variant}").endswith((str(network.depth), network.shortcut))
    assert bool(network.variant) == bool(network.departures) == bool(re.fullmatch(VARIANT, network.variant))


def test_departures_in_words() -> None:
    """For captions; the paper's architecture has none."""
    every = {"width": 8, "stride": "3x3", "init": "fan_in", "padding": "split", "block_layers": 1, "grown_from": 8}
    network = Network(depth=20, shortcut="A", **every)
    assert network.departures == ("w8", "stride 3x3", "fan_in", "split", "one-layer", "from 8")
    assert network.variant == "w8-stride3x3-fan_in-split-one-layer-from8"
    for option in SHORTCUTS:
        assert Network(depth=20, shortcut=option).departures == ()


@pytest.mark.parametrize("variant", ["", "wide", "w", "appended", "from", "split-", "-split", "split,w8", "splitw8"])
def test_what_is_no_variant_is_told_from_one(variant: str) -> None:
    """Of a claim that names it, before anything runs."""
    assert not re.fullmatch(VARIANT, variant)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"depth": 54},
            "depth must be 6n + 2 on cifar10 (20, 32, 44, 56, 110, 1202), not 54; nearest 50, 56",
        ),
        (
            {"depth": 2, "data": "digits"},
            "depth must be 6n + 2 on digits (20, 32, 44, 56, 110, 1202), not 2; nearest 8, 14",
        ),
        (
            {"depth": -4},
            "depth must be 6n + 2 on cifar10 (20, 32, 44, 56, 110, 1202), not -4; nearest 8, 14",
        ),
        (IMAGENET | {"depth": 20}, "depth must be 18, 34, 50, 101 or 152 on imagenet, not 20"),
        ({"depth": 20, "layout": "mnist"}, "layout is one of cifar, imagenet, not 'mnist'"),
        ({"depth": 20, "shortcut": "D"}, "shortcut is one of none, A, B, C, not 'D'"),
        ({"depth": 20, "shortcut": None}, "shortcut is one of none, A, B, C, not None"),
        ({"depth": 20, "stride": "2x2"}, "stride is one of 1x1, 3x3, not '2x2'"),
        ({"depth": 20, "init": "xavier"}, "init is one of fan_out, fan_in, not 'xavier'"),
        ({"depth": 20, "channels": 0}, "channels must be at least 1, not 0"),
        ({"depth": 20, "classes": -1}, "classes must be at least 1, not -1"),
        ({"depth": 20, "size": 0}, "size must be at least 1, not 0"),
        ({"depth": 20, "width": 0}, "width must be at least 1, not 0"),
        (
            {"depth": 20, "shortcut": "A", "padding": "last"},
            "padding is one of appended, split, duplicate, average, not 'last'",
        ),
        (
            {"depth": 20, "shortcut": "B", "padding": "split"},
            "padding split is for shortcut A, not B; leave it out or give A",
        ),
        ({"depth": 20, "padding": "average"}, "padding average is for shortcut A, not none; leave it out or give A"),
        ({"depth": 20, "shortcut": "A", "block_layers": 3}, "block_layers is one of 2, 1, not 3"),
        (
            {"depth": 20, "block_layers": 1},
            "block_layers 1 changes nothing in a plain network; leave it out or give a shortcut",
        ),
        (
            IMAGENET | {"depth": 50, "shortcut": "B", "block_layers": 1},
            "block_layers 1 is for 18 or 34 layers on imagenet, not 50; leave it out",
        ),
        (
            {"depth": 20, "shortcut": "A", "bottlenecks": False},
            "bottlenecks false is for 50 layers of photographs, not 20 on cifar10; leave it out",
        ),
        (
            IMAGENET | {"depth": 101, "shortcut": "B", "bottlenecks": False},
            "bottlenecks false is for 50 layers of photographs, not 101 on imagenet; leave it out",
        ),
        ({"depth": 20, "grown_from": 20}, "grown_from must be below the depth, 20, not 20"),
        ({"depth": 20, "grown_from": 32}, "grown_from must be below the depth, 20, not 32"),
        (
            {"depth": 56, "grown_from": 21},
            "grown_from is a smaller network's depth, and depth must be 6n + 2 on cifar10"
            " (20, 32, 44, 56, 110, 1202), not 21; nearest 20, 26",
        ),
        (
            IMAGENET | {"depth": 34, "grown_from": 20},
            "grown_from is a smaller network's depth, and depth must be 18, 34, 50, 101 or 152 on imagenet, not 20",
        ),
        (
            IMAGENET | {"depth": 101, "grown_from": 50},
            "grown_from is for 34 layers on imagenet, not 101; leave it out",
        ),
    ],
)
def test_a_network_that_the_paper_does_not_know_is_refused(fields: dict[str, Any], message: str) -> None:
    """The error says what was given and what is allowed, and for a depth what lies nearest."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared below
        Network(**fields)
    assert str(error.value) == message


def test_the_depths_that_an_error_names_as_nearest_are_allowed() -> None:
    """Both neighbours of each refused depth are networks, and the refused depth lies between them or below both."""
    for depth in (3, 9, 19, 21, 54, 109, 1200):
        with pytest.raises(ValueError, match="nearest") as error:
            Network(depth=depth)
        below, above = (int(word) for word in str(error.value).rsplit("nearest ")[1].split(", "))
        assert Network(depth=below).depth == below
        assert Network(depth=above).depth == above == below + 6
        assert depth < above


def test_blocks_are_those_of_table_1_and_n_in_each_stage_on_cifar() -> None:
    """2n layers in each of three stages (sec. 4.2): n = 3, 5, 7, 9, 18 and 200; bottlenecks from 50 layers on."""
    assert [Network(depth=depth).blocks for depth in CIFAR_DEPTHS] == [(n,) * 3 for n in (3, 5, 7, 9, 18, 200)]
    for depth, blocks in IMAGENET_BLOCKS.items():
        network = Network(**IMAGENET, depth=depth)
        assert network.blocks == blocks
        assert network.bottleneck == (depth >= 50)
        assert sum(blocks) * (3 if network.bottleneck else 2) + 2 == depth


def test_blocks_of_one_layer_are_twice_as_many() -> None:
    """So that each stage has the same number of convolutions."""
    assert Network(depth=20, shortcut="A", block_layers=1).blocks == (6, 6, 6)
    assert Network(**IMAGENET, depth=34, shortcut="B", block_layers=1).blocks == (6, 8, 12, 6)


def test_a_parent_is_the_same_network_of_the_smaller_depth() -> None:
    """Every other field is shared, and it is grown from none itself."""
    grown = Network(depth=56, shortcut="A", width=8, init="fan_in", padding="split", block_layers=1, grown_from=20)
    assert grown.parent == Network(
        depth=20, shortcut="A", width=8, init="fan_in", padding="split", block_layers=1, grown_from=None
    )
    assert Network(depth=56).parent is None


def test_no_stage_of_a_parent_has_more_blocks() -> None:
    """True of every depth that `grown_from` allows, so that no network can be asked for that cannot be grown."""
    pairs = [Network(depth=depth, grown_from=8) for depth in CIFAR_DEPTHS]
    pairs.append(Network(**IMAGENET, depth=34, shortcut="B", grown_from=18))
    for network in pairs:
        assert network.parent
        assert all(few <= many for few, many in zip(network.parent.blocks, network.blocks, strict=True))


def test_networks_are_values() -> None:
    """Equal fields make equal, hashable networks; plain is the family without shortcuts, and only that."""
    assert len({Network(depth=20), Network(depth=20), Network(depth=20, shortcut="A")}) == 2
    assert [Network(depth=20, shortcut=option).family for option in SHORTCUTS] == ["plain", *["resnet"] * 3]
