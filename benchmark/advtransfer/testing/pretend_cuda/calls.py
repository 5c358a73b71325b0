"""Calls of torch's functions from Python: those that carry tensors between devices, or out of torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from advtransfer.testing.pretend_cuda.generators import CpuGenerator
from advtransfer.testing.pretend_cuda.place import CPU, Call, Value, calling, now, place
from advtransfer.testing.pretend_cuda.refusals import UNDECIDED
from advtransfer.testing.pretend_cuda.tensor import NO_NUMPY, PretendTensor, moved, on

Function: TypeAlias = "Callable[..., Value]"


class Calls(TorchFunctionMode):
    """Sees every call of torch, also those with CPU tensors alone."""

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: Sequence[Value] = (),
        kwargs: Mapping[str, Value] | None = None,
    ) -> Value:
        return call(func, tuple(args), dict(kwargs or {}))


def call(func: Function, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Value:
    """What a function of torch gives where the device is at hand.

    Raises:
        RuntimeError, TypeError: As torch with a GPU.
    """
    special = _SPECIAL.get(func)
    if special is not None:
        return special(func, *args, **kwargs)
    wanted = kwargs.get("device")
    if wanted is not None:
        wanted = place(wanted)
        kwargs = kwargs | {"device": CPU} if wanted.type == "cuda" else kwargs
    return _through(func, args, kwargs, wanted=wanted)


def _through(
    func: Function, args: tuple[Value, ...], kwargs: dict[str, Value], *, wanted: torch.device | None
) -> Value:
    flat = tree_flatten((args, kwargs))[0]
    made_with = Call(
        wanted,
        now.call.within or any(isinstance(one, PretendTensor) for one in flat),
        next((one for one in flat if isinstance(one, CpuGenerator)), now.call.generator),
    )
    with torch._C.DisableTorchFunctionSubclass(), calling(made_with):
        return func(*args, **kwargs)


def _to(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Tensor:
    flags = [one for one in args if isinstance(one, bool)]
    given: dict[str, Value] = dict(zip(("non_blocking", "copy"), flags, strict=False))
    for one in args:
        if isinstance(one, Tensor):
            given |= {"device": on(one), "dtype": one.dtype}
        elif isinstance(one, torch.dtype):
            given["dtype"] = one
        elif isinstance(one, str | torch.device | int) and not isinstance(one, bool):
            given["device"] = one
    if "other" in kwargs:
        other = kwargs.pop("other")
        given |= {"device": on(other), "dtype": other.dtype}
    given |= kwargs
    device = given.pop("device", None)
    wanted = on(tensor) if device is None else place(device)
    if wanted.type not in ("cpu", "cuda"):
        return cast("Tensor", _plainly(func, tensor, device=wanted, **given))
    if wanted != on(tensor):
        tensor = moved(tensor, wanted)
        given.pop("copy", None)
    dtype = given.pop("dtype", None) or tensor.dtype
    return _plainly(func, tensor, dtype, **given) if given or dtype != tensor.dtype else tensor


def _plainly(func: Function, *args: Value, **kwargs: Value) -> Value:
    return _through(func, args, kwargs, wanted=None)


def _cpu(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Tensor:
    return moved(tensor, CPU) if isinstance(tensor, PretendTensor) else _plainly(func, tensor, *args, **kwargs)


def _cuda(func: Function, tensor: Tensor, device: Value = None, *args: Value, **kwargs: Value) -> Tensor:
    wanted = place("cuda" if device is None else device)
    return tensor if on(tensor) == wanted else moved(tensor, wanted)


def _numpy(func: Function, tensor: Tensor, *args: Value, **kwargs: Value) -> Value:
    if isinstance(tensor, PretendTensor):
        raise TypeError(NO_NUMPY.format(tensor.at))
    return _plainly(func, tensor, *args, **kwargs)


def _of_host(func: Function, tensor: Tensor) -> Value:
    return _plainly(func, tensor.host if isinstance(tensor, PretendTensor) else tensor)


def _made(func: Function, data: Value, *args: Value, **kwargs: Value) -> Tensor:
    device = kwargs.pop("device", None)
    if isinstance(data, PretendTensor):
        dtype = kwargs.get("dtype", data.dtype) or data.dtype
        found: Tensor = data.detach().to(dtype) if func is not torch.tensor else data.detach().clone().to(dtype)
        found = found if device is None else found.to(device)
        return found.requires_grad_() if kwargs.get("requires_grad") else found
    requires_grad = kwargs.pop("requires_grad", False)
    data = tree_map(lambda one: one.item() if isinstance(one, PretendTensor) else one, data)
    found = _plainly(func, data, *args, **kwargs)
    if device is not None and place(device) != on(found):
        found = moved(found.detach(), place(device))
    return found.requires_grad_() if requires_grad else found


def _new_tensor(func: Function, like: Tensor, data: Value, **kwargs: Value) -> Tensor:
    given: dict[str, Value] = {"dtype": like.dtype, "device": on(like)} | kwargs
    return _made(torch.tensor, data, **given)


def _set_data(func: Function, tensor: Tensor, new: Tensor) -> None:
    if on(tensor) != on(new):
        raise RuntimeError("the pretend device moves no `.data` between devices; use Module.to, or swap the tensors")
    _plainly(func, tensor, new)
    if isinstance(tensor, PretendTensor) and isinstance(new, PretendTensor):
        tensor.host = new.host


def _set_grad(func: Function, tensor: Tensor, gradient: Tensor | None) -> None:
    undecided = gradient is not None and hasattr(gradient, UNDECIDED)
    if gradient is not None and on(gradient) != on(tensor) and not undecided:
        raise RuntimeError(
            f"assigned grad has data located on a different device: expected {on(tensor)}, found {on(gradient)}"
        )
    _plainly(func, tensor, gradient)


def _deep_copy(func: Function, tensor: Tensor, memo: dict[int, Value]) -> Value:
    if not isinstance(tensor, PretendTensor):
        return _plainly(func, tensor, memo)
    if id(tensor) in memo:
        return memo[id(tensor)]
    if not tensor.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
        )
    made = PretendTensor(tensor.host.clone(), tensor.at).requires_grad_(tensor.requires_grad)
    made.__dict__ |= {name: value for name, value in tensor.__dict__.items() if name not in ("host", "at")}
    made.grad = copy.deepcopy(tensor.grad, memo)
    memo[id(tensor)] = made
    return made


def _reduce(func: Function, tensor: Tensor, protocol: Value) -> Value:
    if not isinstance(tensor, PretendTensor):
        return _plainly(func, tensor, protocol)
    return _restored, (tensor.host, str(tensor.at), tensor.requires_grad)


def _restored(host: Tensor, device: str, requires_grad: bool) -> Tensor:
    return PretendTensor(host, torch.device(device)).requires_grad_(requires_grad)


_SPECIAL: Mapping[Function, Function] = {
    Tensor.to: _to,
    Tensor.cpu: _cpu,
    Tensor.cuda: _cuda,
    Tensor.numpy: _numpy,
    Tensor.__array__: _numpy,
    Tensor.tolist: _of_host,
    Tensor.data_ptr: _of_host,
    Tensor.untyped_storage: _of_host,
    Tensor.new_tensor: _new_tensor,
    Tensor.__deepcopy__: _deep_copy,
    Tensor.__reduce_ex__: _reduce,
    vars(torch._C.TensorBase)["data"].__set__: _set_data,
    vars(torch._C.TensorBase)["grad"].__set__: _set_grad,
    torch.tensor: _made,
    torch.as_tensor: _made,
    torch.asarray: _made,
}
