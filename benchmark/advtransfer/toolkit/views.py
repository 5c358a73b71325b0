"""Views of a data set: some of its classes, other channels, another size.

Laid over it, never copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
) -> Dataset:
    """The data set as seen through a view; itself when nothing is asked.

    Args:
        dataset: The data set below.
        classes: The labels to keep; they become 0, 1, ... in the order given here. Samples keep their order.
        channels: 1 (the mean over channels) or 3 (one channel, repeated).
        size: Height and width in pixels: bilinear with antialiasing, kept in the bounds.

    Raises:
        ValueError: The view does not fit the data set.
    """
    if classes is None and channels is None and size is None:
        return dataset
    base = dataset.card()
    _require_view(base, classes=classes, channels=channels, size=size)
    asked: Mapping[str, Json] = {"classes": classes, "channels": channels, "size": size}
    return _ViewedDataset(
        dataset, _view_card(base, asked, classes=classes, channels=channels, size=size), classes
    )


def _require_view(
    base: DataCard, *, classes: Sequence[int] | None, channels: int | None, size: int | None
) -> None:
    if classes is not None:
        if base.task != "classes":
            raise ValueError(
                f"found classes {list(classes)} for the task {base.task!r}; expected none; leave them out"
            )
        wrong = (
            not classes
            or len(set(classes)) < len(classes)
            or not set(classes) <= set(range(base.outputs))
        )
        if wrong:
            expected = f"distinct labels from 0 to {base.outputs - 1}, at least one"
            raise ValueError(
                f"found classes {list(classes)}; expected {expected}; correct the list"
            )
    if (channels is not None or size is not None) and len(base.shape) != 3:
        found = f"a view of channels or size over inputs of shape {base.shape}"
        raise ValueError(
            f"found {found}; expected images (C, H, W); leave `channels` and `size` out"
        )
    if channels is not None and (
        channels not in (1, 3) or (channels == 3 and base.shape[0] not in (1, 3))
    ):
        expected = "1, or 3 over images of 1 or 3"
        raise ValueError(
            f"found channels {channels} over shape {base.shape}; expected {expected}; correct the number"
        )
    if size is not None and size < 1:
        raise ValueError(f"found size {size}; expected at least 1 pixel; correct the number")


def _view_card(
    base: DataCard,
    asked: Mapping[str, Json],
    *,
    classes: Sequence[int] | None,
    channels: int | None,
    size: int | None,
) -> DataCard:
    kept = range(base.outputs) if classes is None else classes
    shape = base.shape
    if len(shape) == 3:
        shape = (channels or shape[0], size or shape[1], size or shape[2])
    return replace(
        base,
        shape=shape,
        outputs=len(kept),
        names=base.names if classes is None else tuple(base.names[label] for label in kept),
        digest=content_id({"base": base.digest, "view": asked}),
    )


@dataclass(frozen=True, slots=True)
class _ViewedDataset:
    """The data set behind `view_dataset`."""

    base: Dataset
    _card: DataCard
    classes: Sequence[int] | None

    def card(self) -> DataCard:
        return self._card

    def part(self, name: Part) -> Samples:
        samples = self.base.part(name)
        if self.classes is None:
            return _ViewedSamples(samples, self._card, None)
        labels = samples.labels(all_positions(samples))
        kept = torch.isin(labels, torch.tensor(self.classes))
        renumbered = torch.full((samples.card.outputs,), -1)
        renumbered[list(self.classes)] = torch.arange(len(self.classes))
        return _ViewedSamples(
            SampleSubset(samples, kept.nonzero().flatten()), self._card, renumbered
        )


@dataclass(frozen=True, slots=True)
class _ViewedSamples:
    """Samples as the card describes them."""

    samples: Samples
    card: DataCard
    renumbered: Tensor | None

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
            images = (
                images.mean(1, keepdim=True)
                if channels == 1
                else images.expand(-1, channels, -1, -1)
            )
        if images.shape[2:] != (height, width):
            images = _resize_images(images.contiguous(), (height, width), self.card.bounds)
        return images.contiguous()

    def labels(self, positions: Tensor) -> Tensor:
        labels = self.samples.labels(positions)
        return labels if self.renumbered is None else self.renumbered[labels]


def _resize_images(
    images: Tensor, size: tuple[int, int], bounds: tuple[float, float] | None
) -> Tensor:
    resized = functional.interpolate(
        images, size, mode="bilinear", antialias=True, align_corners=False
    )
    return (
        resized if bounds is None else resized.clamp(*bounds)
    )  # weights that sum to 1 only up to rounding
