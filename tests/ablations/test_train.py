"""The SGD update by hand, the learning rate at every milestone, and what is measured on the way."""

import io
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ablations import train
from ablations.data import digits
from ablations.data.draws import split
from ablations.data.images import Images
from ablations.data.resident import Resident
from ablations.recipes import CIFAR, DIGITS, IMAGENET, RECIPES, Recipe
from ablations.train import Training
from models.convolution import BatchNorm
from models.networks import build
from models.spec import Network

CPU = torch.device("cpu")
SMALL = Network(data="digits", depth=8, shortcut="A", channels=1, size=8, width=4)


def recipe(base: Recipe = CIFAR, **values: Any) -> Recipe:
    return replace(base, **values)


class Batches:
    """A feed of batches that a test wrote down; the last is repeated."""

    def __init__(self, *batches: tuple[Tensor, Tensor]) -> None:
        self.batches = batches

    def draws(self, iteration: int) -> int:
        return min(iteration, len(self.batches) - 1)

    def drawn(self, draws: int) -> tuple[Tensor, Tensor]:
        return self.batches[draws]


def training(values: Recipe, *batches: tuple[Tensor, Tensor], depth: int = 8) -> Training:
    """Whatever `build` makes now, fed with these batches."""
    return Training(Network(depth=depth), values, cast(Resident, Batches(*batches)), 0, CPU)


# The SGD update


class Neuron(nn.Module):
    """Logits (w x + b, 0) of an image of one pixel x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5]]))
        self.bias = nn.Parameter(torch.tensor([0.25]))

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) * self.weight + self.bias
        return torch.cat([z, torch.zeros_like(z)], dim=1)


def instead(monkeypatch: pytest.MonkeyPatch, module: Callable[[], nn.Module]) -> None:
    """Train this module, which needs no initialisation."""
    monkeypatch.setattr(train, "build", lambda *_, **__: module())
    monkeypatch.setattr(train, "initialise", lambda *_: None)


PIXELS = (1.0, -2.0, 3.0)
LABELS = (0, 1, 1)


def by_hand(scope: str, *, lr_inside: bool = False) -> list[tuple[float, float]]:
    """(w, b) after each of three updates with momentum 0.9, decay 0.1 and lr 0.5, 0.5, 0.05: v = m v + g, p = p - lr v.

    `lr_inside` is Caffe's form, v = m v + lr g and p = p - v, which differs after a drop.
    """
    w, b, v_w, v_b, found = 0.5, 0.25, 0.0, 0.0, []
    for x, label, lr in zip(PIXELS, LABELS, (0.5, 0.5, 0.05), strict=True):
        slope = 1 / (1 + math.exp(-(w * x + b))) - (1 - label)  # of the cross-entropy in z
        g_w = slope * x + 0.1 * w
        g_b = slope + (0.1 * b if scope == "all" else 0.0)
        if lr_inside:
            v_w, v_b = 0.9 * v_w + lr * g_w, 0.9 * v_b + lr * g_b
            w, b = w - v_w, b - v_b
        else:
            v_w, v_b = 0.9 * v_w + g_w, 0.9 * v_b + g_b
            w, b = w - lr * v_w, b - lr * v_b
        found.append((w, b))
    return found


def test_the_reference_itself_by_hand() -> None:
    """z = 0.75, slope = sigmoid(0.75) - 1 = -0.320821; w = 0.5 + 0.5 (0.320821 - 0.05), b = 0.25 + 0.5 (0.320821)."""
    assert by_hand("weights")[0] == pytest.approx((0.6354107, 0.4104107), abs=1e-6)


@pytest.mark.parametrize("scope", ["weights", "all"])
def test_three_updates_by_hand(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum and weight decay through a drop of the learning rate, in PyTorch's form and not in Caffe's.

    Under scope `weights` a bias does not decay.
    """
    instead(monkeypatch, Neuron)
    values = recipe(
        iterations=3,
        lr=0.5,
        drops=(2 / 3,),
        weight_decay=0.1,
        weight_decay_scope=scope,
        record_every=1,
        evaluate_every=1,
    )
    batches = [(torch.full((1, 1, 1, 1), x), torch.tensor([label])) for x, label in zip(PIXELS, LABELS, strict=True)]
    one, found = training(values, *batches), []
    for _ in range(3):
        one.step()
        found.append((one.module.weight.item(), one.module.bias.item()))  # pyright: ignore[reportCallIssue]
    assert found == [pytest.approx(each, abs=1e-6) for each in by_hand(scope)]
    assert found[:2] == [pytest.approx(each, abs=1e-6) for each in by_hand(scope, lr_inside=True)[:2]]
    assert found[2] != pytest.approx(by_hand(scope, lr_inside=True)[2], abs=1e-3)
    assert found[1][1] != pytest.approx(by_hand("all" if scope == "weights" else "weights")[1][1], abs=1e-3)


