"""Changes to training data that control a source's quality: replaced labels and fewer images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.subset import draw_test_positions
from advtransfer.types import Samples


class RelabeledSamples:
    """Samples with other labels ``(N,)`` and the same inputs and keys."""

    def __init__(self, samples: Samples, labels: Tensor) -> None:
        self._samples = samples
        self._labels = labels
        self.card = samples.card
        self.keys: Sequence[int] = samples.keys

    def __len__(self) -> int:
        return len(self._samples)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the inputs at `positions`, ``(B, *shape)`` float32."""
        return self._samples.inputs(positions)

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels at `positions`, ``(B,)`` int64."""
        return self._labels[positions]


def relabel_samples(samples: Samples, *, share: float, generator: torch.Generator) -> Samples:
    """Return the samples with ``round(share * N)`` labels replaced by another class, drawn uniformly.

    A larger share replaces the same labels by the same classes, and further ones.

    Args:
        samples: Samples of the task ``classes`` with at least two classes.
        share: Share of the labels to replace, in [0, 1]; 0 returns `samples` and draws nothing.
        generator: Source of the random draws.

    Raises:
        ValueError: The samples do not have at least two classes.
    """
    if not share:
        return samples
    classes = samples.card.outputs
    if samples.card.task != "classes" or classes < 2:
        found = f"label_noise {share:g} for the task {samples.card.task!r} with {classes} outputs"
        raise ValueError(f"found {found}; expected at least two classes; leave label_noise out")
    # Both draws cover all samples, whatever the share: so a larger share extends a smaller one.
    order = torch.randperm(len(samples), generator=generator)
    shifts = 1 + torch.randint(classes - 1, (len(samples),), generator=generator)
    relabeled = order[: round(share * len(samples))]
    labels = samples.labels(all_positions(samples)).clone()
    new_labels = (labels[relabeled] + shifts[relabeled]) % classes
    labels[relabeled] = new_labels
    return RelabeledSamples(samples, labels)


def subsample_images(samples: Samples, *, count: int | None) -> Samples:
    """Return `count` of the samples, in their order and with each class at its share; None returns all.

    The choice is not random, and a smaller subset is contained in a larger one.

    Raises:
        ValueError: There are fewer than `count` samples, or a class is left without any.
    """
    if count is None:
        return samples
    if count > len(samples):
        raise ValueError(
            f"found images {count}; expected at most the {len(samples)} there are; lower images"
        )
    labels = samples.labels(all_positions(samples))
    # No seed goes into this choice, so replicates are trained on the same images.
    positions = draw_test_positions(labels, count=count)
    if samples.card.task == "classes":
        classes = set(labels.tolist())
        missing = sorted(classes - set(labels[positions].tolist()))
        if missing:
            found = f"images {count}, which leave no image of class {', '.join(map(str, missing))}"
            raise ValueError(f"found {found}; expected at least one of each class; raise images")
    return SampleSubset(samples, positions)
