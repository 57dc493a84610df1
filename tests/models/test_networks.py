"""The modules: shapes, shortcuts, identity at zero weights, and torch's own ResNets as the reference."""

import itertools
from typing import Any, cast, get_args

import pytest
import torch
import torchvision
from torch import Tensor, nn

from models.blocks import Basic, Block, Bottleneck, OneLayer
from models.convolution import BatchNorm, Convolution
from models.layers import BuildingBlock, building_blocks
from models.networks import build, initialise
from models.shortcuts import Padding, Projection
from models.shortcuts import shortcut as shortcut_of
from models.spec import SHORTCUTS, Network, NewChannels, Shortcut


def imagenet(depth: int, shortcut: Shortcut = "B", **fields: Any) -> Network:
    """An ImageNet network for images of 64 pixels, to be quick."""
    defaults: dict[str, Any] = {"data": "imagenet", "layout": "imagenet", "classes": 1000, "size": 64, "width": 64}
    return Network(depth=depth, shortcut=shortcut, **(defaults | fields))


def made(network: Network, seed: int = 0) -> nn.Sequential:
    module = build(network)
    initialise(module, network, torch.Generator().manual_seed(seed))
    return module


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(network: Network, count: int = 2) -> Tensor:
    return noise(count, network.channels, network.size, network.size)


SMALL: list[dict[str, Any]] = [
    {"depth": 8},
    {"depth": 20, "data": "digits", "channels": 1, "size": 8},
    {"depth": 14, "classes": 3, "size": 9, "width": 4},
    {"depth": 18, "data": "imagenet", "layout": "imagenet", "width": 8, "classes": 5},
    {"depth": 50, "data": "imagenet", "layout": "imagenet", "width": 8, "classes": 5, "size": 33, "stride": "3x3"},
]


@pytest.mark.parametrize(
    "network",
    [
        *(Network(**fields, shortcut=shortcut) for fields in SMALL for shortcut in SHORTCUTS),
        *(Network(depth=8, shortcut="A", size=9, padding=padding) for padding in get_args(NewChannels)),
        *(Network(depth=14, shortcut=shortcut, size=9, block_layers=1) for shortcut in SHORTCUTS[1:]),
        Network(**SMALL[3], shortcut="B", block_layers=1),
        Network(**SMALL[4], shortcut="A", padding="average"),
    ],
    ids=lambda network: network.name,
)
def test_images_become_one_logit_for_each_class_and_every_weight_learns(network: Network) -> None:
    """(N, channels, size, size) to (N, classes), with odd sizes and any channels; every parameter gets a gradient."""
    module = made(network)
    logits = module(images(network))
    assert logits.shape == (2, network.classes)
    nn.functional.cross_entropy(logits, torch.zeros(2, dtype=torch.long)).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("channels", "outputs", "stride"), [(16, 32, 2), (64, 256, 1), (3, 5, 2)])
def test_option_a_samples_every_other_pixel_and_appends_zero_channels(channels: int, outputs: int, stride: int) -> None:
    """The literal reference: a tensor of zeros into which the sampled pixels are written; width alone only pads."""
    x = noise(2, channels, 9, 9)
    size = len(range(0, 9, stride))
    expected = torch.zeros(2, outputs, size, size)
    for row in range(size):
        for column in range(size):
            expected[:, :channels, row, column] = x[:, :, row * stride, column * stride]
    padding = Padding(channels, outputs, stride)
    assert torch.equal(padding(x), expected)
    assert list(padding.parameters()) == []
    assert str(padding) == f"Padding(stride={stride}, zeros={outputs - channels})"


@pytest.mark.parametrize(
    ("channels", "outputs", "before"), [(16, 32, 8), (64, 256, 96), (4, 9, 2)], ids=["16-32", "64-256", "odd rest last"]
)
def test_split_padding_is_appended_padding_with_its_channels_in_another_order(
    channels: int, outputs: int, before: int
) -> None:
    """The first half of the zeros moves to the front."""
    x = noise(2, channels, 9, 9)
    split = padding_of("split", channels, outputs, 2)
    appended = Padding(channels, outputs, 2)(x)
    assert torch.equal(split(x), appended.roll(before, dims=1))
    assert list(split.parameters()) == []
    assert str(split) == f"Padding(stride=2, zeros={before}+{outputs - channels - before})"


