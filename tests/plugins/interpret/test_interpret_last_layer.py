from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer_interpret.last_layer import LastLayer

INPUTS = torch.rand((5, 1, 4, 4), generator=stream_generator("inputs"))


class Rectified(nn.Module):
    """One rectifier that is called twice, as in torchvision's residual blocks."""

    def __init__(self, *, inplace: bool = False, functional: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.relu: Callable[[Tensor], Tensor] = (
            torch.relu if functional else nn.ReLU(inplace=inplace)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.second(self.relu(self.first(inputs.flatten(1))))))
        return logits


class Tempered(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * nn.functional.linear(inputs.flatten(1), torch.ones(3, 16))


def rectified(*, inplace: bool = False, functional: bool = False) -> Rectified:
    return build_initialized(
        lambda: Rectified(inplace=inplace, functional=functional), stream_generator("net")
    ).eval()


@pytest.mark.parametrize("bias", [True, False])
def test_features_and_weight_give_the_logits(bias: bool) -> None:
    head = nn.Linear(16, 3, bias=bias)
    model = nn.Sequential(nn.Flatten(), nn.Tanh(), head, nn.Identity()).eval()
    layer = LastLayer.find_in(model, INPUTS)

    assert bias is layer.bias
    assert torch.equal(INPUTS.flatten(1).tanh(), layer.features(INPUTS))
    assert torch.equal(head.weight, layer.weight)


@pytest.mark.parametrize(
    "model",
    [
        Tempered(),
        nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1)),
    ],
    ids=["scaled", "convolution", "softmax"],
)
def test_logits_from_elsewhere_have_no_last_layer(model: nn.Module) -> None:
    with pytest.raises(Inapplicable, match="do not come straight from a linear layer"):
        LastLayer.find_in(model.eval(), INPUTS)


@pytest.mark.parametrize(
    "model",
    [rectified(), rectified(inplace=True), rectified(functional=True)],
    ids=["module", "inplace", "functional"],
)
def test_gradients_pass_the_last_rectifier_alone_unchanged(model: Rectified) -> None:
    layer = LastLayer.find_in(model, INPUTS)
    faked, plain = (inputs := INPUTS.clone().requires_grad_()), INPUTS.clone().requires_grad_()
    features = layer.features(faked, fake_relu=True)
    (gradient,) = torch.autograd.grad(features.sum(), inputs)

    hidden = torch.relu(model.first(plain.flatten(1)))
    (expected,) = torch.autograd.grad(model.second(hidden).sum(), plain)

    assert 1 == layer.rectifier
    assert torch.equal(torch.relu(model.second(hidden)), features)
    assert torch.allclose(expected, gradient, atol=1e-7)


def chain(*after: nn.Module) -> nn.Module:
    """A rectifier, what is given after it, and a head."""
    features = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), *after)
    return build_initialized(
        lambda: nn.Sequential(features, nn.Linear(8, 3)), stream_generator("chain")
    ).eval()


@pytest.mark.parametrize(
    "after",
    [
        (nn.Linear(8, 8), nn.GELU()),
        (nn.Linear(8, 8),),
        (nn.LeakyReLU(),),
        (nn.Linear(8, 8), nn.ReLU6()),
        (nn.Linear(8, 8), nn.Hardswish(inplace=True)),
        (nn.Tanh(),),
    ],
    ids=["linear gelu", "linear", "leaky", "relu6", "hardswish", "tanh"],
)
def test_an_interior_rectifier_is_not_faked(after: tuple[nn.Module, ...]) -> None:
    layer = LastLayer.find_in(chain(*after), INPUTS)
    faked, plain = INPUTS.clone().requires_grad_(), INPUTS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer.features(faked, fake_relu=True).sum(), faked)
    (expected,) = torch.autograd.grad(layer.features(plain).sum(), plain)

    assert layer.rectifier is None
    assert torch.equal(expected, gradient)


@pytest.mark.parametrize(
    "after",
    [
        (nn.Dropout(),),
        (nn.BatchNorm1d(8),),
        (nn.Unflatten(1, (8, 1, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["dropout", "batch norm", "pooling"],
)
def test_pooling_reshaping_and_scaling_keep_the_last_rectifier(
    after: tuple[nn.Module, ...],
) -> None:
    assert 0 == LastLayer.find_in(chain(*after), INPUTS).rectifier


def test_finding_the_last_layer_leaves_no_trace_in_the_model() -> None:
    model = rectified()
    before = model(INPUTS)
    layer = LastLayer.find_in(model, INPUTS)
    layer.features(INPUTS, fake_relu=True)

    assert torch.equal(before, model(INPUTS))
    assert not any(module._forward_hooks for module in model.modules())
