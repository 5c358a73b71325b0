from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer_adapters.components import centre_crop, chain, channel_mean, resize
from advtransfer_igam.discriminator import DiscriminatorTraining, half_squared_norm
from advtransfer_igam.matching import (
    FULL_WINDOW,
    GradientMatching,
    Window,
    adapter_window,
)
from advtransfer_igam.options import DiscriminatorConfig, LossTerms, MatchTarget
from advtransfer_igam.teacher import Teacher

OFF = LossTerms(
    lambda_adv=0.0,
    lambda_diff=0.0,
    gradient_of="loss",
    reduction="sample_mean",
    warm_up=0.0,
    kernel_decay=0.0,
    input_noise=0.0,
)
Fresh: TypeAlias = Callable[[], BlockNetwork]

EPOCHS, BATCH = 4, 20
STEPS = EPOCHS * 3


class NoisyAdapter(nn.Module):
    """Adapter that is random in training mode."""

    def forward(self, images: Tensor) -> Tensor:
        return images + 0.1 * torch.rand_like(images) if self.training else images


def build_teacher(
    teacher: BlockNetwork, data: ArrayDataset, *, adapter: nn.Module | None = None
) -> Teacher:
    teaching_teacher = Teacher(
        teacher, adapter, data.card(), generator=stream_generator("logits"), batch_norm="running"
    )
    teaching_teacher.requires_grad_(False).enter_teaching_mode()
    return teaching_teacher


def build_objective(
    terms: LossTerms,
    teacher: Teacher | None,
    *,
    every: int = 2,
    window: Window = FULL_WINDOW,
    match: MatchTarget = "teacher",
) -> GradientMatching:
    config, context = DiscriminatorConfig(channels=(4, 8), every=every), InMemoryContext()
    shape = tuple(torch.empty(1, 8, 8)[..., window[0], window[1]].shape)
    training = DiscriminatorTraining.from_config(
        config, shape, optimiser=Sgd(lr=0.05), schedule=Schedule(), context=context
    )
    fixed_batch_size = (
        BATCH if teacher is not None and teacher.is_deterministic((1, 8, 8)) else None
    )
    return GradientMatching(
        terms, training, teacher, (1, 8, 8), fixed_batch_size, window, STEPS, (0.0, 1.0), match
    )


def train_student(
    fresh: Fresh,
    data: ArrayDataset,
    objective: GradientMatching | None = None,
    *,
    optimiser: Sgd | None = None,
) -> tuple[BlockNetwork, list[dict[str, float]]]:
    model = fresh()
    curves = train(
        model,
        data.part("train"),
        epochs=EPOCHS,
        batch_size=BATCH,
        optimiser=optimiser or Sgd(lr=0.05),
        schedule=Schedule(),
        context=InMemoryContext(),
        objective=objective,
        watch=objective.end_epoch if objective else None,
    )
    return model, curves


def has_same_weights(first: nn.Module, second: nn.Module) -> bool:
    return all(
        tensor.equal(second.state_dict()[name]) for name, tensor in first.state_dict().items()
    )


