"""Training on each task, and the parts of a training that are the caller's choice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Diverged
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.losses import MeanLoss, count_correct, task_loss
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import DataCard, Samples, Task

LABELS: Mapping[Task, Tensor] = {
    "classes": torch.tensor([2, 0]),
    "attributes": torch.tensor([[1, 0, 1], [0, 0, 1]]),
    "values": torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]]),
}
OUTPUTS = torch.tensor([[1.0, 0.0, 2.0], [-1.0, 0.5, 0.0]])
TASKS = tuple(LABELS)


def _samples(task: Task, *, count: int = 40) -> Samples:
    """Inputs of 6 numbers, and what a linear map makes of them."""
    inputs = torch.randn((count, 6), generator=stream_generator("inputs"))
    outputs = inputs @ torch.randn((6, 3), generator=stream_generator("map"))
    labels = {"classes": outputs.argmax(1), "attributes": (outputs > 0).long(), "values": outputs}[
        task
    ]
    names = () if task == "values" else ("a", "b", "c")
    return ArraySamples(
        card=DataCard((6,), None, task, 3, names, "digest"), inputs=inputs, labels=labels
    )


def _linear() -> nn.Module:
    return build_initialized(lambda: nn.Linear(6, 3), stream_generator("model"))


def _curves(
    task: Task, *, validation: Samples | None = None, epochs: int = 60
) -> list[dict[str, float]]:
    return train(
        _linear(),
        _samples(task),
        epochs=epochs,
        batch_size=10,
        optimiser=Adam(lr=0.05),
        schedule=Schedule(),
        context=InMemoryContext(),
        validation=validation,
    )


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        # -log softmax, by hand
        ("classes", [0.4076, 2.1041]),
        # mean of log(1 + exp(-x)) for an attribute that is there, of log(1 + exp(x)) for one that is not
        ("attributes", [(0.3133 + 0.6931 + 0.1269) / 3, (0.3133 + 0.9741 + 0.6931) / 3]),
        ("values", [0.0, 1.0]),
    ],
)
def test_the_loss_of_each_task_follows_its_formula(task: Task, expected: list[float]) -> None:
    each = task_loss(task, OUTPUTS, LABELS[task], reduction="none")

    assert expected == pytest.approx(each.tolist(), abs=1e-3)
    assert sum(expected) == pytest.approx(
        task_loss(task, OUTPUTS, LABELS[task], reduction="sum").item(), abs=1e-3
    )
    assert sum(expected) / 2 == pytest.approx(
        task_loss(task, OUTPUTS, LABELS[task]).item(), abs=1e-3
    )


def test_correct_predictions_are_counted_for_tasks_that_have_them() -> None:
    assert 1 == count_correct("classes", OUTPUTS, LABELS["classes"])
    assert 1 + 1 / 3 == count_correct("attributes", OUTPUTS, LABELS["attributes"])
    assert count_correct("values", OUTPUTS, LABELS["values"]) is None


@pytest.mark.parametrize("task", TASKS)
def test_each_task_is_learned(task: Task) -> None:
    curves = _curves(task, validation=_samples(task))
    column = "validation_loss" if task == "values" else "validation_accuracy"

    assert curves[-1]["train_loss"] < 0.3 * curves[0]["train_loss"]
    assert (task == "values") == ("train_accuracy" not in curves[0])
    assert {"epoch", "train_loss", column} <= curves[0].keys()
    assert 0.05 > curves[-1][column] if task == "values" else 0.9 < curves[-1][column]


@pytest.mark.parametrize("task", ["attributes", "values"])
def test_each_task_is_trained_against_its_own_adversary(task: Task) -> None:
    losses = {}
    for name, chosen in (("natural", None), ("robust", Adversary(eps=0.3, steps=3))):
        model = _linear()
        train(
            model,
            _samples(task),
            epochs=60,
            batch_size=10,
            optimiser=Adam(lr=0.05),
            schedule=Schedule(),
            context=InMemoryContext(),
            objective=training_objective(chosen, task=task, bounds=None),
        )
        part, positions = _samples(task), torch.arange(40)
        attack = pgd_perturb(Adversary(eps=0.3, steps=10), task=task, bounds=None)
        moved = attack(
            model, part.inputs(positions), part.labels(positions), stream_generator("test")
        )
        losses[name] = task_loss(task, model(moved), part.labels(positions)).item()

    assert losses["robust"] < losses["natural"]


def test_watched_columns_join_the_curves_and_are_measured_in_eval_mode() -> None:
    modes: list[bool] = []

    def watch(model: nn.Module) -> Mapping[str, float]:
        modes.append(model.training)
        return {"weight": next(model.parameters())[0, 0].item()}

    model = _linear()
    curves = train(
        model,
        _samples("classes"),
        epochs=2,
        batch_size=10,
        optimiser=Adam(),
        schedule=Schedule(),
        context=InMemoryContext(),
        watch=watch,
    )

    assert [False, False] == modes
    assert next(model.parameters())[0, 0].item() == curves[-1]["weight"]


def test_a_validation_loss_that_is_not_finite_is_a_divergence_too() -> None:
    broken = ArraySamples(
        card=_samples("values").card, inputs=torch.full((1, 6), torch.inf), labels=torch.zeros(1, 3)
    )
    with pytest.raises(Diverged, match="diverged in epoch 1"):
        _curves("values", validation=broken, epochs=1)


def test_images_are_augmented_by_key_and_epoch_before_they_are_perturbed() -> None:
    data, context = toy(shape=(1, 8, 8)), InMemoryContext()
    changed = make_augmentation(("flip", "pad_crop"), shape=(1, 8, 8), context=context)
    assert changed is not None
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(
        model: nn.Module, inputs: Tensor, labels: Tensor, source: torch.Generator
    ) -> Tensor:
        seen.append((inputs, labels))
        return inputs

    train(
        build_initialized(
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), stream_generator("model")
        ),
        data.part("train"),
        epochs=2,
        batch_size=60,
        optimiser=Adam(),
        schedule=Schedule(),
        context=context,
        perturb=watched,
        augment=changed,
    )
    part = data.part("train")
    for epoch in (1, 2):
        order = torch.randperm(60, generator=context.generator("batches", epoch))
        assert changed(part.inputs(order), order.tolist(), epoch).equal(seen[epoch - 1][0])
        assert part.labels(order).equal(seen[epoch - 1][1])


def test_a_perturbation_beside_an_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="found both perturb and objective; expected one of them"):
        train(
            _linear(),
            _samples("classes"),
            epochs=1,
            batch_size=10,
            optimiser=Adam(),
            schedule=Schedule(),
            context=InMemoryContext(),
            perturb=pgd_perturb(Adversary(eps=0.1)),
            objective=MeanLoss(),
        )
