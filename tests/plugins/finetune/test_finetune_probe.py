from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import predict
from advtransfer.types import Dataset, Fitted, Network, Samples, Transfer
from advtransfer_finetune.components import linear_probe

CPU = torch.device("cpu")


def noisy(classes: int = 3) -> Dataset:
    """Return a task that a linear model does not solve perfectly."""
    return toy(classes=classes, noise=0.9, train=90, test=60)


def fit(
    transfer: Transfer,
    source: Network,
    data: Dataset,
    *,
    adapter: nn.Module | None = None,
    train: Samples | None = None,
) -> tuple[nn.Module, Fitted]:
    model = transfer.model(source=source, adapter=adapter, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=adapter,
        train=train or data.part("train"),
        validation=None,
        context=InMemoryContext(),
    )
    return model, fitted


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_predicts_what_scikit_learn_predicts_on_the_same_features(
    source: BlockNetwork, classes: int, C: float
) -> None:
    data = noisy(classes)
    train, test = data.part("train"), data.part("test")
    with torch.no_grad():
        seen, unseen = (
            source.features(part.inputs(all_positions(part))).double().numpy()
            for part in (train, test)
        )
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10_000, tol=1e-6))
    oracle.fit(seen, train.labels(all_positions(train)).numpy())
    model, fitted = fit(linear_probe(C=C), source, data)
    logits = predict(model, test, device=CPU)[0].double().numpy()
    scores = logits if classes > 2 else logits[:, 1] - logits[:, 0]

    np.testing.assert_allclose(scores, oracle.decision_function(unseen), atol=1e-5, rtol=1e-5)
    assert oracle.predict(unseen).tolist() == logits.argmax(1).tolist()
    assert {"C": C} == fitted.chosen
    assert {"iterations": oracle[1].n_iter_[0], "converged": 1.0} == fitted.facts


def test_a_solver_that_stops_early_is_a_fact_and_not_a_warning(source: BlockNetwork) -> None:
    _, fitted = fit(linear_probe(max_iterations=1), source, noisy())

    assert {"iterations": 1, "converged": 0.0} == fitted.facts


def test_images_of_one_class_are_inapplicable(source: BlockNetwork) -> None:
    data = noisy()

    with pytest.raises(Inapplicable, match="all 30 images are of one"):
        fit(
            linear_probe(),
            source,
            data,
            train=SampleSubset(data.part("train"), torch.arange(0, 90, 3)),
        )


def test_saved_weights_fill_a_new_model_to_the_same_bits(source: BlockNetwork) -> None:
    data = noisy()
    fitted, _ = fit(linear_probe(), source, data)
    rebuilt = linear_probe().model(source=source, adapter=None, target=data.card())
    rebuilt.load_state_dict(fitted.state_dict())

    assert predict(fitted, data.part("test"), device=CPU)[0].equal(
        predict(rebuilt, data.part("test"), device=CPU)[0]
    )


def test_gradients_reach_the_input_and_agree_with_differences(source: BlockNetwork) -> None:
    data = noisy()
    model = fit(linear_probe(), source, data)[0].double()
    images = data.part("test").inputs(torch.arange(4)).double().requires_grad_()

    assert torch.autograd.gradcheck(model, (images,))


class Brighter(nn.Module):
    """Adapter with a weight, which doubles brightness and enlarges 2 x 2 to 4 x 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0), requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.gain * inputs.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_the_adapter_comes_first_and_stays_as_it_is(source: BlockNetwork) -> None:
    data = toy(shape=(1, 2, 2), noise=0.9)
    adapter = Brighter()
    model, _ = fit(linear_probe(), source, data, adapter=adapter)
    images = data.part("test").inputs(torch.arange(5))
    head = model.get_submodule("head")

    torch.testing.assert_close(model(images), head(source.features(adapter(images))))
    assert 2.0 == adapter.gain.item() == model.get_parameter("adapter.gain").item()


def test_the_source_and_the_global_random_state_are_left_as_found(source: BlockNetwork) -> None:
    before, state = copy.deepcopy(source), torch.get_rng_state()
    model, _ = fit(linear_probe(), source, noisy())
    for parameter in model.parameters():
        nn.init.zeros_(parameter)

    assert state.equal(torch.get_rng_state())
    assert all(
        tensor.equal(source.state_dict()[name]) for name, tensor in before.state_dict().items()
    )
    assert all(parameter.requires_grad for parameter in source.parameters())


def test_features_of_any_shape_are_flattened() -> None:
    network = BlockNetwork(
        {"pool": nn.AvgPool2d(2)}, nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    ).eval()
    data = toy()
    model, _ = fit(linear_probe(), network, data)

    assert (3, 4) == tuple(model.get_parameter("head.weight").shape)
    assert (
        predict(model, data.part("test"), device=CPU)[0].argmax(1) == torch.arange(30) % 3
    ).all()


def test_features_that_are_not_finite_are_an_error(source: BlockNetwork) -> None:
    with torch.no_grad():
        source.get_parameter("body.high.0.weight").fill_(torch.nan)

    with pytest.raises(
        ValueError, match="found activations that are not finite for 90 of 90 images"
    ):
        fit(linear_probe(), source, noisy())


def test_a_probe_without_a_source_is_an_error() -> None:
    with pytest.raises(ValueError, match="found no source"):
        linear_probe().model(source=None, adapter=None, target=noisy().card())
