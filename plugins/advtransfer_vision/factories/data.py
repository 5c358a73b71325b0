"""Data sets of images. Light: what reads them is imported when one is built."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Interval

from advtransfer.types import Dataset, Factory, component


@component(shape=(1, 8, 8))
def digits(
    *, test_share: Annotated[float, Interval(gt=0, lt=1)] = 0.3, split_seed: Annotated[int, Ge(0)] = 0
) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn: nothing is downloaded.

    Ten classes, ``0`` to ``9``; 16 grey levels, scaled to [0, 1]. The bundle has no official split: this one draws the
    test part with every class at its share (540 test images by default).

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49 (CC BY 4.0); scikit-learn bundles its test set.

    Args:
        test_share: The share of the images that makes the test part.
        split_seed: Draws the split.
    """
    from advtransfer_vision.digit_images import load

    return load(test_share=test_share, split_seed=split_seed)


DATASETS: tuple[Factory[Dataset], ...] = (digits,)
