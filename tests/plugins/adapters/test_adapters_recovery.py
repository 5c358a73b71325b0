"""Recovery of a known affine map in front of a frozen linear source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import DataCard, Samples, Shape, Task, Transfer
from advtransfer_adapters.components import affine
from advtransfer_adapters.options import Form, Full, LowRank, PerChannel, Spatial

CPU = torch.device("cpu")
SHAPE = (3, 2, 2)
MIXING = torch.tensor([[0.2, 1.0, 0.1], [0.9, 0.0, 0.3], [-0.2, 0.4, 0.8]])
SHIFT = torch.tensor([0.5, -0.3, 0.2])


def normal(*shape: int, name: str) -> Tensor:
    return torch.randn(shape, generator=stream_generator("recovery", name))


def linear_source(outputs: int) -> BlockNetwork:
    """Return a linear classifier of pixels whose weights have orthogonal rows or columns."""

    def build() -> BlockNetwork:
        head = nn.Linear(12, outputs)
        nn.init.orthogonal_(head.weight)
        return BlockNetwork({"flatten": nn.Flatten()}, head)

    return build_initialized(build, stream_generator("linear source")).eval()


def samples(images: Tensor, labels: Tensor, *, task: Task, outputs: int) -> Samples:
    card = DataCard(tuple(images.shape[1:]), None, task, outputs, (), "made in this test")
    return ArraySamples(card=card, inputs=images, labels=labels)


def fitted(transfer: Transfer, source: BlockNetwork, train: Samples) -> nn.Module:
    model = transfer.model(source=source, adapter=None, target=train.card)
    transfer.fit(
        model, source=source, adapter=None, train=train, validation=None, context=InMemoryContext()
    )
    return model


def mixed(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Return the images with their channels mixed."""
    return torch.einsum("dc,bchw->bdhw", matrix, images) + shift.view(1, -1, 1, 1)


def maps(shape: Shape) -> dict[str, tuple[Form, Tensor, Tensor]]:
    """Return, for each form, a map that it can represent: A ``(12, 12)`` and b ``(12,)``."""
    size = torch.Size(shape).numel()
    eye, b = torch.eye(size), 0.5 * normal(size, name="b")
    channels = torch.kron(MIXING, torch.eye(4)), SHIFT.repeat_interleave(4)
    scales = torch.kron(torch.diag(MIXING.diag() + 1), torch.eye(4))
    thin = normal(size, 2, name="up") @ normal(2, size, name="down") / 4
    return {
        "full": (Full(), normal(size, size, name="A") / 3, b),
        "low_rank": (LowRank(rank=2), eye + thin, b),
        "per_channel": (PerChannel(), *channels),
        "each channel": (PerChannel(mixing=False), scales, channels[1]),
        "spatial": (Spatial(), torch.diag(normal(size, name="scales")), b),
    }


@pytest.mark.parametrize("name", maps(SHAPE))
def test_every_form_recovers_a_known_affine_map(name: str) -> None:
    form, matrix, offset = maps(SHAPE)[name]
    source, images = linear_source(12), normal(240, *SHAPE, name="images")
    outputs = source((images.flatten(1) @ matrix.T + offset).view(-1, *SHAPE)).detach()
    train = samples(images, outputs, task="values", outputs=12)
    model = fitted(
        affine(form=form, labels="map", epochs=120, optimiser=Adam(lr=0.03)), source, train
    )
    adapter, origin = model.get_submodule("adapter"), torch.zeros(1, *SHAPE)
    learned_matrix = (adapter(torch.eye(12).view(12, *SHAPE)) - adapter(origin)).flatten(1).T

    torch.testing.assert_close(learned_matrix, matrix, atol=5e-3, rtol=0)
    torch.testing.assert_close(adapter(origin).flatten(), offset, atol=5e-3, rtol=0)


@pytest.mark.parametrize("form", [Full(), PerChannel()], ids=str)
def test_affine_map_restores_a_frozen_classifiers_accuracy(form: Form) -> None:
    source, images = linear_source(3), normal(900, *SHAPE, name="images")
    ahead = source(images).topk(2).values.diff().abs().flatten() > 0.3
    images, labels = images[ahead], source(images[ahead]).argmax(1)
    inverse = torch.linalg.inv(MIXING)
    seen = mixed(images, inverse, -inverse @ SHIFT)
    train, test = (
        samples(seen[part], labels[part], task="classes", outputs=3)
        for part in (slice(400), slice(400, None))
    )
    unmoved = affine(form=form, labels="map").model(source=source, adapter=None, target=train.card)
    model = fitted(
        affine(form=form, labels="map", epochs=60, optimiser=Adam(lr=0.03)), source, train
    )

    torch.testing.assert_close(mixed(seen, MIXING, SHIFT), images, atol=1e-4, rtol=1e-4)
    assert measure_accuracy(unmoved, test, device=CPU) < 0.8
    assert measure_accuracy(model, test, device=CPU) == 1.0