@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_what_decays(shortcut: Any) -> None:
    """Under `weights` the filters and the classifier's weight; under `all` gamma, beta and the bias too."""
    network = Network(data="digits", depth=8, shortcut=shortcut, channels=1, size=8, width=4)
    feed = Resident(few_digits(), DIGITS, 0, CPU)

    def decaying(scope: str) -> set[str]:
        one = Training(network, recipe(DIGITS, weight_decay_scope=scope), feed, 0, CPU)
        groups = one.optimiser.param_groups
        assert {group["weight_decay"] for group in groups} <= {0.0, 1e-4}
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in one.module.parameters()), "each once"
        assert all(group["momentum"] == 0.9 and not group["nesterov"] and not group["dampening"] for group in groups)
        decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
        return {name for name, parameter in one.module.named_parameters() if id(parameter) in decayed}

    everything = {name for name, _ in Training(network, DIGITS, feed, 0, CPU).module.named_parameters()}
    assert decaying("all") == everything
    assert decaying("weights") == {name for name in everything if name.endswith(("conv.weight", "fc.weight"))} | {
        name for name in everything if name.split(".")[-2].startswith("conv")
    }
    assert {"bn1.weight", "bn1.bias", "fc.bias"} <= everything - decaying("weights")


# The learning rate


class Answers(nn.Module):
    """The image is the logits; the one parameter changes nothing, so that a test decides every prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + 0 * self.weight


def answered(errors: float, size: int = 20) -> tuple[Tensor, Tensor]:
    """A batch of which this percentage is answered wrongly."""
    labels = torch.arange(size) % 10
    wrong = round(size * errors / 100)
    predictions = torch.cat([(labels[:wrong] + 1) % 10, labels[wrong:]])
    return functional.one_hot(predictions, 10).float()[:, :, None, None], labels


def rate(one: Training, iteration: int) -> float:
    """Learning rate of the SGD update with this number, counted from 0."""
    one.iteration = iteration
    one.step()
    return one.lr


PAPER_CIFAR = {0: 0.1, 31_998: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
FIGURE_4 = {0: 0.1, 149_999: 0.1, 150_000: 0.01, 299_999: 0.01, 300_000: 0.001, 450_000: 0.0001, 599_999: 0.0001}


@pytest.mark.parametrize(
    ("values", "milestones"), [(CIFAR, PAPER_CIFAR), (IMAGENET, FIGURE_4)], ids=["cifar", "imagenet"]
)
def test_the_learning_rate_drops_where_the_paper_s_does(
    values: Recipe, milestones: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sec. 4.2: 32,000 updates at 0.1, those up to 48,000 at 0.01, the rest of 64,000 at 0.001; Fig. 4 for ImageNet."""
    instead(monkeypatch, Answers)
    one = training(values, answered(50), depth=56)
    for iteration, lr in milestones.items():
        assert rate(one, iteration) == pytest.approx(lr, rel=1e-12), iteration
        assert {group["lr"] for group in one.optimiser.param_groups} == {one.lr}


