"""BitFit trains the biases and nothing else of the source (Ben Zaken et al., 2022)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import Fitted
from advtransfer_finetune.bias_tuning import bias_parameters
from advtransfer_finetune.components import bitfit

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
CPU = torch.device("cpu")


def fit(
    source: BlockNetwork, *, epochs: int = 2, batch_norm: Literal["adapt", "freeze"] = "freeze"
) -> tuple[nn.Module, Fitted]:
    transfer = bitfit(epochs=epochs, batch_norm=batch_norm, optimiser=Adam(lr=0.02))
    train = toy().part("train")
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


@pytest.mark.parametrize("batch_norm", ["freeze", "adapt"])
def test_only_biases_and_the_head_change(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"]
) -> None:
    model, fitted = fit(source, batch_norm=batch_norm)
    state = model.state_dict()
    changed = {
        name
        for name, tensor in source.state_dict().items()
        if not tensor.equal(state[f"network.{name}"])
    }
    # Of the batch normalisations it is beta; gamma is called weight.
    biases = {f"body.{block}.{index}.bias" for block in ("low", "middle", "high") for index in "01"}
    statistics = {name for name in source.state_dict() if name.endswith(STATISTICS)}
    weights = {name for name in changed if not name.endswith(STATISTICS)}

    # Before a batch normalisation that uses the batch's statistics, a bias has no gradient.
    assert weights == biases if batch_norm == "freeze" else weights <= biases
    assert changed & statistics == (statistics if batch_norm == "adapt" else set())
    # Three convolutions and their normalisations, and a head from 20 features to 3 classes.
    assert fitted.facts == {"trained_parameters": 2 * (6 + 6 + 5) + 3 * 20 + 3}


def test_biases_and_a_head_learn_the_task(source: BlockNetwork) -> None:
    model, _ = fit(source, epochs=20)

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0


def test_biases_of_attention_are_biases() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=4)
    names = {id(parameter): name for name, parameter in layer.named_parameters()}

    assert {names[id(bias)] for bias in bias_parameters(layer)} == {
        "self_attn.in_proj_bias",
        "self_attn.out_proj.bias",
        "linear1.bias",
        "linear2.bias",
        "norm1.bias",
        "norm2.bias",
    }


class Unbiased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.layer(inputs.flatten(1))
        return features


def test_a_source_without_biases_is_inapplicable() -> None:
    source = BlockNetwork(OrderedDict(only=Unbiased()), nn.Linear(4, 4))

    with pytest.raises(Inapplicable, match="the source has no biases to train"):
        bitfit().model(source=source, adapter=None, target=toy().card())
