"""Calls of torch's functions from Python.

Those that carry tensors between devices, or out of torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

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
    """Sees every call of torch, also those with CPU tensors alone."""

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: Sequence[Value] = (),
        kwargs: Mapping[str, Value] | None = None,
    ) -> Value:
        return call_function(func, tuple(args), dict(kwargs or {}))


def call_function(func: Function, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
    """What a function of torch gives where the device is at hand.

    Raises:
        RuntimeError, TypeError: As torch with a GPU.
    """
    special = _REPLACEMENTS.get(func)
    if special is not None:
        return special(func, *args, **kwargs)
    wanted = kwargs.get("device")
    if wanted is not None:
        wanted = resolve_device(wanted)
        kwargs = kwargs | {"device": CPU} if wanted.type == "cuda" else kwargs
    return _call_torch(func, args, kwargs, wanted=wanted)


def _call_torch(
    func: Function,
    args: tuple[Value, ...],
    kwargs: dict[str, Value],
    *,
    wanted: torch.device | None,
) -> Value:
    flat = tree_flatten((args, kwargs))[0]
    made_with = TorchCall(
        wanted,
        current.call.inside_torch or any(isinstance(one, PretendTensor) for one in flat),
        next((one for one in flat if isinstance(one, CpuGenerator)), current.call.generator),
    )
    with torch._C.DisableTorchFunctionSubclass(), within_call(made_with):
        return func(*args, **kwargs)


def _tensor_to(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Tensor:
    flags = [one for one in args if isinstance(one, bool)]
    given: dict[str, Value] = dict(zip(("non_blocking", "copy"), flags, strict=False))
    for one in args:
        if isinstance(one, Tensor):
            given |= {"device": tensor_device(one), "dtype": one.dtype}
        elif isinstance(one, torch.dtype):
            given["dtype"] = one
        elif isinstance(one, str | torch.device | int) and not isinstance(one, bool):
            given["device"] = one
    if "other" in kwargs:
        other = kwargs.pop("other")
        given |= {"device": tensor_device(other), "dtype": other.dtype}
    given |= kwargs
    device = given.pop("device", None)
    wanted = tensor_device(tensor) if device is None else resolve_device(device)
    if wanted.type not in ("cpu", "cuda"):
        return cast("Tensor", _call_plainly(func, tensor, device=wanted, **given))
    if wanted != tensor_device(tensor):
        tensor = move_tensor(tensor, wanted)
        given.pop("copy", None)
    dtype = given.pop("dtype", None) or tensor.dtype
    return _call_plainly(func, tensor, dtype, **given) if given or dtype != tensor.dtype else tensor


def _call_plainly(func: Function, *args: Value, **kwargs: Value) -> Value:
    return _call_torch(func, args, kwargs, wanted=None)


def _tensor_cpu(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Tensor:
    return (
        move_tensor(tensor, CPU)
        if isinstance(tensor, PretendTensor)
        else _call_plainly(func, tensor, *args, **kwargs)
    )


def _tensor_cuda(
    func: Function, tensor: Tensor, device: Value = None, *args: Value, **kwargs: Value
) -> Tensor:
    wanted = resolve_device("cuda" if device is None else device)
    return tensor if tensor_device(tensor) == wanted else move_tensor(tensor, wanted)


def _tensor_numpy(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Value:
    if isinstance(tensor, PretendTensor):
        raise TypeError(NO_NUMPY.format(tensor.at))
    return _call_plainly(func, tensor, *args, **kwargs)


def _read_host(func: Function, tensor: Tensor) -> Value:
    return _call_plainly(func, tensor.host if isinstance(tensor, PretendTensor) else tensor)


def _make_tensor(func: Function, data: Value, *args: Value, **kwargs: Value) -> Tensor:
    device = kwargs.pop("device", None)
    if isinstance(data, PretendTensor):
        dtype = kwargs.get("dtype", data.dtype) or data.dtype
        found: Tensor = (
            data.detach().to(dtype) if func is not torch.tensor else data.detach().clone().to(dtype)
        )
        found = found if device is None else found.to(device)
        return found.requires_grad_() if kwargs.get("requires_grad") else found
    requires_grad = kwargs.pop("requires_grad", False)
    data = tree_map(lambda one: one.item() if isinstance(one, PretendTensor) else one, data)
    found = _call_plainly(func, data, *args, **kwargs)
    if device is not None and resolve_device(device) != tensor_device(found):
        found = move_tensor(found.detach(), resolve_device(device))
    return found.requires_grad_() if requires_grad else found


def _make_tensor_like(func: Function, like: Tensor, data: Value, **kwargs: Value) -> Tensor:
    given: dict[str, Value] = {"dtype": like.dtype, "device": tensor_device(like)} | kwargs
    return _make_tensor(torch.tensor, data, **given)


def _set_data(func: Function, tensor: Tensor, new: Tensor) -> None:
    if tensor_device(tensor) != tensor_device(new):
        raise RuntimeError(
            "the pretend device moves no `.data` between devices; use Module.to, or swap the tensors"
        )
    _call_plainly(func, tensor, new)
    if isinstance(tensor, PretendTensor) and isinstance(new, PretendTensor):
        tensor.host = new.host


def _set_grad(func: Function, tensor: Tensor, gradient: Tensor | None) -> None:
    undecided = gradient is not None and hasattr(gradient, UNDECIDED_ATTRIBUTE)
    if gradient is not None and tensor_device(gradient) != tensor_device(tensor) and not undecided:
        raise RuntimeError(
            f"assigned grad has data located on a different device: expected {tensor_device(tensor)}, found {tensor_device(gradient)}"
        )
    _call_plainly(func, tensor, gradient)


def _deep_copy(func: Function, tensor: Tensor, memo: dict[int, Value]) -> Value:
    if not isinstance(tensor, PretendTensor):
        return _call_plainly(func, tensor, memo)
    if id(tensor) in memo:
        return memo[id(tensor)]
    if not tensor.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
        )
    made = PretendTensor(tensor.host.clone(), tensor.at).requires_grad_(tensor.requires_grad)
    made.__dict__ |= {
        name: value for name, value in tensor.__dict__.items() if name not in ("host", "at")
    }
    made.grad = copy.deepcopy(tensor.grad, memo)
    memo[id(tensor)] = made
    return made


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
