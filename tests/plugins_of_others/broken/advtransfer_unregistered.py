"""A plugin whose factory has an option that is not keyword-only."""

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Adapter, Factory


def nothing(scale: float = 1.0) -> Adapter:
    """Change nothing."""
    raise NotImplementedError


@hookimpl
def register_adapters() -> Iterable[Factory[Adapter]]:
    return [nothing]