@pytest.mark.parametrize("padding", ["duplicate", "average"])
@pytest.mark.parametrize(
    ("channels", "outputs", "stride"), [(16, 32, 2), (64, 256, 1), (3, 5, 2), (3, 10, 3), (4, 8, 4)]
)
def test_new_channels_repeat_the_old_ones_in_turn(
    padding: NewChannels, channels: int, outputs: int, stride: int
) -> None:
    """Value by value: channel c is old channel c mod C, sub-sampled; or, past the old ones, the mean of its square."""
    x = noise(2, channels, 9, 9)
    shortcut = padding_of(padding, channels, outputs, stride)
    y = shortcut(x)
    size = len(range(0, 9, stride))
    assert y.shape == (2, outputs, size, size)
    for channel in range(outputs):
        for row, column in itertools.product(range(size), repeat=2):
            square = x[:, channel % channels, row * stride :, column * stride :][:, :stride, :stride]
            averaged = padding == "average" and channel >= channels
            expected = square.mean((1, 2)) if averaged else square[:, 0, 0]
            torch.testing.assert_close(y[:, channel, row, column], expected)
    assert list(shortcut.parameters()) == []
    assert str(shortcut) == f"Repetition(stride={stride}, average={padding == 'average'})"


def padding_of(padding: NewChannels, inputs: int, outputs: int, stride: int) -> nn.Module:
    block = BuildingBlock(2, 0, inputs, outputs, outputs, stride, "padding", padding)
    made = shortcut_of(block)
    assert made is not None
    return made


@pytest.mark.parametrize("padding", get_args(NewChannels))
def test_what_a_network_pads_with_is_what_its_blocks_have(padding: NewChannels) -> None:
    """Where the width grows, and the same weights otherwise."""
    network = Network(depth=8, shortcut="A", padding=padding)
    module, appended = made(network), made(Network(depth=8, shortcut="A"))
    block = module.get_submodule("stage2.0")
    assert str(block.shortcut) == str(padding_of(padding, 16, 32, 2))
    assert list(module.state_dict()) == list(appended.state_dict())
    assert torch.equal(module(images(network)), appended(images(network))) == (padding == "appended")


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_a_block_of_one_layer_is_one_convolution_beside_its_shortcut(shortcut: Shortcut) -> None:
    """y = relu(BN(W x) + shortcut(x)), by hand; the first block of a stage strides and no other does."""
    module = made(Network(depth=8, shortcut=shortcut, block_layers=1))
    x = noise(2, 16, 8, 8).relu()
    for name, size in (("stage2.0", 4), ("stage2.1", 4)):
        block = module.get_submodule(name)
        assert isinstance(block, OneLayer)
        assert block.shortcut is not None
        y = nn.functional.conv2d(x, block.conv1.weight, stride=8 // size if name == "stage2.0" else 1, padding=1)
        y = nn.functional.batch_norm(y, None, None, training=True)
        expected = (y + block.shortcut(x)).relu()
        x = block(x)
        assert x.shape == (2, 32, size, size)
        torch.testing.assert_close(x, expected)


def test_a_plain_network_of_one_layer_blocks_would_be_the_plain_network() -> None:
    """Why it is refused: without shortcuts the residual blocks' layers, taken in order, compute what plain does."""
    plain, network = made(Network(depth=8)), Network(depth=8, shortcut="A", block_layers=1)
    module = build(network)
    module.load_state_dict(dict(zip(module.state_dict(), plain.state_dict().values(), strict=True)))
    for block in module.modules():
        if isinstance(block, Block):
            block.shortcut = None
    assert torch.equal(module(images(network)), plain(images(network)))


def test_a_projection_is_a_1x1_convolution_and_its_batch_normalisation() -> None:
    """W_s x of eq. (2), normalised over the batch: mean 0 and variance 1 in each channel in training."""
    projection = Projection(3, 5, 2)
    nn.init.normal_(cast(Convolution, projection.conv).weight, generator=torch.Generator().manual_seed(0))
    y = projection(noise(8, 3, 6, 6))
    assert y.shape == (8, 5, 3, 3)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(5), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        (Network(depth=14), ["NoneType"] * 6),
        (Network(depth=14, shortcut="A"), ["Identity", "Identity", "Padding", "Identity", "Padding", "Identity"]),
        (
            Network(depth=14, shortcut="B"),
            ["Identity", "Identity", "Projection", "Identity", "Projection", "Identity"],
        ),
        (Network(depth=14, shortcut="C"), ["Projection"] * 6),
        (imagenet(18, "A"), ["Identity", "Identity", *["Padding", "Identity"] * 3]),
        (imagenet(50, "A"), ["Padding", *["Identity"] * 2, "Padding", *["Identity"] * 3, "Padding"]),
        (imagenet(50, "B"), ["Projection", *["Identity"] * 2, "Projection", *["Identity"] * 3, "Projection"]),
    ],
    ids=lambda case: case.name if isinstance(case, Network) else "",
)
def test_each_option_puts_its_shortcut_where_the_paper_says(network: Network, kinds: list[str]) -> None:
    """Sec. 4.1; with bottlenecks the width already grows at the first block, from 64 to 256 channels."""
    with torch.device("meta"):
        blocks = [part for part in build(network).modules() if isinstance(part, Block)]
    assert [type(block.shortcut).__name__ for block in blocks][: len(kinds)] == kinds


