"""Images that stay in their files until they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from advtransfer.types import DataCard
from advtransfer_vision.framing import Framing, decoded

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

    Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

KEPT_BYTES = 128 * 2**20
"""How much of a part is kept decoded: small subsets are decoded once, large ones never fill the memory."""


@dataclass(frozen=True)
class ImageFiles:
    """`Samples` over image files: ``(3, pixels, pixels)``, decoded when asked for, the last used kept as uint8.

    Args:
        card: What they are; its shape must be that of the framing.
        folder: What `names` are relative to.
        names: One file a sample.
        targets: ``(N,)`` int64 classes.
        framing: How a file becomes a square.
    """

    card: DataCard
    folder: Path
    names: Sequence[str]
    targets: Tensor
    framing: Framing
    _kept: _lru_cache_wrapper[Pixels] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        most = max(1, KEPT_BYTES // (3 * self.framing.pixels**2))
        object.__setattr__(self, "_kept", lru_cache(maxsize=most)(self._decoded))

    @property
    def keys(self) -> Sequence[int]:
        """The place in the order of names."""
        return range(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, 3, pixels, pixels)`` float32 in [0, 1]."""
        if not len(positions):
            return torch.empty(0, *self.card.shape)
        images = np.stack([self._kept(position) for position in positions.tolist()])
        return torch.from_numpy(images).float() / 255

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` int64."""
        return self.targets[positions]

    def _decoded(self, position: int) -> Pixels:
        return decoded(self.folder / self.names[position], self.framing)
