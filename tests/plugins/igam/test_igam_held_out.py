"""Known answers of what student and teacher have in common on held-out images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArrayDataset, ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import DataCard, Fitted, Source
from advtransfer_igam.components import igam
from advtransfer_igam.discriminator import Discriminator, DiscriminatorTraining
from advtransfer_igam.held_out import held_out_facts, image_gradients
from advtransfer_igam.matching import FULL_WINDOW
from advtransfer_igam.options import DiscriminatorConfig, TeacherConfig
from advtransfer_igam.teacher import Teacher

CARD = DataCard((1, 4, 4), (0.0, 1.0), "classes", 2, ("a", "b"), "")
FACTS = {
    "gradient_cosine",
    "alignment_student",
    "alignment_teacher",
    "alignment_difference",
    "discriminator_accuracy",
}


def images(count: int = 12) -> ArraySamples:
    inputs = torch.rand((count, 1, 4, 4), generator=stream_generator("held out"))
    return ArraySamples(card=CARD, inputs=inputs, labels=torch.arange(count) % 2)


def linear(difference: Tensor) -> BlockNetwork:
    """Two classes whose logits are 0 and ``<difference, x>``."""
    head = nn.Linear(16, 2)
    with torch.no_grad():
        head.weight.copy_(torch.stack([torch.zeros(16), difference.flatten()]))
        head.bias.zero_()
    return BlockNetwork({"flat": nn.Flatten()}, head).eval()


def as_teacher(network: BlockNetwork) -> Teacher:
    teacher = Teacher(
        network, None, CARD, generator=stream_generator("unused"), batch_norm="running"
    )
    teacher.head.load_state_dict(network.head.state_dict())
    return teacher.requires_grad_(False)


def drawn_discriminator() -> Discriminator:
    return build_initialized(
        lambda: Discriminator((1, 4, 4), (4,)), stream_generator("discriminator")
    )


def facts_of(
    student: BlockNetwork, teacher: BlockNetwork, judge: Discriminator
) -> dict[str, float]:
    return held_out_facts(
        student,
        as_teacher(teacher),
        judge,
        images(),
        of="loss",
        window=FULL_WINDOW,
        batch_size=5,
        context=InMemoryContext(),
    )


def halves(*, across: bool) -> Tensor:
    """A pattern of 1 and -1, by rows or by columns."""
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0])
    return signs.expand(4, 4) if across else signs.unsqueeze(1).expand(4, 4)


def test_alignment_of_a_linear_model_is_that_of_equation_18() -> None:
    test = images(3)
    x, labels = test.inputs(torch.arange(3)), test.labels(torch.arange(3))
    weight = torch.arange(16.0).reshape(4, 4) - 5
    model = linear(weight).requires_grad_(False)
    gradients = image_gradients(model, x, labels, of="loss")

    product = (x.double() * weight).sum((1, 2, 3))
    assert torch.allclose(gradients.alignment, product.abs() / weight.double().norm())
    # The cross-entropy of two logits 0 and z has the derivative sigmoid(z) - y.
    slope = torch.sigmoid(product) - labels
    assert torch.allclose(
        gradients.matched.double(), slope[:, None, None, None] * weight, atol=1e-6
    )


def test_a_student_that_is_its_teacher_cannot_be_told_apart() -> None:
    network = linear(halves(across=True))
    facts = facts_of(network, network, drawn_discriminator())

    assert facts["gradient_cosine"] == pytest.approx(1)
    assert facts["alignment_difference"] == 0
    assert facts["alignment_student"] == facts["alignment_teacher"]
    assert facts["discriminator_accuracy"] == 0.5


def test_differences_of_two_linear_models_are_those_of_their_weights() -> None:
    flat, columns = torch.ones(4, 4), halves(across=True)
    facts = facts_of(linear(flat), linear(columns), drawn_discriminator())
    x = images().inputs(torch.arange(12)).double()
    alphas = [(x * weight).sum((1, 2, 3)).abs() / 4 for weight in (flat, columns)]

    # Orthogonal patterns.
    assert facts["gradient_cosine"] == pytest.approx(0, abs=1e-6)
    assert facts["alignment_student"] == pytest.approx(float(alphas[0].mean()))
    assert facts["alignment_difference"] == pytest.approx(
        float((alphas[0] - alphas[1]).abs().mean())
    )


def test_a_trained_discriminator_tells_rows_from_columns() -> None:
    training = DiscriminatorTraining.from_config(
        DiscriminatorConfig(channels=(4,)),
        (1, 4, 4),
        optimiser=Sgd(lr=0.1),
        schedule=Schedule(kind="constant"),
        context=InMemoryContext(),
    )
    rows, columns = halves(across=False), halves(across=True)
    # Gradients have either sign, by the image's class.
    signs = torch.tensor([1.0, -1.0] * 4).reshape(8, 1, 1, 1)
    for _ in range(60):
        training.train_step(signs * rows, signs * columns, done=0)
    judge = training.discriminator

    assert facts_of(linear(rows), linear(columns), judge)["discriminator_accuracy"] == 1
    assert facts_of(linear(columns), linear(rows), judge)["discriminator_accuracy"] == 0


def test_images_without_a_gradient_are_left_out() -> None:
    facts = facts_of(linear(torch.zeros(4, 4)), linear(torch.ones(4, 4)), drawn_discriminator())

    assert set(facts) == {"discriminator_accuracy"}


def fitted_with(
    *, compare: bool, teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> tuple[nn.Module, Fitted]:
    transfer = igam(
        student=student,
        epochs=2,
        discriminator=DiscriminatorConfig(channels=(4, 8), every=2),
        teacher=TeacherConfig(epochs=1),
        compare_gradients=compare,
    )
    model = transfer.model(source=teacher, adapter=None, target=data.card())
    return model, transfer.fit(
        model,
        source=teacher,
        adapter=None,
        train=data.part("train"),
        validation=data.part("test"),
        context=InMemoryContext(),
    )


def test_a_comparison_changes_no_weight_and_no_curve(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    plain, without = fitted_with(compare=False, teacher=teacher, student=student, data=data)
    model, compared = fitted_with(compare=True, teacher=teacher, student=student, data=data)

    assert compared.curves == without.curves
    assert set(compared.facts) - set(without.facts) == FACTS
    assert without.facts.items() <= compared.facts.items()
    for name, weight in plain.state_dict().items():
        assert weight.equal(model.state_dict()[name])
    assert not model.training
    assert all(math.isfinite(value) for value in compared.facts.values())


def test_a_comparison_needs_held_out_images(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    transfer = igam(student=student, compare_gradients=True)
    model = transfer.model(source=teacher, adapter=None, target=data.card())

    with pytest.raises(Inapplicable, match="give the target a `validation` share"):
        transfer.fit(
            model,
            source=teacher,
            adapter=None,
            train=data.part("train"),
            validation=None,
            context=InMemoryContext(),
        )
