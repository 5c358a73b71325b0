"""What stands for ``torch.cuda`` while the pretend device is there; everything is put back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
import torch._dynamo  # dispatch modes import it at the first operation, when it would look at what is replaced here
from torch import Tensor

from advtransfer.testing.pretend_cuda.devices import (
    Generator,
    Value,
    default_generators,
    resolve_device,
)
from advtransfer.testing.pretend_cuda.devices import device_registry as known

DEVICE_NAME = "pretend device"
COMPUTE_CAPABILITY = (9, 0)


@contextmanager
def patch_torch(devices: int) -> Iterator[None]:
    """Inside, ``torch.cuda``, ``torch.Generator`` and ``torch.autocast`` know the pretend devices."""
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    replaced: list[tuple[object, str, Value]] = []
    try:
        for owner, name, value in _replacements(devices):
            if hasattr(owner, name):
                replaced.append((owner, name, getattr(owner, name)))
                setattr(owner, name, value)
        torch.__future__.set_swap_module_params_on_conversion(
            True
        )  # `.data =` cannot move a pretend tensor
        default_generators.by_index.clear()
        known.count = devices
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
        for owner, name, value in reversed(replaced):
            setattr(owner, name, value)
        default_generators.by_index.clear()
        known.count = 0


def _replacements(devices: int) -> Iterator[tuple[object, str, Value]]:
    yield torch, "Generator", Generator
    yield torch.autocast, "__init__", _autocast_init(torch.autocast.__init__)
    if hasattr(torch, "accelerator"):  # torch 2.6
        yield (
            torch.accelerator,
            "current_stream",
            lambda device=None: SimpleNamespace(is_capturing=lambda: False),
        )
    for name, value in {**_device_functions(devices), **_random_functions(devices)}.items():
        yield torch.cuda, name, value


def _device_functions(devices: int) -> Mapping[str, Callable[..., Value]]:
    """What ``torch.cuda`` says of the devices."""

    def checked(device: Value = None) -> int:
        return 0 if device is None else int(resolve_device(device).index)

    def properties(device: Value = None) -> SimpleNamespace:
        checked(device)
        return SimpleNamespace(
            name=DEVICE_NAME,
            major=COMPUTE_CAPABILITY[0],
            minor=COMPUTE_CAPABILITY[1],
            total_memory=2**34,
        )

    def nothing(*_: Value, **__: Value) -> None:
        return None

    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": nothing,
        "_lazy_init": nothing,
        "device_count": lambda: devices,
        "current_device": lambda: 0,
        "set_device": nothing,
        "device": lambda device=None: nullcontext(checked(device)),
        "synchronize": nothing,
        "empty_cache": nothing,
        "ipc_collect": nothing,
        "reset_peak_memory_stats": nothing,
        "memory_allocated": lambda device=None: 0 * checked(device),
        "max_memory_allocated": lambda device=None: 0 * checked(device),
        "memory_reserved": lambda device=None: 0 * checked(device),
        "max_memory_reserved": lambda device=None: 0 * checked(device),
        "mem_get_info": lambda device=None: (2**34 + 0 * checked(device), 2**34),
        "get_device_name": lambda device=None: properties(device).name,
        "get_device_capability": lambda device=None: (
            properties(device).major,
            properties(device).minor,
        ),
        "get_device_properties": properties,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: False,
    }


def _random_functions(devices: int) -> Mapping[str, Callable[..., Value]]:
    """The state of the devices' default generators."""

    def of(device: Value = "cuda") -> torch.Generator:
        return default_generators.of_device(resolve_device(device))

    def seed_all(seed: int) -> None:
        for number in range(devices):
            of(number).manual_seed(seed)

    def set_all(states: Sequence[Tensor]) -> None:
        for number, state in enumerate(states):
            of(number).set_state(state)

    return {
        "get_rng_state": lambda device="cuda": of(device).get_state(),
        "set_rng_state": lambda new_state, device="cuda": of(device).set_state(new_state) and None,
        "get_rng_state_all": lambda: [of(number).get_state() for number in range(devices)],
        "set_rng_state_all": set_all,
        "manual_seed": lambda seed: of().manual_seed(int(seed)) and None,
        "manual_seed_all": lambda seed: seed_all(int(seed)),
        "seed": lambda: of().seed() and None,
        "initial_seed": lambda: of().initial_seed(),
    }


def _autocast_init(enter: Callable[..., None]) -> Callable[..., None]:
    """Autocast for CUDA is that of the CPU, where the numbers are."""

    def begin(self: torch.autocast, device_type: str, *args: Value, **kwargs: Value) -> None:
        enter(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return begin