@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 30, 150, 400])
def test_every_drop_is_one_step_down_and_never_up(iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in schedules so short that two drops fall on the same update."""
    instead(monkeypatch, Answers)
    values = recipe(iterations=iterations, record_every=1, evaluate_every=1)
    one = training(values, answered(50))
    rates = [rate(one, iteration) for iteration in range(iterations)]
    assert rates == sorted(rates, reverse=True)
    assert {round(each, 9) for each in rates} <= {0.1, 0.01, 0.001}
    assert [each == 0.1 for each in rates].count(True) == values.drop_iterations[0]


@pytest.mark.parametrize(("depth", "warms"), [(20, False), (56, False), (104, False), (110, True), (1202, True)])
def test_the_paper_s_deepest_networks_warm_up(depth: int, warms: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 0.01 (sec. 4.2), from 110 layers on."""
    instead(monkeypatch, Answers)
    one = training(CIFAR, answered(90), depth=depth)
    assert one.schedule.warming is warms
    assert rate(one, 0) == (0.01 if warms else 0.1)


@pytest.mark.parametrize("name", ["digits", "imagenet"])
def test_no_network_warms_up_where_the_recipe_says_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`warmup_from_depth: null`, as in what ships for digits and ImageNet."""
    instead(monkeypatch, Answers)
    assert not training(RECIPES[name], answered(90), depth=1202).schedule.warming


@pytest.mark.parametrize(
    ("errors", "left"),
    [
        ([75], 100),
        ([80], None),
        ([85] * 100 + [75], 200),
        ([100] * 199 + [80] + [79.999] * 100 + [75], None),
        ([100] * 150 + [50], 200),
        ([0] * 19 + [100] * 281 + [0], 400),
    ],
    ids=[
        "at once",
        "80 is not below 80",
        "in the second window",
        "never",
        "half a window",
        "earlier windows are forgotten",
    ],
)
def test_the_warm_up_ends_below_80_percent_of_errors(
    errors: Sequence[float], left: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the last 100 updates, looked at every 100; until then the learning rate is 0.01, from then on 0.1."""
    instead(monkeypatch, Answers)
    one = training(recipe(iterations=1000, warmup_from_depth=8), *(answered(each) for each in errors))
    rates = []
    for _ in range(450 if left else 300):
        one.step()
        rates.append(one.lr)
    left = left or len(rates)
    assert rates == [0.01] * left + [0.1] * (len(rates) - left)
    assert one.schedule.warming is (left == len(rates))


def test_drops_stay_where_they_are_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The updates of the warm-up count: the schedule's length and its drops are those of every other network."""
    instead(monkeypatch, Answers)
    one = training(CIFAR, answered(50), depth=110)
    found = [rate(one, iteration) for iteration in (0, 99, 100, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert found == pytest.approx([0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12)


# What is measured


def test_a_record_is_the_mean_over_images_since_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss in nats and errors in percent, and a new record starts from nothing."""
    instead(monkeypatch, Answers)
    asked = [0, 50, 100, 10]
    one = training(CIFAR, *(answered(each) for each in asked))
    right = math.log(math.e + 9) - 1
    losses = [right + each / 100 for each in asked]  # a wrong answer's logit is 0 where a right one's is 1
    for _ in range(3):
        one.step()
    found = one.running()
    assert found == {"train_loss": pytest.approx(sum(losses[:3]) / 3), "train_error": 50.0}
    one.step()
    assert one.running() == {"train_loss": pytest.approx(losses[3]), "train_error": 10.0}


def few_digits() -> Images:
    whole = digits.read()
    return Images(
        train=whole.train[:60],
        train_labels=whole.train_labels[:60],
        test=whole.test[:37],
        test_labels=whole.test_labels[:37],
    )


def small(values: Recipe | None = None, seed: int = 0, network: Network = SMALL, steps: int = 0) -> Training:
    """A network of 8 layers, trained for so many updates on 60 images."""
    values = values or recipe(DIGITS, batch=16)
    one = Training(network, values, Resident(few_digits(), values, seed, CPU), seed, CPU)
    for _ in range(steps):
        one.step()
    return one


def weights(one: Training) -> list[Tensor]:
    return [value.clone() for value in one.module.state_dict().values()]


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("batch", [1, 10, 500])
def test_an_evaluation_is_the_mean_over_test_images(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a slow loop says, image by image, with the running statistics; in batches of any size."""
    one = small(steps=5)
    monkeypatch.setattr(train, "EVALUATION_BATCH", batch)
    found = one.evaluate()
    one.module.eval()
    losses, wrong = [], 0
    with torch.no_grad():
        for pixels, label in one.feed.test_batches(1):
            logits = one.module(pixels)[0].double()
            losses.append(float(logits.logsumexp(0) - logits[label]))
            wrong += int(logits.argmax() != label)
    assert found["test_error"] == 100 * wrong / 37
    assert found["test_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_evaluation_leaves_no_trace() -> None:
    """Training goes on as if there had been none: weights, statistics and running sums."""
    one, other = small(), small()
    for step in range(8):
        if step in (0, 3, 4):
            one.evaluate()
        one.step()
        other.step()
    assert equal(weights(one), weights(other))
    assert one.running() == other.running()


def test_bf16_stays_close_to_fp32() -> None:
    """Weights and statistics stay fp32, the arithmetic is another, and the loss after 30 updates is nearly the same."""
    exact = small(steps=30)
    rough = small(recipe(DIGITS, batch=16, precision="bf16"), steps=30)
    assert {value.dtype for value in rough.module.state_dict().values()} == {torch.float32}
    assert not equal(weights(exact), weights(rough))
    one, other = exact.running(), rough.running()
    assert other["train_loss"] == pytest.approx(one["train_loss"], rel=0.05)
    assert abs(other["train_error"] - one["train_error"]) < 5
    assert rough.evaluate()["test_loss"] == pytest.approx(exact.evaluate()["test_loss"], rel=0.2)


def test_everything_is_channels_last() -> None:
    """Filters, and what passes between layers."""
    one = small(network=Network(data="digits", depth=8, shortcut="C", channels=1, size=8, width=4))
    last = {"memory_format": torch.channels_last}
    filters = [value for value in one.module.parameters() if value.ndim == 4]
    assert all(value.is_contiguous(**last) for value in filters)
    seen = []
    for module in one.module.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: seen.append(output.is_contiguous(**last)))
    one.step()
    assert len(seen) == len(filters) == 10
    assert all(seen)
    assert all(value.is_contiguous(**last) for value in filters)


# Nothing outside


def test_training_learns() -> None:
    """Forty updates bring the error on 60 digits from chance to less than a third."""
    one = small(steps=5)
    start = one.running()
    for _ in range(35):
        one.step()
    one.running()
    for _ in range(5):
        one.step()
    assert start["train_error"] > 60
    assert one.running()["train_error"] < 30


@pytest.fixture
def generators() -> Iterator[Callable[[], tuple[Any, ...]]]:
    """The state of every global generator; it is put back afterwards."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()

    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state(legacy=False))

    yield states
    torch.set_rng_state(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])


def test_training_neither_moves_nor_reads_a_global_generator(generators: Callable[[], tuple[Any, ...]]) -> None:
    """PyTorch's, NumPy's and Python's stand still, and their states decide nothing."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = generators()
        one = small(recipe(DIGITS, batch=16, augmentation="pad-crop-flip", pad=2), steps=4)
        one.evaluate()
        assert generators() == before
        found.append(weights(one))
    assert equal(*found)


def test_nothing_carries_over_from_one_training_to_the_next() -> None:
    """A warm worker trains one network after another, also side by side: each is as it would be alone."""
    alone = [weights(small(seed=seed, steps=6)) for seed in (0, 1)]
    side = [small(seed=seed) for seed in (1, 0)]
    for _ in range(6):
        for one in side:
            one.step()
    side[0].evaluate()
    assert equal(weights(side[1]), alone[0])
    assert equal(weights(side[0]), alone[1])
    assert not equal(*alone)


# The checkpoint


def test_a_checkpoint_holds_all_that_an_update_changes() -> None:
    """Taken at any update and restored into a new training: weights, statistics, momenta, sums, all to the bit."""
    values = recipe(DIGITS, batch=16, warmup_from_depth=8)
    whole = small(values, steps=9)
    for taken in (0, 1, 4, 8):
        one = small(values)
        one.restore(small(values, steps=taken).state())
        assert one.iteration == taken
        for _ in range(9 - taken):
            one.step()
        assert equal(weights(one), weights(whole))
        assert one.state() == whole.state()


def test_a_checkpoint_is_the_same_bytes_for_the_same_state() -> None:
    """It says nothing of when and where it was taken."""
    one = small(steps=3)
    assert one.state() == one.state() == small(steps=3).state()


def test_a_damaged_checkpoint_is_refused() -> None:
    """Whatever was changed in it: a weight, the iteration, a momentum."""
    one = small(steps=3)
    for path in (("module", "fc.bias"), ("momenta", 0)):
        state = train.load_checkpoint(one.state(), CPU)
        said = train.checksum(state)
        state[path[0]][path[1]].view(-1)[0] += 1e-3
        with pytest.raises(train.DamagedCheckpointError, match="is damaged"):
            small().restore(saved(state, said))
    state = train.load_checkpoint(one.state(), CPU)
    with pytest.raises(train.DamagedCheckpointError, match="is damaged"):
        small().restore(saved({**state, "iteration": 4}, train.checksum(state)))
    with pytest.raises(train.DamagedCheckpointError, match=r"cannot be read \(UnpicklingError\)"):
        small().restore(b"nothing")


def saved(state: dict[str, Any], sha256: str) -> bytes:
    buffer = io.BytesIO()
    torch.save({**state, "sha256": sha256}, buffer)
    return buffer.getvalue()


# What a recipe may ask beside the paper's


@pytest.mark.parametrize("shortcut", ["none", "A", "B"])
def test_a_grown_network_computes_what_its_parent_does(shortcut: Any) -> None:
    """Claim DEG-09: the same logits before any update, so the same errors on test and training images."""
    network = replace(SMALL, shortcut=shortcut)
    parent = small(network=network, steps=20)
    grown = small(network=replace(network, depth=20, grown_from=8))
    grown.grow(parent.state())
    ours, theirs = grown.evaluate(clean=True), parent.evaluate(clean=True)
    assert {name: ours[name] for name in ours if name.endswith("error")} == {
        name: theirs[name] for name in theirs if name.endswith("error")
    }
    assert ours["test_loss"] == pytest.approx(theirs["test_loss"], abs=1e-5)


def test_held_out_images_are_never_trained_on() -> None:
    """The same ones for every seed, mixed over the classes, and no part of the mean that is subtracted."""
    values = recipe(DIGITS, batch=16, held_out=20, normalisation="pixel-mean")
    data = few_digits()
    feeds = [Resident(data, values, seed, CPU) for seed in (0, 1)]
    kept, held_out = split(60, 20)
    assert (len(kept), len(held_out)) == (40, 20)
    assert sorted([*kept, *held_out]) == list(range(60))
    for feed in feeds:
        assert torch.equal(feed.pixels, torch.from_numpy(data.train[kept]))
        ((images, labels),) = feed.validation_batches(100)
        assert labels.tolist() == data.train_labels[held_out].tolist()
        assert np.allclose(feed.mean.numpy(), data.train[kept].mean(axis=0), rtol=1e-6)
        assert len(images) == 20
    assert split(60, 0)[0].tolist() == list(range(60))
    found = small(values, steps=2).evaluate()
    assert {"validation_error", "validation_loss", "test_error"} <= found.keys()


def test_clean_training_images_are_all_of_them_unaugmented() -> None:
    """The error of a slow loop over them, one by one, with the moving averages."""
    one = small(recipe(DIGITS, batch=16, augmentation="pad-crop-flip", pad=2), steps=6)
    found = one.evaluate(clean=True)
    assert "clean_train_error" not in one.evaluate()
    one.module.eval()
    wrong, feed = 0, cast(Resident, one.feed)
    for index in range(60):
        pixels = (torch.from_numpy(few_digits().train[index]).float() - feed.mean) * feed.scale
        with torch.no_grad():
            wrong += int(one.module(pixels.permute(2, 0, 1)[None]).argmax() != few_digits().train_labels[index])
    assert found["clean_train_error"] == pytest.approx(100 * wrong / 60)


def test_precise_statistics_are_the_images_own() -> None:
    """Over all 60 training images at once, BN normalises as in training mode; the moving averages are put back."""
    one = small(recipe(DIGITS, batch=16, precise_bn=60, bn_batch=4, dropout=0.3), steps=3)
    before = weights(one)
    found = one.evaluate()
    assert equal(weights(one), before)
    ((images, _),) = one.feed.clean_batches(60)
    literal = build(one.network)
    literal.load_state_dict(one.module.state_dict())
    for part in literal.modules():
        if isinstance(part, BatchNorm):
            part.momentum = 1.0
    with torch.no_grad():
        literal(images)
        literal.eval()
        ((pixels, labels),) = one.feed.test_batches(100)
        loss = functional.cross_entropy(literal(pixels), labels)
    assert found["precise_test_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert found["precise_test_loss"] != pytest.approx(found["test_loss"], rel=1e-2)
    one.step()
    assert all(
        part.replica == 4 and part.momentum == 0.1 for part in one.module.modules() if isinstance(part, BatchNorm)
    )


@pytest.mark.parametrize("images", [500, 501, 749])
def test_precise_statistics_weigh_each_image_alike(images: int) -> None:
    """Also where the last of several batches is short: the mean is that of all images at once."""
    values = recipe(DIGITS, batch=16, precise_bn=images)
    one = Training(SMALL, values, Resident(digits.read(), values, 0, CPU), 0, CPU)
    whole = torch.cat([pixels for pixels, _ in one.feed.clean_batches(500, images)])
    one._average_statistics([part for part in one.module.modules() if isinstance(part, BatchNorm)])
    with torch.no_grad():
        expected = one.module.get_submodule("conv1")(whole)
    mean = one.module.get_submodule("bn1").running_mean
    assert torch.allclose(mean, expected.mean((0, 2, 3)), atol=1e-5)  # pyright: ignore[reportArgumentType]


def test_nesterov_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """v = m v + g, p = p - lr (g + m v): the first update is 1 + m times the plain one's."""
    instead(monkeypatch, Neuron)
    batch = (torch.full((1, 1, 1, 1), 1.0), torch.tensor([0]))
    moved = []
    for nesterov in (False, True):
        one = training(recipe(lr=0.5, weight_decay=0.0, nesterov=nesterov), batch)
        one.step()
        moved.append(one.module.weight.item() - 0.5)  # pyright: ignore[reportCallIssue]
    assert moved[1] == pytest.approx(1.9 * moved[0], rel=1e-5)


def test_a_block_that_was_left_out_still_decays() -> None:
    """Its gradient is zero, and weight decay and momentum go on [Huang et al., 2016]."""
    one = small(recipe(DIGITS, batch=16, stochastic_depth=0.9, weight_decay=0.1), steps=1)
    dropped = [name for name, each in one.module.named_parameters() if each.grad is not None and not each.grad.any()]
    assert any(name.startswith("stage3") for name in dropped)
    before = {name: each.clone() for name, each in one.module.named_parameters()}
    for _ in range(6):
        one.step()
    assert all(not torch.equal(before[name], each) for name, each in one.module.named_parameters() if each.ndim > 1)
