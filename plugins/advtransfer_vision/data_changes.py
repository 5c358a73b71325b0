"""Changes to training data that control a source's quality: replaced labels and fewer images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.subset import draw_test_positions
from advtransfer.types import Samples


class RelabeledSamples:
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


def relabel_samples(samples: Samples, *, share: float, generator: torch.Generator) -> Samples:
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
    labels, chosen = (
        samples.labels(all_positions(samples)).clone(),
        order[: round(share * len(samples))],
    )
    labels[chosen] = (labels[chosen] + shifts[chosen]) % classes
    return RelabeledSamples(samples, labels)


def subsample_images(samples: Samples, *, count: int | None) -> Samples:
    """`count` of the samples, each class at its share, in their order; fixed and nested in the count; None for all.

    Raises:
        ValueError: There are fewer samples than that, or a class is left without any.
    """
    if count is None:
        return samples
    if count > len(samples):
        raise ValueError(
            f"found images {count}; expected at most the {len(samples)} there are; lower images"
        )
    labels = samples.labels(all_positions(samples))
    positions = draw_test_positions(labels, count=count)
    if samples.card.task == "classes":
        missing = sorted(
            set(torch.unique(labels).tolist()) - set(torch.unique(labels[positions]).tolist())
        )
        if missing:
            found = f"images {count}, which leave no image of class {', '.join(map(str, missing))}"
            raise ValueError(f"found {found}; expected at least one of each class; raise images")
    return SampleSubset(samples, positions)
