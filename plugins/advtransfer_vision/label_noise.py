"""Label noise: a control of a source's quality, as methods of transfer are compared over worse and worse sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from advtransfer.toolkit.samples import every
from advtransfer.types import Samples


class Relabelled:
    """Samples with other labels ``(N,)``; inputs and keys stay."""

    def __init__(self, samples: Samples, labels: Tensor) -> None:
        self._samples, self._labels = samples, labels
        self.card = samples.card
        self.keys: Sequence[int] = samples.keys

    def __len__(self) -> int:
        return len(self._samples)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, *shape)`` float32."""
        return self._samples.inputs(positions)

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` int64."""
        return self._labels[positions]


def relabelled(samples: Samples, *, share: float, generator: torch.Generator) -> Samples:
    """The samples, ``round(share * N)`` of them under another class, each other class alike; as they are for 0.

    A larger share relabels the same samples to the same classes, and more.

    Args:
        samples: Of the task ``classes``, at least two of them.
        share: Of the samples, in [0, 1].
        generator: What is drawn from.

    Raises:
        ValueError: The samples have no classes to exchange.
    """
    if not share:
        return samples
    classes = samples.card.outputs
    if samples.card.task != "classes" or classes < 2:
        found = f"label_noise {share:g} for the task {samples.card.task!r} with {classes} outputs"
        raise ValueError(f"found {found}; expected at least two classes; leave label_noise out")
    order = torch.randperm(len(samples), generator=generator)
    shifts = 1 + torch.randint(classes - 1, (len(samples),), generator=generator)
    labels, chosen = samples.labels(every(samples)).clone(), order[: round(share * len(samples))]
    labels[chosen] = (labels[chosen] + shifts[chosen]) % classes
    return Relabelled(samples, labels)