@pytest.mark.parametrize("network", [Network(depth=14, shortcut="A"), imagenet(50, "A")], ids=lambda n: n.name)
def test_a_residual_block_without_residual_is_the_identity(network: Network) -> None:
    """Where the last gamma is zero F(x) = 0, and y = relu(x), which is x after a ReLU: what sec. 3.1 builds on."""
    block = next(block for block in building_blocks(network) if block.shortcut == "identity")
    module = Bottleneck(block, "1x1") if network.bottleneck else Basic(block)
    initialise(module, network, torch.Generator().manual_seed(0))
    nn.init.zeros_(module.bn3.weight if isinstance(module, Bottleneck) else module.bn2.weight)
    x = noise(2, block.inputs, 8, 8).relu()
    before = x.clone()
    assert torch.equal(module(x), x)
    assert torch.equal(x, before), "the block must not write over its input"


def test_a_plain_block_is_the_residual_block_without_the_sum() -> None:
    """Equal weights: relu(F(x)) against relu(F(x) + x), compared by hand."""
    plain, residual = made(Network(depth=8)), made(Network(depth=8, shortcut="A"))
    x = noise(2, 16, 8, 8).relu()
    block = cast(Block, plain.get_submodule("stage1.0"))
    assert torch.equal(block(x), block.residual(x).relu())
    assert torch.equal(residual.get_submodule("stage1.0")(x), (block.residual(x) + x).relu())


def test_plain_and_option_a_share_the_names_and_shapes_of_all_tensors() -> None:
    """So a state dict of the one loads into the other."""
    plain, residual = made(Network(depth=20)), made(Network(depth=20, shortcut="A"), seed=1)
    residual.load_state_dict(plain.state_dict())
    for (name, a), (other, b) in zip(plain.state_dict().items(), residual.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b)


def test_a_network_keeps_channels_last() -> None:
    """Weights, feature maps and padded shortcuts stay in the memory format that is fastest on both CPU and GPU."""
    network = Network(depth=14, shortcut="A")
    module = made(network).to(memory_format=torch.channels_last)
    features = module[:-3](images(network).to(memory_format=torch.channels_last))
    assert features.shape == (2, 64, 8, 8)
    assert features.is_contiguous(memory_format=torch.channels_last)
    for padding in get_args(NewChannels):
        padded = padding_of(padding, 16, 40, 2)(noise(2, 16, 8, 8).to(memory_format=torch.channels_last))
        assert padded.is_contiguous(memory_format=torch.channels_last), padding


def test_a_network_that_was_never_initialised_gives_nan() -> None:
    """Forgetting to set the weights shows in the first loss."""
    network = Network(depth=8, shortcut="B")
    assert build(network)(images(network)).isnan().all()


