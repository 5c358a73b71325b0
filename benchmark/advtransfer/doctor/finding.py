"""One finding about an installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

FindingStatus: TypeAlias = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in one area of an installation.

    Args:
        area: ``versions``, ``plugins``, ``devices``, ``threads``, ``data``, ``cache`` or ``disk``.
        status: ``ok``; ``note`` for what may surprise; ``problem`` for what makes runs fail, or wrong or slow.
        found: What was found.
        next_step: What to do; empty where all is well.
    """

    area: str
    status: FindingStatus
    found: str
    next_step: str = ""
