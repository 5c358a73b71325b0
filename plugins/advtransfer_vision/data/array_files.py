"""A user's own arrays as a data set: checked once, kept as stored, returned as images in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from advtransfer.errors import BadInput, Problem
from advtransfer.text import printable_text
from advtransfer.toolkit.file_digests import cached_while_unchanged, content_id
from advtransfer.types import DataCard, File, Part, Shape, Task
from advtransfer_vision.data.messages import data_error, first_items, warn_of_data
from advtransfer_vision.data.npz_archive import Array, NpzArchive
from advtransfer_vision.data.parts import PartedDataset
from advtransfer_vision.outlines import detect_layout

KeyedLabels: TypeAlias = tuple[str, Array]
"""The key of an array in the archive, and the labels it holds."""
CHECKED_ROWS = 1024
ROUNDING_TOLERANCE = 1e-5
"""How far a float may exceed [0, 1] by rounding, for instance after undoing a normalisation."""
MAX_EMPTY_CLASSES = 10_000
"""Class numbers below this may exceed the number of images, as in a small part of a large data set."""
NUMBER_CLASSES = (
    "number the classes from 0 over both parts together, without images that have none, "
    "as numpy.unique(labels of both, return_inverse=True)[1] does"
)


def pixel_problems(path: Path, key: str, pixels: Array) -> Iterator[Problem]:
    """Yield a problem when pixels are neither uint8 nor floats in [0, 1].

    The result is remembered, so that an unchanged file is read through once.
    """
    if pixels.dtype == np.uint8 or 0 in (pixels.size, pixels.ndim):
        return
    if pixels.dtype.kind != "f":
        expected = "uint8 from 0 to 255, or floats in [0, 1]"
        yield Problem(f"{key} of type {pixels.dtype}", expected, "convert the array")
        return
    try:
        cached_while_unchanged(
            f"range of {key} in {path}", [path], lambda: _check_range(key, pixels)
        )
    except BadInput as error:
        yield from error.problems


def _check_range(key: str, pixels: Array) -> str:
    """Read all floats and return the text that `cached_while_unchanged` remembers.

    Raises:
        BadInput: A value is not finite or not in [0, 1].
    """
    lowest, highest = _value_range(key, pixels)
    # The resolution of float16 is coarser than the tolerance.
    tolerance = max(ROUNDING_TOLERANCE, 2 * float(np.finfo(pixels.dtype).eps))
    if lowest >= -tolerance and highest <= 1 + tolerance:
        return "in [0, 1]"
    looks_8_bit = lowest >= 0 and highest > 2
    next_step = "divide by 255" if looks_8_bit else "undo the normalisation"
    raise data_error(
        f"{key} with values from {lowest} to {highest}",
        expected="floats in [0, 1]",
        next_step=f"{next_step}, or store uint8",
    )


def _value_range(key: str, pixels: Array) -> tuple[float, float]:
    """Return the least and the largest value, reading a mapped array in chunks.

    Raises:
        BadInput: A value is not finite.
    """
    lowest, highest = np.inf, -np.inf
    for start in range(0, len(pixels), CHECKED_ROWS):
        rows = pixels[start : start + CHECKED_ROWS]
        finite = np.isfinite(rows)
        if not finite.all():
            row_has_bad_value = (~finite).reshape(len(rows), -1).any(1)
            image = start + int(row_has_bad_value.argmax())
            raise data_error(
                f"{key} with values that are not finite, first in image {image}",
                expected="floats in [0, 1]",
                next_step="replace them, or remove the image",
            )
        lowest = min(lowest, rows.min())
        highest = max(highest, rows.max())
    return lowest, highest


def count_problems(keys: tuple[str, str], inputs: Array, labels: Array) -> Iterator[Problem]:
    """Yield a problem when a part has no images, or not as many labels as images."""
    is_empty = 0 in (*inputs.shape, *labels.shape)
    is_scalar = 0 in (inputs.ndim, labels.ndim)
    if is_empty or is_scalar or len(inputs) != len(labels):
        found = f"{keys[0]} of shape {inputs.shape} and {keys[1]} of shape {labels.shape}"
        yield Problem(found, "at least one image, and one label an image", "correct the arrays")


def label_problems(key: str, labels: Array) -> Iterator[Problem]:
    """Yield problems of labels other than ``(N,)`` class numbers from 0 or ``(N, K)`` zeros and ones."""
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        yield from _class_number_problems(key, labels)
    elif labels.ndim != 2 or labels.dtype.kind not in "iufb" or not np.isin(labels, (0, 1)).all():
        is_column = labels.ndim == 2 and labels.shape[1] == 1
        squeeze = "write (N,): (N, 1) class numbers need squeezing"
        yield Problem(
            f"{key} of shape {labels.shape} and type {labels.dtype}",
            "(N,) integers, the classes, or (N, K) zeros and ones, the attributes",
            squeeze if is_column else NUMBER_CLASSES,
        )


def _class_number_problems(key: str, numbers: Array) -> Iterator[Problem]:
    """Yield a problem when class numbers are negative, or do not fit into int64."""
    if not len(numbers):
        return
    least = int(numbers.min())
    largest = int(numbers.max())
    if least < 0:
        yield Problem(f"{key} with the label {least}", "classes 0, 1, ...", NUMBER_CLASSES)
    elif largest > np.iinfo(np.int64).max:
        found = f"{key} with the label {largest}, which is {largest - 2**64} without a sign"
        yield Problem(found, "classes 0, 1, ...", NUMBER_CLASSES)


def class_problems(labels: Sequence[KeyedLabels], *, named: int) -> Iterator[Problem]:
    """Yield problems of classes that are far too many, or that only the test part has.

    Args:
        labels: The class numbers of the train part, then of the test part, each with its key.
        named: Number of classes that the file names; 0 when it names none.
    """
    (train_key, train_labels), (test_key, test_labels) = labels
    images = len(train_labels) + len(test_labels)
    for key, numbers in labels:
        classes = 1 + int(numbers.max())
        # One wrong number, such as 10**9, would otherwise make a head with that many outputs.
        if classes > max(images, MAX_EMPTY_CLASSES, named):
            found = f"{key} with the label {classes - 1}, of {images} images in all"
            yield Problem(found, "classes 0, 1, ... without large gaps", NUMBER_CLASSES)
    untrained = np.setdiff1d(test_labels, train_labels).tolist()
    if untrained:
        noun = "class" if len(untrained) == 1 else "classes"
        yield Problem(
            f"{noun} {first_items(untrained)} in {test_key} and not in {train_key}",
            "training images of each class that is tested",
            "give it training images, or remove it",
        )


ArrayLayout: TypeAlias = Literal["NHW", "NHWC", "NCHW"]
LayoutOption: TypeAlias = Literal["auto"] | ArrayLayout


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """`Samples` over an array of images, uint8 or floats, which may be mapped from a file.

    Args:
        card: The card of the data set.
        pixels: Images ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``.
        layout: Which of the three shapes `pixels` has.
        targets: Classes ``(N,)``, or ``(N, outputs)`` zeros and ones; int64.
    """

    card: DataCard
    pixels: Array
    layout: ArrayLayout
    targets: Tensor

    @property
    def keys(self) -> Sequence[int]:
        """Row of each image in the array."""
        return range(len(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the images at `positions`, ``(B, C, H, W)`` float32 in [0, 1]."""
        # Indexing copies these rows alone, also from a mapped file.
        rows = _channels_first(self.pixels[positions.numpy()], self.layout)
        if rows.dtype == np.uint8:
            return torch.from_numpy(np.ascontiguousarray(rows)).float() / 255
        floats = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
        # Values may exceed [0, 1] by the rounding that `pixel_problems` tolerates.
        return floats.clamp(0, 1)

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels at `positions`: ``(B,)`` classes, or ``(B, outputs)`` 0/1; int64."""
        return self.targets[positions]


def load_array_files(
    file: File,
    *,
    keys: Mapping[Part, tuple[str, str]],
    names: str,
    layout: LayoutOption,
) -> PartedDataset:
    """Return the data set in the arrays of an archive.

    Args:
        file: The archive.
        keys: For each part, the keys of its images and of its labels.
        names: Key of the names of the classes or attributes.
        layout: Where the channels are; ``auto`` to detect it.

    Raises:
        BadInput: Arrays are missing, or are not as described; lists all such problems.
    """
    archive = NpzArchive(file.path)
    arrays = _read_parts(archive, keys)
    _require_sound_arrays(file.path, keys, arrays)
    layouts: dict[Part, ArrayLayout] = {}
    shapes: dict[str, Shape] = {}
    labels: dict[Part, KeyedLabels] = {}
    for part, (pixels, targets) in arrays.items():
        image_key, label_key = keys[part]
        layouts[part] = _channel_layout(image_key, pixels, layout)
        shapes[image_key] = tuple(_channels_first(pixels[:0], layouts[part]).shape[1:])
        labels[part] = label_key, targets.astype(np.int64)
    shape = _common_shape(shapes)
    keyed_labels = list(labels.values())
    named = archive[names].size if names in archive else 0
    task, outputs = _task_and_outputs(keyed_labels, named=named)
    class_names = _class_names(archive, names, task, outputs)
    _warn_of_labels(keyed_labels, task, outputs)
    content = content_id(
        {"file": file.sha256, "keys": sorted(keys.items()), "layout": sorted(layouts.items())}
    )
    card = DataCard(shape, (0.0, 1.0), task, len(class_names), class_names, content)
    parts = {
        part: StoredSamples(card, pixels, layouts[part], torch.from_numpy(labels[part][1]))
        for part, (pixels, _) in arrays.items()
    }
    return PartedDataset(card, parts)


def _read_parts(
    archive: NpzArchive, keys: Mapping[Part, tuple[str, str]]
) -> dict[Part, tuple[Array, Array]]:
    """Return the images and labels of each part.

    Raises:
        BadInput: Arrays cannot be read; lists all of them.
    """
    arrays: dict[str, Array] = {}
    problems: list[Problem] = []
    for pair in keys.values():
        for key in pair:
            try:
                arrays[key] = archive[key]
            except BadInput as error:
                problems += error.problems
    if problems:
        # A key that is used twice fails twice; its problem is reported once.
        raise BadInput(dict.fromkeys(problems))
    return {part: (arrays[inputs], arrays[labels]) for part, (inputs, labels) in keys.items()}


def _require_sound_arrays(
    path: Path,
    keys: Mapping[Part, tuple[str, str]],
    arrays: Mapping[Part, tuple[Array, Array]],
) -> None:
    """Raise a BadInput that lists all problems of the arrays' counts, labels and pixels."""
    problems: list[Problem] = []
    for part, (inputs, labels) in arrays.items():
        image_key, label_key = keys[part]
        problems += count_problems(keys[part], inputs, labels)
        problems += label_problems(label_key, labels)
        problems += pixel_problems(path, image_key, inputs)
    if problems:
        raise BadInput(problems)