def test_zero_weights_give_the_training_without_terms_to_the_bit(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    plain, expected = train_student(fresh, data)
    objective = build_objective(OFF, build_teacher(teacher, data, adapter=NoisyAdapter()))
    model, curves = train_student(fresh, data, objective)

    assert has_same_weights(plain, model)
    assert expected == curves
    assert [row["train_loss"] for row in curves] == [
        row["student_loss"] for row in objective.epoch_means.rows_by_epoch()
    ]
    assert all(row["gradient_distance"] > 0 for row in objective.epoch_means.rows_by_epoch())


def test_the_control_of_images_matches_gradients_with_centred_images_of_length_1(
    fresh: Fresh, data: ArrayDataset
) -> None:
    part, model = data.part("train"), fresh().eval()
    images, labels = part.inputs(torch.arange(9)), part.labels(torch.arange(9))
    objective = build_objective(replace(OFF, lambda_diff=0.7), None, match="image")
    ((loss, _),) = objective(model, images, labels, torch.Generator())
    inputs = images.clone().requires_grad_()
    cross_entropy = nn.functional.cross_entropy(model(inputs), labels, reduction="sum")
    (gradients,) = torch.autograd.grad(cross_entropy, inputs)
    centred = images.flatten(1) - images.flatten(1).mean(1, keepdim=True)
    distances = (gradients.flatten(1) - centred / centred.norm(dim=1, keepdim=True)).norm(dim=1)

    expected = cross_entropy / 9 + 0.7 * distances.square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("weights", [{"lambda_diff": 1.0}, {"lambda_adv": 0.1}])
def test_each_weight_changes_the_student(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset, weights: dict[str, float]
) -> None:
    plain, _ = train_student(fresh, data)
    terms = replace(OFF, **weights)  # type: ignore[arg-type]  # all values are floats
    model, _ = train_student(fresh, data, build_objective(terms, build_teacher(teacher, data)))

    assert not has_same_weights(plain, model)


def test_the_distance_term_brings_the_gradients_together(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    distances = {}
    for weight in (0.0, 1.0):
        objective = build_objective(replace(OFF, lambda_diff=weight), build_teacher(teacher, data))
        train_student(fresh, data, objective, optimiser=Sgd(lr=0.003))
        distances[weight] = objective.epoch_means.rows_by_epoch()[-1]["gradient_distance"]

    assert distances[1.0] < 0.7 * distances[0.0]


def test_distance_without_a_teacher_is_the_squared_gradient_norm(
    fresh: Fresh, data: ArrayDataset
) -> None:
    objective = build_objective(replace(OFF, lambda_diff=2.0), None)
    model = fresh().eval()
    inputs, labels = (
        data.part("train").inputs(torch.arange(6)),
        data.part("train").labels(torch.arange(6)),
    )
    ((loss, _),) = objective(model, inputs, labels, stream_generator("noise"))
    (gradients,) = torch.autograd.grad(
        nn.functional.cross_entropy(model(inputs.requires_grad_()), labels, reduction="sum"), inputs
    )
    entropy = nn.functional.cross_entropy(model(inputs), labels)

    torch.testing.assert_close(loss, entropy + 2 * gradients.square().flatten(1).sum(1).mean())
    objective.end_epoch(model)
    assert {"student_loss", "gradient_distance", "discriminator_loss"} == set(
        objective.epoch_means.rows_by_epoch()[0]
    )


def test_student_maximises_the_discriminators_loss(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    model = fresh().eval()
    inputs, labels = (
        data.part("train").inputs(torch.arange(6)),
        data.part("train").labels(torch.arange(6)),
    )
    objective = build_objective(replace(OFF, lambda_adv=0.5), build_teacher(teacher, data))
    ((loss, logits),) = objective(model, inputs, labels, stream_generator("noise"))
    objective.end_epoch(model)
    row = objective.epoch_means.rows_by_epoch()[0]

    assert row["student_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert row["student_loss"] - 0.5 * row["discriminator_loss"] == pytest.approx(loss.item())


def test_warm_up_leaves_out_both_terms(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    terms = replace(OFF, lambda_diff=3.0, lambda_adv=0.1, warm_up=0.5)
    objective, plain = (
        build_objective(terms, build_teacher(teacher, data)),
        train_student(fresh, data)[1],
    )
    _, curves = train_student(fresh, data, objective)
    rows = objective.epoch_means.rows_by_epoch()

    assert plain[:2] == curves[:2]
    assert plain[2:] != curves[2:]
    assert [{"student_loss"}] * 2 == [set(row) for row in rows[:2]]
    assert all(
        {"teacher_loss", "gradient_distance", "discriminator_loss"} < set(row) for row in rows[2:]
    )


@pytest.mark.parametrize(
    ("every", "warm_up", "expected"), [(1, 0.0, 12), (5, 0.0, 3), (5, 0.5, 1), (2, 0.25, 4)]
)
def test_the_discriminator_steps_once_in_so_many_steps_after_the_warm_up(
    fresh: Fresh,
    teacher: BlockNetwork,
    data: ArrayDataset,
    every: int,
    warm_up: float,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = build_objective(
        replace(OFF, warm_up=warm_up), build_teacher(teacher, data), every=every
    )
    steps: list[object] = []
    monkeypatch.setattr(
        objective.discriminator_training.optimizer, "step", lambda: steps.append(None)
    )
    train_student(fresh, data, objective)

    assert expected == len(steps)


def test_no_graph_outlives_its_step(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    objective = build_objective(
        replace(OFF, lambda_diff=1.0, lambda_adv=1.0), build_teacher(teacher, data), every=1
    )
    model = fresh().train()
    inputs, labels = (
        data.part("train").inputs(torch.arange(6)),
        data.part("train").labels(torch.arange(6)),
    )
    gc.collect()
    gc.disable()
    try:
        alive = []
        for loss, logits in objective(model, inputs, labels, stream_generator("noise")):
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
            alive += [weakref.ref(loss), weakref.ref(logits)]
        del loss, logits

        assert [None, None] == [reference() for reference in alive]
    finally:
        gc.enable()
    assert all(
        weight.grad is not None and weight.grad.grad_fn is None for weight in model.parameters()
    )
    assert all(tensor.grad_fn is None for tensor in objective.state.values())


def test_the_teacher_stays_as_it_is(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    teaching_teacher = build_teacher(teacher, data)
    before = {name: tensor.clone() for name, tensor in teaching_teacher.state_dict().items()}
    train_student(
        fresh,
        data,
        build_objective(replace(OFF, lambda_diff=1.0, lambda_adv=1.0), teaching_teacher),
    )

    assert all(tensor.equal(before[name]) for name, tensor in teaching_teacher.state_dict().items())
    assert all(weight.grad is None for weight in teaching_teacher.parameters())


class CroppingAdapter(nn.Module):
    window = (slice(2, 6), slice(1, 7))


def test_discriminator_sees_only_the_window_of_a_crop(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    objective = build_objective(OFF, None, window=adapter_window(CroppingAdapter()))
    seen: list[tuple[int, ...]] = []
    objective.discriminator_training.discriminator.register_forward_pre_hook(
        lambda _, inputs: seen.append(tuple(inputs[0].shape[1:]))
    )
    train_student(fresh, data, objective)

    assert {(1, 4, 6)} == set(seen)
    assert FULL_WINDOW == adapter_window(nn.Identity()) == adapter_window(None)


def test_the_crop_of_the_adapters_plugin_shows_its_window_through_a_chain() -> None:
    crop = chain(parts=(channel_mean(), centre_crop())).module(
        target=(3, 32, 32), source=(1, 28, 28)
    )
    shrink = chain(parts=(channel_mean(), resize())).module(target=(3, 32, 32), source=(1, 28, 28))

    assert (slice(2, 30), slice(2, 30)) == adapter_window(crop)
    assert FULL_WINDOW == adapter_window(shrink)


def test_kernel_decay_is_weight_decay_of_kernels_only(fresh: Fresh, data: ArrayDataset) -> None:
    model = fresh()
    kernels = [model.get_parameter(name) for name in ("body.only.0.weight", "head.weight")]
    gradients = torch.autograd.grad(half_squared_norm(model), kernels)
    decayed, _ = train_student(fresh, data, build_objective(replace(OFF, kernel_decay=0.1), None))
    plain, _ = train_student(fresh, data)

    assert all(kernel.equal(gradient) for kernel, gradient in zip(kernels, gradients, strict=True))
    assert half_squared_norm(decayed).item() < half_squared_norm(plain).item()


def test_noise_moves_images_within_their_bounds(fresh: Fresh, data: ArrayDataset) -> None:
    objective, seen = build_objective(replace(OFF, input_noise=0.25), None), list[Tensor]()
    model = fresh()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    inputs, labels = (
        data.part("train").inputs(torch.arange(6)),
        data.part("train").labels(torch.arange(6)),
    )
    list(objective(model, inputs, labels, stream_generator("noise")))
    drift = (seen[0] - inputs).abs()

    assert seen[0].min() >= 0
    assert seen[0].max() <= 1
    assert 0.2 < drift.max().item() <= 0.25 + 1e-6


def test_no_tensor_is_left_behind_by_a_step(
    fresh: Fresh, teacher: BlockNetwork, data: ArrayDataset
) -> None:
    objective = build_objective(
        replace(OFF, lambda_diff=1.0, lambda_adv=1.0), build_teacher(teacher, data), every=1
    )
    model = fresh().train()
    inputs, labels = (
        data.part("train").inputs(torch.arange(6)),
        data.part("train").labels(torch.arange(6)),
    )
    counts = []
    gc.freeze()  # What other tests left is neither collected nor counted, which takes a second a step.
    try:
        for _step in range(6):
            for loss, _ in objective(model, inputs, labels, stream_generator("noise")):
                loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
            del loss, _
            gc.collect()
            # By type: reading an object's class may trigger deprecation warnings.
            counts.append(sum(issubclass(type(one), Tensor) for one in gc.get_objects()))
    finally:
        gc.unfreeze()

    assert 1 == len({*counts[2:]})
