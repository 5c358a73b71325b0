"""Tensors of the pretend device: their values are in the CPU's memory, and they do not say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeAlias, cast

import torch
from torch import Tensor

from advtransfer.testing.pretend_cuda.devices import CPU, Value, resolve_device

Handler: TypeAlias = "Callable[[Value, tuple[Value, ...], dict[str, Value]], Value]"
NO_NUMPY = "can't convert {} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."


class PretendTensor(Tensor):
    """A tensor that says it is on a GPU.

    To torch's own code it is one of the CPU, so that autograd and the choice of kernels work without a GPU and give the
    bits that the CPU gives; whoever asks in Python is told ``cuda:0``. `operate` sees every operation on it, and `call`
    every function of torch that it is given to. The package sets both, since they make tensors themselves.

    Args:
        host: The values; shared, not copied.
        device: Where they are said to be.
    """

    host: Tensor
    at: torch.device
    call: ClassVar[Handler]
    operate: ClassVar[Handler]

    @staticmethod
    def __new__(cls: type[PretendTensor], host: Tensor, device: torch.device) -> PretendTensor:
        """Wrap values that require no gradient: autograd happens on the outside."""
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=CPU,
            requires_grad=False,
        )
        made.host, made.at = host, device
        return made

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
        """Say what is inside, in the words of torch's wrappers; modules then swap them in where they are moved."""
        return ["host"], self.at

    @staticmethod
    def __tensor_unflatten__(
        inner: Mapping[str, Tensor], device: torch.device, size: Value, stride: Value
    ) -> PretendTensor:
        return PretendTensor(inner["host"], device)


PretendTensor.__module__ = (
    "torch"  # libraries such as eagerpy ask a tensor's class which framework it is from
)


def tensor_device(tensor: Tensor) -> torch.device:
    """Where a tensor is, as far as anybody outside may know."""
    return tensor.at if isinstance(tensor, PretendTensor) else CPU


def move_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on a device; gradients, of any order, move back."""
    return cast("Tensor", _MoveFunction.apply(tensor, device))


def copy_tensor(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on a device, without history."""
    values = (tensor.host if isinstance(tensor, PretendTensor) else tensor.detach()).clone()
    return values if device.type == "cpu" else PretendTensor(values, resolve_device(device))


class _MoveFunction(torch.autograd.Function):
    """The copy between devices, which torch's own autograd does not see: to it all of this is the CPU."""

    @staticmethod
    def forward(ctx: Value, tensor: Tensor, device: torch.device) -> Tensor:
        ctx.origin = tensor_device(tensor)
        return copy_tensor(tensor, device)

    @staticmethod
    def backward(ctx: Value, *gradients: Value) -> Value:
        return move_tensor(gradients[0], ctx.origin), None
