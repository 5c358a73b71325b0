"""Training of a learned adapter with the head, by every method that uses gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled, Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import Context, Fitted, Transfer
from advtransfer_finetune.components import blocks, full, linear_probe, logit_affine

CPU = torch.device("cpu")
DATA = toy(shape=(1, 2, 2))
FAST = Adam(lr=0.03)
TRAINED: dict[str, Transfer] = {
    "head": blocks(blocks=0, epochs=20, optimiser=FAST),
    "block": blocks(blocks=1, epochs=20, optimiser=FAST),
    "adapt": blocks(blocks=1, epochs=20, optimiser=FAST, batch_norm="adapt"),
    "full": full(epochs=20, optimiser=FAST),
    "sgd": linear_probe(solver="sgd", epochs=20, optimiser=FAST),
}


class Upsampling(nn.Module):
    """Learned adapter from 2 x 2 to 4 x 4 pixels, behind a fixed part with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Conv2d(1, 1, 1, bias=False).requires_grad_(False)
        nn.init.ones_(self.fixed.weight)
        self.learned = nn.ConvTranspose2d(1, 1, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        moved: Tensor = self.learned(self.fixed(images))
        return moved


@pytest.fixture
def adapter() -> nn.Module:
    return Upsampling()


def fit(
    transfer: Transfer, source: BlockNetwork, adapter: nn.Module, *, context: Context | None = None
) -> tuple[nn.Module, Fitted]:
    model = transfer.model(source=source, adapter=adapter, target=DATA.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=adapter,
        train=DATA.part("train"),
        validation=DATA.part("test"),
        context=context or InMemoryContext(),
    )
    return model, fitted


def adapter_weights(model: nn.Module) -> Tensor:
    return model.get_parameter("adapter.learned.weight").detach()


def initial_weights() -> Tensor:
    """Return the adapter's initial weights."""
    still = blocks(blocks=0, epochs=1, optimiser=Adam(lr=1e-30))
    source = BlockNetwork({"only": nn.Flatten()}, nn.Linear(16, 2)).eval()
    return adapter_weights(fit(still, source, Upsampling())[0])


@pytest.mark.parametrize("name", TRAINED)
def test_learned_adapter_is_trained_and_frozen_parts_keep_their_bits(
    source: BlockNetwork, adapter: nn.Module, name: str
) -> None:
    before = copy.deepcopy(adapter.state_dict())
    model, _ = fit(TRAINED[name], source, adapter)

    assert not adapter_weights(model).equal(initial_weights())
    assert all(tensor.equal(adapter.state_dict()[name]) for name, tensor in before.items())
    assert model.get_parameter("adapter.fixed.weight").equal(before["fixed.weight"])
    assert measure_accuracy(model, DATA.part("test"), device=CPU) > 0.6
    assert not any(module.training for module in model.modules())
    if name in ("head", "sgd"):
        assert all(
            tensor.equal(model.state_dict()[f"network.{name}"])
            for name, tensor in source.state_dict().items()
        )


@pytest.mark.parametrize("name", TRAINED)
def test_learned_adapter_starts_from_the_fits_streams(source: BlockNetwork, name: str) -> None:
    torch.manual_seed(0)
    first, _ = fit(TRAINED[name], source, Upsampling(), context=InMemoryContext(0))
    fixed = {
        name: tensor
        for name, tensor in first.state_dict().items()
        if name.startswith("adapter.fixed")
    }
    other = Upsampling()
    other.load_state_dict(
        {name.removeprefix("adapter."): tensor for name, tensor in fixed.items()}, strict=False
    )
    again, _ = fit(TRAINED[name], source, other, context=InMemoryContext(0))
    new, _ = fit(TRAINED[name], source, other, context=InMemoryContext(1))

    assert all(
        tensor.equal(again.state_dict()[name]) for name, tensor in first.state_dict().items()
    )
    assert not adapter_weights(first).equal(adapter_weights(new))


@pytest.mark.parametrize("name", TRAINED)
def test_saved_weights_rebuild_the_model_with_its_adapter(
    source: BlockNetwork, adapter: nn.Module, name: str
) -> None:
    model, _ = fit(TRAINED[name], source, adapter)
    rebuilt = TRAINED[name].model(source=source, adapter=Upsampling(), target=DATA.card())
    rebuilt.load_state_dict(model.state_dict())
    expected, _ = predict(model, DATA.part("test"), device=CPU)

    assert expected.equal(predict(rebuilt.eval(), DATA.part("test"), device=CPU)[0])


def test_activations_behind_a_learned_adapter_are_not_shared(
    source: BlockNetwork, adapter: nn.Module
) -> None:
    for transfer in (blocks(blocks=0, epochs=1), linear_probe(solver="sgd", epochs=1)):
        context = InMemoryContext()
        fit(transfer, source, adapter, context=context)

        assert {} == context.stored


@pytest.mark.parametrize("name", ["head", "sgd"])
def test_a_stopped_fit_continues_to_the_same_bits(
    source: BlockNetwork, adapter: nn.Module, name: str
) -> None:
    whole, expected = fit(TRAINED[name], source, adapter)
    stopped = InMemoryContext(cancel_after=9)
    with pytest.raises(Cancelled):
        fit(TRAINED[name], source, adapter, context=stopped)
    resumed, fitted = fit(TRAINED[name], source, adapter, context=stopped.resumed())

    assert expected.curves == fitted.curves
    assert all(
        tensor.equal(resumed.state_dict()[name]) for name, tensor in whole.state_dict().items()
    )


@pytest.mark.parametrize(
    ("transfer", "method"), [(linear_probe(), "the convex solver"), (logit_affine(), "a closed")]
)
def test_method_without_gradients_refuses_a_learned_adapter(
    source: BlockNetwork, adapter: nn.Module, transfer: Transfer, method: str
) -> None:
    with pytest.raises(
        Inapplicable, match=f"the adapter is learned, by gradients that {method}.*finetune/blocks"
    ):
        fit(transfer, source, adapter)


class Stubborn(nn.Module):
    """Learned adapter that cannot draw new weights."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_learned_adapter_without_reset_parameters_is_inapplicable(source: BlockNetwork) -> None:
    with pytest.raises(
        Inapplicable, match=r"1.0 \(Stubborn\) in the learned adapter, which cannot draw"
    ):
        fit(TRAINED["head"], source, nn.Sequential(nn.Identity(), nn.Sequential(Stubborn())))
