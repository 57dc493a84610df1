"""What the final network says of each test photograph, beside slow literal loops over Pillow's and torchvision's."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import write_set
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from ablations.data.photographs.prepared import Prepared, open_prepared
from ablations.data.photographs.stream import Stream
from ablations.recipes import IMAGENET
from ablations.replicas import Group
from ablations.train import Training
from ablations.views import densely, errors, judge, ten_crops
from models.spec import Network
from orchestrator.predictions import Predictions, pack

SIZE, TEST, CLASSES = 64, 23, 7
LARGER = round(SIZE * 8 / 7)
SCALES = (64, 73, 110, 137, 183)
WINDOW = 2
CPU = torch.device("cpu")
FILES = {"centre": "predictions-test.npz", "ten-crop": "predictions-ten-crop.npz"}
FILES["multi-scale"] = "predictions-multi-scale.npz"


@pytest.fixture(scope="module")
def of(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("views") / "shapes"
    write_set(folder, {"train": 48, "test": TEST}, size=SIZE, raw=True)
    return open_prepared(folder)


def trained(of: Prepared, classes: int = CLASSES, **values: Any) -> Training:
    """After a few updates, so that moving averages and weights are neither's first."""
    usual: dict[str, Any] = {"batch": 16, "bn_batch": None, "precise_bn": 40, "iterations": 10, "lr": 0.02}
    recipe = replace(IMAGENET, **{**usual, **values})
    network = Network(data="shapes", layout="imagenet", depth=18, shortcut="A", classes=classes, size=SIZE, width=8)
    training = Training(network, recipe, Stream(of, recipe, 0, CPU, SIZE), 0, CPU)
    for _ in range(4):
        training.step()
    training.feed.close()
    return training


@pytest.fixture(scope="module")
def training(of: Prepared) -> Training:
    return trained(of)


def judged(training: Training) -> tuple[dict[str, float], dict[str, Predictions]]:
    files: dict[str, bytes] = {}
    found = judge(training, files.__setitem__)
    kept = {}
    for name, data in files.items():
        with np.load(io.BytesIO(data)) as arrays:
            assert arrays["probabilities"].dtype == np.float16
            kept[name] = Predictions(probabilities=arrays["probabilities"], labels=arrays["labels"])
    return found, kept


def photographs(of: Prepared) -> Iterator[Image.Image]:
    for at in range(TEST):
        stored, shape = of.test.stored(at), (int(of.test.heights[at]), int(of.test.widths[at]))
        raw = of.test.modes[at] == 1
        yield Image.fromarray(stored.reshape(*shape, 3)) if raw else Image.open(io.BytesIO(stored.tobytes()))


def given(pixels: Image.Image, mean: NDArray[np.float32]) -> Tensor:
    """(1, 3, H, W), as a network gets it."""
    return torch.from_numpy((np.array(pixels) - mean) / np.float32(255)).permute(2, 0, 1)[None]


