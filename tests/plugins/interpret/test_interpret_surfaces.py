"""Known answers of the loss around an image: its middle, its ends, and how far it is from its tangent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, EvaluationInputs, Shape
from advtransfer_interpret.components import loss_surface
from advtransfer_interpret.loss_surfaces import LossSurface, unit_directions


def images(count: int = 20, *, shape: Shape = (1, 4, 4)) -> ArraySamples:
    card = DataCard(shape, (0.0, 1.0), "classes", 3, ("a", "b", "c"), "")
    inputs = torch.rand((count, *shape), generator=stream_generator("images"))
    return ArraySamples(card=card, inputs=inputs, labels=torch.arange(count) % 3)


def smooth() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))

    return build_initialized(build, stream_generator("smooth")).eval()


def surfaces(evaluation: LossSurface, model: nn.Module) -> dict[str, float]:
    return dict(
        evaluation.measure(
            EvaluationInputs(test=images(), model=model), context=InMemoryContext()
        ).metrics
    )


def test_the_middle_of_a_surface_is_the_loss_of_the_image() -> None:
    model, test = smooth(), images()
    inputs, labels = test.inputs(torch.arange(4)), test.labels(torch.arange(4))
    found = surfaces(LossSurface("linf", 0.1, 4, 3), model)

    with torch.no_grad():
        assert nn.functional.cross_entropy(model(inputs), labels).item() == pytest.approx(
            found["loss"], rel=1e-5
        )


def test_the_adversarial_direction_rises_most_and_a_small_surface_is_flat() -> None:
    large, small = (surfaces(LossSurface("l2", eps, 6, 2), smooth()) for eps in (0.3, 1e-3))

    assert large["rise_adversarial"] > large["rise_random"] > 0
    assert small["nonlinearity"] < 0.01 * small["rise_adversarial"]


def binary(count: int = 12) -> ArraySamples:
    """Black and white images of the first of two classes."""
    card = DataCard((1, 4, 4), (0.0, 1.0), "classes", 2, ("a", "b"), "")
    inputs = torch.rand((count, 1, 4, 4), generator=stream_generator("binary")).round()
    return ArraySamples(card=card, inputs=inputs, labels=torch.zeros(count, dtype=torch.int64))


class LinearLoss(nn.Module):
    """Logits whose cross-entropy with the first class is ``1 + slope @ pixels``."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "slope", torch.rand(16, generator=stream_generator("slope")) / 16 - 1 / 32
        )

    def forward(self, inputs: Tensor) -> Tensor:
        loss = 1 + inputs.flatten(1) @ self.get_buffer("slope")
        return torch.stack([-loss, torch.log(-torch.expm1(-loss))], dim=1)


def test_a_linear_loss_on_binary_images_has_no_nonlinearity_although_half_of_each_step_is_clipped() -> (
    None
):
    test, model = binary(), LinearLoss().eval()
    slope = model.get_buffer("slope").double()
    given = EvaluationInputs(test=test, model=model)
    found = (
        loss_surface(norm="linf", eps=0.3, images=12)
        .measure(given, context=InMemoryContext())
        .metrics
    )
    pixels = test.inputs(torch.arange(12)).flatten(1).double()
    free = torch.where(slope > 0, 1 - pixels, pixels)  # a pixel at its bound stays there

    assert 0.3 * (free @ slope.abs()).mean().item() == pytest.approx(
        found["rise_adversarial"], abs=1e-6
    )
    assert found["nonlinearity"] < 1e-6


