"""A third party's plugin: one transfer method, `example/nearest_mean`."""

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer, component


@component(needs=["source"])
def nearest_mean(*, shrink: float = 0.0) -> Transfer:
    """The nearest class mean on a source's frozen features, as a linear head.

    Args:
        shrink: Share by which each class mean is moved to the mean of all.
    """
    from advtransfer_example.head import (
        NearestMean,
    )  # torch is imported when the method is used, not when it is listed

    return NearestMean(shrink=shrink)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """What this plugin brings."""
    return [nearest_mean]
