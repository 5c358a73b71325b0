"""Errors and warnings about data on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from advtransfer.errors import AdvTransferWarning, BadInput, Problem


def data_error(found: str, *, expected: str, next_step: str) -> BadInput:
    """The error for one thing that is not as it must be; the caller raises it."""
    return BadInput([Problem(found, expected, next_step)])


MAX_SHOWN_NAMES = 5
"""Of many names, how many a message shows."""


def warn_of_data(text: str) -> None:
    """Warn of something in the data that may not be meant."""
    warnings.warn(text, AdvTransferWarning, stacklevel=2)


def first_names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)
    more = f" and {len(shown) - MAX_SHOWN_NAMES} more" if len(shown) > MAX_SHOWN_NAMES else ""
    return ", ".join(map(repr, shown[:MAX_SHOWN_NAMES])) + more
