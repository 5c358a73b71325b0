"""Correction for having asked several questions at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values held to the number of them by the step-down rule (Holm, 1979), in the order given.

    A None is a question that was asked and has no answer: it stays None, and is counted.
    """
    places = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, place) in enumerate(places):
        highest = max(highest, min(1.0, (len(p_values) - step) * p))
        corrected[place] = highest
    return corrected
