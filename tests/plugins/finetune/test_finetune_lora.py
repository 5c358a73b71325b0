"""LoRA against closed forms (Hu et al., 2022)."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import Fitted, Tensors, Transfer
from advtransfer_finetune.components import blocks, lora
from advtransfer_finetune.low_rank import LowRankUpdate, add_updates, merge_updates, merged_state

CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
CONSTANT = Schedule(kind="constant")


def fit(
    transfer: Transfer, source: BlockNetwork, *, noise: float = 0.9
) -> tuple[nn.Module, Fitted]:
    train = toy(noise=noise).part("train")
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


def assert_equal_bits(states: Tensors, others: Tensors) -> None:
    assert set(states) == set(others)
    assert [] == [name for name, tensor in states.items() if not tensor.equal(others[name])]


def draw_updates(network: nn.Module, *, rank: int = 2, alpha: float = 3.0) -> list[LowRankUpdate]:
    """Give a network updates whose B is not zero."""
    generator = torch.Generator().manual_seed(1)
    network.requires_grad_(False)
    updates = add_updates(network, rank=rank, alpha=alpha, generator=generator)
    with torch.no_grad():
        for update in updates:
            update.B.copy_(torch.randn(update.B.shape, generator=generator))
    return updates


def convolutions() -> nn.Module:
    layers = [
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, groups=3),
        nn.Flatten(),
        nn.Linear(24, 5),
    ]
    return nn.Sequential(*layers)


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True)


@pytest.mark.parametrize(
    ("build", "shape", "count"),
    [(convolutions, (5, 4, 6, 6), 3), (attention, (5, 7, 8), 4)],
    ids=["convolutions", "attention"],
)
def test_merged_equals_unmerged(
    build: Callable[[], nn.Module], shape: tuple[int, ...], count: int
) -> None:
    network = build_initialized(build, stream_generator("network")).double().eval()
    inputs = torch.rand(*shape, generator=stream_generator("inputs"), dtype=torch.float64)
    plain_state = set(network.state_dict())
    plain = network(inputs)
    updates = [update.double() for update in draw_updates(network)]
    # Not under no_grad, where torch would take a kernel of its own for a whole encoder layer.
    unmerged = network(inputs)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    merge_updates(network)

    assert count == len(updates)
    assert not unmerged.allclose(plain, atol=1e-2)
    torch.testing.assert_close(network(inputs), unmerged, atol=1e-6, rtol=1e-6)
    assert plain_state == set(network.state_dict())
    assert_equal_bits(merged_state(state, scale=1.5), network.state_dict())


def test_the_first_gradient_in_b_is_that_of_the_weight_times_a() -> None:
    layer = build_initialized(lambda: nn.Conv2d(3, 5, 3), stream_generator("layer")).double()
    images = torch.rand(4, 3, 6, 6, generator=stream_generator("images"), dtype=torch.float64)
    (expected,) = torch.autograd.grad(layer(images).square().sum(), layer.weight)
    (update,) = add_updates(layer, rank=2, alpha=6.0, generator=torch.Generator().manual_seed(0))
    update.double()
    gradient_a, gradient_b = torch.autograd.grad(layer(images).square().sum(), [update.A, update.B])

    assert update.A.abs().max() <= 1 / 27**0.5
    torch.testing.assert_close(gradient_b, 6 / 2 * expected.flatten(1) @ update.A.T)
    # B is 0 at the start, so that A has no gradient and the layer is what it was.
    assert not gradient_a.any()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_least_squares_reaches_reduced_rank_regression(rank: int) -> None:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    layer = nn.Linear(6, 4, bias=False).double()
    layer.weight = nn.Parameter(draw(4, 6), requires_grad=False)
    inputs, outputs = draw(50, 6), draw(50, 4)
    rest = outputs - inputs @ layer.weight.T
    # Izenman (1975): the least-squares map, projected on the leading directions of its outputs.
    free = torch.linalg.lstsq(inputs, rest).solution
    _, _, directions = torch.linalg.svd(inputs @ free, full_matrices=False)
    leading = directions[:rank].T
    expected = layer.weight + (free @ leading @ leading.T).T

    (update,) = add_updates(layer, rank=rank, alpha=2.0, generator=generator)
    update.double()
    solver = torch.optim.LBFGS(
        update.parameters(),
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        solver.zero_grad()
        value: Tensor = (layer(inputs) - outputs).square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        return value.item()

    solver.step(loss)  # type: ignore[no-untyped-call]  # torch

    torch.testing.assert_close(layer.weight.detach(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("batch_norm", ["freeze", "adapt"])
@pytest.mark.parametrize("adversary", [None, Adversary(eps=0.1, steps=2)], ids=["natural", "pgd"])
def test_rank_0_is_a_trained_head_to_the_bit(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"], adversary: Adversary | None
) -> None:
    def fitted_by(transfer: Transfer) -> tuple[nn.Module, Fitted]:
        return fit(transfer, source)

    updated, fitted = fitted_by(
        lora(rank=0, epochs=3, batch_norm=batch_norm, adversary=adversary, snapshots=(1,))
    )
    head, expected = fitted_by(
        blocks(blocks=0, epochs=3, batch_norm=batch_norm, adversary=adversary, snapshots=(1,))
    )

    assert_equal_bits(updated.state_dict(), head.state_dict())
    assert_equal_bits(fitted.snapshots[1], expected.snapshots[1])
    assert fitted.curves == expected.curves


def test_training_starts_from_the_source_and_learns(source: BlockNetwork) -> None:
    still, _ = fit(lora(epochs=1, optimiser=Adam(lr=1e-30)), source)
    head, _ = fit(blocks(blocks=0, epochs=1, optimiser=Adam(lr=1e-30)), source)
    learned, fitted = fit(lora(rank=2, epochs=20, optimiser=Adam(lr=0.02)), source, noise=0.3)

    assert_equal_bits(still.state_dict(), head.state_dict())
    assert measure_accuracy(learned, toy().part("test"), device=CPU) == 1.0
    # Rank times rows and columns of 6 x 9, 6 x 54 and 5 x 24 kernels, and the head.
    count = 2 * (6 + 9 + 6 + 54 + 5 + 24) + 3 * 20 + 3
    assert fitted.facts == {"trained_parameters": count}


@pytest.mark.parametrize("batch_norm", ["freeze", "adapt"])
def test_each_weight_changes_by_a_matrix_of_the_rank_and_nothing_else_does(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"]
) -> None:
    model, _ = fit(lora(rank=2, epochs=3, batch_norm=batch_norm), source)
    state = model.state_dict()
    differences = {
        name: state[f"network.{name}"].double() - tensor.double()
        for name, tensor in source.state_dict().items()
    }
    changed = {name for name, difference in differences.items() if difference.any()}
    kernels = {f"body.{block}.0.weight" for block in ("low", "middle", "high")}

    assert {name for name in changed if not name.endswith(STATISTICS)} == kernels
    assert (changed == kernels) == (batch_norm == "freeze")
    for name in kernels:
        values = torch.linalg.svdvals(differences[name].flatten(1))
        assert values[2] < 1e-5 * values[0] < values[1]
    assert set(state) == set(
        lora().model(source=source, adapter=None, target=toy().card()).state_dict()
    )


def test_a_snapshot_is_the_merged_model_of_a_shorter_training(source: BlockNetwork) -> None:
    def tuned(epochs: int, snapshots: tuple[int, ...] = ()) -> tuple[nn.Module, Fitted]:
        return fit(lora(epochs=epochs, schedule=CONSTANT, snapshots=snapshots), source)

    model, fitted = tuned(4, (2, 4))

    assert_equal_bits(fitted.snapshots[2], tuned(2)[0].state_dict())
    assert_equal_bits(fitted.snapshots[4], model.state_dict())


def test_a_source_without_matrices_is_inapplicable() -> None:
    source = BlockNetwork(OrderedDict(only=nn.Flatten()), nn.Linear(16, 4))

    with pytest.raises(Inapplicable, match="no convolution, linear layer or attention"):
        fit(lora(epochs=1), source)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")
def test_peft_gives_the_same_outputs() -> None:
    import peft  # type: ignore[import-not-found]  # an optional judge

    ours, theirs = convolutions().eval(), convolutions().eval()
    theirs.load_state_dict(ours.state_dict())
    updates = draw_updates(ours)
    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=["0", "4"])
    wrapped = peft.get_peft_model(theirs, config)
    layers = [wrapped.base_model.model[0], wrapped.base_model.model[4]]
    with torch.no_grad():
        # peft's grouped convolutions have groups of A too, so that the second layer is left out.
        updates[1].B.zero_()
        for layer, update in zip(layers, (updates[0], updates[2]), strict=True):
            weight_a = layer.lora_A["default"].weight
            weight_b = layer.lora_B["default"].weight
            weight_a.copy_(update.A.view_as(weight_a))
            weight_b.copy_(update.B.view_as(weight_b))
    images = torch.rand(5, 4, 6, 6)

    torch.testing.assert_close(ours(images), wrapped(images), atol=1e-6, rtol=1e-5)


def test_vision_transformers_are_updated_in_every_layer() -> None:
    timm = pytest.importorskip("timm")
    network = build_initialized(
        lambda: timm.create_model("test_vit", pretrained=False, num_classes=3),
        stream_generator("network"),
    ).eval()
    images = torch.rand(2, 3, *network.patch_embed.img_size, generator=stream_generator("images"))
    plain = network(images)
    names = {name for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    draw_updates(network)
    updated = {
        name for name, module in network.named_modules() if hasattr(module, "parametrizations")
    }
    changed = network(images)
    merge_updates(network)

    assert names < updated
    assert not changed.allclose(plain, atol=1e-3)
    torch.testing.assert_close(network(images), changed, atol=1e-5, rtol=1e-5)
