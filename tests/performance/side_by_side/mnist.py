"""Networks trained on MNIST for scripts that attack them, and the images that are attacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import Samples
from advtransfer_vision.components.datasets import torchvision
from advtransfer_vision.components.training import trained

EPS = 0.1
"""Radius of the l_inf ball that the robust network was trained against."""


def trained_network(*, robust: bool, seed: int = 0) -> nn.Module:
    """Return `vision/trained` on 4,000 images, naturally or against PGD-5, in evaluation mode."""
    adversary = Adversary(norm="linf", eps=EPS, steps=5) if robust else None
    source = trained(
        data=torchvision(name="MNIST"),
        adversary=adversary,
        epochs=6,
        images=4000,
        optimiser=Adam(lr=0.003),
    )
    network = source.network()
    assert isinstance(network, nn.Module)
    network.load_state_dict(dict(source.weights(InMemoryContext(seed)).tensors))
    return network.eval()


def first_test_images(count: int) -> Samples:
    """Return the first images of the test part."""
    return SampleSubset(torchvision(name="MNIST").part("test"), torch.arange(count))


def tensors_of(samples: Samples) -> tuple[Tensor, Tensor]:
    """Return all images ``(N, 1, 28, 28)`` in [0, 1] and their classes ``(N,)``."""
    positions = torch.arange(len(samples))
    return samples.inputs(positions), samples.labels(positions)