def _channel_layout(key: str, pixels: Array, option: LayoutOption) -> ArrayLayout:
    """Return where the channels are, as the option says or as the sizes show.

    Raises:
        BadInput: The array does not hold images, or its layout is ambiguous.
    """
    if pixels.ndim == 3:
        return "NHW"
    found = f"{key} of shape {pixels.shape}"
    if pixels.ndim != 4:
        expected = "(N, H, W), (N, H, W, C) or (N, C, H, W)"
        raise data_error(found, expected=expected, next_step="reshape the array")
    if option != "auto":
        return option
    layout = detect_layout(pixels.shape)
    if layout is None:
        expected = "1 or 3 channels either second or last"
        next_step = "write `layout: NHWC` or `layout: NCHW`"
        raise data_error(found, expected=expected, next_step=next_step)
    return layout


def _channels_first(rows: Array, layout: ArrayLayout) -> Array:
    if layout == "NHWC":
        return rows.transpose(0, 3, 1, 2)
    return rows[:, None] if layout == "NHW" else rows


def _common_shape(shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of all images; raise a BadInput when parts differ."""
    shape, *others = dict.fromkeys(shapes.values())
    if others:
        found = " and ".join(f"{key} with images of shape {shape}" for key, shape in shapes.items())
        raise data_error(found, expected="one shape", next_step="resize the images of one part")
    return shape


def _task_and_outputs(labels: Sequence[KeyedLabels], *, named: int) -> tuple[Task, int]:
    """Return the task, and the number of classes or attributes in the labels."""
    row_shapes = {array.shape[1:] for _, array in labels}
    if len(row_shapes) > 1:
        found = " and ".join(f"{key} of shape {array.shape}" for key, array in labels)
        next_step = "correct one of the arrays"
        raise data_error(found, expected="labels of one kind", next_step=next_step)
    (row_shape,) = row_shapes
    if row_shape:
        return "attributes", row_shape[0]
    problems = list(class_problems(labels, named=named))
    if problems:
        raise BadInput(problems)
    return "classes", 1 + max(int(array.max()) for _, array in labels)


def _warn_of_labels(labels: Sequence[KeyedLabels], task: Task, outputs: int) -> None:
    """Warn of one-hot classes taken as attributes, and of classes without an image."""
    if task == "attributes":
        _warn_of_one_hot(labels, outputs)
        return
    (train_key, train_labels), (test_key, test_labels) = labels
    empty = np.setdiff1d(np.arange(outputs), np.union1d(train_labels, test_labels)).tolist()
    untested = np.setdiff1d(train_labels, test_labels).tolist()
    for classes, keys in ((empty, f"{train_key} and {test_key}"), (untested, test_key)):
        if classes:
            count = f"{len(classes)} of the {outputs} classes"
            warn_of_data(f"no image of {count} in {keys}: {first_items(classes)}")


def _warn_of_one_hot(labels: Sequence[KeyedLabels], outputs: int) -> None:
    """Warn when attributes may be meant as classes: one column, or one 1 in each row."""
    one_hot = all((array.sum(1) == 1).all() for _, array in labels)
    if outputs > 1 and not one_hot:
        return
    keys = " and ".join(key for key, _ in labels)
    advice = "labels.ravel()" if outputs == 1 else "labels.argmax(1), since each row has one 1"
    warn_of_data(
        f"{keys} of shape (N, {outputs}) are taken as {outputs} attributes; "
        f"if they are classes, write class numbers: {advice}"
    )


def _class_names(archive: NpzArchive, key: str, task: Task, outputs: int) -> tuple[str, ...]:
    """Return the names in the file, or numbers; a file may name more classes than the labels show.

    Raises:
        BadInput: The names are too few, or cannot be shown.
    """
    if key not in archive:
        prefix = "attribute " if task == "attributes" else ""
        return tuple(f"{prefix}{number}" for number in range(outputs))
    stored = archive[key]
    names = _decode_names(stored, key)
    next_step = "correct the array, or leave it out"
    unprintable = [name for name in names if printable_text(name) != name or not name.strip()]
    if unprintable:
        found = f"{key} with the name {unprintable[0]!r}"
        raise data_error(found, expected="printable names", next_step=next_step)
    too_many = task == "attributes" and len(names) > outputs
    if stored.ndim != 1 or len(names) < outputs or too_many:
        found = f"{key} of shape {stored.shape} for labels of {outputs} {task}"
        raise data_error(found, expected="one name each, in their order", next_step=next_step)
    return names


def _decode_names(stored: Array, key: str) -> tuple[str, ...]:
    """Return an array of text, bytes or numbers as text."""
    names: list[str] = []
    for value in stored.ravel().tolist():
        try:
            names.append(value.decode() if isinstance(value, bytes) else str(value))
        except UnicodeDecodeError as error:
            found = f"{key} with the name {error.object!r}"
            next_step = "store the names as text, not bytes"
            raise data_error(found, expected="text in UTF-8", next_step=next_step) from error
    return tuple(names)
