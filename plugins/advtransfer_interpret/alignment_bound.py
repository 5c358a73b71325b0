"""Alignment of input gradients with images, and linearised distance to the decision boundary.

Both sides of the bound of Chan et al. (2020, equation 18), after Theorem 2 of Etmann et al. (2019).
"""

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
"""Map inputs and two classes of each input to the difference of their logits, ``(B,)``."""


@dataclass(frozen=True, slots=True)
class SampleMargins:
    """The terms of ``rho <= alpha + C / |g|`` for each sample, ``(N,)`` float64.

    All terms except the norm are NaN for a sample with g = 0.

    Args:
        alignment: alpha, ``|<x, g>| / |g|``.
        remainder: ``C / |g|``, with C the magnitude of the linearised gap at x = 0.
        robustness: rho, the l2 distance to the nearest boundary of the linearised model.
        gradient_norm: ``|g|``, where g is the gradient of the gap between the two largest logits.
    """

    alignment: Tensor
    remainder: Tensor
    robustness: Tensor
    gradient_norm: Tensor


@dataclass(frozen=True, slots=True)
class RobustnessAlignment:
    """An evaluation of alignment (Chan et al., 2020, equation 18) beside linearised robustness.

    Args:
        rivals: Number of classes to try for the nearest boundary; None for all.
    """

    rivals: int | None

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return means, medians and correlation of the bound's terms, and the terms by sample.

        Raises:
            ValueError: There is no model, or it is in training mode.
            Inapplicable: A gradient is not finite, or none of them differs from 0.
        """
        model = require_model(given)
        margins = sample_margins(model, given.test, rivals=self.rivals, context=context)
        has_gradient = margins.gradient_norm > 0
        if not margins.gradient_norm.isfinite().all():
            raise Inapplicable("the model's input gradients are not finite on all test images")
        if not has_gradient.any():
            raise Inapplicable(
                "the gap between the model's two largest logits has no gradient at any test image"
            )
        path = draw_scatter(
            context.scratch / "alignment.png",
            margins.alignment[has_gradient],
            margins.robustness[has_gradient],
        )
        return Measurement(
            metrics=_margin_metrics(margins, has_gradient),
            samples={
                "alignment": margins.alignment.float(),
                "remainder": margins.remainder.float(),
                "rho": margins.robustness.float(),
            },
            files={"alignment": path},
        )


def _margin_metrics(margins: SampleMargins, has_gradient: Tensor) -> dict[str, float]:
    """Return statistics over the samples with a gradient, and the share of the others."""
    alignment = margins.alignment[has_gradient]
    remainder = margins.remainder[has_gradient]
    robustness = margins.robustness[has_gradient]
    return {
        "alignment": alignment.mean().item(),
        "alignment_median": alignment.median().item(),
        "remainder": remainder.mean().item(),
        "remainder_median": remainder.median().item(),
        "rho": robustness.mean().item(),
        "rho_median": robustness.median().item(),
        "correlation": _pearson_correlation(alignment, robustness),
        "gradient_norm": margins.gradient_norm.mean().item(),
        "flat": (~has_gradient).double().mean().item(),
    }


def sample_margins(
    model: nn.Module, samples: Samples, *, rivals: int | None, context: Context
) -> SampleMargins:
    """Return the terms of the bound for every sample.

    The linearised robustness is the minimum of ``gap_j / |gradient of gap_j|`` over the `rivals`
    classes with the next largest logits (None: all). It never exceeds the sum of alignment and
    remainder, which is at least ``gap / |g|``.

    Raises:
        Inapplicable: The model has a single class.
    """
    logits, _ = predict(model, samples, device=context.device)
    order = logits.argsort(dim=1, descending=True, stable=True).to(context.device)
    class_count = order.shape[1] if rivals is None else min(order.shape[1], rivals + 1)
    if class_count < 2:
        raise Inapplicable("the model has one class, so no boundary between two")
    chunks = []
    for positions, inputs, _ in kernel_batches(samples):
        classes = order[positions, :class_count]
        chunks.append(_chunk_margins(model, inputs.to(context.device), classes))
        context.progress(int(positions[-1]) + 1, len(samples))
    columns = zip(*chunks, strict=True)
    return SampleMargins(*(torch.cat(column).cpu() for column in columns))


def draw_scatter(path: Path, alignment: Tensor, robustness: Tensor) -> Path:
    """Draw robustness against alignment; points above the diagonal need the remainder as bound."""

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
    """Return the fields of `SampleMargins` for inputs whose classes are sorted by their logits."""

    def logit_gap(rows: Tensor, top: Tensor, other: Tensor) -> Tensor:
        logits: Tensor = model(rows)
        return (logits.gather(1, top[:, None]) - logits.gather(1, other[:, None]))[:, 0]

    top = order[:, 0]
    gaps, gradients = _linearised_gap(model, logit_gap, inputs, top, order[:, 1])
    norm = gradients.norm(dim=1)
    # alpha and C / |g| of Chan et al. (2020, equation 18): the linearised gap is
    # gap + <x' - x, g>, so its magnitude at a black image x' = 0 is C = |gap - <x, g>|.
    product = (flatten_samples(inputs) * gradients).sum(1)
    alignment = product.abs() / norm
    remainder = torch.where(norm > 0, (gaps - product).abs() / norm, torch.nan)

    nearest = torch.where(norm > 0, gaps / norm, torch.inf)
    for rival in order[:, 2:].unbind(1):
        gaps, gradients = _linearised_gap(model, logit_gap, inputs, top, rival)
        rival_norm = gradients.norm(dim=1)
        # A gap without a gradient never closes in the linearised model.
        distance = torch.where(rival_norm > 0, gaps / rival_norm, torch.inf)
        nearest = torch.fmin(nearest, distance)
    return alignment, remainder, torch.where(norm > 0, nearest, torch.nan), norm


def _linearised_gap(
    model: nn.Module, logit_gap: LogitGap, inputs: Tensor, top: Tensor, other: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gap's values ``(B,)`` and gradients ``(B, n)``, both float64."""
    gradients = flatten_samples(input_gradients(model, logit_gap, inputs, top, other))
    with torch.no_grad():
        gaps = apply_in_chunks(logit_gap, inputs, top, other).double()
    return gaps, gradients


def _pearson_correlation(first: Tensor, second: Tensor) -> float:
    """Return Pearson's correlation; 0 if one of the sides is constant."""
    first_centred = first - first.mean()
    second_centred = second - second.mean()
    # A constant side has no correlation; 0 keeps the metric finite.
    scale = (first_centred.norm() * second_centred.norm()).item()
    return (first_centred @ second_centred).item() / scale if scale > 0 else 0.0
