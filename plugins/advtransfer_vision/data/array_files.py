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
from advtransfer_vision.data.messages import data_error, warn_of_data
from advtransfer_vision.data.npz_archive import Array, NpzArchive
from advtransfer_vision.data.parts import PartedDataset

KeyedLabels: TypeAlias = tuple[str, Array]
"""Labels, and the key of their array."""
CHECKED_ROWS = 1024
ROUNDING_TOLERANCE = 1e-5
"""How far outside [0, 1] a float may lie by rounding, such as of a normalisation that was undone; it is clipped."""
MAX_EMPTY_CLASSES = 10_000
"""Class numbers up to here may exceed the number of images: a small part of a data set of many classes."""
NUMBER_CLASSES = (
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
        cached_while_unchanged(
            f"range of {key} in {path}", [path], lambda: _check_range(key, pixels)
        )
    except BadInput as error:
        yield from error.problems


def _check_range(key: str, pixels: Array) -> str:
    """Read the floats through; what `cached_while_unchanged` keeps of those in [0, 1].

    Raises:
        BadInput: Some are not.
    """
    slack = max(ROUNDING_TOLERANCE, 2 * float(np.finfo(pixels.dtype).eps))
    lowest, highest = np.inf, -np.inf
    for start in range(0, len(pixels), CHECKED_ROWS):
        rows = pixels[start : start + CHECKED_ROWS]
        finite = np.isfinite(rows)
        if not finite.all():
            image = start + int((~finite).reshape(len(rows), -1).any(1).argmax())
            found = f"{key} with values that are not finite, first in image {image}"
            raise BadInput(
                [Problem(found, "floats in [0, 1]", "replace them, or remove the image")]
            )
        lowest, highest = min(lowest, rows.min()), max(highest, rows.max())
    if lowest < -slack or highest > 1 + slack:
        eight_bit = lowest >= 0 and highest > 2
        next_step = (
            "divide by 255, or store uint8"
            if eight_bit
            else "undo the normalisation, or store uint8"
        )
        raise BadInput(
            [
                Problem(
                    f"{key} with values from {lowest} to {highest}", "floats in [0, 1]", next_step
                )
            ]
        )
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
            yield Problem(f"{key} with the label {least}", "classes 0, 1, ...", NUMBER_CLASSES)
        elif most > np.iinfo(np.int64).max:
            found = f"{key} with the label {most}, which is {most - 2**64} without a sign"
            yield Problem(found, "classes 0, 1, ...", NUMBER_CLASSES)
    elif labels.ndim != 2 or labels.dtype.kind not in "iufb" or not np.isin(labels, (0, 1)).all():
        found = f"{key} of shape {labels.shape} and type {labels.dtype}"
        expected = "(N,) integers, the classes, or (N, K) zeros and ones, the attributes"
        squeeze = labels.ndim == 2 and labels.shape[1] == 1
        yield Problem(
            found,
            expected,
            "write (N,): (N, 1) class numbers need squeezing" if squeeze else NUMBER_CLASSES,
        )


def class_problems(labels: Sequence[KeyedLabels], *, named: int) -> Iterator[Problem]:
    """Numbers that would make absurdly many classes, and classes that only the test part has.

    Args:
        labels: The class numbers of the train part, then of the test part, each with its key.
        named: How many classes the file names; 0 where it names none.
    """
    (train, seen), (test, tested) = labels
    images = len(seen) + len(tested)
    for key, numbers in labels:
        classes = 1 + int(numbers.max())
        if classes > max(images, MAX_EMPTY_CLASSES, named):
            found = f"{key} with the label {classes - 1}, of {images} images in all"
            yield Problem(found, "classes 0, 1, ... without large gaps", NUMBER_CLASSES)
    if unknown := np.setdiff1d(tested, seen).tolist():
        found = f"class{'es' if len(unknown) > 1 else ''} {first_numbers(unknown)} in {test} and not in {train}"
        yield Problem(
            found,
            "training images of each class that is tested",
            "give it training images, or remove it",
        )


def first_numbers(numbers: list[int]) -> str:
    """The first numbers of a list, and how many more there are."""
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return ", ".join(map(str, numbers[:5])) + more


ArrayLayout: TypeAlias = Literal["NHW", "NHWC", "NCHW"]


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """`Samples` over an array ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, uint8 or floats, perhaps mapped."""

    card: DataCard
    pixels: Array
    layout: ArrayLayout
    targets: Tensor

    @property
    def keys(self) -> Sequence[int]:
        """The row in the array."""
        return range(len(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, C, H, W)`` float32 in [0, 1]."""
        rows = _channels_first(self.pixels[positions.numpy()], self.layout)
        if rows.dtype == np.uint8:
            return torch.from_numpy(np.ascontiguousarray(rows)).float() / 255
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).clamp(
            0, 1
        )  # rounding

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` classes, or ``(B, outputs)`` 0/1; int64."""
        return self.targets[positions]


def load_array_files(
    file: File,
    *,
    keys: Mapping[Part, tuple[str, str]],
    names: str,
    layout: Literal["auto"] | ArrayLayout,
) -> PartedDataset:
    """The arrays of an archive; `keys` gives those of each part, `names` the key of the classes' names.

    Raises:
        BadInput: Arrays are not there, or are not what they should be; all such problems at once.
    """
    archive = NpzArchive(file.path)
    read = _read_parts(archive, keys)
    problems: list[Problem] = []
    for part, (inputs, labels) in read.items():
        problems += [
            *count_problems(keys[part], inputs, labels),
            *label_problems(keys[part][1], labels),
        ]
        problems += pixel_problems(file.path, keys[part][0], inputs)
    if problems:
        raise BadInput(problems)
    layouts = {
        part: _channel_layout(keys[part][0], inputs, layout) for part, (inputs, _) in read.items()
    }
    shapes = {
        keys[part][0]: _image_shape(inputs, layouts[part]) for part, (inputs, _) in read.items()
    }
    shape = _common_shape(shapes)
    labelled = [(keys[part][1], array.astype(np.int64)) for part, (_, array) in read.items()]
    task, outputs = _task_and_outputs(
        labelled, named=archive[names].size if names in archive else 0
    )
    told = _class_names(archive, names, task, outputs)
    _warn_of_labels(labelled, task, outputs)
    content = content_id(
        {"file": file.sha256, "keys": sorted(keys.items()), "layout": sorted(layouts.items())}
    )
    card = DataCard(shape, (0.0, 1.0), task, len(told), told, content)
    parts = {
        part: StoredSamples(card, inputs, layouts[part], torch.from_numpy(targets))
        for (part, (inputs, _)), (_, targets) in zip(read.items(), labelled, strict=True)
    }
    return PartedDataset(card, parts)


def _read_parts(
    archive: NpzArchive, keys: Mapping[Part, tuple[str, str]]
) -> dict[Part, tuple[Array, Array]]:
    """The arrays of each part; every one that cannot be read is told."""
    arrays: dict[str, Array] = {}
    problems: list[Problem] = []
    for key in (key for pair in keys.values() for key in pair):
        try:
            arrays[key] = archive[key]
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(dict.fromkeys(problems))
    return {part: (arrays[inputs], arrays[labels]) for part, (inputs, labels) in keys.items()}


def _channel_layout(key: str, pixels: Array, asked: Literal["auto"] | ArrayLayout) -> ArrayLayout:
    """Where the channels are: as asked, or where there are 1 or 3 of them."""
    shape = pixels.shape
    if len(shape) == 3:
        return "NHW"
    found = f"{key} of shape {shape}"
    if len(shape) != 4:
        expected = "(N, H, W), (N, H, W, C) or (N, C, H, W)"
        raise data_error(found, expected=expected, next_step="reshape the array")
    if asked != "auto":
        return asked
    last, first = shape[3] in (1, 3), shape[1] in (1, 3)
    if last == first:
        expected = "1 or 3 channels either second or last"
        raise data_error(
            found, expected=expected, next_step="write `layout: NHWC` or `layout: NCHW`"
        )
    return "NHWC" if last else "NCHW"


def _channels_first(rows: Array, layout: ArrayLayout) -> Array:
    if layout == "NHWC":
        return rows.transpose(0, 3, 1, 2)
    return rows[:, None] if layout == "NHW" else rows


def _image_shape(pixels: Array, layout: ArrayLayout) -> Shape:
    return tuple(_channels_first(pixels[:0], layout).shape[1:])


def _common_shape(shapes: Mapping[str, Shape]) -> Shape:
    shape, *others = dict.fromkeys(shapes.values())
    if others:
        found = " and ".join(f"{key} with images of shape {one}" for key, one in shapes.items())
        raise data_error(found, expected="one shape", next_step="resize the images of one part")
    return shape


def _task_and_outputs(labels: Sequence[KeyedLabels], *, named: int) -> tuple[Task, int]:
    """The task, and how many classes or attributes the labels show."""
    kinds = {array.shape[1:] for _, array in labels}
    if len(kinds) > 1:
        found = " and ".join(f"{key} of shape {array.shape}" for key, array in labels)
        raise data_error(
            found, expected="labels of one kind", next_step="correct one of the arrays"
        )
    (kind,) = kinds
    if kind:
        return "attributes", kind[0]
    if problems := list(class_problems(labels, named=named)):
        raise BadInput(problems)
    return "classes", 1 + max(int(array.max()) for _, array in labels)


def _warn_of_labels(labels: Sequence[KeyedLabels], task: Task, outputs: int) -> None:
    """Tell of labels that may be meant otherwise: one-hot classes, and class numbers without an image."""
    (train, seen), (test, tested) = labels
    if task == "attributes":
        if outputs == 1 or all((array.sum(1) == 1).all() for _, array in labels):
            as_taken = (
                f"{train} and {test} of shape (N, {outputs}) are taken as {outputs} attributes"
            )
            advice = (
                "labels.ravel()" if outputs == 1 else "labels.argmax(1), since each row has one 1"
            )
            warn_of_data(f"{as_taken}; if they are classes, write class numbers: {advice}")
        return
    shown = np.union1d(seen, tested)
    if empty := np.setdiff1d(np.arange(outputs), shown).tolist():
        warn_of_data(
            f"no image of {len(empty)} of the {outputs} classes in {train} and {test}: {first_numbers(empty)}"
        )
    if untested := np.setdiff1d(seen, tested).tolist():
        warn_of_data(
            f"no image of {len(untested)} of the {outputs} classes in {test}: {first_numbers(untested)}"
        )


def _class_names(archive: NpzArchive, key: str, task: Task, outputs: int) -> tuple[str, ...]:
    """The names in the file, or numbers; there may be more classes than the labels show."""
    if key not in archive:
        return tuple(
            f"attribute {number}" if task == "attributes" else str(number)
            for number in range(outputs)
        )
    stored = archive[key]
    try:
        names = tuple(
            one.decode() if isinstance(one, bytes) else str(one) for one in stored.ravel().tolist()
        )
    except UnicodeDecodeError as error:
        found = f"{key} with the name {error.object!r}"
        raise data_error(
            found, expected="text in UTF-8", next_step="store the names as text, not bytes"
        ) from error
    if unshown := [name for name in names if printable_text(name) != name or not name.strip()]:
        found = f"{key} with the name {unshown[0]!r}"
        raise data_error(
            found, expected="printable names", next_step="correct the array, or leave it out"
        )
    if stored.ndim != 1 or len(names) < outputs or (task == "attributes" and len(names) > outputs):
        found = f"{key} of shape {stored.shape} for labels of {outputs} {task}"
        raise data_error(
            found,
            expected="one name each, in their order",
            next_step="correct the array, or leave it out",
        )
    return names
