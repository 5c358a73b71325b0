from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.losses import regression_targets
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.types import Fitted, Samples, Task
from advtransfer_finetune.components import logit_affine
from advtransfer_finetune.logit_probe import least_squares_map

CPU = torch.device("cpu")


def samples_of(name: Task) -> Samples:
    """Return images with labels of the task, three outputs."""
    images = toy(noise=0.9, train=90).part("train")
    inputs, labels = images.inputs(all_positions(images)), images.labels(all_positions(images))
    attributes = torch.stack(
        [inputs[:, 0, 0, 0] > 0.5, inputs.mean((1, 2, 3)) > 0.4, labels == 1], dim=1
    ).long()
    values = torch.stack([inputs.sum((1, 2, 3)), inputs[:, 0, 1, 1], -inputs[:, 0, 2, 3]], dim=1)
    chosen_labels = {"classes": labels, "attributes": attributes, "values": values}[name]
    return ArraySamples(
        card=replace(images.card, task=name), inputs=inputs, labels=chosen_labels, keys=images.keys
    )


def fit(source: BlockNetwork, train: Samples) -> tuple[torch.nn.Module, Fitted]:
    transfer = logit_affine()
    model = transfer.model(source=source, adapter=None, target=train.card)
    fitted = transfer.fit(
        model, source=source, adapter=None, train=train, validation=None, context=InMemoryContext()
    )
    return model, fitted


@pytest.mark.parametrize(
    ("name", "below"), [("classes", 0.0), ("attributes", 0.5), ("values", 0.0)]
)
def test_the_map_is_least_squares_with_an_intercept(
    source: BlockNetwork, name: Task, below: float
) -> None:
    train = samples_of(name)
    labels = train.labels(all_positions(train))
    target = (torch.eye(3)[labels] if name == "classes" else labels).double().numpy() - below
    with torch.no_grad():
        logits = source(train.inputs(all_positions(train))).double().numpy()
    design = np.hstack([logits, np.ones((len(logits), 1))])
    solution, squares, _, _ = np.linalg.lstsq(design, target, rcond=None)
    model, fitted = fit(source, train)

    np.testing.assert_allclose(
        model.get_parameter("head.weight").detach(), solution[:-1].T, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        model.get_parameter("head.bias").detach(), solution[-1], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        predict(model, train, device=CPU)[0], design @ solution, rtol=1e-4, atol=1e-4
    )
    assert {
        "rank": 4,
        "residual": pytest.approx(np.sqrt(squares.sum() / len(train))),
    } == fitted.facts


def test_the_map_is_the_formula_with_covariances() -> None:
    source = np.random.default_rng(0)
    z, y = source.normal(size=(50, 4)) @ source.normal(size=(4, 4)) + 3, source.normal(size=(50, 2))
    joint = np.cov(np.hstack([y, z]).T)
    weight = joint[:2, 2:] @ np.linalg.pinv(joint[2:, 2:])
    solution = least_squares_map(z, y, cutoff=1e-6)

    np.testing.assert_allclose(solution.weight, weight, atol=1e-9)
    np.testing.assert_allclose(solution.bias, y.mean(0) - weight @ z.mean(0), atol=1e-9)


def test_smallest_map_is_taken_for_dependent_logits() -> None:
    z = np.random.default_rng(0).normal(size=(40, 1))
    solution = least_squares_map(np.hstack([z, z + 1e-9]), 4 * z + 1, cutoff=1e-6)

    assert 1 == solution.rank
    np.testing.assert_allclose(solution.weight, [[2, 2]], atol=1e-6)
    np.testing.assert_allclose(solution.bias, [1], atol=1e-6)
    assert solution.residual == pytest.approx(0, abs=1e-6)


def test_single_image_is_mapped_to_its_label(source: BlockNetwork) -> None:
    data = toy(train=1)
    model, fitted = fit(source, data.part("train"))

    assert {"rank": 0, "residual": 0} == fitted.facts
    assert [1, 0, 0] == model(data.part("train").inputs(torch.tensor([0])))[0].tolist()


def test_an_attribute_is_predicted_where_the_output_is_above_zero(source: BlockNetwork) -> None:
    train = samples_of("attributes")
    labels = train.labels(all_positions(train))
    model, _ = fit(source, train)
    right = ((predict(model, train, device=CPU)[0] > 0) == (labels == 1)).double().mean(0)
    share = labels.double().mean(0)

    assert {-0.5, 0.5} == set(regression_targets(labels, train.card).flatten().tolist())
    assert (right >= torch.maximum(share, 1 - share) - 0.05).all()


def test_separable_classes_are_separated(source: BlockNetwork) -> None:
    model, _ = fit(source, toy().part("train"))

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0


def test_only_the_map_is_changed(source: BlockNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    model, _ = fit(source, samples_of("classes"))

    for name, tensor in before.items():
        assert tensor.equal(source.state_dict()[name])
        assert tensor.equal(model.state_dict()[f"network.{name}"])
