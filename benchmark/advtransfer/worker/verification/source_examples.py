"""Examples against the source of a model, which are tried on the model itself."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from advtransfer.worker.verification.ascent import cross_entropy_loss, logits_of
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.battery_attacks import ProbeBatch
from advtransfer.worker.verification.targeted_ascent import ascent_in


def source_examples(
    source: Callable[[Tensor], Tensor], batch: ProbeBatch, *, ball: Ball, steps: int
) -> Tensor:
    """Return examples against another network, ``(B, ...)``.

    They need no labels: each is moved away from the class that the network predicts.

    Args:
        source: From target inputs ``(B, ...)`` to that network's own logits; its weights frozen.
        batch: The samples.
        ball: Ball that the examples stay in.
        steps: Number of steps.
    """
    module = _FunctionModule(source)
    predicted = logits_of(module, batch.inputs).argmax(1)
    # Broken samples go on: an example that is far over the boundary transfers better.
    return ascent_in(ball)(
        module,
        batch.inputs,
        predicted,
        ball=ball,
        start=ball.random_start(batch.inputs, batch.keys, what="source"),
        steps=steps,
        loss=cross_entropy_loss,
        on=True,
    ).points


class _FunctionModule(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the function's outputs."""
        return self.function(inputs)
