"""A user's own arrays as a data set: checked once, kept as they are stored, given out as images in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from advtransfer.errors import BadInput, Problem
from advtransfer.node import canonical, digest
from advtransfer.printable import printable
from advtransfer.types import DataCard, File, Part, Shape, Task
from advtransfer_vision.archive import Archive, Array
from advtransfer_vision.array_checks import (
    Labelled,
    class_problems,
    count_problems,
    label_problems,
    pixel_problems,
    shortened,
)
from advtransfer_vision.faults import fault
from advtransfer_vision.notes import tell
from advtransfer_vision.parts import PartedDataset

Layout: TypeAlias = Literal["NHW", "NHWC", "NCHW"]


@dataclass(frozen=True, slots=True)
class Stored:
    """`Samples` over an array ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, uint8 or floats, perhaps mapped."""

    card: DataCard
    pixels: Array
    layout: Layout
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
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).clamp(0, 1)  # rounding

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` classes, or ``(B, outputs)`` 0/1; int64."""
        return self.targets[positions]


def load(
    file: File, *, keys: Mapping[Part, tuple[str, str]], names: str, layout: Literal["auto"] | Layout
) -> PartedDataset:
    """The arrays of an archive; `keys` gives those of each part, `names` the key of the classes' names.

    Raises:
        BadInput: Arrays are not there, or are not what they should be; all such problems at once.
    """
    archive = Archive(file.path)
    read = _read(archive, keys)
    problems: list[Problem] = []
    for part, (inputs, labels) in read.items():
        problems += [*count_problems(keys[part], inputs, labels), *label_problems(keys[part][1], labels)]
        problems += pixel_problems(file.path, keys[part][0], inputs)
    if problems:
        raise BadInput(problems)
    layouts = {part: _layout(keys[part][0], inputs, layout) for part, (inputs, _) in read.items()}
    shapes = {keys[part][0]: _shape(inputs, layouts[part]) for part, (inputs, _) in read.items()}
    shape = _same(shapes)
    labelled = [(keys[part][1], array.astype(np.int64)) for part, (_, array) in read.items()]
    task, outputs = _outputs(labelled, named=archive[names].size if names in archive else 0)
    told = _names(archive, names, task, outputs)
    _warn(labelled, task, outputs)
    content = digest(canonical({"file": file.sha256, "keys": sorted(keys.items()), "layout": sorted(layouts.items())}))
    card = DataCard(shape, (0.0, 1.0), task, len(told), told, content)
    parts = {
        part: Stored(card, inputs, layouts[part], torch.from_numpy(targets))
        for (part, (inputs, _)), (_, targets) in zip(read.items(), labelled, strict=True)
    }
    return PartedDataset(card, parts)


def _read(archive: Archive, keys: Mapping[Part, tuple[str, str]]) -> dict[Part, tuple[Array, Array]]:
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


def _layout(key: str, pixels: Array, asked: Literal["auto"] | Layout) -> Layout:
    """Where the channels are: as asked, or where there are 1 or 3 of them."""
    shape = pixels.shape
    if len(shape) == 3:
        return "NHW"
    found = f"{key} of shape {shape}"
    if len(shape) != 4:
        expected = "(N, H, W), (N, H, W, C) or (N, C, H, W)"
        raise fault(found, expected=expected, next_step="reshape the array")
    if asked != "auto":
        return asked
    last, first = shape[3] in (1, 3), shape[1] in (1, 3)
    if last == first:
        expected = "1 or 3 channels either second or last"
        raise fault(found, expected=expected, next_step="write `layout: NHWC` or `layout: NCHW`")
    return "NHWC" if last else "NCHW"


def _channels_first(rows: Array, layout: Layout) -> Array:
    if layout == "NHWC":
        return rows.transpose(0, 3, 1, 2)
    return rows[:, None] if layout == "NHW" else rows


def _shape(pixels: Array, layout: Layout) -> Shape:
    return tuple(_channels_first(pixels[:0], layout).shape[1:])


def _same(shapes: Mapping[str, Shape]) -> Shape:
    shape, *others = dict.fromkeys(shapes.values())
    if others:
        found = " and ".join(f"{key} with images of shape {one}" for key, one in shapes.items())
        raise fault(found, expected="one shape", next_step="resize the images of one part")
    return shape


def _outputs(labels: Sequence[Labelled], *, named: int) -> tuple[Task, int]:
    """The task, and how many classes or attributes the labels show."""
    kinds = {array.shape[1:] for _, array in labels}
    if len(kinds) > 1:
        found = " and ".join(f"{key} of shape {array.shape}" for key, array in labels)
        raise fault(found, expected="labels of one kind", next_step="correct one of the arrays")
    (kind,) = kinds
    if kind:
        return "attributes", kind[0]
    if problems := list(class_problems(labels, named=named)):
        raise BadInput(problems)
    return "classes", 1 + max(int(array.max()) for _, array in labels)


def _warn(labels: Sequence[Labelled], task: Task, outputs: int) -> None:
    """Tell of labels that may be meant otherwise: one-hot classes, and class numbers without an image."""
    (train, seen), (test, tested) = labels
    if task == "attributes":
        if outputs == 1 or all((array.sum(1) == 1).all() for _, array in labels):
            as_taken = f"{train} and {test} of shape (N, {outputs}) are taken as {outputs} attributes"
            advice = "labels.ravel()" if outputs == 1 else "labels.argmax(1), since each row has one 1"
            tell(f"{as_taken}; if they are classes, write class numbers: {advice}")
        return
    shown = np.union1d(seen, tested)
    if empty := np.setdiff1d(np.arange(outputs), shown).tolist():
        tell(f"no image of {len(empty)} of the {outputs} classes in {train} and {test}: {shortened(empty)}")
    if untested := np.setdiff1d(seen, tested).tolist():
        tell(f"no image of {len(untested)} of the {outputs} classes in {test}: {shortened(untested)}")


def _names(archive: Archive, key: str, task: Task, outputs: int) -> tuple[str, ...]:
    """The names in the file, or numbers; there may be more classes than the labels show."""
    if key not in archive:
        return tuple(f"attribute {number}" if task == "attributes" else str(number) for number in range(outputs))
    stored = archive[key]
    try:
        names = tuple(one.decode() if isinstance(one, bytes) else str(one) for one in stored.ravel().tolist())
    except UnicodeDecodeError as error:
        found = f"{key} with the name {error.object!r}"
        raise fault(found, expected="text in UTF-8", next_step="store the names as text, not bytes") from error
    if unshown := [name for name in names if printable(name) != name or not name.strip()]:
        found = f"{key} with the name {unshown[0]!r}"
        raise fault(found, expected="printable names", next_step="correct the array, or leave it out")
    if stored.ndim != 1 or len(names) < outputs or (task == "attributes" and len(names) > outputs):
        found = f"{key} of shape {stored.shape} for labels of {outputs} {task}"
        raise fault(found, expected="one name each, in their order", next_step="correct the array, or leave it out")
    return names
