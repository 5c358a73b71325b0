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


class NoisyAdapter(nn.Module):
    """Adapter that is random in training mode."""

    def forward(self, images: Tensor) -> Tensor:
        return images + 0.1 * torch.rand_like(images) if self.training else images


def teaching_teacher(
    teacher: BlockNetwork, data: ArrayDataset, *, adapter: nn.Module | None = None
) -> Teacher:
    tuned = Teacher(
        teacher, adapter, data.card(), generator=stream_generator("logits"), batch_norm="running"
    )
    tuned.requires_grad_(False).enter_teaching_mode()
    return tuned


def fit(
    source: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    *,
    adapter: nn.Module | None = None,
    **options: object,
) -> tuple[nn.Module, Fitted]:
    arguments = {
        "teacher": TeacherConfig(epochs=1),
        "discriminator": DiscriminatorConfig(channels=(4, 8), every=2),
    } | options
    transfer = igam(student=student, epochs=EPOCHS, batch_size=BATCH, **arguments)  # type: ignore[arg-type]  # options of several types
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
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches whose gradients a tuned teacher computed."""
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


def test_fixed_gradients_are_computed_once_per_image(
    teacher: BlockNetwork, student: Source, data: ArrayDataset, batch_sizes: list[int]
) -> None:
    fit(teacher, student, data)

    assert [20, 20, 8] == batch_sizes


@pytest.mark.parametrize(
    ("options", "adapter"),
    [
        ({"cache_gradients": False}, None),
        ({"augment": ("flip",)}, None),
        ({"input_noise": 0.01}, None),
        ({"teacher": TeacherConfig(epochs=1, batch_norm="batch")}, None),
        ({}, NoisyAdapter()),
    ],
    ids=["not cached", "augmented", "noisy", "batch statistics", "random adapter"],
)
def test_changing_gradients_are_computed_in_every_epoch(
    teacher: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    batch_sizes: list[int],
    options: dict[str, object],
    adapter: nn.Module | None,
) -> None:
    fit(teacher, student, data, adapter=adapter, **options)

    assert [20, 20, 8] * EPOCHS == batch_sizes


def test_gradients_beyond_the_memory_limit_are_not_stored(
    teacher: BlockNetwork,
    student: Source,
    data: ArrayDataset,
    batch_sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("advtransfer_igam.transfer.MAX_GRADIENT_BYTES", 48 * 64 * 4 - 1)
    fit(teacher, student, data)

    assert 3 * EPOCHS == len(batch_sizes)


def test_an_image_has_the_same_gradient_in_every_batch_to_the_bit(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    tuned, train = teaching_teacher(teacher, data), data.part("train")
    whole = TaughtSamples(train, tuned, of="loss", rows=BATCH)
    positions = torch.tensor([47, 3, 30])
    batch = teacher_batch(
        tuned, train.inputs(positions), train.labels(positions), of="loss", rows=BATCH
    )
    images, stored = split_taught_inputs(whole.inputs(positions), SHAPE)

    assert stored is not None
    assert images.equal(train.inputs(positions))
    assert stored.gradients.equal(batch.gradients)
    assert stored.losses.equal(batch.losses)


def test_taught_samples_keep_images_labels_and_keys(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    train = data.part("train")
    whole = TaughtSamples(train, teaching_teacher(teacher, data), of="loss", rows=BATCH)

    assert (48, (129,), "classes") == (len(whole), whole.card.shape, whole.card.task)
    assert list(train.keys) == list(whole.keys)
    assert train.labels(torch.arange(48)).equal(whole.labels(torch.arange(48)))
    assert split_taught_inputs(train.inputs(torch.arange(2)), SHAPE)[1] is None


def test_no_gradient_of_the_teachers_weights_is_built(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    tuned, train = teaching_teacher(teacher, data), data.part("train")
    batch = teacher_batch(
        tuned, train.inputs(torch.arange(5)), train.labels(torch.arange(5)), of="loss", rows=None
    )

    assert batch.gradients.grad_fn is None
    assert batch.losses.grad_fn is None
    assert all(weight.grad is None for weight in tuned.parameters())


def test_deterministic_teacher_neither_draws_nor_depends_on_the_batch(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    state = torch.get_rng_state()
    pad, scale = (
        adapter.module(target=(1, 6, 6), source=SHAPE) for adapter in (random_pad(), resize())
    )
    plain = teaching_teacher(teacher, data)
    batch_dependent = teaching_teacher(teacher, data)
    batch_dependent.batch_norm = "batch"
    batch_dependent.enter_teaching_mode()

    assert plain.is_deterministic(SHAPE)
    assert not batch_dependent.is_deterministic(SHAPE)
    assert not teaching_teacher(teacher, data, adapter=NoisyAdapter()).is_deterministic(SHAPE)
    assert teaching_teacher(teacher, data, adapter=NoisyAdapter()).eval().is_deterministic(SHAPE)
    plain.adapter = scale.train()
    assert plain.is_deterministic((1, 6, 6))
    plain.adapter = pad.train()
    assert not plain.is_deterministic((1, 6, 6))
    assert state.equal(torch.get_rng_state())


def test_caching_is_not_in_the_id_and_an_attack_is() -> None:
    component = Host([Plugin("igam", "advtransfer_igam", "advtransfer", "0")]).component(
        "igam/igam", "transfer"
    )
    values, _ = component.options.validate({})

    assert not component.options.fields["cache_gradients"].in_id
    assert "teacher_attack" not in values
    assert "teacher_attack" in component.options.validate({"teacher_attack": {"eps": 0.1}})[0]
