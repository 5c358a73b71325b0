"""The pretend devices, their random generators, and the call of torch in progress."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

CPU = torch.device("cpu")

Value: TypeAlias = Any
"""An argument or result of torch's functions and operators, for which torch has no types."""


class _DeviceRegistry:
    """The number of pretend devices; 0 outside of `pretend_cuda`."""

    count = 0


device_registry = _DeviceRegistry()


def resolve_device(device: Value) -> torch.device:
    """Return the device with its index; ``cuda`` alone is the first one.

    Raises:
        RuntimeError: There is no device of this index; CUDA's message.
    """
    named = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if named.type != "cuda":
        return named
    index = named.index or 0
    if index >= device_registry.count:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return torch.device("cuda", index)


@dataclass(frozen=True, slots=True)
class TorchCall:
    """One call of torch from Python.

    Args:
        wanted_device: The device that the caller named.
        inside_torch: True if torch's own code works on tensors of a pretend device.
        generator: The generator that the caller passed. Operations below receive another Python
            object for it.
    """

    wanted_device: torch.device | None = None
    inside_torch: bool = False
    generator: torch.Generator | None = None


class _CurrentCall(threading.local):
    """The call of torch that this thread is in."""

    call = TorchCall()


current = _CurrentCall()


@contextmanager
def within_call(call: TorchCall) -> Iterator[None]:
    """Attribute the operations in the block to this call."""
    outer_call = current.call
    current.call = call
    try:
        yield
    finally:
        current.call = outer_call


CpuGenerator = torch.Generator
"""torch's own class; ``torch.Generator`` is replaced while there are pretend devices."""


class _GeneratorType(type):
    """Counts torch's own generators as instances, since some are made earlier or in C++."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, CpuGenerator)


class PretendGenerator(CpuGenerator):
    """A generator of the pretend device, which draws the same numbers as a CPU generator."""

    at: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # a plain attribute in torch's stubs
        return self.at

    def manual_seed(self, seed: int) -> PretendGenerator:
        super().manual_seed(seed)
        return self

    def clone_state(self) -> PretendGenerator:
        clone = pretend_generator(self.at)
        clone.set_state(self.get_state())
        return clone


def pretend_generator(device: torch.device) -> PretendGenerator:
    """Return a new generator of the device."""
    generator = PretendGenerator()
    generator.at = device
    return generator


class Generator(metaclass=_GeneratorType):
    """The replacement of ``torch.Generator``, which makes a generator of the named device."""

    def __new__(cls, device: Value = "cpu") -> CpuGenerator:  # type: ignore[misc]  # another class on purpose
        resolved = resolve_device(device)
        if resolved.type == "cuda":
            return pretend_generator(resolved)
        return CpuGenerator(device=resolved)


def generator_device(generator: CpuGenerator) -> torch.device:
    """Return the device of a generator."""
    return generator.at if isinstance(generator, PretendGenerator) else CPU


@contextmanager
def drawing_from(generator: CpuGenerator) -> Iterator[None]:
    """Draw the CPU's global random numbers from `generator` in the block.

    This is for operations that take no generator.
    """
    cpu_state = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(cpu_state)


class DefaultGenerators:
    """The default generators of the pretend devices."""

    def __init__(self) -> None:
        self.by_index: dict[int, PretendGenerator] = {}

    def of_device(self, device: torch.device) -> PretendGenerator:
        """Return the default generator of a device."""
        index = device.index or 0
        if index not in self.by_index:
            self.by_index[index] = pretend_generator(resolve_device(device))
        return self.by_index[index]


default_generators = DefaultGenerators()
