"""How data on disk is said to be wrong."""

from __future__ import annotations

from advtransfer.errors import BadInput, Problem


def fault(found: str, *, expected: str, next_step: str) -> BadInput:
    """The error for one thing that is not as it must be; the caller raises it."""
    return BadInput([Problem(found, expected, next_step)])
