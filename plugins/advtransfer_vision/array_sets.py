"""A user's own arrays as a data set: checked once, kept as they are stored, given out as images in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from advtransfer.digests import remembered
from advtransfer.node import canonical, digest
from advtransfer.types import DataCard, File, Part, Shape, Task
from advtransfer_vision.archive import Archive, Array
from advtransfer_vision.faults import fault
from advtransfer_vision.parts import PartedDataset

Layout: TypeAlias = Literal["NHW", "NHWC", "NCHW"]
CHECKED_ROWS = 1024


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
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` classes, or ``(B, outputs)`` 0/1; int64."""
        return self.targets[positions]


def load(
    file: File, *, keys: Mapping[Part, tuple[str, str]], names: str, layout: Literal["auto"] | Layout
) -> PartedDataset:
    """The arrays of an archive; `keys` gives those of each part, `names` the key of the classes' names.

    Raises:
        BadInput: An array is not there, or is not what it should be.
    """
    archive = Archive(file.path)
    read = {part: (archive[inputs], archive[labels]) for part, (inputs, labels) in keys.items()}
    layouts = {part: _layout(keys[part][0], inputs, layout) for part, (inputs, _) in read.items()}
    for part, (inputs, labels) in read.items():
        _check_pixels(file.path, keys[part][0], inputs)
        _check_count(keys[part], inputs, labels)
    shapes = {keys[part][0]: _shape(inputs, layouts[part]) for part, (inputs, _) in read.items()}
    targets = {part: _targets(keys[part][1], labels) for part, (_, labels) in read.items()}
    task, outputs = _outputs({keys[part][1]: labels for part, labels in targets.items()})
    told = _names(archive, names, task, outputs)
    content = digest(canonical({"file": file.sha256, "keys": sorted(keys.items()), "layout": sorted(layouts.items())}))
    card = DataCard(_same(shapes), (0.0, 1.0), task, len(told), told, content)
    parts = {part: Stored(card, inputs, layouts[part], targets[part]) for part, (inputs, _) in read.items()}
    return PartedDataset(card, parts)


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


def _check_pixels(path: Path, key: str, pixels: Array) -> None:
    """Refuse what is neither uint8 nor floats in [0, 1]; a file that was found in order is not read again."""
    if pixels.dtype == np.uint8:
        return
    if pixels.dtype.kind != "f":
        expected = "uint8 from 0 to 255, or floats in [0, 1]"
        raise fault(f"{key} of type {pixels.dtype}", expected=expected, next_step="convert the array")

    def read() -> str:
        for start in range(0, len(pixels), CHECKED_ROWS):
            rows = pixels[start : start + CHECKED_ROWS]
            if not (np.isfinite(rows).all() and rows.min() >= 0 and rows.max() <= 1):
                found = f"{key} with values from {rows.min():g} to {rows.max():g}"
                next_step = "divide by 255, undo the normalisation, or store uint8"
                raise fault(found, expected="floats in [0, 1]", next_step=next_step)
        return "in [0, 1]"

    remembered(f"range of {key} in {path}", [path], read)


def _check_count(keys: tuple[str, str], inputs: Array, labels: Array) -> None:
    if not len(inputs) or labels.ndim == 0 or len(inputs) != len(labels):
        found = f"{keys[0]} of shape {inputs.shape} and {keys[1]} of shape {labels.shape}"
        raise fault(found, expected="at least one image, and one label an image", next_step="correct the arrays")


def _targets(key: str, labels: Array) -> Tensor:
    """``(N,)`` class numbers or ``(N, K)`` 0/1 attributes, int64."""
    found = f"{key} of shape {labels.shape} and type {labels.dtype}"
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        if labels.min() < 0:
            raise fault(f"{key} with the label {labels.min()}", expected="classes 0, 1, ...", next_step="renumber them")
        return torch.from_numpy(labels.astype(np.int64))
    if labels.ndim == 2 and labels.dtype.kind in "iufb" and np.isin(labels, (0, 1)).all():
        return torch.from_numpy(labels.astype(np.int64))
    expected = "(N,) integers, the classes, or (N, K) zeros and ones, the attributes"
    raise fault(found, expected=expected, next_step="convert the array; (N, 1) class numbers need squeezing")


def _outputs(targets: Mapping[str, Tensor]) -> tuple[Task, int]:
    """The task, and how many classes or attributes the labels show."""
    kinds = {labels.shape[1:] for labels in targets.values()}
    if len(kinds) > 1:
        found = " and ".join(f"{key} of shape {tuple(labels.shape)}" for key, labels in targets.items())
        raise fault(found, expected="labels of one kind", next_step="correct one of the arrays")
    (kind,) = kinds
    if kind:
        return "attributes", kind[0]
    return "classes", 1 + max(int(labels.max()) for labels in targets.values())


def _names(archive: Archive, key: str, task: Task, outputs: int) -> tuple[str, ...]:
    """The names in the file, or numbers; there may be more classes than the labels show."""
    if key not in archive:
        return tuple(f"attribute {number}" if task == "attributes" else str(number) for number in range(outputs))
    stored = archive[key]
    names = tuple(one.decode() if isinstance(one, bytes) else str(one) for one in stored.ravel().tolist())
    if stored.ndim != 1 or len(names) < outputs or (task == "attributes" and len(names) > outputs):
        found = f"{key} of shape {stored.shape} for labels of {outputs} {task}"
        raise fault(found, expected="one name each, in their order", next_step="correct the array, or leave it out")
    return names
