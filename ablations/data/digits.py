"""scikit-learn's handwritten digits: 1,797 real 8x8 images that need no download."""

import numpy as np

from ablations.data.draws import order
from ablations.data.images import Images


def read() -> Images:
    """1,437 training and 360 test images, split once and for all; levels 0..16 are stored as 0..240."""
    from sklearn.datasets import load_digits

    levels, target = load_digits(return_X_y=True)
    pixels = (np.asarray(levels) * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = np.asarray(target).astype(np.int64)
    shuffled = order(0, 0, len(labels))
    train, test = shuffled[:1437], shuffled[1437:]
    return Images(train=pixels[train], train_labels=labels[train], test=pixels[test], test_labels=labels[test])
