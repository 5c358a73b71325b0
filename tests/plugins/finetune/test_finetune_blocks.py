from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled, Diverged, Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.training_config import Sgd
from advtransfer.types import Context, Fitted, Network, Transfer
from advtransfer_finetune import tuning
from advtransfer_finetune.components import blocks

CPU = torch.device("cpu")
NAMES = ["low", "middle", "high"]


def fit(
    transfer: Transfer,
    source: Network,
    *,
    adapter: nn.Module | None = None,
    context: Context | None = None,
) -> tuple[nn.Module, Fitted]:
    data = toy()
    model = transfer.model(source=source, adapter=adapter, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=adapter,
        train=data.part("train"),
        validation=data.part("test"),
        context=context or InMemoryContext(),
    )
    return model, fitted


def changed_tensors(source: BlockNetwork, model: nn.Module) -> set[str]:
    """Return the names of the source's tensors that differ in the model."""
    state = model.state_dict()
    return {
        name
        for name, tensor in source.state_dict().items()
        if not tensor.equal(state[f"network.{name}"])
    }


def logits(model: nn.Module) -> Tensor:
    return predict(model, toy().part("test"), device=CPU)[0]


@pytest.mark.parametrize("count", range(4))
def test_exactly_the_last_blocks_and_the_head_are_trained(source: BlockNetwork, count: int) -> None:
    model, _ = fit(blocks(blocks=count, epochs=2), source)
    trained = tuple(f"body.{name}." for name in NAMES[len(NAMES) - count :])
    expected = {name for name in source.state_dict() if name.startswith(trained)}
    head = {"head.weight", "head.bias"}
    learned = {
        f"network.{name}" for name, _ in source.named_parameters() if name.startswith(trained)
    } | head

    assert learned == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert expected == changed_tensors(source, model)


@pytest.mark.parametrize("count", range(3))
def test_adapting_batch_normalisation_changes_the_statistics_of_frozen_blocks_and_no_frozen_weight(
    source: BlockNetwork, count: int
) -> None:
    model, _ = fit(blocks(blocks=count, epochs=2, batch_norm="adapt"), source)
    frozen = tuple(f"body.{name}." for name in NAMES[: len(NAMES) - count])
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    changed_statistics = {
        name for name in changed_tensors(source, model) if name.startswith(frozen)
    }

    assert {
        name
        for name in source.state_dict()
        if name.startswith(frozen) and name.endswith(statistics)
    } == changed_statistics


def test_more_blocks_than_the_source_has_are_inapplicable(source: BlockNetwork) -> None:
    with pytest.raises(Inapplicable, match=r"blocks is 4; the source has 3 \(low, middle, high\)"):
        fit(blocks(blocks=4), source)


@pytest.mark.parametrize("count", range(4))
def test_a_tuned_model_has_learned_the_task(source: BlockNetwork, count: int) -> None:
    model, fitted = fit(blocks(blocks=count, epochs=40), source)

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0
    assert [*range(1, 41)] == [row["epoch"] for row in fitted.curves]
    assert fitted.curves[-1]["train_loss"] < fitted.curves[0]["train_loss"]
    assert fitted.curves[-1]["validation_accuracy"] == 1.0
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("count", range(3))
def test_stored_activations_give_the_same_results(
    source: BlockNetwork, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dropout draws its masks in the order of memory, in which stored activations lie otherwise.
    monkeypatch.setattr("advtransfer.toolkit.training.prefers_channels_last", lambda *_: False)
    quick, curves = fit(blocks(blocks=count, epochs=5), source)
    plain, expected = fit(blocks(blocks=count, epochs=5, activations="every_epoch"), source)
    monkeypatch.setattr(tuning, "MAX_ACTIVATION_BYTES", 0)
    crowded, _ = fit(blocks(blocks=count, epochs=5), source)

    assert logits(plain).equal(logits(crowded))
    torch.testing.assert_close(logits(quick), logits(plain), atol=1e-4, rtol=1e-4)
    for found, row in zip(curves.curves, expected.curves, strict=True):
        assert row == pytest.approx(dict(found), abs=1e-4)


def rows_seen(model: nn.Module) -> list[int]:
    """Return a list that collects the sizes of the first block's batches."""
    seen: list[int] = []
    model.get_submodule("network.body.low").register_forward_pre_hook(
        lambda _, inputs: seen.append(len(inputs[0]))
    )
    return seen


@pytest.mark.parametrize(
    ("batch_norm", "count", "passes"), [("freeze", 1, 1), ("adapt", 1, 7), ("freeze", 3, 7)]
)
def test_frozen_blocks_see_each_image_once_while_activations_are_fixed(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"], count: int, passes: int
) -> None:
    transfer, data = (
        blocks(blocks=count, epochs=7, batch_size=30, batch_norm=batch_norm),
        toy(train=60),
    )
    model = transfer.model(source=source, adapter=None, target=data.card())
    seen = rows_seen(model)
    transfer.fit(
        model,
        source=source,
        adapter=None,
        train=data.part("train"),
        validation=None,
        context=InMemoryContext(),
    )

    # Chunks are filled up to 64 rows, and one empty image measures the activations' size.
    assert ([64] if passes == 1 else [30, 30] * passes) == [size for size in seen if size > 1]


class Opaque(nn.Module):
    """Network outside the toolkit, which doubles its last block's output outside every block."""

    def __init__(self, inner: BlockNetwork) -> None:
        super().__init__()
        self.inner, self.head = inner, nn.Linear(20, 4)

    @property
    def blocks(self) -> dict[str, nn.Module]:
        return dict(self.inner.blocks)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.features(inputs))
        return output

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        return 2 * self.inner.features(inputs, upto=upto)


