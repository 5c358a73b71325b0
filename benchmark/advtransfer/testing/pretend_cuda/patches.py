"""Replacements in ``torch.cuda`` while there are pretend devices, undone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch

# Imported now: dispatch modes would import it at the first operation, and it would then see the
# replacements made here.
import torch._dynamo
from torch import Tensor

from advtransfer.testing.pretend_cuda.devices import (
    Generator,
    Value,
    default_generators,
    device_registry,
    resolve_device,
)

DEVICE_NAME = "pretend device"
COMPUTE_CAPABILITY = (9, 0)
MEMORY_BYTES = 2**34


@contextmanager
def patch_torch(devices: int) -> Iterator[None]:
    """Make ``torch.cuda``, ``torch.Generator`` and ``torch.autocast`` use the pretend devices."""
    swaps_before = torch.__future__.get_swap_module_params_on_conversion()
    originals: list[tuple[object, str, Value]] = []
    try:
        for owner, name, value in _replacements(devices):
            if hasattr(owner, name):
                originals.append((owner, name, getattr(owner, name)))
                setattr(owner, name, value)
        # `Module.to` must swap tensors, since an assignment to `.data` cannot move a pretend
        # tensor.
        torch.__future__.set_swap_module_params_on_conversion(True)
        default_generators.by_index.clear()
        device_registry.count = devices
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps_before)
        # In reverse order, so that an attribute replaced twice gets its first value back.
        for owner, name, value in reversed(originals):
            setattr(owner, name, value)
        default_generators.by_index.clear()
        device_registry.count = 0


def _replacements(devices: int) -> Iterator[tuple[object, str, Value]]:
    """Yield owner, name and replacement of everything that is replaced."""
    yield torch, "Generator", Generator
    yield torch.autocast, "__init__", _autocast_init(torch.autocast.__init__)
    if hasattr(torch, "accelerator"):  # since torch 2.6
        yield (
            torch.accelerator,
            "current_stream",
            lambda device=None: SimpleNamespace(is_capturing=lambda: False),
        )
    for name, value in {**_device_functions(devices), **_random_functions(devices)}.items():
        yield torch.cuda, name, value


def _device_functions(devices: int) -> Mapping[str, Callable[..., Value]]:
    """Return the functions of ``torch.cuda`` that describe the devices."""

    def device_index(device: Value = None) -> int:
        return 0 if device is None else int(resolve_device(device).index)

    def zero_bytes(device: Value = None) -> int:
        device_index(device)  # refuses a device that does not exist
        return 0

    def memory_info(device: Value = None) -> tuple[int, int]:
        device_index(device)
        return MEMORY_BYTES, MEMORY_BYTES

    def device_properties(device: Value = None) -> SimpleNamespace:
        device_index(device)
        major, minor = COMPUTE_CAPABILITY
        return SimpleNamespace(
            name=DEVICE_NAME, major=major, minor=minor, total_memory=MEMORY_BYTES
        )

    def do_nothing(*_: Value, **__: Value) -> None:
        return None

    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": do_nothing,
        "_lazy_init": do_nothing,
        "device_count": lambda: devices,
        "current_device": lambda: 0,
        "set_device": do_nothing,
        "device": lambda device=None: nullcontext(device_index(device)),
        "synchronize": do_nothing,
        "empty_cache": do_nothing,
        "ipc_collect": do_nothing,
        "reset_peak_memory_stats": do_nothing,
        "memory_allocated": zero_bytes,
        "max_memory_allocated": zero_bytes,
        "memory_reserved": zero_bytes,
        "max_memory_reserved": zero_bytes,
        "mem_get_info": memory_info,
        "get_device_name": lambda device=None: device_properties(device).name,
        "get_device_capability": lambda device=None: (
            device_properties(device).major,
            device_properties(device).minor,
        ),
        "get_device_properties": device_properties,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: False,
    }


def _random_functions(devices: int) -> Mapping[str, Callable[..., Value]]:
    """Return the functions of ``torch.cuda`` for the devices' default generators."""

    def default_generator(device: Value = "cuda") -> torch.Generator:
        return default_generators.of_device(resolve_device(device))

    def seed_all(seed: int) -> None:
        for index in range(devices):
            default_generator(index).manual_seed(seed)

    def set_all(states: Sequence[Tensor]) -> None:
        for index, state in enumerate(states):
            default_generator(index).set_state(state)

    def set_state(new_state: Tensor, device: Value = "cuda") -> None:
        default_generator(device).set_state(new_state)

    def seed_current(seed: int) -> None:
        default_generator().manual_seed(int(seed))

    def reseed_current() -> None:
        default_generator().seed()

    return {
        "get_rng_state": lambda device="cuda": default_generator(device).get_state(),
        "set_rng_state": set_state,
        "get_rng_state_all": lambda: [
            default_generator(index).get_state() for index in range(devices)
        ],
        "set_rng_state_all": set_all,
        "manual_seed": seed_current,
        "manual_seed_all": lambda seed: seed_all(int(seed)),
        "seed": reseed_current,
        "initial_seed": lambda: default_generator().initial_seed(),
    }


def _autocast_init(enter: Callable[..., None]) -> Callable[..., None]:
    """Return an ``__init__`` of autocast that takes CUDA for the CPU, where the values are."""

    def init(self: torch.autocast, device_type: str, *args: Value, **kwargs: Value) -> None:
        enter(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return init
