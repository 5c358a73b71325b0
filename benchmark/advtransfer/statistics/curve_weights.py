"""Weights with which values along a curve make its area as one number: the mean over the length of the axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advtransfer.types.metric_names import CLAIM_PREFIX, claimed_radius

MIN_RADII = 2


def trapezoid_weights(positions: Sequence[float]) -> list[float]:
    """Return the weight of each value in the trapezoid rule over ascending positions, divided by their length.

    The weights sum to 1: ``(x_{i+1} - x_{i-1}) / (2 (x_k - x_1))``.

    Raises:
        ValueError: The positions have no length.
    """
    length = positions[-1] - positions[0] if positions else 0.0
    if length <= 0:
        raise ValueError(f"found positions {list(positions)}; expected two that differ, ascending")
    before = [positions[0], *positions[:-1]]
    after = [*positions[1:], positions[-1]]
    return [(right - left) / (2 * length) for left, right in zip(before, after, strict=True)]


def accuracy_weights(metrics: Iterable[str]) -> dict[str, float]:
    """Return the weights of robust accuracies in the area under the curve of accuracy over eps.

    The trapezoid rule from radius 0, where the accuracy is that without attack, to the largest
    radius, divided by it. What the weights lack to 1 is that of the accuracy without attack.

    Args:
        metrics: Names of metrics; only those such as ``robust_accuracy@0.1`` count. A name of
            which a snapshot's epoch is a part is none.

    Returns:
        The weights by metric, none for fewer than 2 radii above 0.
    """
    names = set(metrics)
    # `robust_accuracy@5` beside `robust_accuracy` is the value after epoch 5.
    radii = {} if CLAIM_PREFIX in names else {name: claimed_radius(name) for name in names}
    positive = sorted((eps, name) for name, eps in radii.items() if eps)
    if len(positive) < MIN_RADII:
        return {}
    weights = trapezoid_weights([0.0, *(eps for eps, _ in positive)])
    return {name: weight for (_, name), weight in zip(positive, weights[1:], strict=True)}
