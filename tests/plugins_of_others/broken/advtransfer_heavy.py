"""A plugin that imports torch when it is listed."""

from collections.abc import Iterable

import torch

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Adapter, Factory


def nothing() -> Adapter:
    """Change nothing."""
    from advtransfer.testing.kit.specimen import ToyAdapter

    return ToyAdapter()


@hookimpl
def register_adapters() -> Iterable[Factory[Adapter]]:
    return [nothing] if torch.__version__ else []
