"""Which entries of A and b are learned, in words. Light: no torch.

These dataclasses are an option of the factory: they check themselves, so a mistake is told when a suite is planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from advtransfer.toolkit.choice import Choice
from advtransfer.toolkit.recipe import expect


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """``x' = fixed(x) + U V x + b`` with `rank` rows in V, for inputs of any size.

    Args:
        kind: ``low_rank``; may be left out.
        rank: The rank of U V.
    """

    kind: Literal["low_rank"] = "low_rank"
    rank: int = 8

    def __post_init__(self) -> None:
        expect(self.rank >= 1, "rank", self.rank, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """``x' = fixed(x) + D x + b`` with every entry of D, for small inputs."""

    kind: Literal["full"] = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerChannel:
    """``x' = fixed(M x + c)``: the channels of each pixel change in the same way everywhere, before the fixed adapter.

    Args:
        kind: ``per_channel``.
        mixing: M is a whole matrix; otherwise it scales each channel by itself.
    """

    kind: Literal["per_channel"] = "per_channel"
    mixing: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Spatial:
    """``x' = s * fixed(x) + p`` with one number of s and of the program p for each entry of the source's input.

    Args:
        kind: ``spatial``.
        scale: Whether s is learned; otherwise it is 1.
        where: Where the program lies: ``everywhere``, or in the ``margin``, the entries of the source's input that do
            not depend on the image, such as those that a pad adds around it.
        bound: p = bound * tanh(w), so that no entry goes further; None for p = w.
    """

    kind: Literal["spatial"] = "spatial"
    scale: bool = True
    where: Literal["everywhere", "margin"] = "everywhere"
    bound: float | None = None

    def __post_init__(self) -> None:
        expect(self.bound is None or self.bound > 0, "bound", self.bound, "a number above 0, or None")


Form: TypeAlias = Annotated[LowRank | Full | PerChannel | Spatial, Choice()]
