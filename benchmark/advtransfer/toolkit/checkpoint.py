"""A training's state as named tensors, so that a killed one continues to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from advtransfer.types import Tensors


def pack(
    model: nn.Module, optimiser: torch.optim.Optimizer, curves: Sequence[Mapping[str, float]], *, stream: str
) -> dict[str, Tensor]:
    """Weights, optimiser state and curves, on the CPU, under names that begin with the training's stream."""
    state = {f"{stream}/model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, values in optimiser.state_dict()["state"].items():
        state |= {f"{stream}/optimiser/{index}/{name}": value for name, value in values.items() if _is_tensor(value)}
    for column in curves[0] if curves else ():
        state[f"{stream}/curves/{column}"] = torch.tensor([row[column] for row in curves], dtype=torch.float64)
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def unpack(
    state: Tensors | None, *, model: nn.Module, optimiser: torch.optim.Optimizer, stream: str
) -> list[dict[str, float]]:
    """Restore model and optimiser in place and return the curves; none of it when nothing of this stream is saved."""
    weights = _under(state or {}, f"{stream}/model/")
    if not weights:
        return []
    model.load_state_dict(weights)
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(state or {}, f"{stream}/optimiser/").items():
        index, _, key = name.partition("/")
        values.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})
    columns = {name: tensor.tolist() for name, tensor in _under(state or {}, f"{stream}/curves/").items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _under(state: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
