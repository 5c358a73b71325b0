"""Fine-tuning of a randomised source: a draw an image for a probe, and new ones where images are trained on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.network import BlockNetwork
from advtransfer_finetune.components import linear_probe
from advtransfer_finetune.target_model import TargetModel, split_frozen_part

DATA = toy(train=30, test=4)


class Dropout(nn.Module):
    """Dropout that stays on."""

    randomized = True

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.dropout(inputs, 0.3, training=True)


def target_model(source: BlockNetwork) -> TargetModel:
    low = source.blocks["low"]
    assert isinstance(low, nn.Sequential)
    low[3] = Dropout()
    return TargetModel(source=source, adapter=None, target=DATA.card(), head=nn.Linear)


def test_the_features_of_an_image_are_those_of_its_own_draw(source: BlockNetwork) -> None:
    extractor = target_model(source).frozen_extractor(shared=True)
    train, context = DATA.part("train"), InMemoryContext()
    rows = torch.tensor([17, 3, 25, 4])
    features = extractor(train, context)

    assert extractor(SampleSubset(train, rows), context).equal(features[rows])
    assert (features == 0).any()
    # What is stored would be shared with other fits.
    assert context.stored == {}


def test_activations_before_trained_blocks_are_drawn_anew(source: BlockNetwork) -> None:
    model = target_model(source)

    assert split_frozen_part(model, images=DATA.card().shape, trained=1, shared=True) is None


def test_two_probes_are_equal(source: BlockNetwork) -> None:
    target_model(source)
    transfer = linear_probe()

    def fitted() -> dict[str, Tensor]:
        model = transfer.model(source=source, adapter=None, target=DATA.card())
        train = DATA.part("train")
        transfer.fit(
            model,
            source=source,
            adapter=None,
            train=train,
            validation=None,
            context=InMemoryContext(),
        )
        return model.state_dict()

    first, second = fitted(), fitted()
    assert all(first[name].equal(second[name]) for name in first)
