"""What is known of the data sets before they are read: shapes, classes, counts of images. Light: no torch."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from advtransfer.precheck import Chosen, Misfit, Outline, Surroundings

UNIT = (0.0, 1.0)
DIGITS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each class in scikit-learn's bundle."""

_MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


def _official(
    shape: tuple[int, int, int],
    outputs: int | None,
    train: int | tuple[int, ...],
    test: int | tuple[int, ...],
) -> Outline:
    counts = train if isinstance(train, tuple) else None
    test_counts = test if isinstance(test, tuple) else None
    return Outline(
        shape=shape,
        bounds=UNIT,
        task="classes",
        outputs=outputs,
        train=train if isinstance(train, int) else sum(train),
        test=test if isinstance(test, int) else sum(test),
        train_counts=counts,
        test_counts=test_counts,
    )


OFFICIAL = {
    "MNIST": _official((1, 28, 28), 10, _MNIST, _MNIST_TEST),
    "FashionMNIST": _official((1, 28, 28), 10, (6000,) * 10, (1000,) * 10),
    "KMNIST": _official((1, 28, 28), 10, (6000,) * 10, (1000,) * 10),
    "EMNIST-balanced": _official((1, 28, 28), 47, (2400,) * 47, (400,) * 47),
    "EMNIST-byclass": _official((1, 28, 28), 62, 697_932, 116_323),
    "EMNIST-bymerge": _official((1, 28, 28), 47, 697_932, 116_323),
    "EMNIST-digits": _official((1, 28, 28), 10, (24_000,) * 10, (4_000,) * 10),
    "EMNIST-letters": _official((1, 28, 28), None, 124_800, 20_800),
    "EMNIST-mnist": _official((1, 28, 28), 10, 60_000, 10_000),
    "USPS": _official((1, 16, 16), 10, 7_291, 2_007),
    "CIFAR10": _official((3, 32, 32), 10, (5000,) * 10, (1000,) * 10),
    "CIFAR100": _official((3, 32, 32), 100, (500,) * 100, (100,) * 100),
    "SVHN": _official((3, 32, 32), 10, 73_257, 26_032),
    "STL10": _official((3, 96, 96), 10, (500,) * 10, (800,) * 10),
}
"""torchvision's sets; whether they are all there, or damaged, is seen when they are read."""


def official(chosen: Chosen) -> Outline:
    """A set of torchvision's."""
    return OFFICIAL[chosen["name"]]


def digits(chosen: Chosen) -> Outline:
    """scikit-learn's digits; the split is not drawn: of each class at most one image more than its share."""
    total, share = sum(DIGITS), chosen["test_share"]
    test = -int(-total * share // 1)
    train_counts = tuple(count * (total - test) // total + 1 for count in DIGITS)
    test_counts = tuple(count * test // total + 1 for count in DIGITS)
    return Outline((1, 8, 8), UNIT, "classes", 10, total - test, test, train_counts, test_counts)


def check_digits(chosen: Chosen, _: Surroundings) -> Iterator[Misfit]:
    """Each part has an image of each class."""
    total = sum(DIGITS)
    test = -int(-total * chosen["test_share"] // 1)
    if min(test, total - test) < len(DIGITS):
        expected = f"a share that leaves each of {len(DIGITS)} classes an image in both parts"
        yield Misfit(("test_share",), expected, "write for example 0.3")


def synthetic(chosen: Chosen) -> Outline:
    """A regression problem."""
    return Outline(
        shape=(chosen["inputs"],),
        task="values",
        outputs=chosen["outputs"],
        train=chosen["n_train"],
        test=chosen["n_test"],
    )


def image_folder(chosen: Chosen) -> Outline:
    """A folder of images, of which no more than the files there are can be used."""
    root: Path = chosen["root"].path
    test = chosen["test"] or ("test" if (root / "test").is_dir() else "val")
    pixels = chosen["pixels"]
    return Outline((3, pixels, pixels), UNIT, "classes", train=_files(root / chosen["train"]), test=_files(root / test))


def tiny_imagenet(_: Chosen) -> Outline:
    """Tiny ImageNet."""
    return Outline((3, 64, 64), UNIT, "classes")


def npz(chosen: Chosen) -> Outline:
    """A NumPy archive: shapes from the arrays' headers, and the labels; nothing where it cannot be read."""
    import numpy as np

    path: Path = chosen["file"].path
    try:
        train, test = (_header(path, chosen[key]) for key in ("x_train", "x_test"))
        with np.load(path, allow_pickle=False) as arrays:
            labels, test_labels = arrays[chosen["y_train"]], arrays[chosen["y_test"]]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return Outline()
    known = Outline(bounds=UNIT, train=train[0], test=test[0], shape=_image_shape(train, chosen["layout"]))
    if labels.ndim == 2:
        return replace(known, task="attributes", outputs=labels.shape[1])
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        return known
    if labels.max() > 10 * len(labels):  # no class numbers, which is told when they are read
        return known
    counts, test_counts = (tuple(np.bincount(some.astype(np.int64)).tolist()) for some in (labels, test_labels))
    complete = 0 not in counts and len(test_counts) <= len(counts)
    return replace(known, task="classes", train_counts=counts if complete else None)


def portion(chosen: Chosen) -> Outline:
    """A portion: its share of the train part, and the whole test part."""
    data: Outline = chosen["data"]
    if data.train is None:
        return data
    kept = round(chosen["end"] * data.train) - round(chosen["start"] * data.train)
    return replace(data, train=max(kept, 0) + 1, train_counts=None)


def check_portion(chosen: Chosen, _: Surroundings) -> Iterator[Misfit]:
    """The end lies above the start."""
    if not chosen["start"] < chosen["end"]:
        yield Misfit(("end",), f"a share above `start`, which is {chosen['start']:g}", "correct one of the two")


def _files(folder: Path) -> int | None:
    """How many files there are below a folder; none that is not there."""
    return sum(len(files) for _, _, files in os.walk(folder)) if folder.is_dir() else None


def _header(path: Path, key: str) -> tuple[int, ...]:
    """The shape of an array in an archive, from its header."""
    from numpy.lib import format as layout

    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        version = layout.read_magic(file)
        read = layout.read_array_header_1_0 if version == (1, 0) else layout.read_array_header_2_0
        shape, _, _ = read(file)
    return tuple(shape)


def _image_shape(stored: tuple[int, ...], asked: str) -> tuple[int, ...] | None:
    """The shape ``(C, H, W)`` of an array's images, where it is not ambiguous."""
    if len(stored) == 3:
        return (1, *stored[1:])
    if len(stored) != 4:
        return None
    last, first = stored[3] in (1, 3), stored[1] in (1, 3)
    if asked == "auto" and last == first:
        return None
    return (stored[3], *stored[1:3]) if asked == "NHWC" or (asked == "auto" and last) else stored[1:]
