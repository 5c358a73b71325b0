"""Calls of torch's functions from Python.

Functions that move tensors between devices, or out of torch, are replaced; all others are called
with the named device recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from advtransfer.testing.pretend_cuda.devices import (
    CPU,
    CpuGenerator,
    TorchCall,
    Value,
    current,
    resolve_device,
    within_call,
)
from advtransfer.testing.pretend_cuda.refusals import UNDECIDED_ATTRIBUTE
from advtransfer.testing.pretend_cuda.tensor import (
    NO_NUMPY,
    PretendTensor,
    move_tensor,
    tensor_device,
)

Function: TypeAlias = "Callable[..., Value]"


class CallMode(TorchFunctionMode):
    """Handles every call of torch, also those with CPU tensors alone."""

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: Sequence[Value] = (),
        kwargs: Mapping[str, Value] | None = None,
    ) -> Value:
        return call_function(func, tuple(args), dict(kwargs or {}))


def call_function(func: Function, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
    """Call a function of torch as if the pretend devices were GPUs.

    Raises:
        RuntimeError, TypeError: torch would raise it with a GPU.
    """
    replacement = _REPLACEMENTS.get(func)
    if replacement is not None:
        return replacement(func, *args, **kwargs)
    device = kwargs.get("device")
    if device is not None:
        device = resolve_device(device)
        if device.type == "cuda":
            kwargs = kwargs | {"device": CPU}
    return _call_torch(func, args, kwargs, wanted=device)


def _call_torch(
    func: Function,
    args: tuple[Value, ...],
    kwargs: dict[str, Value],
    *,
    wanted: torch.device | None,
) -> Value:
    """Call torch's own function; operations in it may ask for the named device and generator."""
    values = tree_leaves((args, kwargs))
    has_pretend = any(isinstance(value, PretendTensor) for value in values)
    generators = (value for value in values if isinstance(value, CpuGenerator))
    call = TorchCall(
        wanted_device=wanted,
        inside_torch=current.call.inside_torch or has_pretend,
        generator=next(generators, current.call.generator),
    )
    with torch._C.DisableTorchFunctionSubclass(), within_call(call):
        return func(*args, **kwargs)


