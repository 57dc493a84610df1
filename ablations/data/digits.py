"""scikit-learn's handwritten digits: 1,797 real 8x8 images that need no download."""

import numpy as np

from ablations.data.draws import order
from ablations.data.images import Images


def read() -> Images:
    """1,437 training and 360 test images, split once and for all; levels 0..16 are stored as 0..240."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * 15).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    shuffled = order(0, 0, len(labels))
    train, test = shuffled[:1437], shuffled[1437:]
    return Images(train=pixels[train], train_labels=labels[train], test=pixels[test], test_labels=labels[test])
