"""Hooks of the adapters plugin.

Affine maps x' = A x + b from target images to a source's inputs.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Adapter, Factory, Transfer
from advtransfer_adapters.components import (
    affine,
    auto,
    centre_crop,
    chain,
    channel_mean,
    channel_repeat,
    identity,
    pad,
    random_pad,
    resize,
    transposed_convolution,
)


@hookimpl
def register_adapters() -> Iterable[Factory[Adapter]]:
    """Return the fixed adapters, the learned one, and those composed of others."""
    return [
        identity,
        resize,
        channel_mean,
        channel_repeat,
        centre_crop,
        pad,
        random_pad,
        transposed_convolution,
        chain,
        auto,
    ]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return the transfer that trains an affine map."""
    return [affine]
