"""Outlines and checks of data sets, networks and trainings before anything is read or built.

Does not import torch.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from advtransfer.precheck import CellOutline, Misfit, OptionValues, Outline
from advtransfer.toolkit.option_checks import adversary_misfits, augment_misfits
from advtransfer_vision.networks import PAPER_DEPTH, PAPER_WIDTHS, LibraryNetwork, SizedNetwork

UNIT_BOUNDS = (0.0, 1.0)
DIGIT_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each class in scikit-learn's bundle."""

_MNIST_TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_MNIST_TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


def _set_outline(
    shape: tuple[int, int, int],
    outputs: int | None,
    train: int | tuple[int, ...],
    test: int | tuple[int, ...],
) -> Outline:
    counts = train if isinstance(train, tuple) else None
    test_counts = test if isinstance(test, tuple) else None
    return Outline(
        shape=shape,
        bounds=UNIT_BOUNDS,
        task="classes",
        outputs=outputs,
        train=train if isinstance(train, int) else sum(train),
        test=test if isinstance(test, int) else sum(test),
        train_counts=counts,
        test_counts=test_counts,
    )


TORCHVISION_OUTLINES = {
    "MNIST": _set_outline((1, 28, 28), 10, _MNIST_TRAIN_COUNTS, _MNIST_TEST_COUNTS),
    "FashionMNIST": _set_outline((1, 28, 28), 10, (6000,) * 10, (1000,) * 10),
    "KMNIST": _set_outline((1, 28, 28), 10, (6000,) * 10, (1000,) * 10),
    "EMNIST-balanced": _set_outline((1, 28, 28), 47, (2400,) * 47, (400,) * 47),
    "EMNIST-byclass": _set_outline((1, 28, 28), 62, 697_932, 116_323),
    "EMNIST-bymerge": _set_outline((1, 28, 28), 47, 697_932, 116_323),
    "EMNIST-digits": _set_outline((1, 28, 28), 10, (24_000,) * 10, (4_000,) * 10),
    "EMNIST-letters": _set_outline((1, 28, 28), None, 124_800, 20_800),
    "EMNIST-mnist": _set_outline((1, 28, 28), 10, 60_000, 10_000),
    "USPS": _set_outline((1, 16, 16), 10, 7_291, 2_007),
    "CIFAR10": _set_outline((3, 32, 32), 10, (5000,) * 10, (1000,) * 10),
    "CIFAR100": _set_outline((3, 32, 32), 100, (500,) * 100, (100,) * 100),
    "SVHN": _set_outline((3, 32, 32), 10, 73_257, 26_032),
    "STL10": _set_outline((3, 96, 96), 10, (500,) * 10, (800,) * 10),
}
"""torchvision's sets; whether they are all there, or damaged, is seen when they are read."""


def torchvision_outline(chosen: OptionValues) -> Outline:
    """A set of torchvision's."""
    return TORCHVISION_OUTLINES[chosen["name"]]


