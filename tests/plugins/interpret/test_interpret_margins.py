"""On a linear model the linearised robustness is the exact distance to the nearest boundary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, EvaluationInputs
from advtransfer_interpret.alignment_bound import sample_margins
from advtransfer_interpret.components import gradient_alignment


def images(count: int = 70, classes: int = 4) -> ArraySamples:
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", classes, tuple("abcd"[:classes]), "")
    inputs = torch.rand((count, 1, 4, 4), generator=stream_generator("images"))
    return ArraySamples(card=card, inputs=inputs, labels=torch.arange(count) % classes)


def linear(classes: int = 4) -> nn.Linear:
    return build_initialized(lambda: nn.Linear(16, classes), stream_generator("linear")).eval()


def closed_form(head: nn.Linear, x: Tensor, *, rivals: int) -> Tensor:
    """The distance to the nearest hyperplane among those of the classes with the next largest logits."""
    logits = (x @ head.weight.T + head.bias).double()
    order = logits.argsort(dim=1, descending=True)
    top, others = order[:, :1], order[:, 1 : rivals + 1]
    gaps = logits.gather(1, top) - logits.gather(1, others)
    normals = head.weight.double()[top] - head.weight.double()[others]
    nearest: Tensor = (gaps / normals.norm(dim=2)).amin(1)
    return nearest


@pytest.mark.parametrize("rivals", [None, 1, 2])
def test_rho_of_a_linear_model_is_the_closed_form_distance(rivals: int | None) -> None:
    head, test = linear(), images()
    found = sample_margins(
        nn.Sequential(nn.Flatten(), head).eval(), test, rivals=rivals, context=InMemoryContext()
    )

    with torch.no_grad():
        expected = closed_form(head, test.inputs(torch.arange(70)).flatten(1), rivals=rivals or 3)
    assert torch.allclose(expected, found.robustness, atol=1e-6)


def test_a_point_moved_by_rho_lies_on_a_boundary() -> None:
    head, test = linear(classes=2), images(classes=2)
    model = nn.Sequential(nn.Flatten(), head).eval()
    found = sample_margins(model, test, rivals=None, context=InMemoryContext())
    x = test.inputs(torch.arange(70)).flatten(1).double()
    normal = (head.weight[0] - head.weight[1]).double()
    sign = model(x.float().reshape(-1, 1, 4, 4)).argmax(1).mul(2).sub(1)

    moved = x + (sign * found.robustness)[:, None] * normal / normal.norm()
    with torch.no_grad():
        gaps = moved @ normal + (head.bias[0] - head.bias[1]).double()

    assert gaps.abs().max() < 1e-6


def test_without_intercepts_alignment_of_the_top_two_is_their_distance() -> None:
    """Etmann et al. (2019): for functions that are homogeneous, the alignment is the linearised robustness."""
    head = linear()
    nn.init.zeros_(head.bias)
    model = nn.Sequential(nn.Flatten(), head, nn.Flatten()).eval()
    found = sample_margins(model, images(), rivals=1, context=InMemoryContext())

    assert torch.allclose(found.robustness, found.alignment, atol=1e-6)
    assert found.remainder.max() < 1e-6


@pytest.mark.parametrize("rivals", [None, 1])
def test_alignment_and_remainder_bound_rho_and_alignment_alone_does_not(rivals: int | None) -> None:
    """Etmann et al. (2019); C is the intercept of the gap, which is known here."""
    head, test = linear(), images()
    nn.init.constant_(head.bias, 0.0)
    head.bias.data[0] = 5.0
    found = sample_margins(
        nn.Sequential(nn.Flatten(), head).eval(), test, rivals=rivals, context=InMemoryContext()
    )
    logits = head(test.inputs(torch.arange(70)).flatten(1)).detach()
    second = logits[:, 1:].argmax(1) + 1
    expected = 5.0 / (head.weight[0] - head.weight[second]).double().norm(dim=1).detach()

    assert (logits.argmax(1) == 0).all()
    assert torch.allclose(expected, found.remainder, atol=1e-5)
    assert (found.robustness <= found.alignment + found.remainder + 1e-6).all()
    assert (found.robustness > found.alignment).all()


def test_the_metrics_are_those_of_the_samples() -> None:
    given = EvaluationInputs(
        test=images(), model=nn.Sequential(nn.Flatten(), linear(), nn.Tanh()).eval()
    )
    found = gradient_alignment().measure(given, context=InMemoryContext())

    alignment, rho = found.samples["alignment"].double(), found.samples["rho"].double()
    assert alignment.mean().item() == pytest.approx(found.metrics["alignment"], rel=1e-5)
    assert found.samples["remainder"].mean().item() == pytest.approx(
        found.metrics["remainder"], rel=1e-5
    )
    assert rho.median().item() == pytest.approx(found.metrics["rho_median"], rel=1e-5)
    assert np.corrcoef(alignment, rho)[0, 1] == pytest.approx(
        found.metrics["correlation"], rel=1e-4
    )
    assert 0 == found.metrics["flat"]


class Stepped(nn.Module):
    """No gradient where the first pixel is below one half."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear()

    def forward(self, inputs: Tensor) -> Tensor:
        moving = (inputs[:, :1, 0, 0] > 0.5).to(inputs)
        logits: Tensor = self.head(inputs.flatten(1))
        return moving * logits + (1 - moving) * logits.detach()


def test_samples_without_a_gradient_are_counted_and_left_out() -> None:
    test = images()
    found = gradient_alignment().measure(
        EvaluationInputs(test=test, model=Stepped().eval()), context=InMemoryContext()
    )
    flat = test.inputs(torch.arange(70))[:, 0, 0, 0] <= 0.5

    assert flat.double().mean().item() == pytest.approx(found.metrics["flat"])
    assert torch.equal(flat, found.samples["rho"].isnan())
    assert torch.equal(flat, found.samples["remainder"].isnan())
    assert found.samples["alignment"][~flat].double().mean().item() == pytest.approx(
        found.metrics["alignment"], rel=1e-5
    )


def test_a_model_without_any_gradient_is_inapplicable() -> None:
    head = linear()
    nn.init.zeros_(head.weight)
    given = EvaluationInputs(test=images(), model=nn.Sequential(nn.Flatten(), head).eval())

    with pytest.raises(Inapplicable, match="has no gradient at any test image"):
        gradient_alignment().measure(given, context=InMemoryContext())
