"""What an evaluation and an attack tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.types import Context

Tick: TypeAlias = Callable[[int], None]
"""Told how many samples of a block are done."""


@dataclass(frozen=True, slots=True)
class Block:
    """Samples to attack, on the device.

    Args:
        keys: The samples' keys, ``B`` of them: what random streams are named by.
        inputs: Images ``(B, C, H, W)``.
        labels: Classes ``(B,)``.
        logits: What the model says without attack, ``(B, K)``.
        left: Where this attempt left off at the next smaller radius, ``(B, C, H, W)``; None on the first rung.
    """

    keys: Sequence[int]
    inputs: Tensor
    labels: Tensor
    logits: Tensor
    left: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Rung:
    """One attempt at one radius.

    Args:
        eps: The radius.
        attempt: Which of the attack's attempts.
        below: The next smaller radius that was attacked; 0 on the first rung.
        largest: The largest radius there will be.
    """

    eps: float
    attempt: int
    below: float
    largest: float


@dataclass(frozen=True, slots=True)
class Reached:
    """Where an attack came to, and what it took.

    Args:
        inputs: A point for each sample, ``(B, C, H, W)``; one that broke it where the attack knows one.
        found: Whether the attack saw the point misclassified, and so looked no further, ``(B,)`` bool.
        finite: Whether the attack could be carried out, and all its gradients were finite, ``(B,)`` bool.
        forwards: How often the model was evaluated at a point of the sample, ``(B,)`` int64.
        gradients: How often the gradient was, ``(B,)`` int64.
    """

    inputs: Tensor
    found: Tensor
    finite: Tensor
    forwards: Tensor
    gradients: Tensor

    @classmethod
    def joined(cls, parts: Iterable[Reached]) -> Reached:
        """Several, one after the other."""
        columns = zip(*((one.inputs, one.found, one.finite, one.forwards, one.gradients) for one in parts), strict=True)
        return cls(*map(torch.cat, columns))

    def first(self, count: int) -> Reached:
        """The first rows."""
        rows = slice(count)
        return Reached(
            self.inputs[rows], self.found[rows], self.finite[rows], self.forwards[rows], self.gradients[rows]
        )


class Attack(Protocol):
    """A Foolbox attack as an evaluation uses it; a sample's outcome never depends on the others of its block."""

    @property
    def nearest(self) -> bool:
        """Whether it looks for the nearest example, whatever the radius: then it is run once for all radii."""

    @property
    def climbs(self) -> bool:
        """Whether it can go on at a larger radius from where it left off."""

    def attempts(self, classes: int) -> int:
        """How often it is run on what still stands."""

    def strike(self, model: PyTorchModel, block: Block, rung: Rung, *, context: Context, tick: Tick) -> Reached:
        """Attack every sample of the block once."""


def filled(rows: Tensor) -> Tensor:
    """Up to `KERNEL_BATCH` numbers of rows, filled up with the first, so that every kernel sees as many."""
    return torch.cat([rows, rows[:1].expand(KERNEL_BATCH - len(rows))])
