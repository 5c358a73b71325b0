"""Arrays in memory as a data set: checked at once, and written as the file of a ``vision/npz``."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.text import error_text, type_text
from advtransfer.types import Json

if TYPE_CHECKING:
    import numpy as np

Array: TypeAlias = (
    "np.ndarray[Any, np.dtype[Any]]"  # Any: arrays of callers have any shape and type
)
ArrayLike: TypeAlias = Any  # Any: a torch tensor, a NumPy array, or what numpy.asarray takes

PARTS = ("train", "test")
MAX_ROUNDING = 1e-5
"""How far a pixel may exceed the bounds, by rounding."""
LARGEST_CLASS = 10**6
"""A model has a logit for each number up to the largest, so that a larger one is a mistake."""


@dataclass(frozen=True)
class DatasetInMemory:
    """Images and labels of two parts, as `dataset` returns them.

    Attributes:
        arrays: ``x_train``, ``y_train``, ``x_test``, ``y_test`` and perhaps ``class_names``: images
            ``(N, C, H, W)`` float32 in [0, 1] or uint8, and classes ``(N,)`` int64.
    """

    arrays: dict[str, Array]

    @property
    def digest(self) -> str:
        """The sha256 of the file of the arrays."""
        return hashlib.sha256(self._content()).hexdigest()

    def _content(self) -> bytes:
        import numpy as np

        buffer = io.BytesIO()
        np.savez(buffer, **cast(Any, self.arrays))  # Any: numpy's stub takes a flag by name
        return buffer.getvalue()

    def write_entry(self, folder: Path) -> dict[str, Json]:
        """Write the arrays into a file named by its content, and return the suite's entry of it."""
        path = folder / f"{self.digest}.npz"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, self._content())
        return {"use": "vision/npz", "file": str(path.absolute()), "layout": "NCHW"}


def dataset(
    *,
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    bounds: tuple[float, float] = (0, 1),
    names: Sequence[str] = (),
) -> DatasetInMemory:
    """Return images and labels in memory as a data set of a suite.

    The id is that of their content, so equal arrays give equal rows on every machine.

    Args:
        train: Images and classes of the train part: tensors or arrays ``(N, C, H, W)`` or ``(N, H,
            W)``, floats within `bounds` or uint8, and ``(N,)`` integers from 0.
        test: The same of the test part.
        bounds: The smallest and the largest value of a float pixel; they become 0 and 1, in which
            eps counts.
        names: Names of the classes, in their order; by default their numbers.

    Raises:
        BadInput: Names everything that is wrong with the arrays.
    """
    import numpy as np

    arrays: dict[str, Array] = {}
    problems = list(bounds_problems(bounds))
    known_bounds = (0, 1) if problems else bounds
    problems += _name_problems(names)
    for part, value in zip(PARTS, (train, test), strict=True):
        if not isinstance(value, tuple | list) or len(value) != 2:
            found = f"{part}={type_text(value)}"
            problems.append(Problem(found, "a pair (images, labels)", "write (x, y)"))
            continue
        images = _as_array(f"{part} images", value[0], problems)
        labels = _as_array(f"{part} labels", value[1], problems)
        if images is None or labels is None:
            continue
        arrays[f"x_{part}"], arrays[f"y_{part}"] = images, labels
        problems += _image_problems(f"{part} images", images, known_bounds)
        problems += _label_problems(f"{part} labels", labels, images)
    problems += _common_problems(arrays, names)
    if problems:
        raise BadInput(problems)
    for part in PARTS:
        arrays[f"x_{part}"] = _unit_images(arrays[f"x_{part}"], bounds)
        arrays[f"y_{part}"] = arrays[f"y_{part}"].astype(np.int64)
    if names:
        arrays["class_names"] = np.array(list(names))
    return DatasetInMemory(arrays)


def bounds_problems(bounds: object) -> Iterator[Problem]:
    """Yield a problem unless `bounds` are the smallest and the largest value of a pixel."""
    sides = bounds if isinstance(bounds, tuple | list) else ()
    numbers = [float(side) for side in sides if isinstance(side, Real)]
    is_pair = len(sides) == len(numbers) == 2
    if not is_pair or not -math.inf < numbers[0] < numbers[1] < math.inf:
        yield Problem(f"bounds={bounds!r}", "two numbers, the smaller first", "correct them")


def _name_problems(names: object) -> Iterator[Problem]:
    listed = names if isinstance(names, Sequence) and not isinstance(names, str) else [None]
    if not all(isinstance(name, str) for name in listed):
        found = f"names={names!r}" if isinstance(names, str) else f"names={type_text(names)}"
        yield Problem(found, "a list with a text for each class", "write names=['cat', 'dog']")


