"""LwF keeps the features near those of the source (Shafahi et al., 2020)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import Fitted, Transfer
from advtransfer_finetune.components import blocks, full, lwf
from advtransfer_finetune.feature_distance import FeatureDistanceLoss, feature_distance
from advtransfer_finetune.options import FeatureNorm
from advtransfer_finetune.target_model import as_target_model

PLAIN = Sgd(lr=0.01, weight_decay=0.0)


def fit(transfer: Transfer, source: BlockNetwork) -> tuple[nn.Module, Fitted]:
    train = toy(noise=0.9).part("train")
    model = transfer.model(source=source, adapter=None, target=train.card)
    fitted = transfer.fit(
        model,
        source=source,
        adapter=None,
        train=train,
        validation=None,
        context=InMemoryContext(),
    )
    return model, fitted


def without_dropout(source: BlockNetwork) -> BlockNetwork:
    dropout = source.get_submodule("body.low.3")
    assert isinstance(dropout, nn.Dropout)
    dropout.p = 0.0
    return source


def test_distance_is_that_of_the_norm() -> None:
    features = torch.tensor([[3.0, 4.0], [1.0, 1.0]], requires_grad=True)
    others = torch.tensor([[0.0, 0.0], [1.0, 1.0]])

    assert feature_distance(features, others, norm="l1").item() == 7 / 2
    distance = feature_distance(features, others, norm="l2")
    (gradient,) = torch.autograd.grad(distance, features)
    assert distance.item() == 5 / 2
    # The second row has distance 0, where the gradient is 0 and not NaN.
    torch.testing.assert_close(gradient, torch.tensor([[0.3, 0.4], [0.0, 0.0]]))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_loss_is_that_of_the_paper(source: BlockNetwork, norm: FeatureNorm) -> None:
    data = toy()
    model = as_target_model(lwf().model(source=source, adapter=None, target=data.card()))
    start = as_target_model(lwf().model(source=source, adapter=None, target=data.card()))
    with torch.no_grad():
        model.network.blocks["high"][0].weight.mul_(1.5)  # type: ignore[index]  # a block of the fixture
    images, labels = (
        data.part("train").inputs(torch.arange(9)),
        data.part("train").labels(torch.arange(9)),
    )
    objective = FeatureDistanceLoss(
        source=start, task="classes", weight=0.3, norm=norm, warm_steps=0
    )
    ((loss, outputs),) = objective(model, images, labels, torch.Generator())
    moved = model.features(images) - start.features(images)
    expected = (
        nn.functional.cross_entropy(model(images), labels)
        + 0.3 * moved.norm(p=int(norm[1]), dim=1).mean()
    )

    torch.testing.assert_close(outputs, model(images))
    torch.testing.assert_close(loss, expected)
    assert moved.abs().max() > 0.01


def test_without_a_weight_and_a_warm_start_it_is_full_fine_tuning_to_the_bit(
    source: BlockNetwork,
) -> None:
    plain, expected = fit(full(epochs=3, batch_norm="freeze"), source)
    model, fitted = fit(lwf(lambda_d=0, warm_start=0, epochs=3), source)

    assert fitted.curves == expected.curves
    assert [] == [
        name
        for name, tensor in plain.state_dict().items()
        if not tensor.equal(model.state_dict()[name])
    ]


def test_the_warm_start_trains_the_head_alone(source: BlockNetwork) -> None:
    constant = Schedule(kind="constant")
    # Of ten steps (two batches an epoch) all but the last.
    model, fitted = fit(
        lwf(warm_start=0.9, epochs=5, batch_size=30, schedule=constant, snapshots=(4, 5)), source
    )
    head, expected = fit(
        blocks(
            blocks=0,
            epochs=4,
            batch_size=30,
            schedule=constant,
            optimiser=Sgd(lr=0.01),
            activations="every_epoch",
        ),
        source,
    )
    warm = fitted.snapshots[4]

    # A head alone trains with images in another order in memory, which changes last bits.
    for row, other in zip(fitted.curves[:4], expected.curves, strict=True):
        assert row == pytest.approx(dict(other), abs=1e-5)
    for name, tensor in head.state_dict().items():
        torch.testing.assert_close(warm[name], tensor, atol=1e-5, rtol=1e-4)
    assert not warm["network.body.high.0.weight"].equal(
        model.state_dict()["network.body.high.0.weight"]
    )


def test_a_large_weight_holds_the_features_where_they_were(source: BlockNetwork) -> None:
    source = without_dropout(source)
    images = toy(noise=0.9).part("train").inputs(torch.arange(60))

    def moved(weight: float) -> float:
        transfer = lwf(lambda_d=weight, epochs=30, warm_start=0, optimiser=PLAIN)
        model = as_target_model(fit(transfer, source)[0])
        features = source.features(images).flatten(1)
        return feature_distance(model.features(images), features, norm="l2").item()

    assert 0 < moved(1.0) < moved(0.0) / 3


def test_a_learned_adapter_is_inapplicable(source: BlockNetwork) -> None:
    with pytest.raises(Inapplicable, match="the adapter is learned"):
        lwf().model(source=source, adapter=nn.Conv2d(1, 1, 1), target=toy().card())
