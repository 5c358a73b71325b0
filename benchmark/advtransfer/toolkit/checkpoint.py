"""The state of a training as named tensors, and the clock that decides when to save it and report progress.

A killed training continues from its state to the same bits; no result depends on the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.types import Tensors


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a training's state is made of, under names that begin with its stream.

    Args:
        model: Its weights.
        optimiser: Its momenta.
        lasting: What the objective carries from batch to batch; restored in place.
        stream: Tells trainings in one context apart.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    objective_state: dict[str, Tensor]
    stream: str

    def pack(self, curves: Sequence[Mapping[str, float]], begun: Tensors) -> dict[str, Tensor]:
        """The state on the CPU: `curves` of the epochs behind us, `begun` of the one that is not yet over."""
        state = _add_prefix("model", self.model.state_dict())
        for index, values in self.optimizer.state_dict()["state"].items():
            state |= _add_prefix(
                f"optimiser/{index}", {name: one for name, one in values.items() if _is_tensor(one)}
            )
        for column in curves[0] if curves else ():
            state[f"curves/{column}"] = torch.tensor(
                [row[column] for row in curves], dtype=torch.float64
            )
        state |= _add_prefix("lasting", self.objective_state) | _add_prefix("begun", begun)
        return {f"{self.stream}/{name}": tensor.detach().cpu() for name, tensor in state.items()}

    def unpack(self, state: Tensors | None) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """Restore everything in place; curves and the begun epoch, both empty when nothing of this stream is saved."""
        mine = strip_prefix(state or {}, f"{self.stream}/")
        weights = strip_prefix(mine, "model/")
        if not weights:
            return [], {}
        self.model.load_state_dict(weights)
        self._restore_optimizer(strip_prefix(mine, "optimiser/"))
        self.objective_state.update(
            {name: tensor.clone() for name, tensor in strip_prefix(mine, "lasting/").items()}
        )
        columns = {name: tensor.tolist() for name, tensor in strip_prefix(mine, "curves/").items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return rows, strip_prefix(mine, "begun/")

    def _restore_optimizer(self, state: Tensors) -> None:
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            index, _, key = name.partition("/")
            values.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": values, "param_groups": groups})


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


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
"""Within an epoch a state is saved this often: what a kill can cost."""

MAX_CHECKPOINT_OVERHEAD = 0.05
"""The most of a training's time that saving may take; a state that is dear to save is saved more seldom."""

PROGRESS_INTERVAL_SECONDS = 1.0
"""Within an epoch progress is told this often."""


class CheckpointTimer:
    """Saves states, each when enough time has passed since the one before.

    Args:
        save: Keeps a state.
    """

    def __init__(self, save: Callable[[Tensors], None]) -> None:
        self._save, self._last, self._cost = save, time.monotonic(), 0.0

    def is_affordable(self) -> bool:
        """Whether saving now, at the end of an epoch, keeps within its share of the time."""
        return self._cost <= MAX_CHECKPOINT_OVERHEAD * (time.monotonic() - self._last)

    def is_due(self) -> bool:
        """Whether it is time to save in the middle of an epoch."""
        return time.monotonic() - self._last >= CHECKPOINT_INTERVAL_SECONDS and self.is_affordable()

    def save(self, state: Callable[[], Tensors]) -> None:
        """Save the state, and learn what that costs."""
        began = time.monotonic()
        self._save(state())
        self._last = time.monotonic()
        self._cost = self._last - began


class ProgressThrottle:
    """Says when to tell progress."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether enough time has passed since this was last so."""
        now = time.monotonic()
        if now - self._last < PROGRESS_INTERVAL_SECONDS:
            return False
        self._last = now
        return True
