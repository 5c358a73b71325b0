"""Hooks of the IGAM plugin: robustness transferred through a teacher's input gradients."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer
from advtransfer_igam.components import igam


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return IGAM."""
    return [igam]
