"""Outlines and checks of data sets, networks and trainings before anything is read or built.

The texts of misfits are part of a plan, which lists the cells that are skipped and why.
Does not import torch.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from advtransfer.precheck import CellOutline, Misfit, OptionValues, Outline
from advtransfer.toolkit.option_checks import adversary_misfits, augment_misfits, recipe_misfits
from advtransfer.types import Shape
from advtransfer_vision.networks import PAPER_DEPTH, PAPER_WIDTHS, LibraryNetwork, SizedNetwork

UNIT_BOUNDS = (0.0, 1.0)
RGB_CHANNELS = 3
SMALL_CNN_WIDTH = PAPER_WIDTHS["small_cnn"]
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
    """Return an outline of images in [0, 1]; parts are given by size, or by counts of classes."""
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


# Counts by class are given where they are known; other parts are given by their size.
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
"""Outlines of torchvision's sets by name. Missing or damaged files are reported when they are read."""


def torchvision_outline(chosen: OptionValues) -> Outline:
    """Return the outline of one of torchvision's sets."""
    return TORCHVISION_OUTLINES[chosen["name"]]


def digits_outline(chosen: OptionValues) -> Outline:
    """Return the outline of scikit-learn's digits.

    The split is not drawn here, so the count of a class is an upper bound: its share rounded up.
    """
    total = sum(DIGIT_COUNTS)
    test = _digits_test_count(chosen["test_share"])
    # The stratified split rounds the count of a class up or down.
    train_counts = tuple(count * (total - test) // total + 1 for count in DIGIT_COUNTS)
    test_counts = tuple(count * test // total + 1 for count in DIGIT_COUNTS)
    return Outline(
        (1, 8, 8), UNIT_BOUNDS, "classes", 10, total - test, test, train_counts, test_counts
    )


def check_digits(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Check that both parts have at least one image of each class."""
    total = sum(DIGIT_COUNTS)
    test = _digits_test_count(chosen["test_share"])
    if min(test, total - test) < len(DIGIT_COUNTS):
        expected = f"a share that leaves each of {len(DIGIT_COUNTS)} classes an image in both parts"
        yield Misfit(("test_share",), expected, "write for example 0.3")


def _digits_test_count(test_share: float) -> int:
    """Return the number of test images, rounded up as scikit-learn's `train_test_split` does."""
    return math.ceil(sum(DIGIT_COUNTS) * test_share)


def synthetic_outline(chosen: OptionValues) -> Outline:
    """Return the outline of a synthetic regression problem."""
    return Outline(
        shape=(chosen["inputs"],),
        task="values",
        outputs=chosen["outputs"],
        train=chosen["n_train"],
        test=chosen["n_test"],
    )


def image_folder_outline(chosen: OptionValues) -> Outline:
    """Return the outline of a folder of images; the number of files bounds the number of images."""
    root: Path = chosen["root"].path
    if chosen["split"] is not None:
        return Outline((3, chosen["pixels"], chosen["pixels"]), UNIT_BOUNDS, "classes")
    # By the same rule as the data set itself.
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
    """Return the outline of Tiny ImageNet."""
    return Outline((3, 64, 64), UNIT_BOUNDS, "classes")


def npz_outline(chosen: OptionValues) -> Outline:
    """Return the outline of a NumPy archive; an empty one when the archive cannot be read.

    Reads the labels, and of the images only the headers of their arrays.
    """
    import numpy as np

    path: Path = chosen["file"].path
    try:
        train = _stored_shape(path, chosen["x_train"])
        test = _stored_shape(path, chosen["x_test"])
        with np.load(path, allow_pickle=False) as arrays:
            labels, test_labels = arrays[chosen["y_train"]], arrays[chosen["y_test"]]
    # The data set reports these errors, with their reasons, when it is read.
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return Outline()
    outline = Outline(
        bounds=UNIT_BOUNDS,
        train=train[0],
        test=test[0],
        shape=_image_shape(train, chosen["layout"]),
    )
    if labels.ndim == 2:
        return replace(outline, task="attributes", outputs=labels.shape[1])
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        return outline
    # Labels this large are no class numbers. The data set reports them when it is read; counting
    # them here would allocate one counter for every number up to the largest.
    if labels.max() > 10 * len(labels):
        return outline
    counts = tuple(np.bincount(labels.astype(np.int64)).tolist())
    test_counts = tuple(np.bincount(test_labels.astype(np.int64)).tolist())
    complete = 0 not in counts and len(test_counts) <= len(counts)
    names = _stored_names(path, chosen["class_names"])
    counted = counts if complete else None
    return replace(outline, task="classes", train_counts=counted, names=names)


def portion_outline(chosen: OptionValues) -> Outline:
    """Return the outline of a portion: a share of the train part, and the whole test part."""
    data: Outline = chosen["data"]
    if data.train is None:
        return data
    count = round(chosen["end"] * data.train) - round(chosen["start"] * data.train)
    # One more than the portion's size, so that it is an upper bound whatever the rounding.
    return replace(data, train=max(count, 0) + 1, train_counts=None)


def check_portion(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Check that the portion ends after its start."""
    if not chosen["start"] < chosen["end"]:
        yield Misfit(
            ("end",),
            f"a share above `start`, which is {chosen['start']:g}",
            "correct one of the two",
        )


def _count_files(folder: Path) -> int | None:
    """Return the number of files below a folder; None when the folder does not exist."""
    return sum(len(files) for _, _, files in os.walk(folder)) if folder.is_dir() else None


def _stored_shape(path: Path, key: str) -> tuple[int, ...]:
    """Return the shape of an array in an archive, from its header alone."""
    from numpy.lib import format as npy_format

    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        if npy_format.read_magic(file) == (1, 0):
            shape, _, _ = npy_format.read_array_header_1_0(file)
        else:
            shape, _, _ = npy_format.read_array_header_2_0(file)
    return tuple(shape)


def _stored_names(path: Path, key: str) -> tuple[str, ...] | None:
    """Return the names of the classes in an archive; None without any that can be read."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = arrays[key]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return tuple(stored.tolist()) if stored.ndim == 1 and stored.dtype.kind == "U" else None


def _image_shape(array_shape: tuple[int, ...], layout: str) -> tuple[int, ...] | None:
    """Return the shape ``(C, H, W)`` of the images in an array; None where it is ambiguous."""
    if len(array_shape) == 3:
        return (1, *array_shape[1:])
    if len(array_shape) != 4:
        return None
    if layout == "auto":
        layout = detect_layout(array_shape) or "ambiguous"
    if layout == "NHWC":
        return (array_shape[3], *array_shape[1:3])
    return array_shape[1:] if layout == "NCHW" else None


def detect_layout(array_shape: tuple[int, ...]) -> Literal["NHWC", "NCHW"] | None:
    """Return where the channels of a four-dimensional array are, or None where it is ambiguous.

    Channels are the dimension of size 1 or 3, if exactly one of the second and the last has it.
    """
    channels_first = array_shape[1] in (1, 3)
    channels_last = array_shape[3] in (1, 3)
    if channels_first == channels_last:
        return None
    return "NHWC" if channels_last else "NCHW"


BLOCK_COUNTS: Mapping[str, int] = {
    "small_cnn": 3,
    "mnist_2conv": 3,
    "lenet5": 4,
    "fcnet": 4,
    "resnet18": 9,
    "resnet50": 17,
    "one_hidden": 1,
}
"""Number of blocks of each network whose depth is fixed."""

SMALLEST_SIDES: Mapping[str, int] = {
    "small_cnn": 8,
    "mnist_2conv": 4,
    "lenet5": 1,
    "resnet18": 8,
    "resnet50": 8,
    "wide_resnet": 4,
}
"""Smallest height and width of the images of each network. The others flatten inputs of any shape."""


def network_outline(chosen: OptionValues) -> Outline:
    """Return the outline of a network for a data set."""
    data: Outline = chosen["data"]
    return replace(_without_parts(data), blocks=_count_blocks(chosen["network"]))


def perturbed_outline(chosen: OptionValues) -> Outline:
    """Return the outline of the source that is perturbed."""
    source: Outline = chosen["source"]
    return source


def check_network(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Check that the network takes the data's inputs, and that `width` belongs to small_cnn."""
    network = chosen["network"]
    name = _network_name(network)
    if chosen["width"] != SMALL_CNN_WIDTH and network != "small_cnn":
        expected = (
            f"it beside small_cnn alone; {name} takes it in `network: {{name: {name}, width: ...}}`"
        )
        yield Misfit(("width",), expected, "move it there, or remove it")
    shape = chosen["data"].shape
    if shape is None:
        return
    if isinstance(network, LibraryNetwork) and not _is_square_rgb(shape):
        found = f"inputs of shape {shape} for {name}"
        yield Misfit(
            ("network",), "(3, H, H)", "give the data set `channels: 3` and a `size`", found
        )
    smallest = SMALLEST_SIDES.get(name)
    if smallest is not None and (len(shape) != 3 or min(shape[1:]) < smallest):
        found = f"inputs of shape {shape} for {name}"
        expected = f"images (C, H, W) of at least {smallest} x {smallest} pixels"
        yield Misfit(
            ("network",), expected, "give the data set a `size`, or name another network", found
        )


def check_trained(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Check that the network, its adversary and the number of its images suit the data."""
    yield from check_network(chosen, around)
    data: Outline = chosen["data"]
    yield from adversary_misfits(chosen["adversary"], data)
    yield from augment_misfits(chosen["augment"], data)
    yield from _image_count_misfits(chosen, data)
    yield from recipe_misfits(
        chosen["checkpoint"], chosen["cutmix"], data, validation=chosen["validation"]
    )
    if chosen["label_noise"] > 0 and (data.task not in (None, "classes") or data.outputs == 1):
        expected = "0, since labels are replaced by other classes, and the data has none"
        yield Misfit(("label_noise",), expected, "leave it out")


def _image_count_misfits(chosen: OptionValues, data: Outline) -> Iterator[Misfit]:
    """Check that every class keeps an image to train on after `images` and `validation`."""
    images = chosen["images"]
    classes = None if data.train_counts is None else len(data.train_counts)
    if images is not None and data.train is not None and images > data.train:
        expected = f"at most the {data.train:,} images of the train part"
        yield Misfit(("images",), expected, "lower it, or leave it out")
    elif images is not None and classes is not None and images < classes:
        yield Misfit(("images",), f"at least one image of each of {classes} classes", "raise it")
    count = images or data.train
    if count is None or classes is None:
        return
    trained_on = count - round(chosen["validation"] * count)
    if count >= classes > trained_on:
        expected = (
            f"a share that leaves at least one image of each of {classes} classes to train on"
        )
        yield Misfit(("validation",), expected, "lower it")


def check_perturbed(chosen: OptionValues, _: CellOutline) -> Iterator[Misfit]:
    """Check that the data have the shape of the source's inputs."""
    source_shape = chosen["source"].shape
    data_shape = chosen["data"].shape
    if None not in (source_shape, data_shape) and source_shape != data_shape:
        expected = f"inputs {source_shape}, which the source takes"
        found = f"data of shape {data_shape}"
        yield Misfit(("data",), expected, "name data of that shape", found)


def _is_square_rgb(shape: Shape) -> bool:
    """Return whether inputs are colour images ``(3, H, H)``."""
    return len(shape) == 3 and shape[0] == RGB_CHANNELS and shape[1] == shape[2]


def _without_parts(data: Outline) -> Outline:
    """Return the outline of data without sizes of its parts, which a network does not have."""
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
    """Return the number of blocks; None for libraries' networks, counted once they are built."""
    if isinstance(network, LibraryNetwork):
        return None
    depth = network.depth if isinstance(network, SizedNetwork) else None
    name = _network_name(network)
    if name != "wide_resnet":
        return BLOCK_COUNTS.get(name)
    # The stem, and three groups of (depth - 2) / 6 units: depth / 2 for every valid depth.
    return (depth or PAPER_DEPTH) // 2
