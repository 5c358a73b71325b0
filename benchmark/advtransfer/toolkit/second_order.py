"""Forward passes whose gradients are differentiated again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

from advtransfer.errors import Inapplicable

MISSING = ("is not implemented", "not differentiable", "does not support double backward")
"""What torch's errors say of an operation that has no second derivative."""


@contextmanager
def differentiated_twice() -> Iterator[None]:
    """Inside, attention is computed step by step: torch's fused kernels have no second derivative.

    Raises:
        Inapplicable: Another operation has none.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except RuntimeError as error:
        if "derivative" in str(error) and any(one in str(error) for one in MISSING):
            raise Inapplicable(f"the network has an operation without a second derivative ({error})") from error
        raise
