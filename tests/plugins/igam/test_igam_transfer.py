from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import pytest
import torch
from torch import nn

from advtransfer.errors import Cancelled, Diverged, Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Sgd
from advtransfer.types import Fitted, Network, Source, Transfer
from advtransfer_igam.components import igam
from advtransfer_igam.input_gradients import L2Standardize
from advtransfer_igam.options import DiscriminatorConfig, TeacherConfig
from advtransfer_igam.student import build_student, initialize_student
from advtransfer_vision.components import training
from advtransfer_vision.networks import SizedNetwork

CPU = torch.device("cpu")
JUDGING, TUNING = (
    DiscriminatorConfig(channels=(4, 8), every=2),
    TeacherConfig(epochs=3, batch_size=16),
)


def fit(
    transfer: Transfer,
    source: Network,
    data: ArrayDataset,
    *,
    adapter: nn.Module | None = None,
    context: InMemoryContext | None = None,
) -> tuple[nn.Module, Fitted]:
    model = transfer.model(source=source, adapter=adapter, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=adapter,
        train=data.part("train"),
        validation=data.part("test"),
        context=context or InMemoryContext(),
    )
    return model, fitted


def has_same_weights(first: nn.Module, second: nn.Module) -> bool:
    return all(
        tensor.equal(second.state_dict()[name]) for name, tensor in first.state_dict().items()
    )


