from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advtransfer.cache import Cache
from advtransfer.errors import Cancelled, Inapplicable
from advtransfer.node import Node, NodeKind
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import Context
from advtransfer.worker.context import WorkerContext
from advtransfer_adapters.components import transposed_convolution
from advtransfer_igam.options import TeacherConfig
from advtransfer_igam.teacher import Teacher, teacher_accuracies, tune_teacher

CPU = torch.device("cpu")
TUNING = TeacherConfig(epochs=3, batch_size=16)
STILL = TeacherConfig(epochs=1, optimiser=Adam(lr=1e-30))
"""Options that leave the trained weights at their start."""


def has_same_weights(first: nn.Module, second: nn.Module) -> bool:
    return all(
        tensor.equal(second.state_dict()[name]) for name, tensor in first.state_dict().items()
    )


def built(
    teacher: BlockNetwork,
    data: ArrayDataset,
    *,
    adapter: nn.Module | None = None,
    logits: str = "logits",
) -> Teacher:
    return Teacher(
        teacher, adapter, data.card(), generator=stream_generator(logits), batch_norm="running"
    )


def tuned(
    teacher: BlockNetwork,
    data: ArrayDataset,
    tuning: TeacherConfig = TUNING,
    *,
    adapter: nn.Module | None = None,
    context: Context | None = None,
) -> Teacher:
    teacher_model = built(teacher, data, adapter=adapter)
    teacher_model.batch_norm = tuning.batch_norm
    train, context = data.part("train"), context or InMemoryContext()
    tune_teacher(
        teacher_model, tuning, train=train, validation=None, augment="none", context=context
    )
    return teacher_model


def enlarging() -> nn.Module:
    """Return a learned adapter from 4 x 4 to 8 x 8 pixels."""
    return transposed_convolution().module(target=(1, 4, 4), source=(1, 8, 8))


@pytest.fixture
def small() -> ArrayDataset:
    return toy(shape=(1, 4, 4), noise=0.4, train=48, test=24)


