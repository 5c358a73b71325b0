from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training_config import Adam, OptimizerConfig, Schedule, Sgd
from advtransfer_igam.discriminator import Discriminator, DiscriminatorTraining
from advtransfer_igam.options import NARROW_CHANNELS, WIDE_CHANNELS, DiscriminatorConfig


def build_discriminator(
    shape: tuple[int, ...] = (1, 8, 8), channels: tuple[int, ...] = (4, 8)
) -> Discriminator:
    return build_initialized(
        lambda: Discriminator(shape, channels), stream_generator("discriminator")
    )


def build_training(
    config: DiscriminatorConfig,
    *,
    optimiser: OptimizerConfig | None = None,
    schedule: Schedule | None = None,
) -> DiscriminatorTraining:
    constant = schedule or Schedule(kind="constant")
    return DiscriminatorTraining.from_config(
        config,
        (1, 8, 8),
        optimiser=optimiser or Sgd(lr=0.05),
        schedule=constant,
        context=InMemoryContext(),
    )


def random_gradients(name: str, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=stream_generator(name))


@pytest.mark.parametrize(
    ("side", "channels", "features"),
    [
        (32, WIDE_CHANNELS, 256),
        (32, NARROW_CHANNELS, 256),
        (64, NARROW_CHANNELS, 1024),
        (28, NARROW_CHANNELS, 256),
    ],
)
def test_discriminator_has_the_papers_feature_count(
    side: int, channels: tuple[int, ...], features: int
) -> None:
    network = build_discriminator((3, side, side), channels)

    assert features == network.head.in_features
    assert (2, 2) == tuple(network(torch.randn(2, 3, side, side)).shape)


@pytest.mark.parametrize("sides", [(1, 1), (3, 5), (7, 4), (9, 8)])
def test_sides_of_any_length_are_halved_rounding_up(sides: tuple[int, int]) -> None:
    network = build_discriminator((1, *sides), (4, 8))
    expected = 8 * math.ceil(sides[0] / 4) * math.ceil(sides[1] / 4)

    assert expected == network.head.in_features
    assert (3, 2) == tuple(network(torch.randn(3, 1, *sides)).shape)


def test_kernel_extends_one_pixel_before_and_one_or_two_after_the_image() -> None:
    block = build_discriminator(channels=(1,)).blocks[0]
    convolution = block.get_submodule("convolution")
    assert isinstance(convolution, nn.Conv2d)
    block.register_module("norm", nn.Identity())
    with torch.no_grad():
        kernel = nn.init.ones_(convolution.weight)
        even = nn.functional.conv2d(
            nn.functional.pad(torch.ones(1, 1, 4, 4), (1, 1, 1, 1)), kernel, stride=2
        )
        odd = nn.functional.conv2d(
            nn.functional.pad(torch.ones(1, 1, 3, 3), (1, 2, 1, 2)), kernel, stride=2
        )

        torch.testing.assert_close(block(torch.ones(1, 1, 4, 4)), even)
        torch.testing.assert_close(block(torch.ones(1, 1, 3, 3)), odd)


def test_batches_are_classified_as_one() -> None:
    network, student, teacher = (
        build_discriminator(),
        random_gradients("student", 5, 1, 8, 8),
        random_gradients("teacher", 3, 1, 8, 8),
    )

    torch.testing.assert_close(network(torch.cat([student, teacher])), network(student, teacher))


def test_discriminator_is_invariant_to_scale_and_brightness() -> None:
    network, gradients = build_discriminator(), random_gradients("gradients", 6, 1, 8, 8)

    torch.testing.assert_close(
        network(gradients), network(1e-3 * gradients + 1.0), atol=1e-3, rtol=1e-3
    )


def test_discriminator_has_no_running_statistics() -> None:
    network, gradients = build_discriminator(), random_gradients("gradients", 6, 1, 8, 8)

    assert [] == list(network.buffers())
    assert network.train()(gradients).equal(network.eval()(gradients))