def test_foreign_network_is_trained_through_its_own_features(
    source: BlockNetwork,
) -> None:
    model, _ = fit(blocks(blocks=1, epochs=20), Opaque(source).eval())
    images = toy().part("test").inputs(torch.arange(8))
    inner, head = model.get_submodule("network.inner"), model.get_submodule("head")
    assert isinstance(inner, BlockNetwork)

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0
    torch.testing.assert_close(model(images), head(2 * inner.features(images)))
    assert source.get_parameter("body.low.0.weight").equal(inner.get_parameter("body.low.0.weight"))


def test_the_same_streams_give_the_same_bits_and_others_do_not(source: BlockNetwork) -> None:
    runs = [
        logits(fit(blocks(blocks=1, epochs=3), source, context=InMemoryContext(seed))[0])
        for seed in (0, 0, 1)
    ]

    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])


@pytest.mark.parametrize("batch_norm", ["adapt", "freeze"])
def test_a_stopped_fit_continues_to_the_same_bits(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"]
) -> None:
    transfer = blocks(blocks=1, epochs=12, batch_norm=batch_norm)
    whole, expected = fit(transfer, source)
    stopped = InMemoryContext(cancel_after=7)
    with pytest.raises(Cancelled):
        fit(transfer, source, context=stopped)
    resumed, fitted = fit(transfer, source, context=stopped.resumed())

    assert expected.curves == fitted.curves
    assert all(
        tensor.equal(resumed.state_dict()[name]) for name, tensor in whole.state_dict().items()
    )


def test_building_a_model_changes_neither_random_state_nor_source(
    source: BlockNetwork,
) -> None:
    before, state = copy.deepcopy(source), torch.get_rng_state()
    fit(blocks(blocks=3, epochs=1), source)

    assert state.equal(torch.get_rng_state())
    assert all(
        tensor.equal(source.state_dict()[name]) for name, tensor in before.state_dict().items()
    )
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in source.parameters()
    )
    assert not any(module.training for module in source.modules())


class Shifting(nn.Module):
    """Adapter that is random in training mode."""

    def forward(self, inputs: Tensor) -> Tensor:
        assert not self.training
        return inputs.flip(3)


@pytest.mark.parametrize("batch_norm", ["adapt", "freeze"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_adapter_comes_first_and_runs_as_in_evaluation(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"], count: int
) -> None:
    model, _ = fit(
        blocks(blocks=count, epochs=30, batch_norm=batch_norm), source, adapter=Shifting()
    )
    flipped, _ = fit(blocks(blocks=count, epochs=30, batch_norm=batch_norm), source)

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0
    assert not logits(model).equal(logits(flipped))


def test_nonfinite_loss_raises_diverged(source: BlockNetwork) -> None:
    with pytest.raises(Diverged):
        fit(blocks(blocks=3, epochs=20, optimiser=Sgd(lr=1e20)), source)


def test_foreign_model_raises_an_error(source: BlockNetwork) -> None:
    data = toy()

    with pytest.raises(TypeError, match="found a BlockNetwork; expected the transfer's own model"):
        blocks(blocks=1).fit(
            source,
            source=source,
            adapter=None,
            train=data.part("train"),
            validation=None,
            context=InMemoryContext(),
        )
