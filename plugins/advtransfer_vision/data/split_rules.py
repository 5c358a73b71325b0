"""Rules that split a set of class folders into a train and a test part. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from advtransfer.types import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstImages:
    """The first images of each class, by their names, are the train part; the others are the test part.

    Salman et al. (2020) take the first 30 of Caltech-101 and the first 60 of Caltech-256.

    Args:
        images: Number of training images of each class.
        rule: The name of the rule.
    """

    images: int
    rule: Literal["first"] = "first"

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images: at least 1 training image of each class, not {self.images}")

    def assign_parts(self, classes: Sequence[str]) -> list[Part]:
        """Return the part of each image; `classes` are their classes in the order of their names."""
        seen: dict[str, int] = {}
        parts: list[Part] = []
        for name in classes:
            seen[name] = seen.get(name, 0) + 1
            parts.append("train" if seen[name] <= self.images else "test")
        return parts
