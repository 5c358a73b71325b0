"""Which images a transfer may see, and which part of the test images is measured.

Both draws are nested: what is drawn for a smaller number is contained in what is drawn for a larger one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from advtransfer.toolkit.rng import stream_generator

SubsetRule: TypeAlias = Literal["uniform", "utrera2021"]


@dataclass(frozen=True, slots=True)
class SubsetDraw:
    """The positions drawn, ascending: ``(n - v,)`` to train on and ``(v,)`` to choose options with."""

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
    """`n` of the images, without replacement, with every class at least once in the part that is trained on.

    The images are put in a random order and the first of each class is moved to the front; the subset is the first
    `n` of that order, so it is nested in `n`, and uniform among all subsets wherever chance alone brings every class.
    The last ``round(validation * n)`` of them are the validation part.

    Args:
        labels: ``(N,)`` classes; labels of another shape are not classes, and carry no guarantee.
        n: How many images, validation included; None for all.
        validation: Their share that is kept for choosing options, in [0, 1).
        seed_parts: What the order depends on; ``utrera2021`` uses the last part alone, its integer seed.
        rule: Where the order comes from: ``uniform``, this project's random streams; ``utrera2021``, Python's `random`
            seeded and shuffled as in the paper's released `make_mask`, which draws the same sets as the words above.

    Raises:
        ValueError: There are fewer images than asked for, or too few to train on every class.
    """
    count = len(labels) if n is None else n
    held_out = round(validation * count)
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
    if count - held_out < max(1, len(classes)):
        expected = f"at least one training image for each of {len(classes)} classes"
        raise ValueError(
            f"found {found}, which trains on {count - held_out}; expected {expected}; raise n"
        )
    order = _random_order(len(labels), seed_parts, rule)
    chosen = (_classes_first(order, labels) if len(classes) else order)[:count]
    return SubsetDraw(
        chosen[: count - held_out].sort().values, chosen[count - held_out :].sort().values
    )


def _random_order(count: int, seed_parts: Sequence[str | int], rule: SubsetRule) -> Tensor:
    """All positions in random order."""
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
    """The order with the first image of each class moved to the front."""
    seen: set[int] = set()
    front = torch.zeros(len(order), dtype=torch.bool)
    for place, label in enumerate(labels[order].tolist()):
        front[place] = label not in seen
        seen.add(label)
    return torch.cat([order[front], order[~front]])


def draw_test_positions(labels: Tensor, *, count: int | None) -> Tensor:
    """The positions of `count` test images, ascending: fixed, class shares kept to within one image, nested.

    Args:
        labels: ``(N,)`` classes; labels of another shape are drawn as if of one class.
        count: How many; None for all.

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
    due = torch.empty(len(labels), dtype=torch.float64)
    for group in torch.unique(groups):
        members = order[groups[order] == group]
        # the r-th of m images of a class is due when the share (r + 1/2) / m of all images has been taken
        due[members] = (torch.arange(len(members)) + 0.5).double() / len(members)
    return due.argsort(stable=True)[:count].sort().values