def test_tuning_trains_the_logit_layer_alone_and_freezes_it(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    teacher_model = tuned(teacher, data, TeacherConfig(epochs=20, optimiser=Adam(lr=0.03)))

    assert measure_accuracy(teacher_model, data.part("test"), device=CPU) > 0.9
    assert has_same_weights(teacher, teacher_model.network)  # type: ignore[arg-type]  # a copy of a BlockNetwork
    assert not any(weight.requires_grad for weight in teacher_model.parameters())


def test_a_tuned_teacher_is_not_tuned_again(teacher: BlockNetwork, data: ArrayDataset) -> None:
    context = InMemoryContext()
    teacher_model = tuned(teacher, data, context=context)
    reports = len(context.told)
    other = built(teacher, data, logits="other")
    rows = tune_teacher(
        other, TUNING, train=data.part("train"), validation=None, augment="none", context=context
    )

    assert reports == len(context.told)
    assert has_same_weights(teacher_model, other)
    assert [1, 2, 3] == [row["epoch"] for row in rows]


def test_other_tuning_options_give_another_teacher(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    context = InMemoryContext()
    teacher_model = tuned(teacher, data, context=context)
    again = InMemoryContext()
    again.built = context.built
    other = tuned(teacher, data, replace(TUNING, epochs=2), context=again)

    assert not has_same_weights(teacher_model, other)
    assert 2 == len(context.built)


def test_a_teacher_can_use_the_batchs_statistics_and_keep_its_own(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    teacher_model = tuned(teacher, data, TeacherConfig(epochs=2, batch_norm="batch"))
    images = data.part("test").inputs(torch.arange(10))
    plain = teacher_model(images)
    teacher_model.enter_teaching_mode()
    teaching = teacher_model(images)
    reference = copy.deepcopy(teacher)
    reference.get_submodule("body.low.1").train()

    torch.testing.assert_close(teaching, teacher_model.head(reference.features(images)))
    assert not torch.allclose(plain, teaching)
    assert has_same_weights(teacher, teacher_model.network)  # type: ignore[arg-type]  # a copy of a BlockNetwork
    assert plain.equal(teacher_model.eval()(images))


def test_a_learned_adapter_is_trained_with_the_logit_layer_then_frozen(
    teacher: BlockNetwork, small: ArrayDataset
) -> None:
    adapter = enlarging()
    before = copy.deepcopy(adapter)
    drawn = tuned(teacher, small, STILL, adapter=adapter)
    teacher_model = tuned(
        teacher, small, TeacherConfig(epochs=20, optimiser=Adam(lr=0.03)), adapter=adapter
    )
    start, end = (one.adapter.get_parameter("convolution.weight") for one in (drawn, teacher_model))

    assert measure_accuracy(teacher_model, small.part("test"), device=CPU) > 0.9
    assert not torch.allclose(start, end, atol=0.01)
    assert not any(weight.requires_grad for weight in teacher_model.parameters())
    assert has_same_weights(teacher, teacher_model.network)  # type: ignore[arg-type]  # a copy of a BlockNetwork
    assert has_same_weights(before, adapter)
    assert all(weight.requires_grad and weight.grad is None for weight in adapter.parameters())


def test_learned_adapter_starts_from_the_stream_adapter(
    teacher: BlockNetwork, small: ArrayDataset
) -> None:
    first, second = enlarging(), enlarging()
    nn.init.zeros_(second.get_parameter("convolution.weight"))
    one, other, third = (
        tuned(teacher, small, STILL, adapter=adapter, context=InMemoryContext(seed)).adapter
        for adapter, seed in ((first, 0), (second, 0), (first, 1))
    )

    assert not has_same_weights(first, second)
    assert has_same_weights(one, other)
    assert not has_same_weights(one, third)


def test_tuned_adapter_is_remembered_with_its_teacher(
    teacher: BlockNetwork, small: ArrayDataset
) -> None:
    context = InMemoryContext()
    teacher_model = tuned(teacher, small, adapter=enlarging(), context=context)
    reports = len(context.told)
    again = tuned(teacher, small, adapter=enlarging(), context=context)

    assert reports == len(context.told)
    assert has_same_weights(teacher_model, again)


def test_a_stopped_tuning_continues_to_the_same_bits(
    teacher: BlockNetwork, small: ArrayDataset
) -> None:
    whole = tuned(teacher, small, adapter=enlarging())
    stopped = InMemoryContext(cancel_after=2)
    with pytest.raises(Cancelled):
        tuned(teacher, small, adapter=enlarging(), context=stopped)
    resumed = tuned(teacher, small, adapter=enlarging(), context=stopped.resumed())

    assert has_same_weights(whole, resumed)


def test_students_that_differ_in_other_options_share_their_teacher(
    teacher: BlockNetwork, small: ArrayDataset, tmp_path: Path
) -> None:
    kinds: tuple[NodeKind, ...] = ("source", "adapter", "subset")
    inputs: dict[str, Node] = {kind: Node(kind, f"host/{kind}") for kind in kinds}
    cache, reports = Cache(tmp_path, line="cpu-1-float32"), list[object]()

    def of(weight: float, **others: Node) -> Teacher:
        node = Node("fit", "igam/igam", options={"lambda_diff": weight}, inputs=inputs | others)
        context = WorkerContext(node, ("fit",), CPU, cache, tmp_path, reports.append, "a fit")
        return tuned(teacher, small, adapter=enlarging(), context=context)

    first, begun = of(1.0), len(reports)
    second, shared = of(2.0), len(reports)
    of(1.0, source=Node("source", "host/source", options={"seed": 1}))

    assert has_same_weights(first, second)
    assert begun == shared < len(reports)


class Offset(nn.Module):
    """Learned map that cannot draw its own weight."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return images + self.offset


class Drawing(Offset):
    """Learned map that can draw its weight, with a fixed part."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Conv2d(1, 1, 1).requires_grad_(False)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.offset)


def test_only_learned_weights_are_drawn_again(teacher: BlockNetwork, data: ArrayDataset) -> None:
    fixed = nn.Conv2d(1, 1, 1).requires_grad_(False)
    drawing = Drawing()
    teacher_model = tuned(teacher, data, STILL, adapter=nn.Sequential(fixed, drawing))

    assert fixed.weight.equal(teacher_model.adapter.get_parameter("0.weight"))
    assert drawing.fixed.weight.equal(teacher_model.adapter.get_parameter("1.fixed.weight"))
    assert 1.0 == teacher_model.adapter.get_parameter("1.offset").item()


def test_a_learned_adapter_must_be_able_to_draw_its_weights(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    expected = (
        r"found 0 \(Offset\) in the adapter, which cannot draw new weights; give it a method reset_"
    )
    with pytest.raises(Inapplicable, match=expected):
        tuned(teacher, data, adapter=nn.Sequential(Offset()))


def test_teachers_robust_accuracy_is_its_accuracy_under_attack(
    teacher: BlockNetwork, data: ArrayDataset
) -> None:
    context, test = InMemoryContext(), data.part("test")
    teacher_model = tuned(teacher, data, TeacherConfig(epochs=20, optimiser=Adam(lr=0.03)))
    weak, strong = (
        teacher_accuracies(
            teacher_model, test, attack=Adversary(norm="linf", eps=eps, steps=5), context=context
        )
        for eps in (1e-6, 0.5)
    )

    assert {
        "teacher_clean_accuracy": measure_accuracy(teacher_model, test, device=CPU)
    } == teacher_accuracies(teacher_model, test, attack=None, context=context)
    assert weak["teacher_robust_accuracy"] == weak["teacher_clean_accuracy"]
    assert strong["teacher_robust_accuracy"] < 0.5 < strong["teacher_clean_accuracy"]
    assert not any(weight.requires_grad for weight in teacher_model.parameters())
