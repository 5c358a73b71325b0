"""What is told of data that can be used, but may not be meant so."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from advtransfer.errors import AdvTransferWarning

SHOWN = 5
"""Of many names, how many a message shows."""


def tell(text: str) -> None:
    """Warn of something in the data that may not be meant."""
    warnings.warn(text, AdvTransferWarning, stacklevel=2)


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(map(repr, shown[:SHOWN])) + more
