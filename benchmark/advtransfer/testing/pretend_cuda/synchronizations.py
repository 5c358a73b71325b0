"""Count of the moments at which the host would wait for a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from advtransfer.testing.pretend_cuda import calls, operations, tensor
from advtransfer.testing.pretend_cuda.devices import Value
from advtransfer.testing.pretend_cuda.tensor import PretendTensor

WAITING_OPERATIONS = {"nonzero", "_local_scalar_dense", "is_nonzero", "masked_select", "equal"}
"""Operations whose result, or its size, is needed on the host."""


@contextmanager
def count_synchronizations() -> Iterator[Counter[str]]:
    """Count what synchronizes host and device in the block, by name; use it inside `pretend_cuda`.

    Counted are operations whose result the host needs, indices that are masks (torch looks for their
    true entries), and copies to the host. Copies to the device are not: they need not wait.
    """
    counts: Counter[str] = Counter()

    def run_operation(func: Value, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
        name = str(func.overloadpacket).rpartition(".")[2]
        if _is_on_device((args, kwargs)):
            if name in WAITING_OPERATIONS:
                counts[name] += 1
            elif name in {"index", "index_put", "index_put_"} and _has_mask(args[1]):
                counts["mask as index"] += 1
            elif name == "copy_" and not isinstance(args[0], PretendTensor):
                counts["copy to the host"] += 1
        return original_operation(func, args, kwargs)

    def copy_tensor(source: Tensor, device: torch.device) -> Tensor:
        if isinstance(source, PretendTensor) and device.type == "cpu":
            counts["copy to the host"] += 1
        return original_copy(source, device)

    def to_list(func: Callable[..., Value], source: Tensor) -> Value:
        if isinstance(source, PretendTensor):
            counts["copy to the host"] += 1
        return original_list(func, source)

    original_operation, original_copy = operations.run_operation, tensor.copy_tensor
    original_list = calls._REPLACEMENTS[Tensor.tolist]
    with (
        patch.object(operations, "run_operation", run_operation),
        patch.object(tensor, "copy_tensor", copy_tensor),
        patch.dict(calls._REPLACEMENTS, {Tensor.tolist: to_list}),
    ):
        yield counts


def _is_on_device(values: Value) -> bool:
    return any(isinstance(value, PretendTensor) for value in tree_leaves(values))


def _has_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
