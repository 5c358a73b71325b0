"""Random generators of the pretend device: CPU generators that say where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from advtransfer.testing.pretend_cuda.place import CPU, Value, place

CpuGenerator = torch.Generator
"""torch's own class, whatever stands under its name."""


class _Kind(type):
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


class Generator(metaclass=_Kind):
    """What stands for ``torch.Generator``: makes the generator of the device that is named."""

    def __new__(cls, device: Value = "cpu") -> CpuGenerator:  # type: ignore[misc]  # another class on purpose
        wanted = place(device)
        return CpuGenerator(device=wanted) if wanted.type != "cuda" else pretend_generator(wanted)


def device_of(generator: CpuGenerator) -> torch.device:
    """Where a generator belongs."""
    return generator.at if isinstance(generator, PretendGenerator) else CPU


@contextmanager
def standing_in(generator: CpuGenerator) -> Iterator[None]:
    """Inside, the CPU's global draws come from `generator`: for operations that take none."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


class Defaults:
    """The default generators of the pretend devices."""

    def __init__(self) -> None:
        self.known: dict[int, PretendGenerator] = {}

    def of(self, device: torch.device) -> PretendGenerator:
        """That of one device."""
        number = device.index or 0
        if number not in self.known:
            self.known[number] = pretend_generator(place(device))
        return self.known[number]


defaults = Defaults()
