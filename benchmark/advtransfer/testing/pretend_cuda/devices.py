"""The pretend devices.

Their numbers, their random generators, and the call of torch that is in progress.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

CPU = torch.device("cpu")

Value: TypeAlias = Any
"""Whatever functions and operators of torch take and give: torch has no types for it."""


class _DeviceRegistry:
    """The pretend devices that there are."""

    count = 0


device_registry = _DeviceRegistry()


def resolve_device(device: Value) -> torch.device:
    """The device with its number: ``cuda`` alone is the first of them.

    Raises:
        RuntimeError: There are not so many, in CUDA's words.
    """
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if found.type != "cuda":
        return found
    if (found.index or 0) >= device_registry.count:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return torch.device("cuda", found.index or 0)


@dataclass(frozen=True, slots=True)
class TorchCall:
    """One call of torch from Python.

    Args:
        wanted: The device that the caller named.
        within: Torch itself works on tensors of a pretend device.
        generator: The generator that the caller gave: below, torch makes another Python object of it.
    """

    wanted_device: torch.device | None = None
    inside_torch: bool = False
    generator: torch.Generator | None = None


class _CurrentCall(threading.local):
    """The call that this thread is inside of."""

    call = TorchCall()


current = _CurrentCall()


@contextmanager
def within_call(call: TorchCall) -> Iterator[None]:
    """Inside, operations come from this call."""
    before = current.call
    current.call = call
    try:
        yield
    finally:
        current.call = before


CpuGenerator = torch.Generator
"""torch's own class, whatever stands under its name."""


class _GeneratorType(type):
    """Makes generators of torch's own class instances too: they were made before, or in C++."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, CpuGenerator)


class PretendGenerator(CpuGenerator):
    """A generator of the pretend device; on the CPU it draws what a CPU generator of the same seed does."""

    at: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # a plain attribute in torch's stubs
        return self.at

    def manual_seed(self, seed: int) -> PretendGenerator:
        super().manual_seed(seed)
        return self

    def clone_state(self) -> PretendGenerator:
        other = pretend_generator(self.at)
        other.set_state(self.get_state())
        return other


def pretend_generator(device: torch.device) -> PretendGenerator:
    """A new generator of the device."""
    made = PretendGenerator()
    made.at = device
    return made


class Generator(metaclass=_GeneratorType):
    """What stands for ``torch.Generator``: makes the generator of the device that is named."""

    def __new__(cls, device: Value = "cpu") -> CpuGenerator:  # type: ignore[misc]  # another class on purpose
        wanted = resolve_device(device)
        return CpuGenerator(device=wanted) if wanted.type != "cuda" else pretend_generator(wanted)


def generator_device(generator: CpuGenerator) -> torch.device:
    """Where a generator belongs."""
    return generator.at if isinstance(generator, PretendGenerator) else CPU


@contextmanager
def drawing_from(generator: CpuGenerator) -> Iterator[None]:
    """Inside, the CPU's global draws come from `generator`: for operations that take none."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


class DefaultGenerators:
    """The default generators of the pretend devices."""

    def __init__(self) -> None:
        self.by_index: dict[int, PretendGenerator] = {}

    def of_device(self, device: torch.device) -> PretendGenerator:
        """That of one device."""
        number = device.index or 0
        if number not in self.by_index:
            self.by_index[number] = pretend_generator(resolve_device(device))
        return self.by_index[number]


default_generators = DefaultGenerators()
