"""What frozen layers give for samples: computed once, and shared by all fits of one source, adapter and data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from advtransfer.toolkit.rows import rows_of
from advtransfer.toolkit.samples import Arrays, every
from advtransfer.types import Context, Samples

ALIKE = ("source", "adapter", "subset.data")
"""The inputs of a fit that decide what its frozen layers give for an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The frozen, deterministic beginning of a target model.

    Args:
        function: From images ``(B, C, H, W)`` to activations ``(B, ...)``; it treats rows independently.
        name: Which layers of the source these are.
        shared: Keep the activations where other fits find them.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    shared: bool

    def __call__(self, samples: Samples, context: Context) -> Tensor:
        """The activations of samples of a train part, ``(N, ...)`` on the CPU.

        Raises:
            ValueError: There are no samples, or the layers give a number that is not finite.
        """
        if self.shared:
            key = {"part": "train", "layers": self.name}
            found = context.rows("features", key, samples, self.function, of=ALIKE)
        else:
            found = rows_of(samples, self.function, device=context.device)
        broken = int((~found.isfinite().flatten(1).all(1)).sum())
        if broken:
            expected = "finite ones; check the source's weights"
            raise ValueError(
                f"found activations that are not finite for {broken} of {len(found)} images; expected {expected}"
            )
        return found

    def activated(self, samples: Samples, context: Context) -> Arrays:
        """Samples that hold the activations in place of the images."""
        found = self(samples, context)
        card = replace(samples.card, shape=tuple(found.shape[1:]), bounds=None)
        return Arrays(card=card, inputs=found, labels=samples.labels(every(samples)), keys=samples.keys)