def test_uninformed_discriminator_has_loss_log_2() -> None:
    network = build_discriminator()
    nn.init.zeros_(network.head.weight)

    loss = network.classification_loss(
        random_gradients("student", 5, 1, 8, 8), random_gradients("teacher", 5, 1, 8, 8)
    )

    assert math.log(2) == pytest.approx(loss.item())


@pytest.mark.parametrize("optimiser", [Sgd(lr=0.05), Adam(lr=0.01)])
def test_discriminator_learns_to_distinguish_stripes(optimiser: OptimizerConfig) -> None:
    training = build_training(DiscriminatorConfig(channels=(4, 8), optimiser=optimiser))
    stripes = torch.arange(8.0).remainder(2)
    student = stripes.view(1, 1, 8, 1) + 0.3 * random_gradients("student", 16, 1, 8, 8)
    teacher = stripes.view(1, 1, 1, 8) + 0.3 * random_gradients("teacher", 16, 1, 8, 8)
    for _ in range(30):
        training.train_step(student, teacher, done=0.0)

    assert training.loss_for_student(student, teacher).item() < 0.1


def test_student_loss_has_gradients_of_inputs_but_not_of_weights() -> None:
    training, student = (
        build_training(DiscriminatorConfig()),
        random_gradients("student", 4, 1, 8, 8).requires_grad_(),
    )
    training.loss_for_student(student, random_gradients("teacher", 4, 1, 8, 8)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert student.grad is not None
    assert all(
        weight.grad is None and weight.requires_grad
        for weight in training.discriminator.parameters()
    )


def test_discriminator_uses_the_students_optimiser_unless_it_has_one() -> None:
    schedule = Schedule(kind="linear")
    follows = build_training(DiscriminatorConfig(), optimiser=Sgd(lr=0.2), schedule=schedule)
    own = build_training(
        DiscriminatorConfig(optimiser=Adam(lr=0.01), schedule=Schedule(kind="constant")),
        schedule=schedule,
    )
    for training in (follows, own):
        training.train_step(
            random_gradients("student", 4, 1, 8, 8),
            random_gradients("teacher", 4, 1, 8, 8),
            done=0.5,
        )

    assert [0.1] == [group["lr"] for group in follows.optimizer.param_groups]
    assert [0.01] == [group["lr"] for group in own.optimizer.param_groups]


def test_discriminator_is_restored_to_the_same_bits() -> None:
    student, teacher = (
        random_gradients("student", 4, 1, 8, 8),
        random_gradients("teacher", 4, 1, 8, 8),
    )
    whole, resumed = build_training(DiscriminatorConfig()), build_training(DiscriminatorConfig())
    whole.train_step(student, teacher, done=0.0)
    resumed.restore_state({name: tensor.clone() for name, tensor in whole.pack_state().items()})
    for training in (whole, resumed):
        training.train_step(student, teacher, done=0.1)

    assert all(
        tensor.equal(resumed.pack_state()[name]) for name, tensor in whole.pack_state().items()
    )


def test_kernel_decay_shrinks_the_kernels_alone() -> None:
    # Equal gradients of both models teach a discriminator without a preference nothing.
    gradients = torch.zeros(4, 1, 8, 8)
    sgd = Sgd(lr=0.1, momentum=0.0, weight_decay=0.0)
    training = build_training(DiscriminatorConfig(optimiser=sgd, kernel_decay=0.5))
    plain = build_training(DiscriminatorConfig(optimiser=sgd))
    before = {name: tensor.clone() for name, tensor in plain.discriminator.named_parameters()}
    for each in (training, plain):
        each.train_step(gradients, gradients, done=0.0)
    decayed = dict(training.discriminator.named_parameters())

    for name, undecayed in plain.discriminator.named_parameters():
        kernel = undecayed.ndim > 1
        shrunk = undecayed - 0.1 * 0.5 * before[name] if kernel else undecayed
        torch.testing.assert_close(decayed[name], shrunk)