def digits_outline(chosen: OptionValues) -> Outline:
    """scikit-learn's digits; the split is not drawn: of each class at most one image more than its share."""
    total, share = sum(DIGIT_COUNTS), chosen["test_share"]
    test = -int(-total * share // 1)
    train_counts = tuple(count * (total - test) // total + 1 for count in DIGIT_COUNTS)
    test_counts = tuple(count * test // total + 1 for count in DIGIT_COUNTS)
    return Outline(
        (1, 8, 8), UNIT_BOUNDS, "classes", 10, total - test, test, train_counts, test_counts
    )


def check_digits(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Each part has an image of each class."""
    total = sum(DIGIT_COUNTS)
    test = -int(-total * chosen["test_share"] // 1)
    if min(test, total - test) < len(DIGIT_COUNTS):
        expected = f"a share that leaves each of {len(DIGIT_COUNTS)} classes an image in both parts"
        yield Misfit(("test_share",), expected, "write for example 0.3")


def synthetic_outline(chosen: OptionValues) -> Outline:
    """A regression problem."""
    return Outline(
        shape=(chosen["inputs"],),
        task="values",
        outputs=chosen["outputs"],
        train=chosen["n_train"],
        test=chosen["n_test"],
    )


def image_folder_outline(chosen: OptionValues) -> Outline:
    """A folder of images, of which no more than the files there are can be used."""
    root: Path = chosen["root"].path
    test = chosen["test"] or ("test" if (root / "test").is_dir() else "val")
    pixels = chosen["pixels"]
    return Outline(
        (3, pixels, pixels),
        UNIT_BOUNDS,
        "classes",
        train=_count_files(root / chosen["train"]),
        test=_count_files(root / test),
    )


def tiny_imagenet_outline(_: OptionValues) -> Outline:
    """Tiny ImageNet."""
    return Outline((3, 64, 64), UNIT_BOUNDS, "classes")


def npz_outline(chosen: OptionValues) -> Outline:
    """A NumPy archive: shapes from the arrays' headers, and the labels; nothing where it cannot be read."""
    import numpy as np

    path: Path = chosen["file"].path
    try:
        train, test = (_stored_shape(path, chosen[key]) for key in ("x_train", "x_test"))
        with np.load(path, allow_pickle=False) as arrays:
            labels, test_labels = arrays[chosen["y_train"]], arrays[chosen["y_test"]]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return Outline()
    known = Outline(
        bounds=UNIT_BOUNDS,
        train=train[0],
        test=test[0],
        shape=_image_shape(train, chosen["layout"]),
    )
    if labels.ndim == 2:
        return replace(known, task="attributes", outputs=labels.shape[1])
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        return known
    if labels.max() > 10 * len(labels):  # no class numbers, which is told when they are read
        return known
    counts, test_counts = (
        tuple(np.bincount(some.astype(np.int64)).tolist()) for some in (labels, test_labels)
    )
    complete = 0 not in counts and len(test_counts) <= len(counts)
    return replace(known, task="classes", train_counts=counts if complete else None)


def portion_outline(chosen: OptionValues) -> Outline:
    """A portion: its share of the train part, and the whole test part."""
    data: Outline = chosen["data"]
    if data.train is None:
        return data
    kept = round(chosen["end"] * data.train) - round(chosen["start"] * data.train)
    return replace(data, train=max(kept, 0) + 1, train_counts=None)


def check_portion(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """The end lies above the start."""
    if not chosen["start"] < chosen["end"]:
        yield Misfit(
            ("end",),
            f"a share above `start`, which is {chosen['start']:g}",
            "correct one of the two",
        )


def _count_files(folder: Path) -> int | None:
    """How many files there are below a folder; none that is not there."""
    return sum(len(files) for _, _, files in os.walk(folder)) if folder.is_dir() else None


def _stored_shape(path: Path, key: str) -> tuple[int, ...]:
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
    return (
        (stored[3], *stored[1:3]) if asked == "NHWC" or (asked == "auto" and last) else stored[1:]
    )


BLOCK_COUNTS: Mapping[str, int] = {
    "small_cnn": 3,
    "mnist_2conv": 3,
    "lenet5": 4,
    "fcnet": 4,
    "resnet18": 9,
    "resnet50": 17,
    "one_hidden": 1,
}
"""Blocks of the networks of one depth."""

SMALLEST_SIDES: Mapping[str, int] = {
    "small_cnn": 8,
    "mnist_2conv": 4,
    "lenet5": 1,
    "resnet18": 8,
    "resnet50": 8,
    "wide_resnet": 4,
}
"""The pixels that a side of their images must have; networks that are not here flatten inputs of any shape."""


def network_outline(chosen: OptionValues) -> Outline:
    """A network for a data set."""
    data: Outline = chosen["data"]
    return replace(_without_parts(data), blocks=_count_blocks(chosen["network"]))


def perturbed_outline(chosen: OptionValues) -> Outline:
    """The source that is perturbed."""
    source: Outline = chosen["source"]
    return source


def check_network(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """The network takes inputs of the data's shape, and a width is given where it is used."""
    network, shape = chosen["network"], chosen["data"].shape
    name = _network_name(network)
    if chosen["width"] != PAPER_WIDTHS["small_cnn"] and network != "small_cnn":
        expected = (
            f"it beside small_cnn alone; {name} takes it in `network: {{name: {name}, width: ...}}`"
        )
        yield Misfit(("width",), expected, "move it there, or remove it")
    if (
        isinstance(network, LibraryNetwork)
        and shape is not None
        and (len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2])
    ):
        found = f"inputs of shape {shape} for {name}"
        yield Misfit(
            ("network",), "(3, H, H)", "give the data set `channels: 3` and a `size`", found
        )
    smallest = SMALLEST_SIDES.get(name)
    if (
        smallest is not None
        and shape is not None
        and (len(shape) != 3 or min(shape[1:]) < smallest)
    ):
        found = f"inputs of shape {shape} for {name}"
        expected = f"images (C, H, W) of at least {smallest} x {smallest} pixels"
        yield Misfit(
            ("network",), expected, "give the data set a `size`, or name another network", found
        )


def check_trained(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """The network, its adversary and its images suit the data."""
    yield from check_network(chosen, around)
    data: Outline = chosen["data"]
    yield from adversary_misfits(chosen["adversary"], data)
    yield from augment_misfits(chosen["augment"], data)
    images, classes = (
        chosen["images"],
        None if data.train_counts is None else len(data.train_counts),
    )
    if images is not None and data.train is not None and images > data.train:
        expected = f"at most the {data.train:,} images of the train part"
        yield Misfit(("images",), expected, "lower it, or leave it out")
    elif images is not None and classes is not None and images < classes:
        yield Misfit(("images",), f"at least one image of each of {classes} classes", "raise it")
    count = images or data.train
    if (
        count is not None
        and classes is not None
        and count >= classes > count - round(chosen["validation"] * count)
    ):
        expected = (
            f"a share that leaves at least one image of each of {classes} classes to train on"
        )
        yield Misfit(("validation",), expected, "lower it")
    if chosen["label_noise"] > 0 and (data.task not in (None, "classes") or data.outputs == 1):
        expected = "0, since labels are replaced by other classes, and the data has none"
        yield Misfit(("label_noise",), expected, "leave it out")


def check_perturbed(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """The data have the shape that the source takes."""
    takes, gives = chosen["source"].shape, chosen["data"].shape
    if None not in (takes, gives) and takes != gives:
        found = f"data of shape {gives}"
        yield Misfit(
            ("data",), f"inputs {takes}, which the source takes", "name data of that shape", found
        )


def _without_parts(data: Outline) -> Outline:
    """Of the data what a network for it has, too."""
    return replace(data, train=None, test=None, train_counts=None, test_counts=None)


def _network_name(network: str | SizedNetwork | LibraryNetwork) -> str:
    match network:
        case SizedNetwork():
            return network.name
        case LibraryNetwork():
            return network.architecture
        case _:
            return network


def _count_blocks(network: str | SizedNetwork | LibraryNetwork) -> int | None:
    """How many blocks a network has; None for those of libraries, which are counted when they are built."""
    if isinstance(network, LibraryNetwork):
        return None
    depth = network.depth if isinstance(network, SizedNetwork) else None
    name = _network_name(network)
    return (depth or PAPER_DEPTH) // 2 if name == "wide_resnet" else BLOCK_COUNTS.get(name)
