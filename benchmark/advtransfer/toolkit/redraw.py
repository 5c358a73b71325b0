"""Deprecated: `redraw` is `advtransfer.toolkit.rng.reinitialize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advtransfer.deprecation import deprecated_names

if not TYPE_CHECKING:
    __getattr__ = deprecated_names(__name__, {"redraw": "advtransfer.toolkit.rng:reinitialize"})
