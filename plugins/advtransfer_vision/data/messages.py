"""Errors and warnings about data on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from advtransfer.errors import AdvTransferWarning, BadInput, Problem

MAX_SHOWN_NAMES = 5
"""How many of many names or numbers a message shows."""


def data_error(found: str, *, expected: str, next_step: str) -> BadInput:
    """Return the error for one problem; the caller raises it."""
    return BadInput([Problem(found, expected, next_step)])


def warn_of_data(text: str) -> None:
    """Warn of something in the data that the user may not have meant."""
    warnings.warn(text, AdvTransferWarning, stacklevel=2)


def first_items(items: Iterable[object]) -> str:
    """Return the first few items, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - MAX_SHOWN_NAMES} more" if len(texts) > MAX_SHOWN_NAMES else ""
    return ", ".join(texts[:MAX_SHOWN_NAMES]) + more


def first_names(names: Iterable[str]) -> str:
    """Return the first few names in quotation marks, and how many more there are."""
    return first_items(map(repr, names))