def _tensor_to(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Tensor:
    options = _to_options(args, kwargs)
    named = options.pop("device", None)
    device = tensor_device(tensor) if named is None else resolve_device(named)
    if device.type not in ("cpu", "cuda"):
        return cast("Tensor", _call_plainly(func, tensor, device=device, **options))
    if device != tensor_device(tensor):
        tensor = move_tensor(tensor, device)
        # Moving has made a copy already.
        options.pop("copy", None)
    dtype = options.pop("dtype", None) or tensor.dtype
    if not options and dtype == tensor.dtype:
        return tensor
    return cast("Tensor", _call_plainly(func, tensor, dtype, **options))


def _to_options(args: Sequence[Value], kwargs: Mapping[str, Value]) -> dict[str, Value]:
    """Return the arguments of any of the overloads of ``Tensor.to`` by name."""
    flags = [value for value in args if isinstance(value, bool)]
    options: dict[str, Value] = dict(zip(("non_blocking", "copy"), flags, strict=False))
    for value in args:
        if isinstance(value, Tensor):
            options |= {"device": tensor_device(value), "dtype": value.dtype}
        elif isinstance(value, torch.dtype):
            options["dtype"] = value
        elif isinstance(value, str | torch.device | int) and not isinstance(value, bool):
            options["device"] = value
    keywords = dict(kwargs)
    if "other" in keywords:
        other = keywords.pop("other")
        options |= {"device": tensor_device(other), "dtype": other.dtype}
    return options | keywords


def _call_plainly(func: Function, *args: Value, **kwargs: Value) -> Value:
    return _call_torch(func, args, kwargs, wanted=None)


def _tensor_cpu(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Tensor:
    if isinstance(tensor, PretendTensor):
        return move_tensor(tensor, CPU)
    return cast("Tensor", _call_plainly(func, tensor, *args, **kwargs))


def _tensor_cuda(
    func: Function, tensor: Tensor, device: Value = None, *args: Value, **kwargs: Value
) -> Tensor:
    resolved = resolve_device("cuda" if device is None else device)
    return tensor if tensor_device(tensor) == resolved else move_tensor(tensor, resolved)


def _tensor_numpy(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Value:
    if isinstance(tensor, PretendTensor):
        raise TypeError(NO_NUMPY.format(tensor.at))
    return _call_plainly(func, tensor, *args, **kwargs)


def _read_host(func: Function, tensor: Tensor) -> Value:
    return _call_plainly(func, tensor.host if isinstance(tensor, PretendTensor) else tensor)


def _make_tensor(func: Function, data: Value, *args: Value, **kwargs: Value) -> Tensor:
    """Make a tensor by ``torch.tensor``, ``as_tensor`` or ``asarray``, on the named device."""
    device = kwargs.pop("device", None)
    if isinstance(data, PretendTensor):
        dtype = kwargs.get("dtype", data.dtype) or data.dtype
        # torch.tensor always copies; as_tensor and asarray share the values if they can.
        source = data.detach().clone() if func is torch.tensor else data.detach()
        made = source.to(dtype)
        if device is not None:
            made = made.to(device)
        return made.requires_grad_() if kwargs.get("requires_grad") else made
    requires_grad = kwargs.pop("requires_grad", False)
    # A list may hold scalar tensors of the device.
    data = tree_map(lambda value: value.item() if isinstance(value, PretendTensor) else value, data)
    made = cast("Tensor", _call_plainly(func, data, *args, **kwargs))
    if device is not None and resolve_device(device) != tensor_device(made):
        made = move_tensor(made.detach(), resolve_device(device))
    return made.requires_grad_() if requires_grad else made


def _make_tensor_like(func: Function, like: Tensor, data: Value, **kwargs: Value) -> Tensor:
    options: dict[str, Value] = {"dtype": like.dtype, "device": tensor_device(like)} | kwargs
    return _make_tensor(torch.tensor, data, **options)


def _set_data(func: Function, tensor: Tensor, new: Tensor) -> None:
    if tensor_device(tensor) != tensor_device(new):
        raise RuntimeError(
            "the pretend device moves no `.data` between devices; "
            "use Module.to, or swap the tensors"
        )
    _call_plainly(func, tensor, new)
    if isinstance(tensor, PretendTensor) and isinstance(new, PretendTensor):
        tensor.host = new.host


def _set_grad(func: Function, tensor: Tensor, gradient: Tensor | None) -> None:
    if gradient is not None and not hasattr(gradient, UNDECIDED_ATTRIBUTE):
        expected = tensor_device(tensor)
        found = tensor_device(gradient)
        if found != expected:
            raise RuntimeError(
                "assigned grad has data located on a different device: "
                f"expected {expected}, found {found}"
            )
    _call_plainly(func, tensor, gradient)


def _deep_copy(func: Function, tensor: Tensor, memo: dict[int, Value]) -> Value:
    """Copy a tensor with its gradient and attributes, by the rules of ``Tensor.__deepcopy__``."""
    if not isinstance(tensor, PretendTensor):
        return _call_plainly(func, tensor, memo)
    if id(tensor) in memo:
        return memo[id(tensor)]
    if not tensor.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) "
            "support the deepcopy protocol at the moment."
        )
    copied = PretendTensor(tensor.host.clone(), tensor.at).requires_grad_(tensor.requires_grad)
    for name, value in tensor.__dict__.items():
        if name not in ("host", "at"):
            copied.__dict__[name] = value
    # The memo makes a gradient shared by two tensors one gradient in the copy.
    copied.grad = copy.deepcopy(tensor.grad, memo)
    memo[id(tensor)] = copied
    return copied


def _reduce_tensor(func: Function, tensor: Tensor, protocol: Value) -> Value:
    if not isinstance(tensor, PretendTensor):
        return _call_plainly(func, tensor, protocol)
    return _restore_tensor, (tensor.host, str(tensor.at), tensor.requires_grad)


def _restore_tensor(host: Tensor, device: str, requires_grad: bool) -> Tensor:
    return PretendTensor(host, torch.device(device)).requires_grad_(requires_grad)


_REPLACEMENTS: Mapping[Function, Function] = {
    Tensor.to: _tensor_to,
    Tensor.cpu: _tensor_cpu,
    Tensor.cuda: _tensor_cuda,
    Tensor.numpy: _tensor_numpy,
    Tensor.__array__: _tensor_numpy,
    Tensor.tolist: _read_host,
    Tensor.data_ptr: _read_host,
    Tensor.untyped_storage: _read_host,
    Tensor.new_tensor: _make_tensor_like,
    Tensor.__deepcopy__: _deep_copy,
    Tensor.__reduce_ex__: _reduce_tensor,
    vars(torch._C.TensorBase)["data"].__set__: _set_data,
    vars(torch._C.TensorBase)["grad"].__set__: _set_grad,
    torch.tensor: _make_tensor,
    torch.as_tensor: _make_tensor,
    torch.asarray: _make_tensor,
}
