from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.host import Host, Plugin
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import Fitted, Source
from advtransfer_adapters.components import random_pad, resize
from advtransfer_igam import teacher_gradients
from advtransfer_igam.components import igam
from advtransfer_igam.options import DiscriminatorConfig, GradientTarget, TeacherConfig
from advtransfer_igam.teacher import Teacher
from advtransfer_igam.teacher_gradients import TaughtSamples, split_taught_inputs, teacher_batch

SHAPE, EPOCHS, BATCH = (1, 8, 8), 4, 20


class Shaken(nn.Module):
    """An adapter that is random in training mode."""

    def forward(self, images: Tensor) -> Tensor:
        return images + 0.1 * torch.rand_like(images) if self.training else images


def tutor(
    teacher: BlockNetwork, data: ArrayDataset, *, adapter: nn.Module | None = None
) -> Teacher:
    drawn = Teacher(
        teacher, adapter, data.card(), generator=stream_generator("logits"), batch_norm="running"
    )
    drawn.requires_grad_(False).enter_teaching_mode()
    return drawn


def fit(
    source: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    *,
    adapter: nn.Module | None = None,
    **options: object,
) -> tuple[nn.Module, Fitted]:
    asked = {
        "teacher": TeacherConfig(epochs=1),
        "discriminator": DiscriminatorConfig(channels=(4, 8), every=2),
    } | options
    transfer = igam(student=student, epochs=EPOCHS, batch_size=BATCH, **asked)  # type: ignore[arg-type]  # options of several types
    model = transfer.model(source=source, adapter=adapter, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=adapter,
        train=data.part("train"),
        validation=None,
        context=InMemoryContext(),
    )
    return model, fitted


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches that teachers were asked about after they were tuned, by their sizes."""
    sizes: list[int] = []
    plain = teacher_gradients.teacher_batch

    def counting(
        teacher: Teacher, images: Tensor, labels: Tensor, *, of: GradientTarget, rows: int | None
    ) -> teacher_gradients.TeacherBatch:
        sizes.append(len(images))
        return plain(teacher, images, labels, of=of, rows=rows)

    monkeypatch.setattr(teacher_gradients, "teacher_batch", counting)
    monkeypatch.setattr("advtransfer_igam.matching.teacher_batch", counting)
    return sizes


@pytest.mark.parametrize("of", ["loss", "probability"])
def test_cached_gradients_make_the_same_student_and_record_to_the_bit(
    teacher: BlockNetwork, student: Source, data: ArrayDataset, of: str
) -> None:
    cached, first = fit(teacher, student, data, gradient_of=of)
    anew, second = fit(teacher, student, data, gradient_of=of, cache_gradients=False)

    assert all(
        tensor.equal(anew.state_dict()[name]) for name, tensor in cached.state_dict().items()
    )
    assert first == second


def test_a_teacher_that_stays_the_same_is_asked_once_about_each_image(
    teacher: BlockNetwork, student: Source, data: ArrayDataset, asked: list[int]
) -> None:
    fit(teacher, student, data)

    assert [20, 20, 8] == asked


@pytest.mark.parametrize(
    ("options", "adapter"),
    [
        ({"cache_gradients": False}, None),
        ({"augment": ("flip",)}, None),
        ({"input_noise": 0.01}, None),
        ({"teacher": TeacherConfig(epochs=1, batch_norm="batch")}, None),
        ({}, Shaken()),
    ],
    ids=["not wished", "augmented", "noisy", "batch statistics", "random adapter"],
)
def test_else_it_is_asked_in_every_epoch(
    teacher: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    asked: list[int],
    options: dict[str, object],
    adapter: nn.Module | None,
) -> None:
    fit(teacher, student, data, adapter=adapter, **options)

    assert [20, 20, 8] * EPOCHS == asked


def test_gradients_that_take_too_much_memory_are_not_kept(
    teacher: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("advtransfer_igam.transfer.MAX_GRADIENT_BYTES", 48 * 64 * 4 - 1)
    fit(teacher, student, data)

    assert 3 * EPOCHS == len(asked)


def test_an_image_has_the_same_gradient_in_every_batch_to_the_bit(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    drawn, train = tutor(teacher, data), data.part("train")
    whole = TaughtSamples(train, drawn, of="loss", rows=BATCH)
    positions = torch.tensor([47, 3, 30])
    one = teacher_batch(
        drawn, train.inputs(positions), train.labels(positions), of="loss", rows=BATCH
    )
    images, kept = split_taught_inputs(whole.inputs(positions), SHAPE)

    assert kept is not None
    assert images.equal(train.inputs(positions))
    assert kept.gradients.equal(one.gradients)
    assert kept.losses.equal(one.losses)


def test_samples_with_lessons_are_the_samples_otherwise(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    train = data.part("train")
    whole = TaughtSamples(train, tutor(teacher, data), of="loss", rows=BATCH)

    assert (48, (129,), "classes") == (len(whole), whole.card.shape, whole.card.task)
    assert list(train.keys) == list(whole.keys)
    assert train.labels(torch.arange(48)).equal(whole.labels(torch.arange(48)))
    assert split_taught_inputs(train.inputs(torch.arange(2)), SHAPE)[1] is None


def test_no_gradient_of_the_teachers_weights_is_built(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    drawn, train = tutor(teacher, data), data.part("train")
    given = teacher_batch(
        drawn, train.inputs(torch.arange(5)), train.labels(torch.arange(5)), of="loss", rows=None
    )

    assert given.gradients.grad_fn is None
    assert given.losses.grad_fn is None
    assert all(weight.grad is None for weight in drawn.parameters())


def test_steady_is_what_neither_draws_nor_looks_at_the_batch(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    state = torch.get_rng_state()
    pad, scale = (one.module(target=(1, 6, 6), source=SHAPE) for one in (random_pad(), resize()))
    plain = tutor(teacher, data)
    looking = tutor(teacher, data)
    looking.batch_norm = "batch"
    looking.enter_teaching_mode()

    assert plain.is_deterministic(SHAPE)
    assert not looking.is_deterministic(SHAPE)
    assert not tutor(teacher, data, adapter=Shaken()).is_deterministic(SHAPE)
    assert tutor(teacher, data, adapter=Shaken()).eval().is_deterministic(SHAPE)
    plain.adapter = scale.train()
    assert plain.is_deterministic((1, 6, 6))
    plain.adapter = pad.train()
    assert not plain.is_deterministic((1, 6, 6))
    assert state.equal(torch.get_rng_state())


def test_the_switch_is_in_no_id_and_the_attack_only_where_there_is_one() -> None:
    component = Host([Plugin("igam", "advtransfer_igam", "advtransfer", "0")]).component(
        "igam/igam", "transfer"
    )
    values, _ = component.options.validate({})

    assert not component.options.fields["cache_gradients"].in_id
    assert "teacher_attack" not in values
    assert "teacher_attack" in component.options.validate({"teacher_attack": {"eps": 0.1}})[0]
