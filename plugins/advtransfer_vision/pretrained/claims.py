"""What a suite says of a checkpoint's origin; it goes on the source's card. Light: no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

CONSTRAINT = re.compile(r"none|(linf|l2|l1) eps \d+(\.\d+)?(/\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a source is said to be; nothing of it changes the weights.

    Args:
        constraint: What it was trained against: ``none``, or such as ``l2 eps 3`` or ``linf eps 4/255``, eps for inputs
            in [0, 1].
        data: What it was trained on.
        clean_accuracy: The share of its own test data that it gets right, which the start-up probe is held to.
        tolerance: How far the probe may be off.
        licence: Of the weights.
        citation: Who to thank, and where the numbers are from.
    """

    constraint: str = "none"
    data: str = "not stated"
    clean_accuracy: float | None = None
    tolerance: float = 0.01
    licence: str | None = None
    citation: str | None = None

    def __post_init__(self) -> None:
        if not CONSTRAINT.fullmatch(self.constraint):
            raise ValueError(f"constraint: none, or such as 'l2 eps 3' or 'linf eps 4/255', not {self.constraint!r}")
        if self.clean_accuracy is not None and not 0 <= self.clean_accuracy <= 1:
            raise ValueError(f"clean_accuracy: a share from 0 to 1, not {self.clean_accuracy!r}")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance: a share from 0 to 1, not {self.tolerance!r}")
