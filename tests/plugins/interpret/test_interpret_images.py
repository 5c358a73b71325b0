"""Known answers of what is drawn: gradients, maximising images, what is not finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, EvaluationInputs, Shape
from advtransfer_interpret import figures
from advtransfer_interpret.components import feature_visualisation, loss_surface, saliency
from advtransfer_interpret.feature_visualization import pixel_correlation, total_variation
from advtransfer_interpret.figures import image_grid
from advtransfer_interpret.input_gradients import input_gradients, loss_per_sample
from advtransfer_interpret.saliency_maps import gradient_image, roughness
from advtransfer_interpret.samples import round_robin_by_class


def images(count: int = 20, *, shape: Shape = (1, 4, 4)) -> ArraySamples:
    card = DataCard(shape, (0.0, 1.0), "classes", 3, ("a", "b", "c"), "")
    inputs = torch.rand((count, *shape), generator=stream_generator("images"))
    return ArraySamples(card=card, inputs=inputs, labels=torch.arange(count) % 3)


def smooth() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))

    return build_initialized(build, stream_generator("smooth")).eval()


def test_input_gradients_are_finite_differences() -> None:
    model, test = smooth().double(), images(3)
    inputs, labels = test.inputs(torch.arange(3)).double(), test.labels(torch.arange(3))
    found, score, step = (
        input_gradients(model, loss_per_sample(model), inputs, labels),
        loss_per_sample(model),
        1e-6,
    )

    for place in range(16):
        move = (
            torch.zeros(16, dtype=torch.float64)
            .index_fill(0, torch.tensor(place), step)
            .reshape(1, 1, 4, 4)
        )
        with torch.no_grad():
            slope = (score(inputs + move, labels) - score(inputs - move, labels)) / (2 * step)
        assert torch.allclose(slope, found.flatten(1)[:, place], atol=1e-8)


def test_a_probabilitys_gradient_is_that_of_the_loss_times_minus_the_probability() -> None:
    """Methods 3.2: ``grad p = -p * grad loss``."""
    given = EvaluationInputs(test=images(), model=smooth())
    loss, probability = (
        saliency(gradient_of=what)
        .measure(given, context=InMemoryContext())
        .samples["gradient_norm"]
        for what in ("loss", "probability")
    )
    with torch.no_grad():
        p = (
            smooth()(images().inputs(torch.arange(20)))
            .softmax(1)
            .gather(1, (torch.arange(20) % 3)[:, None])[:, 0]
        )

    assert torch.allclose(p * loss, probability, atol=1e-6)


def test_zero_is_mid_grey_and_three_deviations_are_black_and_white() -> None:
    gradient = torch.zeros(1, 10, 10)
    gradient[0, 0, 0], gradient[0, 0, 1] = 1.0, -1.0
    shown = gradient_image(gradient)

    assert [1.0, 0.0, 0.5] == shown[0, 0, :3].tolist()
    assert torch.equal(
        torch.full((1, 4, 4), 0.5, dtype=torch.float64), gradient_image(torch.zeros(1, 4, 4))
    )


def test_roughness_and_total_variation_of_a_checkerboard() -> None:
    board = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])

    assert [2.0] == roughness(board).tolist()
    assert [2.0] == total_variation(board).tolist()
    assert [0.0, 0.0] == roughness(torch.tensor([[[[3.0, 3.0]]], [[[0.0, 0.0]]]])).tolist()
    assert [0.0] == total_variation(torch.ones(1, 1, 1, 1)).tolist()


def test_likeness_is_a_correlation() -> None:
    image = torch.rand((1, 1, 3, 3), generator=stream_generator("likeness"))

    assert [1.0, -1.0] == pytest.approx(
        torch.cat(
            [pixel_correlation(image, 2 * image + 1), pixel_correlation(image, -image)]
        ).tolist()
    )
    assert [0.0] == pixel_correlation(image, torch.ones_like(image)).tolist()


def test_samples_are_chosen_from_each_class_in_turn() -> None:
    labels = torch.tensor([1, 1, 0, 1, 0, 2])

    assert [2, 0, 5, 4] == round_robin_by_class(labels, 4).tolist()
    assert 6 == len(round_robin_by_class(labels, 9))


def test_the_image_that_maximises_a_linear_unit_is_a_corner_of_the_box() -> None:
    first = build_initialized(lambda: nn.Linear(16, 5), stream_generator("unit"))
    model = nn.Sequential(nn.Flatten(), first, nn.Linear(5, 3)).eval()
    found = feature_visualisation(units=(1, 4), images=2, steps=50, step_size=20.0).measure(
        EvaluationInputs(test=images(), model=model), context=InMemoryContext()
    )
    highest = [(first.weight[unit].clamp_min(0).sum() + first.bias[unit]).item() for unit in (1, 4)]

    assert sum(highest) / 2 == pytest.approx(found.metrics["activation"], rel=1e-4)


def test_a_radius_bounds_how_far_the_image_goes() -> None:
    first = build_initialized(lambda: nn.Linear(16, 5), stream_generator("unit"))
    nn.init.zeros_(first.bias)
    model = nn.Sequential(nn.Flatten(), first, nn.Linear(5, 3)).eval()
    visualise = feature_visualisation(units=(0,), images=0, steps=30, step_size=0.05, radius=0.1)
    found = visualise.measure(
        EvaluationInputs(test=images(), model=model), context=InMemoryContext()
    ).metrics

    assert 0.1 * first.weight[0].norm().item() == pytest.approx(
        found["activation"] - found["activation_start"], rel=1e-3
    )


def test_a_unit_that_the_model_lacks_is_inapplicable() -> None:
    with pytest.raises(Inapplicable, match="unit 8 is none of the 8 that the last layer sees"):
        feature_visualisation(units=(8,)).measure(
            EvaluationInputs(test=images(), model=smooth()), context=InMemoryContext()
        )


class Broken(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)[:, :3] / 0


def test_gradients_and_losses_that_are_not_finite_are_inapplicable() -> None:
    given = EvaluationInputs(test=images(), model=Broken().eval())

    with pytest.raises(Inapplicable, match="not finite"):
        saliency().measure(given, context=InMemoryContext())
    with pytest.raises(Inapplicable, match="not finite"):
        loss_surface(norm="linf", eps=0.1).measure(given, context=InMemoryContext())


class Doubled(nn.Module):
    """An adapter from one channel to three, of twice the size."""

    def forward(self, inputs: Tensor) -> Tensor:
        enlarged = nn.functional.interpolate(inputs, scale_factor=2.0, mode="nearest")
        return 1 - enlarged.expand(-1, 3, -1, -1)


class AdaptedNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.adapter = Doubled()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(self.adapter(inputs))
        return outputs


def test_a_figure_of_adapted_images_shows_what_the_network_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, list[Tensor]] = {}

    def kept(rows: list[list[Tensor]], *, names: list[str], titles: list[str]) -> object:
        drawn.update(zip(names, rows, strict=True))
        return image_grid(rows, names=names, titles=titles)

    monkeypatch.setattr(figures, "image_grid", kept)
    model = build_initialized(AdaptedNet, stream_generator("adapted")).eval()
    given = EvaluationInputs(test=images(6), model=model)
    plain = saliency(images=3).measure(given, context=InMemoryContext())
    assert [*drawn] == ["image", "gradient"]
    drawn.clear()
    adapted = saliency(images=3, adapted=True).measure(given, context=InMemoryContext())

    assert [*drawn] == ["image", "adapted", "gradient"]
    for image, seen, gradient in zip(*drawn.values(), strict=True):
        assert seen.shape == (3, 8, 8)
        assert gradient.shape == image.shape == (1, 4, 4)
        # Each pixel is inverted and becomes 2 x 2 of them, in every channel.
        assert torch.allclose(seen[:, ::2, 1::2], (1 - image).expand(3, -1, -1))
    assert plain.metrics == adapted.metrics
    assert set(adapted.files) == {"saliency"}


def test_a_model_without_an_adapter_has_none_to_show() -> None:
    given = EvaluationInputs(test=images(), model=smooth())

    with pytest.raises(Inapplicable, match="found a model of type Sequential without an adapter"):
        saliency(adapted=True).measure(given, context=InMemoryContext())
