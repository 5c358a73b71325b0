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


def built(shape: tuple[int, ...] = (1, 8, 8), channels: tuple[int, ...] = (4, 8)) -> Discriminator:
    return build_initialized(
        lambda: Discriminator(shape, channels), stream_generator("discriminator")
    )


def begun(
    judging: DiscriminatorConfig,
    *,
    optimiser: OptimizerConfig | None = None,
    schedule: Schedule | None = None,
) -> DiscriminatorTraining:
    constant = schedule or Schedule(kind="constant")
    return DiscriminatorTraining.from_config(
        judging,
        (1, 8, 8),
        optimiser=optimiser or Sgd(lr=0.05),
        schedule=constant,
        context=InMemoryContext(),
    )


def drawn(name: str, *shape: int) -> torch.Tensor:
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
def test_it_has_the_papers_features(side: int, channels: tuple[int, ...], features: int) -> None:
    network = built((3, side, side), channels)

    assert features == network.head.in_features
    assert (2, 2) == tuple(network(torch.randn(2, 3, side, side)).shape)


@pytest.mark.parametrize("sides", [(1, 1), (3, 5), (7, 4), (9, 8)])
def test_sides_of_any_length_are_halved_rounding_up(sides: tuple[int, int]) -> None:
    network = built((1, *sides), (4, 8))
    expected = 8 * math.ceil(sides[0] / 4) * math.ceil(sides[1] / 4)

    assert expected == network.head.in_features
    assert (3, 2) == tuple(network(torch.randn(3, 1, *sides)).shape)


def test_a_window_reaches_one_pixel_out_before_and_one_or_two_behind() -> None:
    block = built(channels=(1,)).blocks[0]
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


def test_batches_are_judged_as_one() -> None:
    network, student, teacher = built(), drawn("student", 5, 1, 8, 8), drawn("teacher", 3, 1, 8, 8)

    torch.testing.assert_close(network(torch.cat([student, teacher])), network(student, teacher))


def test_what_it_sees_does_not_depend_on_scale_and_brightness() -> None:
    network, gradients = built(), drawn("gradients", 6, 1, 8, 8)

    torch.testing.assert_close(
        network(gradients), network(1e-3 * gradients + 1.0), atol=1e-3, rtol=1e-3
    )


def test_it_has_no_running_statistics() -> None:
    network, gradients = built(), drawn("gradients", 6, 1, 8, 8)

    assert [] == list(network.buffers())
    assert network.train()(gradients).equal(network.eval()(gradients))


def test_it_costs_log_2_to_have_no_opinion() -> None:
    network = built()
    nn.init.zeros_(network.head.weight)

    loss = network.classification_loss(drawn("student", 5, 1, 8, 8), drawn("teacher", 5, 1, 8, 8))

    assert math.log(2) == pytest.approx(loss.item())


@pytest.mark.parametrize("optimiser", [Sgd(lr=0.05), Adam(lr=0.01)])
def test_it_learns_to_tell_stripes_from_stripes(optimiser: OptimizerConfig) -> None:
    duel = begun(DiscriminatorConfig(channels=(4, 8), optimiser=optimiser))
    stripes = torch.arange(8.0).remainder(2)
    student = stripes.view(1, 1, 8, 1) + 0.3 * drawn("student", 16, 1, 8, 8)
    teacher = stripes.view(1, 1, 1, 8) + 0.3 * drawn("teacher", 16, 1, 8, 8)
    for _ in range(30):
        duel.train_step(student, teacher, done=0.0)

    assert duel.loss_for_student(student, teacher).item() < 0.1


def test_judging_leaves_no_gradient_on_its_weights_but_one_on_what_it_judges() -> None:
    duel, student = begun(DiscriminatorConfig()), drawn("student", 4, 1, 8, 8).requires_grad_()
    duel.loss_for_student(student, drawn("teacher", 4, 1, 8, 8)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert student.grad is not None
    assert all(
        weight.grad is None and weight.requires_grad for weight in duel.discriminator.parameters()
    )


def test_it_follows_the_students_recipe_unless_it_has_its_own() -> None:
    schedule = Schedule(kind="linear")
    follows = begun(DiscriminatorConfig(), optimiser=Sgd(lr=0.2), schedule=schedule)
    own = begun(
        DiscriminatorConfig(optimiser=Adam(lr=0.01), schedule=Schedule(kind="constant")),
        schedule=schedule,
    )
    for duel in (follows, own):
        duel.train_step(drawn("student", 4, 1, 8, 8), drawn("teacher", 4, 1, 8, 8), done=0.5)

    assert [0.1] == [group["lr"] for group in follows.optimizer.param_groups]
    assert [0.01] == [group["lr"] for group in own.optimizer.param_groups]


def test_it_is_taken_up_again_to_the_same_bits() -> None:
    student, teacher = drawn("student", 4, 1, 8, 8), drawn("teacher", 4, 1, 8, 8)
    whole, resumed = begun(DiscriminatorConfig()), begun(DiscriminatorConfig())
    whole.train_step(student, teacher, done=0.0)
    resumed.restore_state({name: tensor.clone() for name, tensor in whole.pack_state().items()})
    for duel in (whole, resumed):
        duel.train_step(student, teacher, done=0.1)

    assert all(
        tensor.equal(resumed.pack_state()[name]) for name, tensor in whole.pack_state().items()
    )
