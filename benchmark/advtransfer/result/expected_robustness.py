"""Expected robustness: the area under the curve of accuracy over eps, of outcomes after the fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from advtransfer.result.outcomes import SampleOutcomes, SampleSet, all_samples
from advtransfer.statistics import accuracy_weights


class WeightedSamples(NamedTuple):
    """The samples that count at one radius, and the radius's weight in the area.

    Attributes:
        weight: The weight; those of all radii sum to 1.
        low: Samples that count if unknown outcomes count as broken.
        high: Samples that count if they count as robust.
        of: Number of samples.
    """

    weight: float
    low: SampleSet
    high: SampleSet
    of: int


def weighted_samples(outcomes: Mapping[str, SampleOutcomes]) -> Iterator[WeightedSamples]:
    """Yield the samples that count at radius 0, which are right without attack, and at each other radius.

    Their weighted shares sum to the mean accuracy over a uniform eps from 0 to the largest radius,
    by the trapezoid rule: each sample counts with the share of the radii at which it is robust.
    Nothing for fewer than two radii above 0, or for test parts of different sizes.

    Args:
        outcomes: Outcomes by metric, those of robust accuracies folded with batteries.
    """
    weights = accuracy_weights(outcomes)
    sizes = {outcomes[metric].of for metric in weights}
    if len(sizes) != 1:
        return
    (of,) = sizes
    wrong = 0
    for metric in weights:
        wrong |= outcomes[metric].wrong
    correct = all_samples(of) & ~wrong
    yield WeightedSamples(1 - sum(weights.values()), correct, correct, of)
    for metric, weight in weights.items():
        robust = outcomes[metric].robust
        yield WeightedSamples(weight, robust, robust | outcomes[metric].unknown, of)


def expected_robustness(outcomes: Mapping[str, SampleOutcomes]) -> tuple[float, float] | None:
    """Return the expected robustness if unknown outcomes count as broken, and if they count as robust.

    None for fewer than two radii above 0.
    """
    parts = list(weighted_samples(outcomes))
    if not parts:
        return None
    low = sum(part.weight * part.low.bit_count() / part.of for part in parts)
    high = sum(part.weight * part.high.bit_count() / part.of for part in parts)
    # Rounding may take the mean of all images past 1.
    return min(low, 1.0), min(high, 1.0)
