"""Tensors of the pretend device, whose values are in the CPU's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeAlias, cast

import torch
from torch import Tensor

from advtransfer.testing.pretend_cuda.devices import CPU, Value, resolve_device

Handler: TypeAlias = "Callable[[Value, tuple[Value, ...], dict[str, Value]], Value]"
NO_NUMPY = "can't convert {} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."


class PretendTensor(Tensor):
    """A tensor that reports a GPU as its device.

    To torch's own code it is a CPU tensor, so that autograd and the choice of kernels work without
    a GPU and give the same bits as on the CPU. In Python its device is ``cuda:0``. `operate`
    handles every operation on it, and `call` every function of torch that receives it. The package
    sets both, since they make tensors themselves.

    Args:
        host: The values, which are shared and not copied.
        device: The reported device.
    """

    host: Tensor
    at: torch.device
    call: ClassVar[Handler]
    operate: ClassVar[Handler]

    @staticmethod
    def __new__(cls: type[PretendTensor], host: Tensor, device: torch.device) -> PretendTensor:
        """Wrap values that require no gradient; autograd acts on the wrapper."""
        wrapper = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=CPU,
            requires_grad=False,
        )
        wrapper.host = host
        wrapper.at = device
        return wrapper

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Value],
        types: Sequence[type],
        args: Sequence[Value] = (),
        kwargs: Mapping[str, Value] | None = None,
    ) -> Value:
        return cls.call(func, tuple(args), dict(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stubs say it is a function without a class
        cls,
        func: Value,
        types: Sequence[type],
        args: tuple[Value, ...] = (),
        kwargs: dict[str, Value] | None = None,
    ) -> Value:
        return cls.operate(func, tuple(args), dict(kwargs or {}))

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # a plain attribute in torch's stubs
        return self.at

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]  # a plain attribute in torch's stubs
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]  # a plain attribute in torch's stubs
        return False

    def get_device(self) -> int:
        return self.at.index

    def __repr__(self, *, tensor_contents: Value = None) -> str:  # type: ignore[override]  # torch's stubs misname it
        return f"{self.host!r} on {self.at}"

    def __tensor_flatten__(self) -> tuple[list[str], torch.device]:
        """Return the wrapped attributes, by torch's protocol for wrappers."""
        # With this protocol `Module.to` swaps wrappers instead of assigning `.data`.
        return ["host"], self.at

    @staticmethod
    def __tensor_unflatten__(
        inner: Mapping[str, Tensor], device: torch.device, size: Value, stride: Value
    ) -> PretendTensor:
        return PretendTensor(inner["host"], device)


# Libraries such as eagerpy recognise the framework of a tensor by the module of its class.
PretendTensor.__module__ = "torch"


def tensor_device(tensor: Tensor) -> torch.device:
    """Return the device that a tensor reports."""
    return tensor.at if isinstance(tensor, PretendTensor) else CPU


def move_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy on a device; gradients of any order move back."""
    return cast("Tensor", _MoveFunction.apply(tensor, device))


def copy_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy on a device without autograd history."""
    host = tensor.host if isinstance(tensor, PretendTensor) else tensor.detach()
    values = host.clone()
    return values if device.type == "cpu" else PretendTensor(values, resolve_device(device))


class _MoveFunction(torch.autograd.Function):
    """The copy between devices, which torch's autograd takes for two tensors of the CPU."""

    @staticmethod
    def forward(ctx: Value, tensor: Tensor, device: torch.device) -> Tensor:
        ctx.origin = tensor_device(tensor)
        return copy_tensor(tensor, device)

    @staticmethod
    def backward(ctx: Value, *gradients: Value) -> Value:
        return move_tensor(gradients[0], ctx.origin), None
