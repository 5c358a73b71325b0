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
        rank: Rank of U V.
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
    """``x' = fixed(M x + c)``: the same change of the channels at each pixel.

    The change comes before the fixed adapter.

    Args:
        kind: ``per_channel``.
        mixing: M is a whole matrix; otherwise it scales each channel separately.
    """

    kind: Literal["per_channel"] = "per_channel"
    mixing: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Spatial:
    """``x' = s * fixed(x) + p``, with one entry of s and of p for each entry of the source's input.

    Args:
        kind: ``spatial``.
        scale: Learn the factor s; otherwise it is 1.
        where: Location of the program p: ``everywhere``, or in the ``margin``, the entries of the
            source's input that do not depend on the image, such as those that a pad adds around it.
        bound: p = bound * tanh(w), so that no entry exceeds it; None for p = w.
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


def label_count_text(count: int, target_outputs: int) -> str:
    """Return the description of labels that are not as many as the target's outputs."""
    return f"labels names {count} outputs of the source, the target has {target_outputs}"


def label_range_text(largest: int, source_outputs: int) -> str:
    """Return the description of labels beyond the source's outputs."""
    reads = f"labels reads output {largest} of the source"
    return f"{reads}, which has {source_outputs}, numbered from 0"


def affine_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the augmentation, and of labels that the source's outputs do not allow."""
    yield from augment_misfits(chosen["augment"], around.target)
    labels = chosen["labels"]
    target_outputs = around.target.outputs
    source_outputs = around.source.outputs
    if labels == "new":
        return
    read = range(target_outputs or 0) if isinstance(labels, str) else labels
    if isinstance(labels, tuple):
        yield from repeated_value_misfits("labels", labels)
    # Both misfits skip the cell only: another source or target of the suite may match.
    if target_outputs is not None and len(read) != target_outputs:
        found = label_count_text(len(read), target_outputs)
        expected = f"{target_outputs} outputs"
        yield Misfit(("labels",), expected, "name as many", found, skips=True)
        return
    largest = max(read, default=0)
    if source_outputs is not None and largest >= source_outputs:
        found = label_range_text(largest, source_outputs)
        expected = f"outputs below {source_outputs}"
        next_step = "name others, or use labels: new"
        yield Misfit(("labels",), expected, next_step, found, skips=True)
