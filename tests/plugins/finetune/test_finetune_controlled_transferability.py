"""The gradient-alignment penalty of Liang et al. (2021), for both signs of rho."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training_config import Adam
from advtransfer.types import Context, Fitted, SourceCard, Transfer, Weights
from advtransfer_finetune.components import controlled_transferability, full
from advtransfer_finetune.reference_alignment import (
    GradientAlignmentLoss,
    absolute_cosines,
)


def small_network() -> BlockNetwork:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Softplus())
    return BlockNetwork({"only": layers}, nn.Linear(12, 3))


@dataclass(frozen=True)
class Reference:
    """A fixed model of the toy target."""

    outputs: int = 3

    def card(self) -> SourceCard:
        return SourceCard(
            architecture="small",
            data="toy",
            constraint="none",
            shape=(1, 4, 4),
            outputs=self.outputs,
        )

    def network(self) -> BlockNetwork:
        return build_initialized(small_network, stream_generator("any"))

    def weights(self, context: Context) -> Weights:
        return Weights(build_initialized(small_network, stream_generator("reference")).state_dict())


def frozen_reference() -> BlockNetwork:
    network = build_initialized(small_network, stream_generator("reference"))
    return network.requires_grad_(False).eval()


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


def gradients_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(images), labels, reduction="sum")
    (gradients,) = torch.autograd.grad(loss, images)
    return gradients.flatten(1)


def test_cosines_are_those_of_the_rows_however_small_they_are() -> None:
    rows = torch.tensor([[3.0, 4.0], [1e-30, 0.0], [0.0, 0.0]])
    others = torch.tensor([[-4.0, 3.0], [-2.0, 2.0], [1.0, 1.0]])

    expected = torch.tensor([0.0, 0.5**0.5, 0.0])
    torch.testing.assert_close(absolute_cosines(rows, others), expected)


def test_zero_gradients_give_no_nan() -> None:
    rows = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(absolute_cosines(rows, torch.ones(2, 3)).sum(), rows)

    assert gradient.isfinite().all()


@pytest.mark.parametrize("rho", [2.0, -2.0])
def test_value_and_weight_gradients_are_those_of_the_formula(rho: float) -> None:
    part = toy(noise=0.9).part("train")
    images, labels = part.inputs(torch.arange(8)).double(), part.labels(torch.arange(8))
    model = build_initialized(small_network, stream_generator("model")).double()
    reference = frozen_reference().double()
    objective = GradientAlignmentLoss(reference=reference, task="classes", rho=rho, smoothness=0.3)

    def value() -> float:
        own, theirs = (gradients_of(network, images, labels) for network in (model, reference))
        cosines = nn.functional.cosine_similarity(own, theirs).abs()
        loss = nn.functional.cross_entropy(model(images), labels)
        penalty = rho * cosines.mean() + 2 * 0.3 * own.square().sum(1).mean()
        return (loss + penalty).item()

    ((loss, outputs),) = objective(model, images, labels, torch.Generator())
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward

    assert loss.item() == pytest.approx(value(), rel=1e-12)
    torch.testing.assert_close(outputs, model(images))
    # By finite differences, since the penalty is a function of derivatives.
    for weight in model.parameters():
        assert weight.grad is not None
        for place in (0, weight.numel() - 1):
            flat = weight.detach().view(-1)
            kept, step = flat[place].item(), 1e-6
            values = []
            for change in (step, -step):
                flat[place] = kept + change
                values.append(value())
            flat[place] = kept
            difference = (values[0] - values[1]) / (2 * step)
            assert weight.grad.view(-1)[place].item() == pytest.approx(difference, abs=1e-6)


def test_both_signs_of_rho_move_the_alignment_their_way(source: BlockNetwork) -> None:
    part = toy(noise=0.9).part("train")
    images, labels = part.inputs(all_positions(part)), part.labels(all_positions(part))
    theirs = gradients_of(frozen_reference(), images, labels)

    def alignment(rho: float) -> float:
        transfer = controlled_transferability(
            reference=Reference(), rho=rho, epochs=30, batch_size=20, optimiser=Adam(lr=0.01)
        )
        model, _ = fit(transfer, source)
        own = gradients_of(model, images, labels)
        return absolute_cosines(own, theirs).mean().item()

    away, free, towards = (alignment(rho) for rho in (5.0, 0.0, -5.0))

    assert away < free - 0.1
    assert towards > free + 0.1


def test_without_rho_it_is_full_fine_tuning_to_the_bit(source: BlockNetwork) -> None:
    model, fitted = fit(
        controlled_transferability(reference=Reference(), rho=0, epochs=3, batch_size=32), source
    )
    plain, expected = fit(full(epochs=3, batch_norm="freeze"), source)

    assert fitted.curves == expected.curves
    for name, tensor in plain.state_dict().items():
        assert tensor.equal(model.state_dict()[name])


def test_a_reference_of_other_classes_is_inapplicable(source: BlockNetwork) -> None:
    transfer = controlled_transferability(reference=Reference(outputs=4))

    with pytest.raises(Inapplicable, match=r"the reference takes inputs .* and gives 4 outputs"):
        transfer.model(source=source, adapter=None, target=toy().card())
    with pytest.raises(Inapplicable, match="take a model of the target's data set"):
        transfer.model(source=source, adapter=None, target=replace(toy().card(), shape=(1, 5, 5)))
