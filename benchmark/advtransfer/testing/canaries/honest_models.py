"""Honest models like those of the quickstart: small CNNs trained on scikit-learn's digits."""

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
    """A model to be evaluated, in eval mode and frozen.

    Args:
        model: The model.
        test: The samples that it is evaluated on.
        source: The network that transfer attacks start from.
    """

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
    """Return a network trained on the digits 5 to 9, in eval mode and frozen.

    Args:
        seed: The seed of initial weights and batches.
        depth: The number of convolutions, from 1.
        robust: Train against PGD-7 in the l_inf ball of radius 0.1.
        epochs: The number of passes over the training part.
        activation: Makes the layer after each convolution.
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


def honest_subject(seed: int, *, robust: bool, depth: int = 3) -> Subject:
    """Return an honest network on the test digits, with a natural network of another seed as source."""
    return Subject(
        honest_network(seed, robust=robust, depth=depth),
        digits_dataset().part("test"),
        honest_network(seed + 1000, depth=depth),
    )


def fine_tuned_network(model: nn.Module, *, epochs: int = 3) -> nn.Module:
    """Train the network naturally for some more epochs; return it in eval mode and frozen."""
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
    """Return an untrained network of 3 x 3 convolutions, average pooling and a linear head."""
    channels = 1
    blocks: dict[str, nn.Module] = {}
    for number in range(1, depth + 1):
        width = 16 * min(number, 4)
        stride = 2 if number == 2 else 1
        convolution = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1)
        blocks[f"block{number}"] = nn.Sequential(convolution, activation())
        channels = width
    blocks["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return BlockNetwork(blocks, nn.Linear(4 * channels, CLASSES), Normalize([0.5], [0.5]))


def digits_dataset() -> Dataset:
    """Return the digits 5 to 9, renumbered from 0, as ``(1, 8, 8)`` images in [0, 1].

    The last 300 images are the test part.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    is_used = labels >= CLASSES
    images = torch.from_numpy(pixels[is_used]).float().view(-1, 1, 8, 8) / GREY_LEVELS
    classes = torch.from_numpy(labels[is_used]).long() - CLASSES
    return ArrayDataset(
        {"train": (images[:-300], classes[:-300]), "test": (images[-300:], classes[-300:])},
        names=[str(digit) for digit in range(CLASSES, 10)],
    )
