"""Choose the samples to explain and convert their images for display."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.types import DataCard, EvaluationInputs, Samples


def require_model(given: EvaluationInputs) -> nn.Module:
    """Return the model to explain.

    Raises:
        ValueError: The inputs contain no model, or a module of it is in training mode.
    """
    if given.model is None:
        raise ValueError(
            "found no model; expected the transferred model; "
            "declare needs=('model',) on the factory"
        )
    if any(module.training for module in given.model.modules()):
        raise ValueError(
            "found a model in training mode; expected eval mode; call model.eval() before measuring"
        )
    return given.model


def all_labels(samples: Samples) -> Tensor:
    """Return the labels ``(N,)`` of all samples."""
    return samples.labels(torch.arange(len(samples)))


def round_robin_by_class(labels: Tensor, count: int) -> Tensor:
    """Return `count` positions: the first sample of each class, then the second of each, ..."""
    class_counts = torch.zeros(int(labels.max()) + 1, dtype=torch.int64)
    rounds = torch.empty_like(labels)
    for position, label in enumerate(labels.tolist()):
        rounds[position] = class_counts[label]
        class_counts[label] += 1

    def sort_key(position: int) -> tuple[int, int, int]:
        return int(rounds[position]), int(labels[position]), position

    order = sorted(range(len(labels)), key=sort_key)
    return torch.tensor(order[:count], dtype=torch.int64)


def class_name(card: DataCard, label: int) -> str:
    """Return the name of a class; its number if the data set has no class names."""
    return card.names[label] if card.names else str(label)


def expect_images(card: DataCard) -> None:
    """Raise an error for samples that cannot be drawn.

    Raises:
        Inapplicable: The samples are not images.
    """
    if len(card.shape) != 3:
        raise Inapplicable(
            f"the samples have shape {card.shape}; only images (C, H, W) can be drawn"
        )


def to_unit_range(images: Tensor, card: DataCard) -> Tensor:
    """Return images scaled from the card's bounds (else from their own extremes) to [0, 1]."""
    low, high = card.bounds or (float(images.min()), float(images.max()))
    return (images - low) / max(high - low, 1e-12)


def clamp_to_bounds(images: Tensor, card: DataCard) -> Tensor:
    """Return the images clamped to the card's bounds, if it has any."""
    return images if card.bounds is None else images.clamp(*card.bounds)