def test_building_draws_no_random_number() -> None:
    """What a program drew before and after building is the same as without."""
    state = torch.get_rng_state()
    build(Network(depth=20, shortcut="C"))
    assert torch.equal(torch.get_rng_state(), state)


# Against torchvision, whose networks are option B with the stride in the 3x3.


def peer(depth: int) -> nn.Module:
    """torchvision's network with weights, batch normalisation and running statistics drawn at random."""
    generator = torch.Generator().manual_seed(depth)
    with torch.device("meta"):
        module: nn.Module = getattr(torchvision.models, f"resnet{depth}")()
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if value.dtype == torch.long:
            state[name] = torch.tensor(7)
        elif value.dim() > 1:
            fan = value[0].numel()
            state[name] = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            state[name] = torch.randn(value.shape, generator=generator) * 0.1
    module.load_state_dict(state, assign=True)
    return module


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names as ours."""
    words = {"layer": "stage", "downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}
    names = {name: name for name in state}
    for theirs, ours in words.items():
        names = {name: new.replace(theirs, ours) for name, new in names.items()}
    return {names[name]: value for name, value in state.items()}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_torchvision_weights_give_torchvision_logits(depth: int) -> None:
    """Bit for bit with the stride in the 3x3. In the first 1x1 the same weights load, and mean another network."""
    reference = peer(depth).eval()
    x = noise(1, 3, 64, 64)
    with torch.no_grad(), torch.device("meta"):
        strides = {stride: build(imagenet(depth, stride=stride)).eval() for stride in ("3x3", "1x1")}
    logits: dict[str, Tensor] = {}
    with torch.no_grad():
        expected = reference(x)
        for stride, module in strides.items():
            module.load_state_dict(renamed(reference.state_dict()), assign=True)
            logits[stride] = module(x)
    assert torch.equal(logits["3x3"], expected)
    if depth < 50:
        assert torch.equal(logits["1x1"], expected)
    else:
        assert (logits["1x1"] - expected).norm() / expected.norm() > 0.01


@pytest.mark.parametrize("depth", [18, 50])
def test_a_training_step_equals_torchvision(depth: int) -> None:
    """Loss, running statistics and every gradient, bit for bit: sums and ReLUs in place change no result."""
    reference = peer(depth).train()
    module = build(imagenet(depth, stride="3x3")).train()
    module.load_state_dict(renamed(reference.state_dict()))
    x, labels = noise(2, 3, 64, 64), torch.tensor([3, 141])
    for each in (module, reference):
        nn.functional.cross_entropy(each(x), labels).backward()
    state = module.state_dict()
    for name, value in renamed(reference.state_dict()).items():
        assert name.endswith("num_batches_tracked") or torch.equal(state[name], value), name
    gradients = renamed({name: cast(Tensor, parameter.grad) for name, parameter in reference.named_parameters()})
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradients[name]), name


def test_batch_normalisation_is_torch_s_without_the_counter() -> None:
    """Same outputs and running statistics; no counter in the state, whether the state that is loaded has one or not."""
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    for seed in range(3):
        x = noise(8, 4, 5, 5, seed=seed)
        assert torch.equal(ours(x), theirs(x))
    expected = {name: value for name, value in theirs.state_dict().items() if name != "num_batches_tracked"}
    assert list(ours.state_dict()) == list(expected)
    for state in (theirs.state_dict(), dict(theirs.state_dict()), ours.state_dict(), dict(ours.state_dict())):
        loaded = BatchNorm(4)
        loaded.load_state_dict(state)
        assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_batch_normalisation_without_momentum_is_refused_not_ignored() -> None:
    """A cumulative average needs the counter; torch would silently never update the statistics."""
    norm = BatchNorm(4)
    norm.momentum = None
    with pytest.raises(AssertionError, match="set momentum to 1 / batches so far"):
        norm(noise(8, 4, 5, 5))


def test_running_statistics_can_be_reset() -> None:
    """To mean 0 and variance 1, as before the first batch."""
    norm = BatchNorm(4)
    norm(noise(8, 4, 5, 5) + 3)
    norm.reset_running_stats()
    assert torch.equal(norm.state_dict()["running_mean"], torch.zeros(4))
    assert torch.equal(norm.state_dict()["running_var"], torch.ones(4))
