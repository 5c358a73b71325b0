"""What arrays of images and labels must be, and how they are said not to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from advtransfer.digests import remembered
from advtransfer.errors import BadInput, Problem
from advtransfer_vision.archive import Array

Labelled: TypeAlias = tuple[str, Array]
"""Labels, and the key of their array."""
CHECKED_ROWS = 1024
ROUNDING = 1e-5
"""How far outside [0, 1] a float may lie by rounding, such as of a normalisation that was undone; it is clipped."""
MOST_EMPTY_CLASSES = 10_000
"""Class numbers up to here may exceed the number of images: a small part of a data set of many classes."""
NUMBERED = (
    "number the classes from 0 over both parts together, without images that have none, "
    "as numpy.unique(labels of both, return_inverse=True)[1] does"
)


def pixel_problems(path: Path, key: str, pixels: Array) -> Iterator[Problem]:
    """What is neither uint8 nor floats in [0, 1]; a file that was found in order is not read again."""
    if pixels.dtype == np.uint8 or 0 in (pixels.size, pixels.ndim):
        return
    if pixels.dtype.kind != "f":
        expected = "uint8 from 0 to 255, or floats in [0, 1]"
        yield Problem(f"{key} of type {pixels.dtype}", expected, "convert the array")
        return
    try:
        remembered(f"range of {key} in {path}", [path], lambda: _in_range(key, pixels))
    except BadInput as error:
        yield from error.problems


def _in_range(key: str, pixels: Array) -> str:
    """Read the floats through; what `remembered` keeps of those in [0, 1].

    Raises:
        BadInput: Some are not.
    """
    slack = max(ROUNDING, 2 * float(np.finfo(pixels.dtype).eps))
    lowest, highest = np.inf, -np.inf
    for start in range(0, len(pixels), CHECKED_ROWS):
        rows = pixels[start : start + CHECKED_ROWS]
        finite = np.isfinite(rows)
        if not finite.all():
            image = start + int((~finite).reshape(len(rows), -1).any(1).argmax())
            found = f"{key} with values that are not finite, first in image {image}"
            raise BadInput([Problem(found, "floats in [0, 1]", "replace them, or remove the image")])
        lowest, highest = min(lowest, rows.min()), max(highest, rows.max())
    if lowest < -slack or highest > 1 + slack:
        eight_bit = lowest >= 0 and highest > 2
        next_step = "divide by 255, or store uint8" if eight_bit else "undo the normalisation, or store uint8"
        raise BadInput([Problem(f"{key} with values from {lowest} to {highest}", "floats in [0, 1]", next_step)])
    return "in [0, 1]"


def count_problems(keys: tuple[str, str], inputs: Array, labels: Array) -> Iterator[Problem]:
    """Parts without images, or with another number of labels."""
    empty = 0 in (*inputs.shape, *labels.shape)
    if empty or 0 in (inputs.ndim, labels.ndim) or len(inputs) != len(labels):
        found = f"{keys[0]} of shape {inputs.shape} and {keys[1]} of shape {labels.shape}"
        yield Problem(found, "at least one image, and one label an image", "correct the arrays")


def label_problems(key: str, labels: Array) -> Iterator[Problem]:
    """What is neither ``(N,)`` class numbers from 0 nor ``(N, K)`` zeros and ones."""
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        least, most = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
        if least < 0:
            yield Problem(f"{key} with the label {least}", "classes 0, 1, ...", NUMBERED)
        elif most > np.iinfo(np.int64).max:
            found = f"{key} with the label {most}, which is {most - 2**64} without a sign"
            yield Problem(found, "classes 0, 1, ...", NUMBERED)
    elif labels.ndim != 2 or labels.dtype.kind not in "iufb" or not np.isin(labels, (0, 1)).all():
        found = f"{key} of shape {labels.shape} and type {labels.dtype}"
        expected = "(N,) integers, the classes, or (N, K) zeros and ones, the attributes"
        squeeze = labels.ndim == 2 and labels.shape[1] == 1
        yield Problem(found, expected, "write (N,): (N, 1) class numbers need squeezing" if squeeze else NUMBERED)


def class_problems(labels: Sequence[Labelled], *, named: int) -> Iterator[Problem]:
    """Numbers that would make absurdly many classes, and classes that only the test part has.

    Args:
        labels: The class numbers of the train part, then of the test part, each with its key.
        named: How many classes the file names; 0 where it names none.
    """
    (train, seen), (test, tested) = labels
    images = len(seen) + len(tested)
    for key, numbers in labels:
        classes = 1 + int(numbers.max())
        if classes > max(images, MOST_EMPTY_CLASSES, named):
            found = f"{key} with the label {classes - 1}, of {images} images in all"
            yield Problem(found, "classes 0, 1, ... without large gaps", NUMBERED)
    if unknown := np.setdiff1d(tested, seen).tolist():
        found = f"class{'es' if len(unknown) > 1 else ''} {shortened(unknown)} in {test} and not in {train}"
        yield Problem(found, "training images of each class that is tested", "give it training images, or remove it")


def shortened(numbers: list[int]) -> str:
    """The first numbers of a list, and how many more there are."""
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return ", ".join(map(str, numbers[:5])) + more
