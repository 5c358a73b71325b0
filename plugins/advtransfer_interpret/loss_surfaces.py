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
    class_name,
    require_model,
    round_robin_by_class,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

Norm: TypeAlias = Literal["linf", "l2"]
FIGURE_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class LossSurface:
    """An evaluation of the loss on a grid around test images, and of its deviation from linearity.

    Args:
        norm: Norm in which directions have length 1.
        eps: Distance from the image to the ends of the grid, in [0, 1] pixel space.
        images: Number of test images.
        rings: Number of grid points on each side of the image, along each direction.
        regions: Also draw the predicted classes on the grid, below the losses.
    """

    norm: Norm
    eps: float
    images: int
    rings: int
    regions: bool = False

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return the rises of the loss at distance eps, its nonlinearity, and a figure.

        Raises:
            ValueError: There is no model, it is in training mode, or eps is beyond the box.
            Inapplicable: A loss on the grid is not finite.
        """
        model = require_model(given)
        card = given.test.card
        require_radius(self.eps, self.norm, shape=card.shape, bounds=card.bounds)
        all_test_labels = all_labels(given.test)
        positions = round_robin_by_class(all_test_labels, self.images)
        inputs = given.test.inputs(positions).to(context.device)
        labels = all_test_labels[positions].to(context.device)
        keys = [given.test.keys[position] for position in positions.tolist()]

        gradients = input_gradients(model, loss_per_sample(model), inputs, labels)
        adversarial = unit_directions(gradients, self.norm)
        noise = torch.stack([_random_direction(card, key, context) for key in keys])
        random = unit_directions(noise.to(inputs), self.norm)
        grids = self._moved_images(inputs, adversarial, random, card)
        surfaces = self._loss_grids(model, grids, labels)
        if not surfaces.isfinite().all():
            raise Inapplicable(
                "the loss is not finite everywhere on the grid around the test images"
            )
        lines = zip(inputs, gradients, adversarial, strict=True)
        tangent_rises = torch.stack([self._tangent_rise(*line, card) for line in lines])
        names = [class_name(card, label) for label in labels.tolist()]
        path = draw_surfaces(context.scratch / "loss_surface.png", surfaces, names, eps=self.eps)
        files = {"loss_surface": path}
        if self.regions:
            picture = draw_regions(
                context.scratch / "decision_regions.png",
                surfaces,
                self._class_grids(model, grids),
                names,
                card,
                eps=self.eps,
            )
            files["decision_regions"] = picture
        return Measurement(metrics=self._mean_metrics(surfaces, tangent_rises), files=files)

    def _moved_images(
        self, inputs: Tensor, adversarial: Tensor, random: Tensor, card: DataCard
    ) -> list[Tensor]:
        """Return the images on the grid around each, ``(G * G, ...)``, steps from -eps to eps.

        The adversarial step varies along the first axis of a grid, the random one along the second.
        """
        steps = self._grid_steps().to(inputs)
        down, across = torch.meshgrid(steps, steps, indexing="ij")
        adversarial_steps = broadcast_samples(down.flatten(), inputs)
        random_steps = broadcast_samples(across.flatten(), inputs)
        grids: list[Tensor] = []
        for index, image in enumerate(inputs):
            moved = image + adversarial_steps * adversarial[index] + random_steps * random[index]
            grids.append(clamp_to_bounds(moved, card))
        return grids

    def _loss_grids(self, model: nn.Module, grids: list[Tensor], labels: Tensor) -> Tensor:
        """Return the losses on the grids, ``(B, G, G)`` float64 on the CPU."""
        losses: list[Tensor] = []
        with torch.no_grad():
            for moved, label in zip(grids, labels, strict=True):
                grid_labels = label.repeat(len(moved))
                losses.append(apply_in_chunks(loss_per_sample(model), moved, grid_labels))
        return torch.stack(losses).double().cpu().reshape(len(grids), 2 * self.rings + 1, -1)

    def _class_grids(self, model: nn.Module, grids: list[Tensor]) -> Tensor:
        """Return the predicted classes on the grids, ``(B, G, G)`` on the CPU."""
        with torch.no_grad():
            classes = [apply_in_chunks(model, moved).argmax(1) for moved in grids]
        return torch.stack(classes).cpu().reshape(len(grids), 2 * self.rings + 1, -1)

    def _tangent_rise(
        self, image: Tensor, gradient: Tensor, direction: Tensor, card: DataCard
    ) -> Tensor:
        """Return the rise of the loss's tangent on an image's adversarial line, ``(G,)`` float64."""
        steps = broadcast_samples(self._grid_steps(), image[None])
        # Clipped like the points of the grid: else a linear loss would have a nonlinearity wherever
        # the line leaves the pixels' range.
        moved = clamp_to_bounds(image + steps * direction, card)
        offsets = flatten_samples(moved) - flatten_samples(image[None])
        return offsets.matmul(flatten_samples(gradient[None])[0]).cpu()

    def _grid_steps(self) -> Tensor:
        return torch.linspace(-self.eps, self.eps, 2 * self.rings + 1, dtype=torch.float64)

    def _mean_metrics(self, surfaces: Tensor, tangent_rises: Tensor) -> dict[str, float]:
        """Return means over the images; `tangent_rises` are those on the adversarial lines."""
        middle = self.rings
        clean_loss = surfaces[:, middle, middle]
        adversarial_line = surfaces[:, :, middle]
        random_line = surfaces[:, middle]
        # The local linearity measure of Qin et al. (2019), on the adversarial line only.
        gap_to_tangent = (adversarial_line - clean_loss[:, None] - tangent_rises).abs()
        return {
            "loss": clean_loss.mean().item(),
            "rise_adversarial": (_higher_end(adversarial_line) - clean_loss).mean().item(),
            "rise_random": (_higher_end(random_line) - clean_loss).mean().item(),
            "nonlinearity": gap_to_tangent.amax(1).mean().item(),
        }


def unit_directions(directions: Tensor, norm: Norm) -> Tensor:
    """Return directions ``(B, ...)`` of length 1 (in l_inf, their sign); a 0 direction stays 0."""
    if norm == "linf":
        # Of all directions of length 1 in l_inf, the sign of the gradient is the steepest.
        return directions.sign()
    length = broadcast_samples(flatten_samples(directions).norm(dim=1), directions)
    return directions / length.clamp_min(torch.finfo(directions.dtype).tiny)


def draw_surfaces(path: Path, surfaces: Tensor, names: list[str], *, eps: float) -> Path:
    """Draw each surface ``(G, G)`` as shades with level lines."""

    def build() -> Figure:
        columns = min(FIGURE_COLUMNS, len(surfaces))
        rows = -(-len(surfaces) // columns)
        figure = figures.new_figure(2.0 * columns + 0.4, 1.9 * rows + 0.4)
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid[len(surfaces) :]:
            axes.set_axis_off()
        for axes, surface, name in zip(grid, surfaces, names, strict=False):
            _draw_surface(figure, axes, surface, eps)
            axes.set_title(name)
        figure.supxlabel("random direction")
        figure.supylabel("adversarial direction")
        return figure

    return figures.save_figure(path, build)


def draw_regions(
    path: Path,
    surfaces: Tensor,
    classes: Tensor,
    names: list[str],
    card: DataCard,
    *,
    eps: float,
) -> Path:
    """Draw the predicted classes ``(G, G)`` below each surface of losses, with the image in the middle."""

    def build() -> Figure:
        figure = figures.new_figure(2.0 * len(surfaces) + 0.4, 4.2)
        grid = figure.subplots(2, len(surfaces), squeeze=False)
        present = sorted(set(classes.flatten().tolist()))
        for axes, surface, name in zip(grid[0], surfaces, names, strict=True):
            _draw_surface(figure, axes, surface, eps)
            axes.set_title(name)
        for axes, regions in zip(grid[1], classes, strict=True):
            _draw_classes(axes, regions, present, eps)
        handles = [_region_patch(place) for place in range(len(present))]
        labels = [class_name(card, label) for label in present]
        figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)
        figure.supxlabel("random direction")
        figure.supylabel("adversarial direction")
        return figure

    return figures.save_figure(path, build)


def _draw_classes(axes: Axes, regions: Tensor, present: list[int], eps: float) -> None:
    """Draw each point of a grid in the color of its class, by the place among those present."""
    places = [[present.index(label) for label in row] for row in regions.tolist()]
    colors = [[_region_color(place) for place in row] for row in places]
    extent = (-eps, eps, -eps, eps)
    axes.imshow(colors, origin="lower", extent=extent, aspect="auto", interpolation="nearest")
    axes.plot(0, 0, marker="+", color="black")


def _region_color(place: int) -> tuple[float, float, float]:
    from matplotlib import colormaps

    return colormaps["tab20"](place % 20)[:3]


def _region_patch(place: int) -> Patch:
    from matplotlib.patches import Patch

    return Patch(color=_region_color(place))


def _draw_surface(figure: Figure, axes: Axes, surface: Tensor, eps: float) -> None:
    losses = surface.numpy()
    extent = (-eps, eps, -eps, eps)
    image = axes.imshow(
        losses,
        origin="lower",
        extent=extent,
        cmap="viridis",
        aspect="auto",
        interpolation="nearest",
    )
    # matplotlib warns of a contour plot without levels.
    if losses.max() > losses.min():
        axes.contour(losses, extent=extent, colors="white", linewidths=0.4)
    figure.colorbar(image, ax=axes)


def _higher_end(lines: Tensor) -> Tensor:
    """Return the larger of the losses at both ends of each line ``(B, G)``."""
    return torch.maximum(lines[:, 0], lines[:, -1])


def _random_direction(card: DataCard, key: int, context: Context) -> Tensor:
    """Return a random direction that depends on the sample's key only."""
    return torch.randn(card.shape, generator=context.generator("direction", key))
