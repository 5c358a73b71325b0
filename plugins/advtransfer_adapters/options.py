"""Options of the learned maps, and the checks of options that need no training.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.option_checks import augment_misfits, repeated_value_misfits
from advtransfer.toolkit.tagged_union import TaggedUnion
from advtransfer.toolkit.training_config import require_field


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
        require_field(self.rank >= 1, "rank", self.rank, "at least 1")


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
        require_field(
            self.bound is None or self.bound > 0, "bound", self.bound, "a number above 0, or None"
        )


Form: TypeAlias = Annotated[LowRank | Full | PerChannel | Spatial, TaggedUnion()]


def affine_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Outputs of the source that are named twice, too many or too few, or that it does not have."""
    yield from augment_misfits(chosen["augment"], around.target)
    labels, wanted, there = chosen["labels"], around.target.outputs, around.source.outputs
    if labels == "new":
        return
    read = range(wanted or 0) if isinstance(labels, str) else labels
    if isinstance(labels, tuple):
        yield from repeated_value_misfits("labels", labels)
    if wanted is not None and len(read) != wanted:
        found = f"labels names {len(read)} outputs of the source, the target has {wanted}"
        yield Misfit(("labels",), f"{wanted} outputs", "name as many", found, skips=True)
    elif there is not None and max(read, default=0) >= there:
        found = f"labels reads output {max(read)} of the source, which has {there}, numbered from 0"
        yield Misfit(
            ("labels",),
            f"outputs below {there}",
            "name others, or use labels: new",
            found,
            skips=True,
        )