def test_nonlinearity_on_binary_images_is_the_curvature_of_the_loss_on_the_clipped_path() -> None:
    """Of two classes, the loss is ``softplus`` of the gap, and the gap is linear in the pixels."""
    test, head = (
        binary(),
        build_initialized(lambda: nn.Linear(16, 2), stream_generator("head")).eval(),
    )
    given = EvaluationInputs(test=test, model=nn.Sequential(nn.Flatten(), head).eval())
    found = (
        loss_surface(norm="linf", eps=0.3, images=12, rings=1)
        .measure(given, context=InMemoryContext())
        .metrics
    )
    pixels, gaps = test.inputs(torch.arange(12)).flatten(1).double(), []
    slope = (head.weight[1] - head.weight[0]).double().detach()
    for end in (-0.3, 0.0, 0.3):
        gaps.append(
            (pixels + end * slope.sign()).clamp(0, 1) @ slope + (head.bias[1] - head.bias[0]).item()
        )
    down, clean, up = gaps
    curved = [(nn.functional.softplus(gap) - nn.functional.softplus(clean)) for gap in (down, up)]
    tangent = [clean.sigmoid() * (gap - clean) for gap in (down, up)]
    expected = (
        torch.stack([a - b for a, b in zip(curved, tangent, strict=True)])
        .abs()
        .amax(0)
        .mean()
        .item()
    )

    assert expected == pytest.approx(found["nonlinearity"], abs=1e-6)


class Wave(nn.Module):
    """The loss of the first class rises where one pixel grows from grey a little, and falls where it grows further."""

    def forward(self, inputs: Tensor) -> Tensor:
        gap = torch.sin(45 * (inputs.flatten(1)[:, 0] - 0.5))
        return torch.stack([torch.zeros_like(gap), gap], dim=1)


def test_rises_are_the_larger_of_both_ways() -> None:
    card = binary().card
    grey = ArraySamples(card=card, inputs=torch.full((1, 1, 4, 4), 0.5), labels=torch.tensor([0]))
    given = EvaluationInputs(test=grey, model=Wave().eval())
    found = (
        loss_surface(norm="linf", eps=0.1, images=1)
        .measure(given, context=InMemoryContext())
        .metrics
    )
    backwards = torch.sin(torch.tensor([-4.5, 0.0]))
    high, clean = nn.functional.softplus(backwards).tolist()

    assert high - clean == pytest.approx(found["rise_adversarial"], abs=1e-5)
    assert high - clean == pytest.approx(found["rise_random"], abs=1e-5)


def test_directions_have_length_one_in_their_norm() -> None:
    drawn = torch.randn((3, 1, 4, 4), generator=stream_generator("directions"))
    drawn[2] = 0

    assert [1, 1, 0] == pytest.approx(unit_directions(drawn, "l2").flatten(1).norm(dim=1).tolist())
    assert [1, 1, 0] == unit_directions(drawn, "linf").abs().flatten(1).amax(1).tolist()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 1.5), ("l2", 4.5)])
def test_an_eps_beyond_its_norms_range_is_an_error(norm: str, eps: float) -> None:
    with pytest.raises(ValueError, match="divide it by 255 if it counts 8-bit levels"):
        loss_surface(norm=norm, eps=eps).measure(  # type: ignore[arg-type]  # one of the two, by the parameters
            EvaluationInputs(test=images(), model=smooth()), context=InMemoryContext()
        )


class Halves(nn.Module):
    """The second class where the first pixel is brighter than grey."""

    def forward(self, inputs: Tensor) -> Tensor:
        gap = inputs.flatten(1)[:, 0] - 0.5
        return torch.stack([torch.zeros_like(gap), gap], dim=1)


def test_regions_are_the_predicted_classes_on_the_grid_of_losses() -> None:
    card = binary().card
    grey = torch.full((1, 1, 4, 4), 0.5)
    adversarial, random = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    adversarial[0, 0, 0, 0], random[0, 0, 3, 3] = 1.0, 1.0
    evaluation = LossSurface("l2", 0.2, 1, 2, regions=True)
    grids = evaluation._moved_images(grey, adversarial, random, card)

    classes = evaluation._class_grids(Halves().eval(), grids)

    # Rows are steps of the adversarial direction from -eps to eps: brighter only in the last two.
    assert classes.tolist() == [[[0] * 5, [0] * 5, [0] * 5, [1] * 5, [1] * 5]]


def test_a_picture_of_regions_is_written_on_request_alone() -> None:
    given, contexts = EvaluationInputs(test=images(), model=smooth()), []
    for regions in (False, True):
        context = InMemoryContext()
        contexts.append(context)
        evaluation = loss_surface(norm="l2", eps=0.5, images=2, rings=2, regions=regions)
        measured = evaluation.measure(given, context=context)
        assert ("decision_regions" in measured.files) is regions
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in measured.files.values())
