"""Every operation on tensors of the pretend device.

Checked as CUDA checks it, then computed on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from advtransfer.testing.pretend_cuda.devices import (
    CPU,
    CpuGenerator,
    Value,
    current,
    default_generators,
    drawing_from,
    resolve_device,
)
from advtransfer.testing.pretend_cuda.refusals import (
    UNDECIDED_ATTRIBUTE,
    refuse_generators,
    refuse_mixed_devices,
    refuse_nondeterminism,
)
from advtransfer.testing.pretend_cuda.tensor import PretendTensor


class OperationMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it bare
    """Sees also the operations on CPU tensors alone: some of them make tensors, or draw from a CUDA generator."""

    def __torch_dispatch__(
        self,
        func: Value,
        types: Sequence[type],
        args: Sequence[Value] = (),
        kwargs: Mapping[str, Value] | None = None,
    ) -> Value:
        return run_operation(func, tuple(args), dict(kwargs or {}))


def run_operation(func: Value, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
    """Compute one operation.

    Raises:
        RuntimeError: CUDA would refuse it.
    """
    flat, _ = tree_flatten((args, kwargs))
    tensors = [one for one in flat if isinstance(one, Tensor)]
    generators = [current.call.generator or one for one in flat if isinstance(one, CpuGenerator)]
    name = str(func.overloadpacket).rpartition(".")[2]
    refuse_mixed_devices(name, args, tensors, _changed_tensors(func, args, kwargs))
    device = _result_device(func, name, args, kwargs, tensors, generators)
    if device.type == "cpu" and not any(isinstance(one, PretendTensor) for one in tensors):
        refuse_generators(generators, device)
        return _mark_undecided(func(*args, **kwargs), makes=not tensors)
    refuse_generators(generators, device)
    if name == "_to_copy":
        return _convert_copy(func, args, kwargs, device)
    if device.type == "cuda":
        refuse_nondeterminism(name, args, kwargs)
    if "device" in kwargs:
        kwargs = (
            kwargs | {"device": CPU, "pin_memory": None}
            if "pin_memory" in kwargs
            else kwargs | {"device": CPU}
        )
    with _drawing_on(func, generators, device):
        found = func(*tree_map(_host_value, args), **tree_map(_host_value, kwargs))
    if device.type == "cpu":
        return found
    # a view of a tensor from outside inference mode is no inference tensor
    with torch.inference_mode(
        torch.is_inference_mode_enabled()
        and not (_returns_view(func) and not tensors[0].is_inference())
    ):
        outside = tree_map(_wrapper_for(device), found)
    return return_and_correct_aliasing(func, args, kwargs, outside)  # type: ignore[no-untyped-call]  # likewise


def _result_device(
    func: Value,
    name: str,
    args: tuple[Value, ...],
    kwargs: Mapping[str, Value],
    tensors: Sequence[Tensor],
    generators: Sequence[CpuGenerator],
) -> torch.device:
    """Where the result is to be."""
    asked = kwargs.get("device")
    if _names_device(func):
        if current.call.wanted_device is not None and name != "_to_copy":
            return current.call.wanted_device
        if asked is not None and torch.device(asked).type != "cpu":
            return resolve_device(asked)
    if name == "copy_" and not isinstance(args[0], PretendTensor):
        return CPU
    return next((one.at for one in tensors if isinstance(one, PretendTensor)), CPU)


@cache
def _names_device(func: Value) -> bool:
    return any(argument.name == "device" for argument in func._schema.arguments)


def _changed_tensors(
    func: Value, args: Sequence[Value], kwargs: Mapping[str, Value]
) -> list[Tensor]:
    """The tensors that an operation writes into."""
    written = _written_arguments(func)
    given = [args[number] if number < len(args) else kwargs.get(name) for number, name in written]
    return [one for one in tree_flatten(given)[0] if isinstance(one, Tensor)]


@cache
def _written_arguments(func: Value) -> list[tuple[int, str]]:
    arguments = enumerate(func._schema.arguments)
    return [
        (number, one.name)
        for number, one in arguments
        if one.alias_info is not None and one.alias_info.is_write
    ]


@cache
def _returns_view(func: Value) -> bool:
    return any(
        one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns
    )


def _mark_undecided(found: Value, *, makes: bool) -> Value:
    """A result on the CPU; marked where torch itself made it while it worked on tensors of the device."""
    if (
        makes
        and isinstance(found, Tensor)
        and current.call.wanted_device is None
        and (current.call.inside_torch or _in_backward())
    ):
        setattr(found, UNDECIDED_ATTRIBUTE, True)
    return found


def _in_backward() -> bool:
    """Whether a formula of autograd is being computed."""
    return torch._C._current_autograd_node() is not None


def _convert_copy(
    func: Value, args: tuple[Value, ...], kwargs: dict[str, Value], device: torch.device
) -> Value:
    """A copy of another type or memory format; on another device where one is named."""
    asked = kwargs.pop("device", None)
    source = args[0]
    wanted = (
        resolve_device(asked)
        if asked is not None and torch.device(asked).type == "cuda"
        else device
    )
    values = func(_host_value(source), **kwargs)
    return (
        PretendTensor(values if kwargs else values.clone(), wanted)
        if wanted.type == "cuda"
        else values
    )


def _drawing_on(
    func: Value, generators: Sequence[CpuGenerator], device: torch.device
) -> AbstractContextManager[None]:
    """Draws of the device that name no generator come from the device's own."""
    draws = torch.Tag.nondeterministic_seeded in func.tags
    if draws and not generators and device.type == "cuda":
        return drawing_from(default_generators.of_device(device))
    return nullcontext()


def _host_value(value: Value) -> Value:
    return value.host if isinstance(value, PretendTensor) else value


def _wrapper_for(device: torch.device) -> Callable[[Value], Value]:
    return lambda value: PretendTensor(value, device) if isinstance(value, Tensor) else value
