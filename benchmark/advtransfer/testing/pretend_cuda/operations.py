"""Operations on tensors of the pretend device: checked as CUDA does, computed on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

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
    """Handles CPU tensors too, since operations on them may draw from a CUDA generator."""

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
    values = tree_leaves((args, kwargs))
    tensors = [value for value in values if isinstance(value, Tensor)]
    # The caller's own generator, since torch passes operations another Python object for it.
    generators = [
        current.call.generator or value for value in values if isinstance(value, CpuGenerator)
    ]
    name = str(func.overloadpacket).rpartition(".")[2]
    refuse_mixed_devices(name, args, tensors, _changed_tensors(func, args, kwargs))
    device = _result_device(func, name, args, kwargs, tensors)
    refuse_generators(generators, device)
    has_pretend = any(isinstance(tensor, PretendTensor) for tensor in tensors)
    if device.type == "cpu" and not has_pretend:
        if kwargs.get("pin_memory"):  # there is no driver that could pin it
            kwargs = kwargs | {"pin_memory": None}
        return _mark_undecided(func(*args, **kwargs), makes=not tensors)
    if name == "_to_copy":
        return _convert_copy(func, args, kwargs, device)
    if device.type == "cuda":
        refuse_nondeterminism(name, args, kwargs)
    kwargs = _on_host(kwargs)
    with _drawing_on(func, generators, device):
        result = func(*tree_map(_host_value, args), **tree_map(_host_value, kwargs))
    if device.type == "cpu":
        return result
    return _wrap_result(func, args, kwargs, tensors, result, device)


def _on_host(kwargs: dict[str, Value]) -> dict[str, Value]:
    """Return the keyword arguments with the CPU in place of a named device."""
    if "device" not in kwargs:
        return kwargs
    if "pin_memory" in kwargs:
        return kwargs | {"device": CPU, "pin_memory": None}
    return kwargs | {"device": CPU}


def _wrap_result(
    func: Value,
    args: tuple[Value, ...],
    kwargs: dict[str, Value],
    tensors: Sequence[Tensor],
    result: Value,
    device: torch.device,
) -> Value:
    """Return the result with its tensors on the device, aliased as torch expects it."""
    makes_inference_tensor = torch.is_inference_mode_enabled()
    if makes_inference_tensor and _returns_view(func):
        # A view of a tensor from outside inference mode is no inference tensor.
        makes_inference_tensor = tensors[0].is_inference()
    with torch.inference_mode(makes_inference_tensor):
        wrapped = tree_map(_wrapper_for(device), result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)  # type: ignore[no-untyped-call]  # torch leaves it bare


def _result_device(
    func: Value,
    name: str,
    args: tuple[Value, ...],
    kwargs: Mapping[str, Value],
    tensors: Sequence[Tensor],
) -> torch.device:
    """Return the device of the result."""
    named = kwargs.get("device")
    if _names_device(func):
        if current.call.wanted_device is not None and name != "_to_copy":
            return current.call.wanted_device
        if named is not None and torch.device(named).type != "cpu":
            return resolve_device(named)
    if name == "copy_" and not isinstance(args[0], PretendTensor):
        return CPU
    devices = (tensor.at for tensor in tensors if isinstance(tensor, PretendTensor))
    return next(devices, CPU)


@cache
def _names_device(func: Value) -> bool:
    return any(argument.name == "device" for argument in func._schema.arguments)


def _changed_tensors(
    func: Value, args: Sequence[Value], kwargs: Mapping[str, Value]
) -> list[Tensor]:
    """Return the tensors that an operation writes into."""
    written: list[Value] = []
    for position, name in _written_arguments(func):
        written.append(args[position] if position < len(args) else kwargs.get(name))
    return [value for value in tree_leaves(written) if isinstance(value, Tensor)]


@cache
def _written_arguments(func: Value) -> list[tuple[int, str]]:
    """Return position and name of the arguments that an operation writes into."""
    return [
        (position, argument.name)
        for position, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


@cache
def _returns_view(func: Value) -> bool:
    return any(
        value.alias_info is not None and not value.alias_info.is_write
        for value in func._schema.returns
    )


def _mark_undecided(result: Value, *, makes: bool) -> Value:
    """Mark a new CPU tensor that torch's own code made while it worked on tensors of the device.

    Args:
        result: The result of an operation on the CPU.
        makes: True if the operation had no tensors as arguments.
    """
    by_torch = current.call.inside_torch or _in_backward()
    is_new = makes and isinstance(result, Tensor)
    if is_new and by_torch and current.call.wanted_device is None:
        setattr(result, UNDECIDED_ATTRIBUTE, True)
    return result


def _in_backward() -> bool:
    """Return True while a formula of autograd is computed."""
    return torch._C._current_autograd_node() is not None


def _convert_copy(
    func: Value, args: tuple[Value, ...], kwargs: dict[str, Value], device: torch.device
) -> Value:
    """Return a copy of another type or memory format, on another device if one is named."""
    named = kwargs.pop("device", None)
    if named is not None and torch.device(named).type == "cuda":
        device = resolve_device(named)
    values = func(_host_value(args[0]), **kwargs)
    if device.type != "cuda":
        return values
    return PretendTensor(values if kwargs else values.clone(), device)


def _drawing_on(
    func: Value, generators: Sequence[CpuGenerator], device: torch.device
) -> AbstractContextManager[None]:
    """Return a context in which draws without a generator come from the device's default one."""
    draws = torch.Tag.nondeterministic_seeded in func.tags
    if draws and not generators and device.type == "cuda":
        return drawing_from(default_generators.of_device(device))
    return nullcontext()


def _host_value(value: Value) -> Value:
    return value.host if isinstance(value, PretendTensor) else value


def _wrapper_for(device: torch.device) -> Callable[[Value], Value]:
    return lambda value: PretendTensor(value, device) if isinstance(value, Tensor) else value
