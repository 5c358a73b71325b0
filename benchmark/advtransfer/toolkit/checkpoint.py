"""A training's state as named tensors, so that a killed one continues to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    optimiser: torch.optim.Optimizer
    lasting: dict[str, Tensor]
    stream: str

    def pack(self, curves: Sequence[Mapping[str, float]], begun: Tensors) -> dict[str, Tensor]:
        """The state on the CPU: `curves` of the epochs behind us, `begun` of the one that is not yet over."""
        state = _named("model", self.model.state_dict())
        for index, values in self.optimiser.state_dict()["state"].items():
            state |= _named(f"optimiser/{index}", {name: one for name, one in values.items() if _is_tensor(one)})
        for column in curves[0] if curves else ():
            state[f"curves/{column}"] = torch.tensor([row[column] for row in curves], dtype=torch.float64)
        state |= _named("lasting", self.lasting) | _named("begun", begun)
        return {f"{self.stream}/{name}": tensor.detach().cpu() for name, tensor in state.items()}

    def unpack(self, state: Tensors | None) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """Restore everything in place; curves and the begun epoch, both empty when nothing of this stream is saved."""
        mine = _under(state or {}, f"{self.stream}/")
        weights = _under(mine, "model/")
        if not weights:
            return [], {}
        self.model.load_state_dict(weights)
        self._restore_optimiser(_under(mine, "optimiser/"))
        self.lasting.update({name: tensor.clone() for name, tensor in _under(mine, "lasting/").items()})
        columns = {name: tensor.tolist() for name, tensor in _under(mine, "curves/").items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return rows, _under(mine, "begun/")

    def _restore_optimiser(self, state: Tensors) -> None:
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            index, _, key = name.partition("/")
            values.setdefault(int(index), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": values, "param_groups": groups})


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _named(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _under(state: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
