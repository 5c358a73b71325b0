"""Models that draw random numbers in eval mode: who they are, and where their draws come from.

Such a model says so by ``randomized = True`` on the module that draws, from torch's global generators, as
``torch.randn_like`` and dropout do. The host seeds these by named streams, so that its results repeat. A model
that draws and does not say so is suspicious.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import fork_global_rng, stream_generator

EXPECTATION_DRAWS = 20
"""Draws of an expectation over a model's answers: those of AutoAttack's version ``rand`` (Croce and Hein, 2020)."""


def is_randomized(model: object) -> bool:
    """Return whether a module of the model says that it draws random numbers in eval mode."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return any(getattr(module, "randomized", False) is True for module in modules)


@contextmanager
def model_draws(
    *models: object, source: Callable[[], torch.Generator], device: torch.device
) -> Iterator[None]:
    """Let the draws of randomised models in the block come from a stream; restore the global state after it.

    Without a randomised model nothing is seeded.

    Args:
        *models: Models that the block runs; None for those that it lacks.
        source: Returns the generator at the start of the stream.
        device: The device of the models.
    """
    if any(map(is_randomized, models)):
        with fork_global_rng(source(), device=device):
            yield
    else:
        yield


def keyed_draws(
    function: Callable[[Tensor], Tensor], inputs: Tensor, keys: Sequence[int]
) -> Tensor:
    """Return a randomised function's rows for inputs ``(B, ...)``: one draw each, which its key names.

    Each row is computed alone, so that it depends on no other. The draw of a key is the same for every
    function, image and call.

    Args:
        function: From ``(1, ...)`` to ``(1, ...)``.
        inputs: The inputs.
        keys: Keys of their samples, as in `Samples.keys`.
    """
    rows = []
    for row, key in zip(torch.split(inputs, 1), keys, strict=True):
        with fork_global_rng(stream_generator("model draw", key), device=inputs.device):
            rows.append(function(row))
    return torch.cat(rows)


class FixedDraw(nn.Module):
    """A randomised model at one draw, the same for every row: a function of the input alone.

    Args:
        model: The randomised model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``(B, K)``."""
        return keyed_draws(self.model, inputs, [0] * len(inputs))


class MeanOfDraws(nn.Module):
    """The mean of a randomised model's logits over draws, and with it the mean of their gradients.

    Expectation over transformation (Athalye, Engstrom, Ilyas and Kwok, 2018, section 2.1).

    Args:
        model: The randomised model.
        draws: Number of draws.
    """

    def __init__(self, model: nn.Module, draws: int = EXPECTATION_DRAWS) -> None:
        super().__init__()
        self.model = model
        self.draws = draws

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the mean logits ``(B, K)``."""
        logits: Tensor = self.model(inputs)
        for _ in range(self.draws - 1):
            logits = logits + self.model(inputs)
        return logits / self.draws