def column(curves: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [row[name] for row in curves if name in row]


def test_student_learns_the_task_and_its_curves_are_recorded(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    transfer = igam(
        student=student, epochs=8, discriminator=JUDGING, teacher=TUNING, optimiser=Sgd(lr=0.02)
    )
    model, fitted = fit(transfer, teacher, data)

    assert measure_accuracy(model, data.part("test"), device=CPU) == 1.0
    assert not any(module.training for module in model.modules())
    assert [1, 2, 3] == column(fitted.curves, "teacher_epoch")
    assert [*range(1, 9)] == column(fitted.curves, "epoch")
    for name in (
        "student_loss",
        "teacher_loss",
        "discriminator_loss",
        "gradient_distance",
        "validation_accuracy",
    ):
        assert 8 == len(column(fitted.curves, name))
    for name in ("teacher_train_loss", "teacher_validation_accuracy"):
        assert 3 == len(column(fitted.curves, name))
    assert {"teacher_clean_accuracy"} == set(fitted.facts)
    assert (
        column(fitted.curves, "teacher_validation_accuracy")[-1]
        == fitted.facts["teacher_clean_accuracy"]
    )


def test_zero_weights_give_the_students_standard_training(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    weightless = igam(
        student=student,
        lambda_adv=0.0,
        lambda_diff=0.0,
        epochs=3,
        discriminator=JUDGING,
        teacher=TUNING,
    )
    model, fitted = fit(weightless, teacher, data)
    plain = weightless.model(source=teacher, adapter=None, target=data.card())
    initialize_student(plain, student, context=InMemoryContext())
    curves = train(
        plain,
        data.part("train"),
        epochs=3,
        batch_size=32,
        optimiser=Sgd(lr=0.05),
        schedule=weightless.schedule,  # type: ignore[attr-defined]  # a Transfer by its protocol, an Igam by make
        context=InMemoryContext(),
        validation=data.part("test"),
    )

    assert has_same_weights(plain, model)
    assert (
        column(curves, "train_loss")
        == column(fitted.curves, "train_loss")
        == column(fitted.curves, "student_loss")
    )


def test_the_source_and_the_global_random_state_are_left_as_found(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    before, state = copy.deepcopy(teacher), torch.get_rng_state()
    fit(igam(student=student, epochs=1, discriminator=JUDGING, teacher=TUNING), teacher, data)
    fit(
        igam(epochs=1, discriminator=JUDGING, teacher=TeacherConfig(epochs=1, batch_norm="batch")),
        teacher,
        data,
    )

    assert state.equal(torch.get_rng_state())
    assert has_same_weights(before, teacher)
    assert all(weight.requires_grad and weight.grad is None for weight in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


@pytest.mark.parametrize("match", ["zero", "image"])
def test_controls_in_place_of_the_teacher_need_no_teacher(
    teacher: BlockNetwork, student: Source, data: ArrayDataset, match: Literal["zero", "image"]
) -> None:
    context = InMemoryContext()
    _, fitted = fit(
        igam(student=student, match=match, epochs=2, discriminator=JUDGING),
        teacher,
        data,
        context=context,
    )

    assert {} == fitted.facts
    assert {} == context.built
    assert [1, 2] == column(fitted.curves, "epoch")
    assert [] == column(fitted.curves, "teacher_loss")


def test_the_same_streams_give_the_same_bits_and_others_do_not(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    transfer = igam(epochs=2, discriminator=JUDGING, teacher=TUNING)
    runs = [fit(transfer, teacher, data, context=InMemoryContext(seed))[0] for seed in (0, 0, 1)]

    assert has_same_weights(runs[0], runs[1])
    assert not has_same_weights(runs[0], runs[2])


@pytest.mark.parametrize("calls", [2, 4, 8])
def test_a_stopped_fit_continues_to_the_same_bits(
    teacher: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A state is saved and reported after every epoch, and only then, whatever the clock says.
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)
    monkeypatch.setattr(checkpoint, "PROGRESS_INTERVAL_SECONDS", 1e9)
    transfer = igam(
        student=student,
        epochs=6,
        warm_up=0.3,
        input_noise=0.02,
        augment=("flip",),
        discriminator=JUDGING,
        teacher=TUNING,
        compare_gradients=True,
    )
    whole, expected = fit(transfer, teacher, data)
    stopped = InMemoryContext(cancel_after=calls)
    with pytest.raises(Cancelled):
        fit(transfer, teacher, data, context=stopped)
    again = stopped.resumed()
    again.built = dict(stopped.built)  # as the host's cache keeps what was remembered
    resumed, fitted = fit(transfer, teacher, data, context=again)

    assert has_same_weights(whole, resumed)
    assert expected == fitted
    assert len(again.told) < 9


@pytest.mark.parametrize("match", ["teacher", "zero"])
def test_nonfinite_loss_raises_diverged_with_its_epoch(
    teacher: BlockNetwork, student: Source, data: ArrayDataset, match: Literal["teacher", "zero"]
) -> None:
    with pytest.raises(Diverged, match=r"^diverged in epoch 1: loss (nan|inf)$") as stopped:
        fit(
            igam(student=student, match=match, optimiser=Sgd(lr=1e20), teacher=TUNING),
            teacher,
            data,
        )

    assert 1 == stopped.value.epoch
    assert not math.isfinite(stopped.value.loss)


def test_a_teacher_that_diverges_stops_the_fit(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    with pytest.raises(Diverged, match=r"^diverged in epoch \d: loss (nan|inf)$"):
        fit(
            igam(student=student, teacher=TeacherConfig(optimiser=Sgd(lr=1e30, momentum=0.0))),
            teacher,
            data,
        )


def test_nonfinite_images_raise_diverged_in_the_first_epoch(
    teacher: BlockNetwork, student: Source
) -> None:
    inputs = torch.full((12, 1, 8, 8), torch.nan)
    broken = ArrayDataset(
        dict.fromkeys(("train", "test"), (inputs, torch.arange(12) % 3)), names=["a", "b", "c"]
    )
    with pytest.raises(Diverged, match=r"^diverged in epoch 1: loss nan$"):
        fit(igam(student=student, match="zero", discriminator=JUDGING), teacher, broken)


def test_default_student_is_the_teachers_architecture_with_new_weights(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    model = build_student(None, teacher=teacher, target=data.card(), standardise="none")
    initialize_student(model, None, context=InMemoryContext())
    theirs = teacher.state_dict()
    learned = {name for name, weight in model.named_parameters() if weight.requires_grad}

    assert (5, 3) == tuple(model(torch.rand(5, 1, 8, 8)).shape)
    assert {f"network.{name}" for name, _ in teacher.body.named_parameters(prefix="body")} | {
        "head.weight",
        "head.bias",
    } == learned
    assert not any(
        weight.equal(theirs[name.removeprefix("network.")])
        for name, weight in model.named_parameters()
        if name.endswith(("0.weight", "0.bias"))
    )
    assert model.get_buffer("network.normalise.mean").equal(theirs["normalise.mean"])
    assert model.get_buffer("network.body.low.1.running_mean").equal(torch.zeros(6))


def test_students_source_determines_its_initial_weights(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    model = build_student(student, teacher=teacher, target=data.card(), standardise="none")
    initialize_student(model, student, context=InMemoryContext())
    weights = student.weights(InMemoryContext()).tensors

    assert all(tensor.equal(model.state_dict()[name]) for name, tensor in weights.items())
    assert all(weight.requires_grad for weight in model.parameters())


def test_standardising_replaces_the_students_normalisation(
    teacher: BlockNetwork, student: Source, data: ArrayDataset
) -> None:
    model = build_student(student, teacher=teacher, target=data.card(), standardise="l2")
    initialize_student(model, student, context=InMemoryContext())
    images = torch.rand(4, 1, 8, 8, generator=stream_generator("images"))
    assert isinstance(model, BlockNetwork)

    assert isinstance(model.normalise, L2Standardize)
    torch.testing.assert_close(model(images), model(0.5 * images + 0.1), atol=1e-5, rtol=1e-5)


class Bare(nn.Module):
    """Network outside the toolkit, with a weight that it cannot draw again."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.ones(1)), nn.Linear(64, 3)
        self.blocks: Mapping[str, nn.Module] = {"only": nn.Flatten()}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: torch.Tensor, *, upto: str | None = None) -> torch.Tensor:
        return self.scale * inputs.flatten(1)


@pytest.mark.parametrize(
    ("shape", "classes", "reason"),
    [
        (
            (1, 9, 9),
            3,
            r"a student for inputs \(1, 8, 8\) and 3 outputs; expected the target's \(1, 9, 9\) and 3",
        ),
        (
            (1, 8, 8),
            4,
            r"expected the target's \(1, 8, 8\) and 4; give the student the target's data set",
        ),
    ],
)
def test_student_for_another_task_is_inapplicable(
    teacher: BlockNetwork, student: Source, shape: tuple[int, ...], classes: int, reason: str
) -> None:
    with pytest.raises(Inapplicable, match=reason):
        igam(student=student).model(
            source=teacher, adapter=None, target=toy(shape=shape, classes=classes).card()
        )


def test_unsuitable_architecture_is_inapplicable(teacher: BlockNetwork, data: ArrayDataset) -> None:
    with pytest.raises(
        Inapplicable, match=r"does not take the target's inputs \(3, 8, 8\); give a student"
    ):
        igam().model(source=teacher, adapter=None, target=toy(shape=(3, 8, 8)).card())
    with pytest.raises(
        Inapplicable, match=r"found network \(Bare\) in the teacher, which cannot draw new weights"
    ):
        fit(igam(match="zero", discriminator=JUDGING), Bare(), data)
    with pytest.raises(Inapplicable, match="a student of type Bare, which has no normalisation"):
        igam(standardise="l2").model(source=Bare(), adapter=None, target=data.card())
    with pytest.raises(Inapplicable, match=r"compares gradients of images \(C, H, W\)"):
        igam().model(source=teacher, adapter=None, target=toy(shape=(9,)).card())


class Halved(nn.Module):
    """Adapter from 16 x 16 to 8 x 8 pixels that records its mode."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        noise = 0.1 * torch.rand_like(images) if self.training else 0
        return nn.functional.avg_pool2d(images + noise, 2)


def test_the_teacher_sees_the_target_through_the_adapter_and_the_student_does_not(
    large_student: Source,
) -> None:
    large = toy(shape=(1, 16, 16), noise=0.4, train=30, test=12)
    blocks = {"flat": nn.Sequential(nn.Flatten(), nn.Linear(64, 8))}
    source = BlockNetwork(blocks, nn.Linear(8, 3), Normalize([0.5], [0.5]))
    transfer = igam(student=large_student, epochs=2, discriminator=JUDGING, teacher=TUNING)
    model, fitted = fit(transfer, source, large, adapter=Halved())

    assert (2, 3) == tuple(model(torch.rand(2, 1, 16, 16)).shape)
    assert 2 == len(column(fitted.curves, "gradient_distance"))
    with pytest.raises(
        Inapplicable, match=r"does not take the target's inputs \(1, 16, 16\); give a student"
    ):
        igam().model(source=source, adapter=Halved(), target=large.card())


class Attention(nn.Module):
    """Network with one layer of attention over the rows of an image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(images, images, images)


def test_a_student_with_attention_is_trained(data: ArrayDataset) -> None:
    attentive = BlockNetwork({"only": nn.Sequential(Attention(), nn.Flatten())}, nn.Linear(64, 3))
    _, fitted = fit(igam(epochs=1, discriminator=JUDGING, teacher=TUNING), attentive, data)

    assert column(fitted.curves, "gradient_distance")[-1] > 0


@pytest.mark.parametrize("student_trains", [True, False])
def test_last_batch_of_one_image_does_not_end_the_training(
    data: ArrayDataset, student_trains: bool
) -> None:
    flat = BlockNetwork(
        {"only": nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Softplus())},
        nn.Linear(8, 3),
    )
    tuning = TUNING if student_trains else replace(TUNING, batch_size=47, batch_norm="batch")
    transfer = igam(
        epochs=2, batch_size=47 if student_trains else 16, discriminator=JUDGING, teacher=tuning
    )
    _, fitted = fit(transfer, flat.eval(), data)  # 48 images

    assert 2 == len(column(fitted.curves, "gradient_distance"))


def test_student_of_the_teachers_architecture_starts_as_a_source_of_it_does() -> None:
    # 3 x 3 kernels of 16 channels have standard deviation sqrt(2 / (9 * 16)) there, and half of
    # it by torch's own initialisation.
    data = toy(shape=(3, 8, 8))
    random = training.random_init(data=data, network=SizedNetwork(name="wide_resnet", depth=8))
    teacher = random.network()
    before = [tensor.clone() for tensor in cast(nn.Module, teacher).state_dict().values()]
    model = build_student(None, teacher=teacher, target=data.card(), standardise="l2")
    initialize_student(model, None, context=InMemoryContext())
    kernels = [
        weight
        for weight in model.parameters()
        if weight.ndim == 4 and weight.shape[-1] == 3 and weight.shape[0] >= 160
    ]

    assert len(kernels) > 3
    for kernel in kernels:
        expected = math.sqrt(2 / (9 * kernel.shape[0]))
        assert kernel.std().item() == pytest.approx(expected, rel=0.05)
    after = list(cast(nn.Module, teacher).state_dict().values())
    assert all(map(torch.equal, before, after))
