"""Over which samples a number is taken, and where it is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

Number: TypeAlias = float | Tensor
"""A number as it is, or ``(N,)`` values whose mean over those that are not NaN it is."""


def over(rows: Tensor, values: Tensor) -> Tensor:
    """The mean of `values` ``(N,)`` over the samples `rows` ``(N,)`` bool, as a `Number`: the others become NaN."""
    return torch.where(rows, values.double(), torch.nan)


def enough(right: Tensor, defined: Tensor) -> Tensor | None:
    """The samples that are right, and where a number is defined, ``(N,)`` bool.

    None where these are fewer than two, or than half of those that are right: a mean over the few images that move a
    source which hardly moves at all would be told beside means over all of them.
    """
    rows = right & defined
    return rows if int(rows.sum()) >= max(2, int(right.sum()) / 2) else None


def taken(
    right: Tensor, defined: Tensor, *, name: str, numbers: Callable[[Tensor], Mapping[str, Number]]
) -> dict[str, Number]:
    """``kept_<name>``, how many samples are right and have the numbers; and these, where it is `enough`.

    Args:
        right: Which samples are right, ``(N,)`` bool.
        defined: Where the numbers are defined, ``(N,)`` bool.
        name: What they are called together.
        numbers: From the samples they are taken over, ``(N,)`` bool, to the numbers.
    """
    rows = enough(right, defined)
    count: dict[str, Number] = {f"kept_{name}": float((right & defined).sum())}
    return count if rows is None else count | dict(numbers(rows))
