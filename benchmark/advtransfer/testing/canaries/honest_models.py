"""Honest models of the quickstart's kind.

Small convolutional networks trained on scikit-learn's digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import Dataset, Samples

CLASSES = 5
GREY_LEVELS = 16
TRAINING_ADVERSARY = Adversary(norm="linf", eps=0.1, steps=7)

Activation = Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to be evaluated: in eval mode, frozen, with its test part and the network its source would be."""

    model: nn.Module
    test: Samples
    source: nn.Module


def honest_network(
    seed: int,
    *,
    depth: int = 3,
    robust: bool = False,
    epochs: int = 12,
    activation: Activation = nn.ReLU,
) -> BlockNetwork:
    """A network trained on the digits 5 to 9 (renumbered from 0), in eval mode and frozen.

    Args:
        seed: Draws the initial weights and the batches.
        depth: Convolutions, from 1.
        robust: Train against PGD-7 in the l_inf ball of 0.1.
        epochs: Passes over the training part.
        activation: What follows each convolution.
    """
    model = build_initialized(
        lambda: untrained_network(depth=depth, activation=activation),
        stream_generator("canaries", "weights", seed),
    )
    train(
        model,
        digits_dataset().part("train"),
        epochs=epochs,
        batch_size=64,
        optimiser=Adam(lr=3e-3),
        schedule=Schedule(),
        context=InMemoryContext(seed),
        perturb=pgd_perturb(TRAINING_ADVERSARY) if robust else None,
    )
    freeze_weights(model.eval())
    return model


def fine_tuned_network(model: nn.Module, *, epochs: int = 3) -> nn.Module:
    """The network, trained naturally for some more epochs, in eval mode and frozen."""
    model.requires_grad_(True)
    train(
        model,
        digits_dataset().part("train"),
        epochs=epochs,
        batch_size=64,
        optimiser=Adam(lr=1e-3),
        schedule=Schedule(),
        context=InMemoryContext(0),
    )
    freeze_weights(model.eval())
    return model


def untrained_network(*, depth: int, activation: Activation) -> BlockNetwork:
    """Convolutions of 3 x 3, the second of stride 2, then average pooling and a linear head; untrained."""
    widths = [1, *[16 * min(k + 1, 4) for k in range(depth)]]
    blocks: dict[str, nn.Module] = {
        f"block{k + 1}": nn.Sequential(
            nn.Conv2d(
                widths[k], widths[k + 1], kernel_size=3, stride=2 if k == 1 else 1, padding=1
            ),
            activation(),
        )
        for k in range(depth)
    }
    blocks["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return BlockNetwork(blocks, nn.Linear(4 * widths[-1], CLASSES), Normalize([0.5], [0.5]))


def digits_dataset() -> Dataset:
    """The digits 5 to 9 as ``(1, 8, 8)`` images in [0, 1]; the last 300 are the test part."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    wanted = labels >= CLASSES
    images = torch.from_numpy(pixels[wanted]).float().view(-1, 1, 8, 8) / GREY_LEVELS
    classes = torch.from_numpy(labels[wanted]).long() - CLASSES
    return ArrayDataset(
        {"train": (images[:-300], classes[:-300]), "test": (images[-300:], classes[-300:])},
        names=[str(digit) for digit in range(CLASSES, 10)],
    )
