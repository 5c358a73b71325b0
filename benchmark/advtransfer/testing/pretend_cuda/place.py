"""Which pretend device a tensor or a generator is on, and what torch is doing at the moment."""

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


class _Devices:
    """The pretend devices that there are."""

    count = 0


devices = _Devices()


def place(device: Value) -> torch.device:
    """The device with its number: ``cuda`` alone is the first of them.

    Raises:
        RuntimeError: There are not so many, in CUDA's words.
    """
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if found.type != "cuda":
        return found
    if (found.index or 0) >= devices.count:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return torch.device("cuda", found.index or 0)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of torch from Python.

    Args:
        wanted: The device that the caller named.
        within: Torch itself works on tensors of a pretend device.
        generator: The generator that the caller gave: below, torch makes another Python object of it.
    """

    wanted: torch.device | None = None
    within: bool = False
    generator: torch.Generator | None = None


class _Now(threading.local):
    """The call that this thread is inside of."""

    call = Call()


now = _Now()


@contextmanager
def calling(call: Call) -> Iterator[None]:
    """Inside, operations come from this call."""
    before = now.call
    now.call = call
    try:
        yield
    finally:
        now.call = before
