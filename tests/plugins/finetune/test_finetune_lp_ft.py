"""LP-FT begins where a linear probe ends (Kumar et al., 2022)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.training_config import Sgd
from advtransfer.types import Fitted, Samples, Transfer
from advtransfer_finetune.components import linear_probe, lp_ft
from advtransfer_finetune.linear_probes import StandardizedLinear
from advtransfer_finetune.probe_then_tuning import fold_standardization

STILL = Sgd(lr=1e-30, weight_decay=0)
CPU = torch.device("cpu")


def fit(
    transfer: Transfer, source: BlockNetwork, train: Samples | None = None
) -> tuple[nn.Module, Fitted]:
    train = train or toy(noise=0.9).part("train")
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


def test_training_begins_at_the_logits_of_the_probe(source: BlockNetwork) -> None:
    probe, solved = fit(linear_probe(C=0.3), source)
    model, fitted = fit(lp_ft(C=0.3, epochs=1, optimiser=STILL, batch_norm="freeze"), source)
    test = toy(noise=0.9).part("test")
    expected, _ = predict(probe, test, device=CPU)
    logits, _ = predict(model, test, device=CPU)

    assert expected.std() > 1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert fitted.facts == {f"probe_{name}": value for name, value in solved.facts.items()}


def test_the_first_loss_is_that_of_the_probe(source: BlockNetwork) -> None:
    # Without dropout, so that training mode with frozen statistics computes what eval mode does.
    dropout = source.get_submodule("body.low.3")
    assert isinstance(dropout, nn.Dropout)
    dropout.p = 0.0
    train = toy(noise=0.9).part("train")
    probe, _ = fit(linear_probe(), source)
    _, fitted = fit(
        lp_ft(epochs=1, optimiser=STILL, batch_norm="freeze", batch_size=len(train)), source
    )
    logits, labels = predict(probe, train, device=CPU)
    expected = nn.functional.cross_entropy(logits, labels).item()

    assert fitted.curves[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_whole_source_is_trained_from_there(source: BlockNetwork) -> None:
    model, _ = fit(lp_ft(epochs=10), source, toy().part("train"))
    state = model.state_dict()
    changed = {
        name
        for name, tensor in source.state_dict().items()
        if not tensor.equal(state[f"network.{name}"])
    }

    assert changed == {name for name in source.state_dict() if name.startswith("body.")}
    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0


def test_folding_equals_standardizing_where_features_lie_far_from_zero() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    probe = StandardizedLinear(7, 3)
    probe.load_state_dict(
        {
            "mean": 5 + draw(7),
            "scale": draw(7).abs() + 0.1,
            "weight": draw(3, 7),
            "bias": draw(3),
        }
    )
    features = 5 + draw(20, 7)

    torch.testing.assert_close(
        fold_standardization(probe)(features), probe(features), atol=1e-4, rtol=1e-5
    )
    with pytest.raises(TypeError, match="found a Linear; expected a StandardizedLinear"):
        fold_standardization(nn.Linear(7, 3))


def test_what_a_probe_cannot_do_is_inapplicable(source: BlockNetwork) -> None:
    train = toy().part("train")
    labels = train.labels(all_positions(train))
    one_class = SampleSubset(train, (labels == 1).nonzero().flatten())
    learned = nn.Conv2d(1, 1, 1)

    with pytest.raises(Inapplicable, match="needs two classes"):
        fit(lp_ft(epochs=1), source, one_class)
    with pytest.raises(Inapplicable, match="the adapter is learned"):
        lp_ft(epochs=1).model(source=source, adapter=learned, target=train.card)