@torch.no_grad()
def literally(of: Prepared, training: Training, view: str) -> NDArray[np.float64]:
    """(N, classes): one image at a time, one crop or place at a time."""
    module, colour = training.module, of.mean.mean(axis=(0, 1))
    rows = []
    with training.precise():
        module.eval()
        for image in photographs(of):
            said = []
            if view == "centre":
                crop = v2.Compose([v2.Resize(LARGER), v2.CenterCrop(SIZE)])(image)
                said.append(module(given(crop, of.mean)).softmax(dim=1))
            elif view == "ten-crop":
                square = v2.Compose([v2.Resize(LARGER), v2.CenterCrop(LARGER)])(image)
                for crop in v2.FiveCrop(SIZE)(square):
                    both = (crop, crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
                    said.extend(module(given(seen, of.mean)).softmax(dim=1) for seen in both)
            else:
                for shorter in SCALES:
                    whole = v2.Resize(shorter)(image)
                    mean = of.mean if whole.size == (SIZE, SIZE) else colour
                    for mirror in (False, True):
                        x = given(whole, mean).flip(3) if mirror else given(whole, mean)
                        said.append(_at_every_place(module, x))
            rows.append(torch.stack(said).double().mean(dim=0)[0].numpy())
        module.train()
    return np.stack(rows)


def _at_every_place(module: Any, x: Tensor) -> Tensor:
    features, places = module[:-3](x), []
    for top in range(features.shape[2] - WINDOW + 1):
        for left in range(features.shape[3] - WINDOW + 1):
            part = features[:, :, top : top + WINDOW, left : left + WINDOW].mean(dim=(2, 3))
            places.append(module[-1](part).softmax(dim=1))
    return torch.stack(places).mean(dim=0)


# Beside literal loops


@pytest.mark.parametrize("view", FILES)
def test_each_view_is_its_literal_loop(of: Prepared, training: Training, view: str) -> None:
    """To what two roundings instead of one make of it; a view is nearer to its own loop than to another's."""
    _, kept = judged(training)
    found = kept[FILES[view]].probabilities.astype(np.float64)
    expected = literally(of, training, view)
    assert np.allclose(found.sum(axis=1), 1, atol=0.01)
    assert found.std(axis=0).max() > 0.01  # images differ
    assert abs(found - expected).max() < 0.02
    others = [abs(kept[FILES[other]].probabilities - expected).mean() for other in FILES if other != view]
    assert abs(found - expected).mean() < min(others) / 4


@torch.no_grad()
def test_at_the_size_of_training_places_are_what_the_network_itself_says(training: Training) -> None:
    images = torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    training.module.eval()
    assert torch.allclose(densely(training.module, images, WINDOW), training.module(images).softmax(dim=1), atol=1e-6)
    training.module.train()


def test_ten_crops_are_torchvisions() -> None:
    squares = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    found = ten_crops(squares, 28).unflatten(0, (10, 2))
    expected = v2.TenCrop(28)(squares.permute(0, 3, 1, 2))  # whose mirrors are in another order
    assert {one.permute(0, 3, 1, 2).numpy().tobytes() for one in found} == {one.numpy().tobytes() for one in expected}
    assert len(expected) == len(found) == 10


# Errors and predictions


def test_recorded_errors_are_those_of_the_predictions_that_are_kept(training: Training) -> None:
    found, kept = judged(training)
    assert {*found} == {f"{view}_{kind}" for view in ("ten_crop", "multi_scale") for kind in ("error", "top5_error")}
    assert {*kept} == {*FILES.values()}
    for view in ("ten-crop", "multi-scale"):
        predictions, name = kept[FILES[view]], view.replace("-", "_")
        order = np.argsort(-predictions.probabilities.astype(float), axis=1, kind="stable")
        wrong = order != predictions.labels[:, None]
        assert found[f"{name}_error"] == pytest.approx(100 * wrong[:, 0].mean())
        assert found[f"{name}_top5_error"] == pytest.approx(100 * wrong[:, :5].all(axis=1).mean())
        assert found[f"{name}_top5_error"] <= found[f"{name}_error"]


def test_the_centres_predictions_are_those_of_the_evaluation_under_precise_statistics(
    of: Prepared, training: Training
) -> None:
    _, kept = judged(training)
    predictions, evaluated = kept["predictions-test.npz"], training.evaluate()
    assert predictions.error() == pytest.approx(evaluated["precise_test_error"])
    assert predictions.error(5) == pytest.approx(evaluated["precise_test_top5_error"])
    assert np.array_equal(predictions.labels, of.test.labels)


def test_only_what_is_asked_is_looked_at(of: Prepared) -> None:
    found, kept = judged(trained(of, views=("ten-crop",)))
    assert {*found} == {"ten_crop_error", "ten_crop_top5_error"}
    assert {*kept} == {"predictions-ten-crop.npz"}


@pytest.mark.parametrize(("classes", "names"), [(5, {"error"}), (6, {"error", "top5_error"})])
def test_of_five_classes_there_are_no_five_likeliest(of: Prepared, classes: int, names: set[str]) -> None:
    training = trained(of, classes=classes, views=("ten-crop",), precise_bn=0)
    assert {*judged(training)[0]} == {f"ten_crop_{name}" for name in names}
    assert {*training.evaluate()} == {"test_loss"} | {f"test_{name}" for name in names}


def test_the_five_likeliest_are_counted_in_an_evaluation(of: Prepared) -> None:
    """Top-5 error of seven classes by hand: the class is among the two least likely."""
    training = trained(of, precise_bn=0)
    found, wrong = training.evaluate()["test_top5_error"], 0
    training.module.eval()
    with torch.no_grad():
        for images, labels in training.feed.test_batches(1):
            wrong += int(labels) in training.module(images)[0].argsort()[:2].tolist()
    assert found == pytest.approx(100 * wrong / TEST)


def test_a_network_that_is_no_number_has_no_error(of: Prepared) -> None:
    """Argmax over NaN is a class too, and would be right now and then."""
    training = trained(of, precise_bn=0)
    with torch.no_grad():
        training.module.get_parameter("fc.bias").fill_(math.nan)
    found, _ = judged(training)
    assert {*found} == {"ten_crop_error", "multi_scale_error"}
    assert all(map(math.isnan, found.values()))
    probabilities = np.full((4, 7), 1 / 7)
    probabilities[2, 3] = math.nan
    assert math.isnan(errors(Predictions(probabilities=probabilities, labels=np.zeros(4, dtype=np.int64)))["error"])


# Statistics of batch normalisation


def buffers(training: Training) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in training.module.named_buffers()}


