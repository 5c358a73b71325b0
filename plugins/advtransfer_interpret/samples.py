"""Choose the samples to explain and convert their images for display."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.types import DataCard, EvaluationInputs, Samples


def require_model(given: EvaluationInputs) -> nn.Module:
    """The model handed over.

    Raises:
        ValueError: There is none, or it or a module in it is in training mode.
    """
    if given.model is None:
        raise ValueError(
            "found no model; expected the transferred model; declare needs=('model',) on the factory"
        )
    if any(module.training for module in given.model.modules()):
        raise ValueError(
            "found a model in training mode; expected eval mode; call model.eval() before measuring"
        )
    return given.model


def all_labels(samples: Samples) -> Tensor:
    """The labels ``(N,)`` of all samples."""
    return samples.labels(torch.arange(len(samples)))


def round_robin_by_class(labels: Tensor, count: int) -> Tensor:
    """The positions of `count` samples, one of each class by turns: the first of each, then the second, ..."""
    seen = torch.zeros(int(labels.max()) + 1, dtype=torch.int64)
    turns = torch.empty_like(labels)
    for place, label in enumerate(labels.tolist()):
        turns[place] = seen[label]
        seen[label] += 1
    order = sorted(
        range(len(labels)), key=lambda place: (int(turns[place]), int(labels[place]), place)
    )
    return torch.tensor(order[:count], dtype=torch.int64)


def expect_images(card: DataCard) -> None:
    """Refuse what cannot be drawn.

    Raises:
        Inapplicable: The samples are no images.
    """
    if len(card.shape) != 3:
        raise Inapplicable(
            f"the samples have shape {card.shape}; only images (C, H, W) can be drawn"
        )


def to_unit_range(images: Tensor, card: DataCard) -> Tensor:
    """Images in the card's bounds, brought to [0, 1]; without bounds, by their own least and greatest value."""
    low, high = card.bounds or (float(images.min()), float(images.max()))
    return (images - low) / max(high - low, 1e-12)


def clamp_to_bounds(images: Tensor, card: DataCard) -> Tensor:
    """The images within the card's bounds, where it has any."""
    return images if card.bounds is None else images.clamp(*card.bounds)
