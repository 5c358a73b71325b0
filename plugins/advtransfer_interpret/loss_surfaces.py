"""Loss around an image, in the plane of an adversarial and a random direction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.option_checks import require_radius
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Context, DataCard, EvaluationInputs, Measurement
from advtransfer_interpret import figures
from advtransfer_interpret.input_gradients import (
    broadcast_samples,
    flatten_samples,
    input_gradients,
    loss_per_sample,
)
from advtransfer_interpret.samples import (
    all_labels,
    clamp_to_bounds,
    require_model,
    round_robin_by_class,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Norm: TypeAlias = Literal["linf", "l2"]
FIGURE_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class LossSurface:
    """An evaluation: the loss on a grid around some test images, and how far it is from its linearisation."""

    norm: Norm
    eps: float
    images: int
    rings: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Rises of the loss at distance eps, its departure from a line, and the surfaces as a figure."""
        model, card = require_model(given), given.test.card
        require_radius(self.eps, self.norm, shape=card.shape, bounds=card.bounds)
        labels = all_labels(given.test)
        positions = round_robin_by_class(labels, self.images)
        inputs, truth = (
            given.test.inputs(positions).to(context.device),
            labels[positions].to(context.device),
        )
        keys = [given.test.keys[position] for position in positions.tolist()]
        gradient = input_gradients(model, loss_per_sample(model), inputs, truth)
        adversarial = unit_directions(gradient, self.norm)
        random = unit_directions(
            torch.stack([_random_direction(card, key, context) for key in keys]).to(inputs),
            self.norm,
        )
        surfaces = self._loss_grids(model, inputs, truth, adversarial, random, card)
        if not surfaces.isfinite().all():
            raise Inapplicable(
                "the loss is not finite everywhere on the grid around the test images"
            )
        names = [card.names[label] if card.names else str(label) for label in truth.tolist()]
        path = draw_surfaces(context.scratch / "loss_surface.png", surfaces, names, eps=self.eps)
        rises = torch.stack(
            [
                self._tangent_rise(*one, card)
                for one in zip(inputs, gradient, adversarial, strict=True)
            ]
        )
        return Measurement(
            metrics=self._mean_metrics(surfaces, rises), files={"loss_surface": path}
        )

    def _loss_grids(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        adversarial: Tensor,
        random: Tensor,
        card: DataCard,
    ) -> Tensor:
        """The losses ``(B, G, G)`` float64: adversarial steps down, random ones across, from -eps to eps."""
        steps = self._grid_steps().to(inputs)
        down, across = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
        found = []
        for place in range(len(inputs)):
            adverse, other = (broadcast_samples(far, inputs) for far in (down, across))
            moved = inputs[place] + adverse * adversarial[place] + other * random[place]
            with torch.no_grad():
                found.append(
                    apply_in_chunks(
                        loss_per_sample(model),
                        clamp_to_bounds(moved, card),
                        labels[place].repeat(len(moved)),
                    )
                )
        return torch.stack(found).double().cpu().reshape(len(inputs), 2 * self.rings + 1, -1)

    def _tangent_rise(
        self, image: Tensor, gradient: Tensor, direction: Tensor, card: DataCard
    ) -> Tensor:
        """By how much the loss's tangent rises on one image's adversarial line, ``(G,)`` float64, clipped as it is."""
        moved = clamp_to_bounds(
            image + broadcast_samples(self._grid_steps(), image[None]) * direction, card
        )
        return (
            (flatten_samples(moved) - flatten_samples(image[None]))
            .matmul(flatten_samples(gradient[None])[0])
            .cpu()
        )

    def _grid_steps(self) -> Tensor:
        return torch.linspace(-self.eps, self.eps, 2 * self.rings + 1, dtype=torch.float64)

    def _mean_metrics(self, surfaces: Tensor, rises: Tensor) -> dict[str, float]:
        """Means over the images; `rises` are the tangent's on the adversarial line."""
        middle = self.rings
        clean, along, beside = (
            surfaces[:, middle, middle],
            surfaces[:, :, middle],
            surfaces[:, middle],
        )
        return {
            "loss": clean.mean().item(),
            "rise_adversarial": (_higher_end(along) - clean).mean().item(),
            "rise_random": (_higher_end(beside) - clean).mean().item(),
            "nonlinearity": (along - clean[:, None] - rises).abs().amax(1).mean().item(),
        }


def unit_directions(directions: Tensor, norm: Norm) -> Tensor:
    """Directions ``(B, ...)`` of length 1: the sign in l_inf; where a direction is 0 it stays so."""
    if norm == "linf":
        return directions.sign()
    length = flatten_samples(directions).norm(dim=1)
    return directions / broadcast_samples(length, directions).clamp_min(
        torch.finfo(directions.dtype).tiny
    )


def draw_surfaces(path: Path, surfaces: Tensor, names: list[str], *, eps: float) -> Path:
    """Draw each surface as shades with level lines."""

    def build() -> Figure:
        columns = min(FIGURE_COLUMNS, len(surfaces))
        rows = -(-len(surfaces) // columns)
        figure = figures.new_figure(2.0 * columns + 0.4, 1.9 * rows + 0.4)
        places = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in places[len(surfaces) :]:
            axes.set_axis_off()
        for axes, surface, name in zip(places, surfaces.numpy(), names, strict=False):
            ends = (-eps, eps, -eps, eps)
            image = axes.imshow(
                surface,
                origin="lower",
                extent=ends,
                cmap="viridis",
                aspect="auto",
                interpolation="nearest",
            )
            if surface.max() > surface.min():
                axes.contour(surface, extent=ends, colors="white", linewidths=0.4)
            axes.set_title(name)
            figure.colorbar(image, ax=axes)
        figure.supxlabel("random direction")
        figure.supylabel("adversarial direction")
        return figure

    return figures.save_figure(path, build)


def _higher_end(lines: Tensor) -> Tensor:
    """The larger of the losses at both ends of each line ``(B, G)``."""
    return torch.maximum(lines[:, 0], lines[:, -1])


def _random_direction(card: DataCard, key: int, context: Context) -> Tensor:
    """A random direction that depends on the sample alone."""
    return torch.randn(card.shape, generator=context.generator("direction", key))
