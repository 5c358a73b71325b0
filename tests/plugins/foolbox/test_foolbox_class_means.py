from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import DataCard, EvaluationInputs
from advtransfer_foolbox.balanced_accuracy import MeanClassAccuracy, class_weights


def inputs_of(logits: Tensor, labels: Tensor) -> EvaluationInputs:
    """Return a model whose logits are its inputs, and the samples with these logits."""
    count, classes = logits.shape
    names = tuple(map(str, range(classes)))
    card = DataCard((1, 1, classes), None, "classes", classes, names, "")
    test = ArraySamples(card=card, inputs=logits.reshape(count, 1, 1, classes), labels=labels)
    return EvaluationInputs(test=test, model=nn.Flatten().eval())


def measure(logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    measured = MeanClassAccuracy().measure(inputs_of(logits, labels), context=InMemoryContext())
    return measured.metrics["mean_class_accuracy"], measured.samples["mean_class_accuracy"]


def test_it_is_scikit_learns_balanced_accuracy() -> None:
    generator = stream_generator("balanced")
    logits = torch.rand((200, 4), generator=generator)
    # Class 3 has no test image and is never predicted; class 0 has half of the images.
    logits[:, 3] = -1
    labels = torch.randint(3, (200,), generator=generator) * (torch.arange(200) % 2)
    mean, values = measure(logits, labels)

    assert mean == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))
    assert float(values.double().mean()) == pytest.approx(mean)


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    """All nine of class 0 right, the one of class 1 wrong: accuracy .9, mean over classes .5."""
    logits = torch.tensor([[1.0, 0.0]]).expand(10, 2)
    labels = torch.tensor([0] * 9 + [1])

    assert measure(logits, labels)[0] == pytest.approx(0.5)
    assert class_weights(labels).tolist() == pytest.approx([10 / 18] * 9 + [5])


def test_a_model_that_is_always_right_has_1() -> None:
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 2])

    assert measure(torch.nn.functional.one_hot(labels, 3).float(), labels)[0] == pytest.approx(1)
