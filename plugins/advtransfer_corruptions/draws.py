"""Random numbers of a batch of images, keyed by sample: no image's corruption depends on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from advtransfer.types import Context

Array: TypeAlias = NDArray[np.float64]


@dataclass(slots=True)
class Draws:
    """Numbers for the images of these keys; each call draws new ones.

    Args:
        context: The host's random streams.
        stream: Name of the stream. It does not name the severity: at each severity an image has
            the same noise, only more of it, so that severities are compared by pairs.
        keys: Keys of the images.
    """

    context: Context
    stream: str
    keys: Sequence[int]
    _calls: int = field(default=0, init=False)

    def uniform(self, *shape: int) -> Array:
        """Return numbers in [0, 1), ``(B, *shape)``."""
        numbers = self.context.uniform(self.stream, self.keys, shape, step=self._calls)
        self._calls += 1
        uniform: Array = numbers.numpy().astype(np.float64)
        return uniform

    def normal(self, *shape: int) -> Array:
        """Return standard normal numbers, ``(B, *shape)``."""
        # The numbers are multiples of 2**-24, so that this moves them to the middles of intervals.
        normal: Array = ndtri(self.uniform(*shape) + 2.0**-25)
        return normal