def test_precise_statistics_are_used_and_then_gone_to_the_bit(of: Prepared) -> None:
    training = trained(of, precise_bn=40, bn_batch=8)
    before, state = buffers(training), training.state()
    _, kept = judged(training)
    assert buffers(training) == before
    assert training.state() == state
    assert training.module.training
    moving = trained(of, precise_bn=0, bn_batch=8)
    _, others = judged(moving)
    for name in FILES.values():
        assert not np.array_equal(kept[name].probabilities, others[name].probabilities)
    training.step()
    moving.step()
    assert buffers(training) == buffers(moving)


def test_precise_statistics_are_gone_after_an_exception_too(of: Prepared) -> None:
    training = trained(of)
    before = buffers(training)
    with pytest.raises(AssertionError, match="these are others"), training.precise():
        assert buffers(training) == before, "these are others"
    assert buffers(training) == before


def test_precise_statistics_are_the_mean_over_the_images(of: Prepared) -> None:
    """Of the first normalisation: its mean over all clean images that were asked for, each with the same weight."""
    training = trained(of, precise_bn=40)
    seen = torch.cat([images for images, _ in training.feed.clean_batches(100, 40)])
    with torch.no_grad():
        expected = training.module[0](seen).mean(dim=(0, 2, 3))  # pyright: ignore[reportIndexIssue]
    with training.precise():
        found = dict(training.module.named_buffers())["bn1.running_mean"].clone()
    assert torch.allclose(found, expected, atol=1e-5)


# Replicas


class Pretended(Group):
    """One of several replicas, alone in its process: a test sums."""

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def follow(self, tensors: Any) -> None:
        del tensors


@pytest.mark.parametrize("count", [2, 3])
def test_replicas_together_say_what_one_says(of: Prepared, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    training = trained(of, precise_bn=0)
    monkeypatch.setattr("ablations.views.IMAGES", 5)
    monkeypatch.setattr("ablations.views.PIXELS", 3 * SIZE * SIZE)
    _, expected = judged(training)
    totals = {name: np.zeros((TEST, CLASSES)) for name in FILES.values()}
    rows = dict.fromkeys(FILES.values(), 0)
    for rank in range(count):
        training.group = Pretended(rank, count)
        parts: list[Predictions] = []
        monkeypatch.setattr("ablations.views.pack", lambda each, parts=parts: (parts.append(each), pack(each))[1])
        monkeypatch.setattr(Pretended, "leads", True)
        judge(training, lambda *_: None)
        for name, part in zip(FILES.values(), parts, strict=True):
            totals[name] += part.probabilities
            rows[name] += int((part.probabilities.sum(axis=1) > 0).sum())
    for name, total in totals.items():
        assert abs(total - expected[name].probabilities).max() < 2e-3
    assert rows["predictions-test.npz"] == rows["predictions-ten-crop.npz"] == TEST


def test_kept_predictions_are_the_same_bytes_each_time(training: Training, tmp_path: Path) -> None:
    first: dict[str, bytes] = {}
    second: dict[str, bytes] = {}
    assert judge(training, first.__setitem__) == judge(training, second.__setitem__)
    assert first == second
    assert not list(tmp_path.iterdir())
