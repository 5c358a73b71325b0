"""scikit-learn's handwritten digits as a data set."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from advtransfer.toolkit.samples import ArrayDataset
from advtransfer.types import Part

GREY_LEVELS = 16


def load(*, test_share: float, split_seed: int) -> ArrayDataset:
    """The digits, ``(N, 1, 8, 8)`` in [0, 1], split by class shares; each part in the order of the bundle."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels.astype(np.float32) / GREY_LEVELS).reshape(-1, 1, 8, 8)
    classes = torch.from_numpy(labels.astype(np.int64))
    split = train_test_split(np.arange(len(labels)), test_size=test_share, random_state=split_seed, stratify=labels)
    train, test = (torch.from_numpy(np.sort(positions)) for positions in split)
    parts: dict[Part, tuple[Tensor, Tensor]] = {
        "train": (images[train], classes[train]),
        "test": (images[test], classes[test]),
    }
    return ArrayDataset(parts, names=[str(digit) for digit in range(10)])
