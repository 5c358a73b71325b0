"""Draw the target images that a transfer may use and the test images that are measured.

Both draws are nested: a smaller draw is contained in every larger one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.rng import stream_generator

SubsetRule: TypeAlias = Literal["uniform", "utrera2021"]


@dataclass(frozen=True, slots=True)
class SubsetDraw:
    """The positions of a subset, ascending.

    Args:
        train: ``(n - v,)``, to train on.
        validation: ``(v,)``, to choose options with.
    """

    train: Tensor
    validation: Tensor


def draw_subset(
    labels: Tensor,
    *,
    n: int | None,
    validation: float,
    seed_parts: Sequence[str | int],
    rule: SubsetRule = "uniform",
) -> SubsetDraw:
    """Draw `n` images without replacement, with at least one of each class in the training part.

    The images are put in a random order, and the first image of each class is moved to the front.
    The subset is the first `n` images of that order. It is therefore nested in `n`, and uniform
    among all subsets wherever chance alone brings every class. The last ``round(validation * n)``
    images are the validation part.

    Args:
        labels: ``(N,)`` classes. Labels of another shape are not classes and have no guarantee.
        n: The number of images, validation included; None for all.
        validation: The share of them kept for choosing options, in [0, 1).
        seed_parts: The order depends on these; ``utrera2021`` uses only the last one, its integer
            seed.
        rule: The source of the order. ``uniform``: this project's random streams. ``utrera2021``:
            Python's `random`, seeded and shuffled as in the paper's released `make_mask`, which
            draws the same sets as the rule above.

    Raises:
        ValueError: There are fewer than `n` images, or too few to train on every class.
    """
    count = len(labels) if n is None else n
    train_count = count - round(validation * count)
    classes = torch.unique(labels) if labels.ndim == 1 else labels[:0]
    found = f"n {count} with validation {validation:g}"
    if not 0 <= validation < 1:
        raise ValueError(
            f"found {found}; expected a validation share from 0 to below 1; correct it"
        )
    if count > len(labels):
        raise ValueError(
            f"found {found}; expected at most the {len(labels)} images there are; lower n"
        )
    if train_count < max(1, len(classes)):
        expected = f"at least one training image for each of {len(classes)} classes"
        raise ValueError(
            f"found {found}, which trains on {train_count}; expected {expected}; raise n"
        )
    order = _random_order(len(labels), seed_parts, rule)
    if len(classes):
        order = _classes_first(order, labels)
    # The training part comes first, since the first image of each class does.
    train = order[:train_count].sort().values
    validation_positions = order[train_count:count].sort().values
    return SubsetDraw(train, validation_positions)


def _random_order(count: int, seed_parts: Sequence[str | int], rule: SubsetRule) -> Tensor:
    """Return all positions ``(count,)`` in random order."""
    match rule:
        case "uniform":
            return torch.randperm(count, generator=stream_generator("subset", *seed_parts))
        case "utrera2021":
            indices = list(range(count))
            random.Random(seed_parts[-1]).shuffle(indices)
            return torch.tensor(indices)
    raise ValueError(
        f"found rule {rule!r}; expected one of {get_args(SubsetRule)}; name one of these"
    )


def _classes_first(order: Tensor, labels: Tensor) -> Tensor:
    """Return the order with the first image of each class moved to the front."""
    seen: set[int] = set()
    is_first = torch.zeros(len(order), dtype=torch.bool)
    for index, label in enumerate(labels[order].tolist()):
        is_first[index] = label not in seen
        seen.add(label)
    return torch.cat([order[is_first], order[~is_first]])


@dataclass(frozen=True, slots=True)
class FoldSplit:
    """The positions of the rows to fit ``(n - h,)`` and of the rows held out ``(h,)``, ascending."""

    fitted: Tensor
    held_out: Tensor


def stratified_folds(labels: Tensor, count: int, *, generator: torch.Generator) -> list[FoldSplit]:
    """Return splits that hold out each row once, with equal shares of every class up to one row.

    Args:
        labels: ``(N,)`` classes; labels of another shape are split as if of one class.
        count: The number of folds, at least 2.
        generator: The random order of the rows of a class.

    Raises:
        Inapplicable: There are more folds than rows, or the rest without a fold has one class only.
    """
    if count > len(labels):
        raise Inapplicable(
            f"cross-validation over {count} folds needs as many images; there are {len(labels)}"
        )
    groups = labels if labels.ndim == 1 else torch.zeros(len(labels))
    order = torch.randperm(len(labels), generator=generator)
    # A stable sort keeps the random order within each class, and neighbours get different folds.
    order = order[torch.argsort(groups[order], stable=True)]
    fold = torch.empty(len(labels), dtype=torch.long)
    fold[order] = torch.arange(len(labels)) % count
    splits = [
        FoldSplit(torch.nonzero(fold != number)[:, 0], torch.nonzero(fold == number)[:, 0])
        for number in range(count)
    ]
    if labels.ndim == 1 and any(len(torch.unique(labels[split.fitted])) < 2 for split in splits):
        raise Inapplicable(
            f"without one of its {count} folds, the training part has one class only; "
            "take fewer folds"
        )
    return splits


def draw_test_positions(labels: Tensor, *, count: int | None) -> Tensor:
    """Return the positions of `count` test images, ascending ``(count,)``.

    The draw is the same in every run and nested in `count`; each class keeps its share to within
    one image.

    Args:
        labels: ``(N,)`` classes; labels of another shape are drawn as if of one class.
        count: The number of images; None for all.

    Raises:
        ValueError: `count` is below 1 or above the number of images.
    """
    if count is None:
        return torch.arange(len(labels))
    if not 1 <= count <= len(labels):
        raise ValueError(
            f"found test count {count}; expected 1 to {len(labels)}; correct it or write all"
        )
    groups = labels if labels.ndim == 1 else torch.zeros(len(labels))
    order = torch.randperm(len(labels), generator=stream_generator("test"))
    due_share = torch.empty(len(labels), dtype=torch.float64)
    for group in torch.unique(groups):
        members = order[groups[order] == group]
        # Image r of the m images of a class is due once the share (r + 1/2) / m of all images is
        # drawn.
        due_share[members] = (torch.arange(len(members)) + 0.5).double() / len(members)
    return due_share.argsort(stable=True)[:count].sort().values
