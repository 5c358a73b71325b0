"""The state of a training as named tensors, and the timers for saving it and reporting progress.

A killed training continues from its state to the same bits; no result depends on the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.types import Tensors


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training, under names that begin with its stream.

    Args:
        model: The model, whose weights and buffers are saved.
        optimizer: The optimizer, whose momenta are saved.
        objective_state: The objective's state from batch to batch; restored in place.
        stream: Distinguishes the trainings in one context.
        extras: Further states by name, such as averaged weights; restored in place.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective_state: dict[str, Tensor]
    stream: str
    extras: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)

    def pack(self, curves: Sequence[Mapping[str, float]], begun: Tensors) -> dict[str, Tensor]:
        """Return the state on the CPU.

        Args:
            curves: The rows of the finished epochs.
            begun: The state of an unfinished epoch; empty between epochs.
        """
        state = _add_prefix("model", self.model.state_dict())
        for index, values in self.optimizer.state_dict()["state"].items():
            # SGD without momentum has None for its buffer.
            tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
            state |= _add_prefix(f"optimiser/{index}", tensors)
        for column in curves[0] if curves else ():
            numbers = [row[column] for row in curves]
            state[f"curves/{column}"] = torch.tensor(numbers, dtype=torch.float64)
        state |= _add_prefix("lasting", self.objective_state)
        state |= _add_prefix("begun", begun)
        for name, tensors in self.extras.items():
            state |= _add_prefix(name, tensors)
        return {f"{self.stream}/{name}": tensor.detach().cpu() for name, tensor in state.items()}

    def unpack(self, state: Tensors | None) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """Restore everything in place; return the curves and the state of the unfinished epoch.

        Both are empty when no state of this stream is saved.
        """
        own_state = strip_prefix(state or {}, f"{self.stream}/")
        weights = strip_prefix(own_state, "model/")
        if not weights:
            return [], {}
        self.model.load_state_dict(weights)
        self._restore_optimizer(strip_prefix(own_state, "optimiser/"))
        # Cloned, since objectives change their state in place and the saved one must stay.
        for name, tensor in strip_prefix(own_state, "lasting/").items():
            self.objective_state[name] = tensor.clone()
        for extra, values in self.extras.items():
            for name, tensor in strip_prefix(own_state, f"{extra}/").items():
                values[name] = tensor.clone()
        columns = {
            name: tensor.tolist() for name, tensor in strip_prefix(own_state, "curves/").items()
        }
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return rows, strip_prefix(own_state, "begun/")

    def _restore_optimizer(self, state: Tensors) -> None:
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            index, _, key = name.partition("/")
            values.setdefault(int(index), {})[key] = tensor
        # The groups hold the options, which the new optimizer has already.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": values, "param_groups": groups})
        # Fused optimizers go through weights and momenta in memory, so the orders must agree.
        for parameter, restored in self.optimizer.state.items():
            for name, tensor in restored.items():
                is_momentum = isinstance(tensor, Tensor) and tensor.shape == parameter.shape
                if is_momentum and tensor.stride() != parameter.stride():
                    restored[name] = torch.empty_like(parameter).copy_(tensor)


def _add_prefix(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(state: Tensors, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, under their names without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


CHECKPOINT_INTERVAL_SECONDS = 30.0
"""The seconds between two states saved within an epoch, which is the most a kill can lose."""

MAX_CHECKPOINT_OVERHEAD = 0.05
"""Upper bound on the share of training time spent saving; slow checkpoints are saved less often."""

ASSUMED_SAVE_SECONDS = 0.05
"""The seconds that saving is taken to need until it has been timed: a fit of a second saves none."""

PROGRESS_INTERVAL_SECONDS = 1.0
"""The seconds between two progress reports within an epoch."""


class CheckpointTimer:
    """Saves states and decides when enough time has passed since the last one.

    Args:
        save: Stores a state.
    """

    def __init__(self, save: Callable[[Tensors], None]) -> None:
        self._save = save
        self._last_saved = time.monotonic()
        self._last_seconds = ASSUMED_SAVE_SECONDS

    def is_affordable(self) -> bool:
        """Return True if saving now, at the end of an epoch, stays within its share of the time."""
        elapsed = time.monotonic() - self._last_saved
        return self._last_seconds <= MAX_CHECKPOINT_OVERHEAD * elapsed

    def is_due(self) -> bool:
        """Return True if it is time to save in the middle of an epoch."""
        elapsed = time.monotonic() - self._last_saved
        return elapsed >= CHECKPOINT_INTERVAL_SECONDS and self.is_affordable()

    def save(self, state: Callable[[], Tensors]) -> None:
        """Save the state and note how long that took."""
        began = time.monotonic()
        self._save(state())
        self._last_saved = time.monotonic()
        self._last_seconds = self._last_saved - began


class ProgressThrottle:
    """Limits how often progress is reported."""

    def __init__(self) -> None:
        self._last_report = time.monotonic()

    def is_due(self) -> bool:
        """Return True if enough time has passed since this last returned True."""
        now = time.monotonic()
        if now - self._last_report < PROGRESS_INTERVAL_SECONDS:
            return False
        self._last_report = now
        return True
