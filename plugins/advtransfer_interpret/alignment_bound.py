"""Alignment of input gradients with images, and linearised distance to the nearest decision boundary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches, predict
from advtransfer.types import Context, EvaluationInputs, Measurement, Samples
from advtransfer_interpret import figures
from advtransfer_interpret.input_gradients import flatten_samples, input_gradients
from advtransfer_interpret.samples import require_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LogitGap: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""From inputs and two classes of each to the difference of their logits, ``(B,)``."""


@dataclass(frozen=True, slots=True)
class SampleMargins:
    """By sample, ``(N,)`` float64: the bound's two terms, what it bounds, the norm of the top-2 gap's gradient.

    A sample whose gap has no gradient has none of the first three: they are NaN there.
    """

    alignment: Tensor
    remainder: Tensor
    robustness: Tensor
    gradient_norm: Tensor


@dataclass(frozen=True, slots=True)
class RobustnessAlignment:
    """An evaluation: the alignment of Etmann et al. (2019), equation 18 of Chan et al. (2020), beside robustness."""

    rivals: int | None

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Means, medians, their correlation, and both by sample."""
        found = sample_margins(
            require_model(given), given.test, rivals=self.rivals, context=context
        )
        sound = found.gradient_norm > 0
        if not found.gradient_norm.isfinite().all():
            raise Inapplicable("the model's input gradients are not finite on all test images")
        if not sound.any():
            raise Inapplicable(
                "the gap between the model's two largest logits has no gradient at any test image"
            )
        alignment, remainder, robustness = (
            values[sound] for values in (found.alignment, found.remainder, found.robustness)
        )
        path = draw_scatter(context.scratch / "alignment.png", alignment, robustness)
        return Measurement(
            metrics={
                "alignment": alignment.mean().item(),
                "alignment_median": alignment.median().item(),
                "remainder": remainder.mean().item(),
                "remainder_median": remainder.median().item(),
                "rho": robustness.mean().item(),
                "rho_median": robustness.median().item(),
                "correlation": _pearson_correlation(alignment, robustness),
                "gradient_norm": found.gradient_norm.mean().item(),
                "flat": (~sound).double().mean().item(),
            },
            samples={
                "alignment": found.alignment.float(),
                "remainder": found.remainder.float(),
                "rho": found.robustness.float(),
            },
            files={"alignment": path},
        )


def sample_margins(
    model: nn.Module, samples: Samples, *, rivals: int | None, context: Context
) -> SampleMargins:
    """The numbers of every sample.

    With ``g`` the gradient of the gap between the two largest logits, alignment is ``|<x, g>| / |g|``, and the
    remainder ``|gap - <x, g>| / |g|``. The linearised robustness is the least of ``gap_j / |gradient of gap_j|`` over
    the `rivals` classes with the next largest logits (None: all): the l2 distance to the nearest boundary of the
    linearised model. It is never above the sum of the other two, which is at least ``gap / |g|``.
    """
    logits, _ = predict(model, samples, device=context.device)
    order = logits.argsort(dim=1, descending=True, stable=True).to(context.device)
    last = order.shape[1] if rivals is None else min(order.shape[1], rivals + 1)
    if last < 2:
        raise Inapplicable("the model has one class, so no boundary between two")
    found = []
    for positions, inputs, _ in kernel_batches(samples):
        found.append(_chunk_margins(model, inputs.to(context.device), order[positions, :last]))
        context.progress(int(positions[-1]) + 1, len(samples))
    return SampleMargins(*(torch.cat(parts).cpu() for parts in zip(*found, strict=True)))


def draw_scatter(path: Path, alignment: Tensor, robustness: Tensor) -> Path:
    """Draw robustness against alignment; what lies above the line of equality, the remainder bounds."""

    def build() -> Figure:
        figure = figures.new_figure(4.0, 3.4)
        axes = figure.subplots()
        axes.plot(
            alignment.numpy(), robustness.numpy(), "o", markersize=2, alpha=0.5, color="#0072B2"
        )
        axes.axline((0, 0), slope=1, color="#767676", linestyle=(0, (5, 1.5)), linewidth=0.8)
        axes.set_xlabel("alignment |<x, g>| / |g|")
        axes.set_ylabel("linearised robustness, l2 (dashed: equal)")
        return figure

    return figures.save_figure(path, build)


def _chunk_margins(
    model: nn.Module, inputs: Tensor, order: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of `SampleMargins` for one chunk, whose classes are in order of their logits."""

    def gap(rows: Tensor, first: Tensor, other: Tensor) -> Tensor:
        logits: Tensor = model(rows)
        return (logits.gather(1, first[:, None]) - logits.gather(1, other[:, None]))[:, 0]

    alignment = remainder = norm = nearest = inputs.new_full(
        (len(inputs),), torch.nan, dtype=torch.float64
    )
    for rival in range(1, order.shape[1]):
        classes = (order[:, 0], order[:, rival])
        gradient = flatten_samples(input_gradients(model, gap, inputs, *classes))
        length, value = gradient.norm(dim=1), _gap_values(gap, inputs, *classes)
        if rival == 1:
            product, norm = (flatten_samples(inputs) * gradient).sum(1), length
            alignment, remainder = (
                product.abs() / norm,
                torch.where(norm > 0, (value - product).abs() / norm, torch.nan),
            )
        nearest = torch.fmin(nearest, torch.where(length > 0, value / length, torch.inf))
    return alignment, remainder, torch.where(norm > 0, nearest, torch.nan), norm


def _gap_values(gap: LogitGap, inputs: Tensor, *classes: Tensor) -> Tensor:
    with torch.no_grad():
        return apply_in_chunks(gap, inputs, *classes).double()


def _pearson_correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's; 0 where one side has no spread."""
    a, b = first - first.mean(), second - second.mean()
    scale = (a.norm() * b.norm()).item()
    return (a @ b).item() / scale if scale > 0 else 0.0