def _as_array(what: str, value: ArrayLike, problems: list[Problem]) -> Array | None:
    """Return a value as an array; None, and a problem is added, where it is none."""
    import numpy as np

    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().to_dense()
            # NumPy has no bfloat16; float32 holds all its values.
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value)
    except Exception as error:  # A caller's object raises anything when it is converted.
        found = f"{what} that are no array ({error_text(error)})"
        problems.append(Problem(found, "a tensor or an array", "convert them"))
        return None


def _image_problems(what: str, images: Array, bounds: tuple[float, float]) -> Iterator[Problem]:
    import numpy as np

    if images.ndim not in (3, 4) or 0 in images.shape:
        expected = "(N, C, H, W) or (N, H, W), at least one image"
        next_step = "reshape them; vectors (N, D) become (N, 1, 1, D)"
        yield Problem(f"{what} of shape {images.shape}", expected, next_step)
        return
    if images.ndim == 4 and images.shape[1] == images.shape[2] > 4 >= images.shape[3] != 2:
        found = f"{what} of shape {images.shape}, which seems to be (N, H, W, C)"
        yield Problem(found, "(N, C, H, W)", "move the channels: numpy.moveaxis(images, -1, 1)")
        return
    if images.dtype == np.uint8:
        if tuple(bounds) != (0, 1):
            expected = "no bounds beside uint8, whose values are from 0 to 255"
            yield Problem(f"{what} of type uint8 and bounds={bounds}", expected, "leave them out")
        return
    if images.dtype.kind != "f":
        expected = "floats within bounds, or uint8"
        yield Problem(f"{what} of type {images.dtype}", expected, "convert them")
        return
    finite = np.isfinite(images)
    if not finite.all():
        image = int((~finite).reshape(len(images), -1).any(1).argmax())
        found = f"{what} with values that are not finite, first in image {image}"
        yield Problem(found, "numbers", "replace them, or remove the image")
        return
    least, largest = float(images.min()), float(images.max())
    tolerance = MAX_ROUNDING * (bounds[1] - bounds[0])
    if least < bounds[0] - tolerance or largest > bounds[1] + tolerance:
        found = f"{what} with values from {least:g} to {largest:g}"
        expected = f"values from {bounds[0]:g} to {bounds[1]:g}"
        yield Problem(found, expected, "rescale them, or write their bounds=(smallest, largest)")


def _label_problems(what: str, labels: Array, images: Array) -> Iterator[Problem]:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        found = f"{what} of shape {labels.shape} and type {labels.dtype}"
        yield Problem(found, "(N,) integers, the classes", "number the classes from 0")
        return
    if images.ndim and len(labels) != len(images):
        found = f"{len(labels)} {what} for {len(images)} images"
        yield Problem(found, "one label an image", "correct the arrays")
    if len(labels) and int(labels.max()) > LARGEST_CLASS:
        found = f"{what} with the class {int(labels.max())}"
        yield Problem(found, f"classes up to {LARGEST_CLASS}", "number the classes from 0")
    if len(labels) and int(labels.min()) < 0:
        found = f"{what} with the class {int(labels.min())}"
        yield Problem(found, "classes 0, 1, ...", "number the classes from 0")


def _common_problems(arrays: dict[str, Array], names: Sequence[str]) -> Iterator[Problem]:
    """Yield what does not fit between the parts."""
    import numpy as np

    if len(arrays) < 4:
        return
    train, test = arrays["x_train"], arrays["x_test"]
    if train.shape[1:] != test.shape[1:]:
        found = f"train images {train.shape[1:]} and test images {test.shape[1:]}"
        yield Problem(found, "one shape", "resize the images of one part")
    labels = [arrays["y_train"], arrays["y_test"]]
    if any(part.ndim != 1 or part.dtype.kind not in "iu" or not part.size for part in labels):
        return
    missing = np.setdiff1d(labels[1], labels[0]).tolist()
    if missing:
        found = f"test labels of the classes {missing[:5]}, which no train label has"
        yield Problem(found, "train images of each class that is tested", "add some")
    largest = max(int(part.max()) for part in labels)
    if names and len(names) <= largest:
        found = f"{len(names)} names and the class {largest}"
        yield Problem(found, "a name for each class from 0 on", "correct names, or the labels")


def _unit_images(images: Array, bounds: tuple[float, float]) -> Array:
    """Return images ``(N, C, H, W)``, floats moved from `bounds` to [0, 1]."""
    import numpy as np

    images = images if images.ndim == 4 else images[:, None]
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    low, high = bounds
    if (low, high) != (0, 1):
        images = (images.astype(np.float64) - low) / (high - low)
    # Copied: what the caller does to the arrays later changes nothing.
    return np.clip(images, 0, 1).astype(np.float32)
