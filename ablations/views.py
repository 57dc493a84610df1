"""How the final network sees each test photograph (sec. 3.4): one crop, ten crops, or whole images at several scales.

Scores are softmax outputs, averaged over crops, or over places, scales and mirrors. What a network says of each image
is kept, for ensembles (Table 5) and for comparisons image by image.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from ablations.data.photographs.stream import Stream
from ablations.train import Training
from orchestrator.predictions import MULTI_SCALE, TEN_CROP, TEST, Predictions, pack

IMAGES = 50
"""Test images at a time; of ten crops each, that are 500."""
PIXELS = 64 * 224 * 224
"""Of whole images, so many at a time."""
POOLED_BELOW = 3
"""Modules behind the last map: average pool, flatten, classifier."""
Said = Iterator[tuple[Tensor, NDArray[np.int64]]]
"""Softmax outputs (B, classes) and the places of these images in the test file, (B,)."""
Keep = Callable[[str, bytes], None]


@torch.inference_mode()
def judge(training: Training, keep: Keep) -> dict[str, float]:
    """Test error (%) in each view that the recipe asks for, top-1 and top-5; `keep` gets the predictions as files.

    Under precise batch-norm statistics where the recipe has them, as the authors did. All replicas share in it.
    """
    feed = training.feed
    assert isinstance(feed, Stream)
    found = {}
    with training.precise() if training.recipe.precise_bn else nullcontext():
        training.group.follow(list(training.module.buffers()))
        training.module.eval()
        for view in training.recipe.views:
            file, looks = _VIEWS[view]
            predictions = _gathered(training, feed, looks(training, feed))
            if training.group.leads:
                keep(file, pack(predictions))
            if view != "centre":  # whose errors are those of every evaluation
                name = view.replace("-", "_")
                found |= {f"{name}_{kind}": error for kind, error in errors(predictions).items()}
        training.module.train()
    return found


def errors(predictions: Predictions) -> dict[str, float]:
    """`error` and, of more than five classes, `top5_error`, percent; NaN where any prediction is none."""
    if not np.isfinite(predictions.probabilities).all():
        return {"error": math.nan}
    found = {"error": predictions.error()}
    return found | {"top5_error": predictions.error(5)} if predictions.probabilities.shape[1] > 5 else found


def ten_crops(squares: Tensor, side: int) -> Tensor:
    """(B, S, S, 3) to (10 B, side, side, 3), crop by crop: the corners, the centre, and the mirrors of the five
    [Krizhevsky et al., 2012]."""
    far = squares.shape[1] - side
    middle = far // 2
    corners = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    five = torch.cat([squares[:, top : top + side, left : left + side] for top, left in corners])
    return torch.cat([five, five.flip(2)])


def densely(module: nn.Sequential, images: Tensor, window: int) -> Tensor:
    """Softmax outputs (B, classes) of images of any size: the classifier at every place of the last map, averaged.

    A place is a window of the map as large as the one that the network was trained with (7 x 7 for 224 pixels), so an
    image of that size gives what the network itself gives.
    """
    features = module[:-POOLED_BELOW](images)
    pooled = F.avg_pool2d(features, window, stride=1).flatten(2).transpose(1, 2)
    return module[-1](pooled).float().softmax(dim=2).mean(dim=1)


def _centre(training: Training, feed: Stream) -> Said:
    places = np.arange(len(feed.labels))
    for pixels, some in feed.viewer.centres(places, IMAGES, training.group.share):
        yield _softmax(training, feed.normalised(_on(training, pixels))), some


def _ten_crop(training: Training, feed: Stream) -> Said:
    side = training.network.size
    for pixels, some in feed.viewer.squares(IMAGES, training.group.share):
        crops = ten_crops(_on(training, pixels), side)
        yield _softmax(training, feed.normalised(crops)).unflatten(0, (10, -1)).mean(dim=0), some


def _multi_scale(training: Training, feed: Stream) -> Said:
    """Each image comes once for each scale; its share of the average is the same each time."""
    window, scales = -(-training.network.size // 32), feed.viewer.scales()
    for shorter in scales:
        for pixels, some in feed.viewer.whole(shorter, PIXELS, training.group.share):
            images = feed.normalised(_on(training, pixels))
            with training.autocast():
                both = [densely(training.module, each, window) for each in (images, images.flip(3))]
            yield (both[0] + both[1]) / (2 * len(scales)), some


_VIEWS: dict[str, tuple[str, Callable[[Training, Stream], Said]]] = {
    "centre": (TEST, _centre),
    "ten-crop": (TEN_CROP, _ten_crop),
    "multi-scale": (MULTI_SCALE, _multi_scale),
}
"""What is kept of each view, and how it is made."""


def _on(training: Training, pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).to(training.device)


def _softmax(training: Training, images: Tensor) -> Tensor:
    with training.autocast():
        logits = training.module(images)
    return logits.float().softmax(dim=1)


def _gathered(training: Training, feed: Stream, said: Said) -> Predictions:
    """Of all replicas."""
    total = torch.zeros(len(feed.labels), training.network.classes, device=training.device)
    for probabilities, places in said:
        total[torch.from_numpy(places).to(training.device)] += probabilities
    probabilities = training.group.sum(total).cpu().numpy().astype(np.float16)
    return Predictions(probabilities=probabilities, labels=feed.labels)
