"""Views of a data set without copying it.

Some of its classes, one of its attributes, other channels, another size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from advtransfer.node import content_id
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.types import DataCard, Dataset, Json, Part, Samples


def view_dataset(
    dataset: Dataset,
    *,
    classes: Sequence[int] | None = None,
    channels: int | None = None,
    size: int | None = None,
    attribute: str | int | None = None,
) -> Dataset:
    """Return a view of the data set; the data set itself if no change is requested.

    Args:
        dataset: The underlying data set.
        classes: The labels to keep; they become 0, 1, ... in this order. Samples keep their order.
        channels: 1 (the mean over channels) or 3 (one channel, repeated).
        size: Height and width in pixels. Images are resized bilinearly with antialiasing and
            clipped to the card's bounds.
        attribute: Name or number of one attribute; samples without it become class 0, those with it
            class 1.

    Raises:
        ValueError: The view does not fit the data set.
    """
    if classes is None and channels is None and size is None and attribute is None:
        return dataset
    base = dataset.card()
    number = None if attribute is None else _attribute_number(base, attribute)
    _require_view(base, classes=classes, channels=channels, size=size)
    card = _view_card(base, classes=classes, channels=channels, size=size, attribute=number)
    return _ViewedDataset(dataset, card, classes, number)


def _attribute_number(base: DataCard, attribute: str | int) -> int:
    """Return the position of an attribute that is given by its name or its position."""
    if base.task != "attributes":
        found = f"attribute {attribute!r} for the task {base.task!r}"
        raise ValueError(f"found {found}; expected none; leave it out")
    if isinstance(attribute, int) and 0 <= attribute < base.outputs:
        return attribute
    if isinstance(attribute, str) and base.names.count(attribute) == 1:
        return base.names.index(attribute)
    expected = f"one of {', '.join(base.names)}, or a number from 0 to {base.outputs - 1}"
    raise ValueError(f"found attribute {attribute!r}; expected {expected}; correct it")


def _require_view(
    base: DataCard, *, classes: Sequence[int] | None, channels: int | None, size: int | None
) -> None:
    if classes is not None:
        _require_classes(base, classes)
    if (channels is not None or size is not None) and len(base.shape) != 3:
        found = f"a view of channels or size over inputs of shape {base.shape}"
        raise ValueError(
            f"found {found}; expected images (C, H, W); leave `channels` and `size` out"
        )
    if channels is not None:
        _require_channels(base, channels)
    if size is not None and size < 1:
        raise ValueError(f"found size {size}; expected at least 1 pixel; correct the number")


def _require_classes(base: DataCard, classes: Sequence[int]) -> None:
    if base.task != "classes":
        found = f"classes {list(classes)} for the task {base.task!r}"
        raise ValueError(f"found {found}; expected none; leave them out")
    is_distinct = len(set(classes)) == len(classes)
    is_known = set(classes) <= set(range(base.outputs))
    if not (classes and is_distinct and is_known):
        expected = f"distinct labels from 0 to {base.outputs - 1}, at least one"
        raise ValueError(f"found classes {list(classes)}; expected {expected}; correct the list")


def _require_channels(base: DataCard, channels: int) -> None:
    possible = (1, 3) if base.shape[0] in (1, 3) else (1,)
    if channels not in possible:
        found = f"channels {channels} over shape {base.shape}"
        raise ValueError(
            f"found {found}; expected 1, or 3 over images of 1 or 3; correct the number"
        )


def _view_card(
    base: DataCard,
    *,
    classes: Sequence[int] | None,
    channels: int | None,
    size: int | None,
    attribute: int | None,
) -> DataCard:
    shape = base.shape
    if len(shape) == 3:
        shape = (channels or shape[0], size or shape[1], size or shape[2])
    view: dict[str, Json] = {"classes": classes, "channels": channels, "size": size}
    if attribute is not None:
        view["attribute"] = attribute
    digest = content_id({"base": base.digest, "view": view})
    if attribute is not None:
        name = base.names[attribute]
        base = replace(base, task="classes", outputs=2, names=(f"no {name}", name))
    if classes is None:
        return replace(base, shape=shape, digest=digest)
    names = tuple(base.names[label] for label in classes)
    return replace(base, shape=shape, outputs=len(classes), names=names, digest=digest)


@dataclass(frozen=True, slots=True)
class _ViewedDataset:
    """The data set behind `view_dataset`."""

    base: Dataset
    _card: DataCard
    classes: Sequence[int] | None
    attribute: int | None

    def card(self) -> DataCard:
        return self._card

    def part(self, name: Part) -> Samples:
        samples = self.base.part(name)
        if self.classes is None:
            return _ViewedSamples(samples, self._card, None, self.attribute)
        labels = samples.labels(all_positions(samples))
        is_kept = torch.isin(labels, torch.tensor(self.classes))
        new_labels = torch.full((samples.card.outputs,), -1)
        new_labels[list(self.classes)] = torch.arange(len(self.classes))
        subset = SampleSubset(samples, is_kept.nonzero().flatten())
        return _ViewedSamples(subset, self._card, new_labels)


@dataclass(frozen=True, slots=True)
class _ViewedSamples:
    """The samples behind a view, changed to match its card.

    Args:
        samples: The samples of the underlying data set that the view keeps.
        card: The card of the view.
        new_labels: For each label of the underlying data set the label in the view; None if labels
            stay as they are.
        attribute: Position of the attribute that is the class; None for the labels themselves.
    """

    samples: Samples
    card: DataCard
    new_labels: Tensor | None
    attribute: int | None = None

    @property
    def keys(self) -> Sequence[int]:
        return self.samples.keys

    def __len__(self) -> int:
        return len(self.samples)

    def inputs(self, positions: Tensor) -> Tensor:
        images = self.samples.inputs(positions)
        if len(self.card.shape) != 3:
            return images
        channels, height, width = self.card.shape
        if images.shape[1] != channels:
            images = change_channels(images, channels)
        if images.shape[2:] != (height, width):
            images = resize_images(images.contiguous(), (height, width), self.card.bounds)
        return images.contiguous()

    def labels(self, positions: Tensor) -> Tensor:
        labels = self.samples.labels(positions)
        if self.attribute is not None:
            return (labels[:, self.attribute] > 0).to(torch.int64)
        return labels if self.new_labels is None else self.new_labels[labels]


def change_channels(images: Tensor, channels: int) -> Tensor:
    """Return images ``(B, C, H, W)`` of 1 channel, the mean over theirs, or of 3, one repeated."""
    if channels == 1:
        return images.mean(1, keepdim=True)
    return images.expand(-1, channels, -1, -1)


def resize_images(
    images: Tensor, size: tuple[int, int], bounds: tuple[float, float] | None
) -> Tensor:
    """Return images ``(B, C, H, W)`` of another size, bilinear with antialiasing, clipped to bounds.

    Args:
        images: The images.
        size: Height and width in pixels.
        bounds: The smallest and the largest value; None for no such box.
    """
    resized = functional.interpolate(
        images, size, mode="bilinear", antialias=True, align_corners=False
    )
    # The weights of the interpolation sum to 1 only up to rounding.
    return resized if bounds is None else resized.clamp(*bounds)
