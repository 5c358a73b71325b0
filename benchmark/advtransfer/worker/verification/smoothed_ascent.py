"""Ascent along smoothed gradients: the battery's attack on models whose gradients lead astray.

A ripple in the logits, or a distortion of the inputs that changes within a fraction of the ball,
turns each gradient to where nothing is to be found. Every attack that follows it stands still,
although the model is no more robust. The mean gradient over random points nearby is that of a
smoothed loss, in which ripples cancel (Athalye et al., 2018, section 4.2, "expectation over
transformation").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import Words, key_words
from advtransfer.worker.verification.ascent import logits_and_gradient, targeted_margin_loss
from advtransfer.worker.verification.ball import Ball, steepest_direction

MOMENTUM = 0.75
"""Share of the former direction that a step keeps: four steps' draws count for one mean."""

COHERENCE_DRAWS = 6
"""Random points whose gradients are compared: between two, a ripple may happen to point the same way."""

LEAST_COHERENCE = 0.9
"""Least mean cosine between the gradients of random points nearby that an ascent can follow.

Chosen on networks for the digits; `advtransfer check foolbox/pgd --canaries` tells whether honest ones are
flagged and rippled ones are not. The same limit holds for their agreement with the gradient at the image.
"""


@dataclass(frozen=True, slots=True)
class NearbyGradients:
    """Gradients of one margin at an image and at random points near it.

    Args:
        coherence: Mean cosine between those at random points, ``(B,)``; 1 where all are zero and
            there is nothing to follow.
        agreement: Cosine between their sum and the one at the image, ``(B,)``; 1 where either is zero.
        classes: Classes but the label, that of the largest logit first, ``(B, K - 1)``.
    """

    coherence: Tensor
    agreement: Tensor
    classes: Tensor

    @classmethod
    def joined(cls, parts: Iterable[NearbyGradients]) -> NearbyGradients:
        """Return those of several batches, one after another."""
        columns = zip(
            *((each.coherence, each.agreement, each.classes) for each in parts), strict=True
        )
        return cls(*(torch.cat(column) for column in columns))

    def __getitem__(self, rows: Tensor) -> NearbyGradients:
        return NearbyGradients(self.coherence[rows], self.agreement[rows], self.classes[rows])


def compare_gradients(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    keys: Sequence[int] | Words,
    classes: Tensor,
    at_image: Tensor,
    ball: Ball,
) -> NearbyGradients:
    """Compare the gradients of one margin at each image and at random points near it.

    It is the margin of one class, that of the largest logit at the image: where two classes are
    equally near, the gradient of the largest margin changes in honest models too.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``.
        labels: ``(B,)``.
        keys: The samples' keys, on which the random points depend.
        classes: The other classes, that of the largest logit first, ``(B, K - 1)``.
        at_image: The gradients of that class's margin at the images, ``(B, ...)``.
        ball: Ball around each image.
    """
    draws = COHERENCE_DRAWS
    pair = torch.stack([labels, classes[:, 0]], dim=1)
    directions = torch.zeros_like(inputs)
    for draw in ball.nearby_offsets(inputs, keys, what="coherence", draws=draws).unbind(1):
        near = ball.project_back(inputs + draw, inputs)
        _, gradient = logits_and_gradient(model, near, pair, targeted_margin_loss)
        directions += steepest_direction(gradient, "l2")
    # The squared length of a sum of unit vectors is their number and twice the cosines of all pairs.
    squared_length = directions.flatten(1).square().sum(1)
    cosine = (squared_length - draws) / (draws * (draws - 1))
    coherence = torch.where(squared_length == 0, 1.0, cosine)
    product = (steepest_direction(at_image, "l2") * steepest_direction(directions, "l2")).flatten(1)
    has_both = (at_image != 0).flatten(1).any(1) & (squared_length != 0)
    agreement = torch.where(has_both, product.sum(1), 1.0)
    return NearbyGradients(coherence, agreement, classes)


def smoothed_ascent(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    keys: Sequence[int] | Words,
    ball: Ball,
    steps: int,
    draws: int,
    scale: float,
    what: str,
) -> tuple[Tensor, Tensor]:
    """Ascend the mean of the targeted margin over random points near each iterate.

    Iterates and random points are in the ball, so each of them may break its sample.

    Args:
        model: In eval mode, with frozen weights.
        inputs: ``(B, ...)``, the centres of the balls and the first iterates.
        labels: ``(B,)``.
        targets: Classes ``(B,)`` to aim at.
        keys: The samples' keys, on which the random points depend.
        ball: Ball that all points stay in.
        steps: Number of steps.
        draws: Points whose gradients make one step, the iterate among them.
        scale: Factor of the step lengths.
        what: Name of the random stream.

    Returns:
        Points ``(B, ...)``, and whether the model misclassifies them, ``(B,)`` bool.
    """
    points = inputs.clone()
    broken = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    direction = torch.zeros_like(inputs)
    active = torch.arange(len(inputs), device=inputs.device)
    classes = torch.stack([labels, targets], dim=1)
    words = key_words(keys)
    for step in range(steps):
        centres = inputs[active]
        active_keys = words[active.cpu().numpy()]
        offsets = ball.nearby_offsets(centres, active_keys, what=f"{what} {step}", draws=draws)
        offsets[:, 0] = 0
        rows = active.repeat_interleave(draws)
        near = ball.project_back(points[rows] + offsets.flatten(0, 1), inputs[rows])
        logits, gradient = logits_and_gradient(model, near, classes[rows], targeted_margin_loss)
        finite = logits.isfinite().all(1) & gradient.flatten(1).isfinite().all(1)
        fooled = (finite & (logits.argmax(1) != labels[rows])).view(-1, draws)
        # The first point that fools the model, of those that some point does.
        first = fooled.to(torch.uint8).argmax(1)
        found = near.view(-1, draws, *inputs.shape[1:])[torch.arange(len(active)), first]
        is_fooled = fooled.any(1)
        points[active[is_fooled]] = found[is_fooled]
        broken[active[is_fooled]] = True
        mean = gradient.nan_to_num(0.0, 0.0, 0.0).view_as(offsets).mean(1)
        direction[active] = MOMENTUM * direction[active] + mean
        active = active[~is_fooled]
        if not len(active):
            break
        points[active] = ball.take_step(
            points[active],
            direction[active],
            progress=step / max(1, steps - 1),
            inputs=inputs[active],
            scale=scale,
        )
    return points, broken
