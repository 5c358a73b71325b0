"""Runs of components in the kit: with the host's guards, and comparisons of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.kit.check import CheckFailed, NotChecked, require
from advtransfer.types import Shape, Tensors
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.process import deterministic_algorithms

T = TypeVar("T")

ROUNDING = 1e-4
"""Largest difference of logits that another batch size, device or dtype may make."""


@contextmanager
def undisturbed(
    model: nn.Module | None = None, *, draws: bool = False, fits: bool = False
) -> Iterator[None]:
    """Run the block as the host does, and raise CheckFailed where it leaves something changed.

    Args:
        model: The model whose weights, modes, gradients and hooks must stay.
        draws: Whether the block may draw from torch's global random state.
        fits: Whether it may change the model's weights and modes.
    """
    with deterministic_algorithms(), guard_side_effects(model, draws=draws, fits=fits) as found:
        yield
    require_unchanged(found.all_changes)


def call_model(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a model's outputs without a gradient; undo what the call changes in the process.

    For rules about outputs: a change of the process is the matter of a rule of its own.
    """
    with guard_side_effects(None, draws=True), torch.no_grad():
        outputs: Tensor = model(inputs)
    return outputs


def require_quiet_call(model: nn.Module, inputs: Tensor) -> None:
    """Raise CheckFailed if calling the model changes it or the process, or draws global randomness."""
    with undisturbed(model), torch.no_grad():
        model(inputs)


def require_unchanged(changes: Sequence[str]) -> None:
    """Raise CheckFailed if a guard has found changes."""
    require(not changes, f"changes: {'; '.join(changes)}", "none")


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of a model's parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def require_equal_states(first: Tensors, second: Tensors, what: str) -> None:
    """Raise CheckFailed unless two states are equal to the bit."""
    require(first.keys() == second.keys(), f"other names of weights {what}", "the same")
    different = [name for name in first if not torch.equal(first[name], second[name])]
    require(not different, f"other weights {what} ({', '.join(different[:3])})", "equal ones")


def require_logits(logits: object, rows: int, outputs: int) -> Tensor:
    """Return logits if they are finite and of the shape ``(rows, outputs)``."""
    if not isinstance(logits, Tensor):
        raise CheckFailed(f"found {type(logits).__name__} from the model; expected a tensor")
    shape = tuple(logits.shape)
    require(shape == (rows, outputs), f"logits of shape {shape}", f"({rows}, {outputs})")
    require(bool(logits.isfinite().all()), "logits that are not finite", "finite ones")
    return logits


def require_batch_invariance(model: nn.Module, inputs: Tensor) -> None:
    """Raise CheckFailed unless each image alone gives the logits that it gives in a batch."""
    with torch.no_grad():
        together = model(inputs)
        alone = torch.cat([model(inputs[[position]]) for position in range(len(inputs))])
        reverse = model(inputs.flip(0)).flip(0)
    difference = max(float((together - alone).abs().max()), float((together - reverse).abs().max()))
    found = f"outputs that differ by {difference:.3g} between batches"
    require(difference <= ROUNDING * (1 + float(together.abs().max())), found, "equal ones")


def require_dtype_moves(model: nn.Module, inputs: Tensor) -> None:
    """Raise CheckFailed unless the model follows ``.double()``."""
    single = model(inputs).detach()
    try:
        double = model.double()(inputs.double()).detach()
    finally:
        model.float()  # Other rules look at the model too.
    require(double.dtype == torch.float64, f"{double.dtype} of a float64 model", "float64")
    difference = float((double - single.double()).abs().max())
    found = f"outputs that differ by {difference:.3g} in float64"
    require(difference <= ROUNDING * (1 + float(single.abs().max())), found, "equal ones")


def require_inputs_kept(model: nn.Module, inputs: Tensor) -> None:
    """Raise CheckFailed if calling the model changes its inputs."""
    images = inputs.clone()
    with torch.no_grad():
        model(images)
    require(torch.equal(images, inputs), "inputs that the model has changed", "the same inputs")


def require_close(first: Tensor, second: Tensor, what: str) -> None:
    """Raise CheckFailed where two results differ by more than rounding."""
    difference = float((first.double() - second.double()).abs().max())
    limit = ROUNDING * (1 + float(first.abs().max()))
    require(difference <= limit, f"results that differ by {difference:.3g} {what}", "equal ones")


class CountingContext(InMemoryContext):
    """A context that counts how often a random stream was asked for.

    Attributes:
        draws: The number of calls of `generator`, `uniform` and `numpy`.
    """

    draws = 0

    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """Count the call and return the stream's generator."""
        self.draws += 1
        return super().generator(stream, *keys)

    def uniform(
        self, stream: str, keys: Sequence[int], shape: Shape, restart: int = 0, step: int = 0
    ) -> Tensor:
        """Count the call and return the numbers."""
        self.draws += 1
        return super().uniform(stream, keys, shape, restart, step)

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """Count the call and return the stream's generator."""
        self.draws += 1
        return super().numpy(stream, *keys)


def run_interrupted(run: Callable[[CountingContext], T], *, calls: int) -> T:
    """Run a training that is cancelled halfway, then the call that resumes it; return the result.

    Args:
        run: The training, from its context.
        calls: How often an uninterrupted run calls `progress`.

    Raises:
        NotChecked: The training reports no progress, by which it could be cancelled.
        CheckFailed: It went on after it was cancelled.
    """
    if not calls:
        raise NotChecked("it calls context.progress never, so that nothing cancels it")
    stopped = CountingContext(cancel_after=(calls + 1) // 2)
    try:
        run(stopped)
    except Cancelled:
        resumed = CountingContext(saved=stopped.saved())
        return run(resumed)
    raise CheckFailed("found a result after Cancelled; expected Cancelled to pass through")
