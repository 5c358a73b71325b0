"""Snapshots of state that all code in a process shares.

Settings of torch, NumPy and the process; global random states; running threads.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.backends import cuda, cudnn, mkldnn

_EXITED_CONTEXTS: list[object] = []
"""Contexts that restored inference mode.

They are kept alive, because torch leaves inference mode when the context object is collected.
"""


@dataclass(frozen=True, slots=True)
class LibrarySetting:
    """One setting: its name in messages, and functions that read and write it."""

    name: str
    read: Callable[[], Any]  # Any: as varied as the settings
    write: Callable[[Any], object]  # Any: the same


@dataclass(frozen=True, slots=True)
class LibrarySettings:
    """Values of the settings at one moment, by name."""

    values: Mapping[str, Any]  # Any: as varied as the settings

    @classmethod
    def capture(cls) -> LibrarySettings:
        """Return the current values."""
        return cls({setting.name: setting.read() for setting in LIBRARY_SETTINGS})

    def list_changes(self) -> list[str]:
        """Return descriptions of the settings that changed since."""
        now = LibrarySettings.capture().values
        return [
            f"{name} was changed ({before} to {now[name]})"
            for name, before in self.values.items()
            if now[name] != before
        ]

    def put_back(self) -> None:
        """Restore the settings."""
        for setting in LIBRARY_SETTINGS:
            before = self.values[setting.name]
            # Read again: writing an earlier setting may have restored or changed this one.
            if setting.read() != before:
                setting.write(before)


def _pop_function_modes(depth: int) -> None:
    """Leave function modes (``with torch.device(...)``) that were entered and not left."""
    while torch._C._len_torch_function_stack() > depth:
        torch._C._pop_torch_function_stack()


def _pop_dispatch_modes(depth: int) -> None:
    """Leave dispatch modes that were entered and not left."""
    from torch.utils._python_dispatch import _pop_mode

    while torch._C._len_torch_dispatch_stack() > depth:
        _pop_mode()


def _default_device() -> torch.device:
    # `torch.get_default_device` of torch 2.4 fails after `set_default_device(None)`, and does not
    # see a device that was entered as a context.
    return torch.empty(0).device


def _set_default_device(device: torch.device) -> None:
    # None instead of the CPU: an explicit default device adds a function mode to every call.
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_inference_mode(enabled: bool) -> None:
    context = torch.inference_mode(mode=enabled)
    context.__enter__()
    _EXITED_CONTEXTS.append(context)


def _deterministic_flags() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic_flags(flags: tuple[bool, bool]) -> None:
    enabled, warn_only = flags
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _flushes_denormals() -> bool:
    """Return whether denormal numbers are treated as 0; torch can set this but not read it."""
    return bool(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1 == 0)


def _attribute_setting(name: str, module: ModuleType, attribute: str) -> LibrarySetting:
    return LibrarySetting(
        name, partial(getattr, module, attribute), partial(setattr, module, attribute)
    )


LIBRARY_SETTINGS: tuple[LibrarySetting, ...] = (
    # Modes come first: they intercept the calls that read and write the settings below.
    LibrarySetting(
        "the stack of torch's dispatch modes",
        torch._C._len_torch_dispatch_stack,
        _pop_dispatch_modes,
    ),
    LibrarySetting("the default device", _default_device, _set_default_device),
    LibrarySetting(
        "the stack of torch's function modes",
        torch._C._len_torch_function_stack,
        _pop_function_modes,
    ),
    LibrarySetting("inference mode", torch.is_inference_mode_enabled, _set_inference_mode),
    LibrarySetting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    LibrarySetting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    LibrarySetting(
        "autocast",
        partial(torch.is_autocast_enabled, "cpu"),
        partial(torch.set_autocast_enabled, "cpu"),
    ),
    LibrarySetting(
        "autocast on CUDA",
        partial(torch.is_autocast_enabled, "cuda"),
        partial(torch.set_autocast_enabled, "cuda"),
    ),
    LibrarySetting(
        "anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly
    ),
    LibrarySetting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    LibrarySetting("deterministic algorithms", _deterministic_flags, _set_deterministic_flags),
    LibrarySetting("flushing of small numbers", _flushes_denormals, torch.set_flush_denormal),
    LibrarySetting(
        "the precision of matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    LibrarySetting("flash attention", cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    LibrarySetting(
        "memory-efficient attention", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp
    ),
    LibrarySetting("plain attention", cuda.math_sdp_enabled, cuda.enable_math_sdp),
    _attribute_setting("cuDNN", cudnn, "enabled"),
    _attribute_setting("cuDNN's benchmark mode", cudnn, "benchmark"),
    _attribute_setting("cuDNN's deterministic mode", cudnn, "deterministic"),
    _attribute_setting("TF32 in cuDNN", cudnn, "allow_tf32"),
    _attribute_setting("oneDNN", mkldnn, "enabled"),
    LibrarySetting("NumPy's handling of errors", np.geterr, lambda modes: np.seterr(**modes)),
    LibrarySetting("the working folder", os.getcwd, os.chdir),
)


MAX_DRAW_BLOCKS = 1000
"""Number of blocks of 624 draws to follow before a generator counts as seeded; about 10 ms."""


@dataclass(frozen=True, slots=True)
class RandomState:
    """States of the global random generators at one moment; CUDA's only if it is in use."""

    python: tuple[Any, ...]  # Any: opaque, as random.getstate returns it
    numpy: dict[str, Any]  # Any: the same of NumPy
    torch: Tensor
    seed: int
    cuda: tuple[Tensor, ...]
    modules: frozenset[str]

    @classmethod
    def capture(cls) -> RandomState:
        """Return the current states."""
        return cls(
            python=random.getstate(),
            numpy=_numpy_state(),
            torch=torch.get_rng_state(),
            seed=torch.initial_seed(),
            cuda=_cuda_states(),
            modules=frozenset(sys.modules),
        )

    @property
    def is_unchanged(self) -> bool:
        """Whether all generators are in the captured states."""
        return not self._changed_generators()

    def used_generators(self) -> list[str]:
        """Return the generators that changed; CUDA only if it was in use before.

        Python's generator is left out if a module was imported meanwhile and it was not seeded:
        some libraries, such as scikit-learn, draw from it when they are imported.
        """
        changed = self._changed_generators()
        imported = not self.modules.issuperset(sys.modules)
        if imported and "random" not in self.seeded_generators():
            return [name for name in changed if name != "random"]
        return changed

    def seeded_generators(self) -> list[str]:
        """Return the changed generators whose new state no draws explain."""
        only_drawn = {
            "random": _reachable_by_draws(self.python[1][:-1], random.getstate()[1][:-1]),
            "numpy": _reachable_by_draws(_numpy_key(self.numpy), _numpy_key(_numpy_state())),
            "torch": torch.initial_seed() == self.seed,
        }
        return [name for name in self._changed_generators() if not only_drawn.get(name, True)]

    def _changed_generators(self) -> list[str]:
        unchanged = {
            "random": self.python == random.getstate(),
            # Pickled, since the state contains an array, which `==` compares entry by entry.
            "numpy": pickle.dumps(self.numpy) == pickle.dumps(_numpy_state()),
            "torch": torch.equal(self.torch, torch.get_rng_state()),
            "CUDA": all(map(torch.equal, self.cuda, _cuda_states())),
        }
        return [name for name, same in unchanged.items() if not same]

    def put_back(self) -> None:
        """Restore the states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))


def _numpy_state() -> dict[str, Any]:  # Any: opaque, as NumPy returns it
    return dict(np.random.get_state(legacy=False))


def _numpy_key(state: Mapping[str, Any]) -> tuple[int, ...]:  # Any: opaque, as NumPy returns it
    return tuple(map(int, state["state"]["key"]))


def _cuda_states() -> tuple[Tensor, ...]:
    # Reading the state of CUDA would initialise it, which takes seconds and memory.
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
    return tuple(torch.cuda.get_rng_state_all()) if in_use else ()


def _reachable_by_draws(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Return whether draws lead from one state of a Mersenne twister to another.

    At most `MAX_DRAW_BLOCKS` blocks are followed; the state changes once per 624 words drawn.
    """
    if before == after:
        return True
    twister = random.Random()
    # Position 624 means that all words of the state are used: the next draw makes a new block.
    twister.setstate((3, (*before, 624), None))
    for _ in range(MAX_DRAW_BLOCKS):
        twister.getrandbits(32 * 624)
        if twister.getstate()[1][:-1] == after:
            return True
    return False


THREAD_END_SECONDS = 0.2
"""Seconds to wait for a thread that may be about to end."""

POOL_LIBRARIES = frozenset(
    {"advtransfer", "concurrent", "joblib", "multiprocessing", "torch", "tqdm"}
)
"""Packages that keep idle threads, such as pools for the next call."""

_REPORTED_THREADS: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Running threads that a guard has reported, so that the guard around it does not repeat them."""


@dataclass(frozen=True, slots=True)
class RunningThreads:
    """Threads of the process at one moment."""

    threads: frozenset[threading.Thread]

    @classmethod
    def capture(cls) -> RunningThreads:
        """Return the threads that run now."""
        return cls(frozenset(threading.enumerate()))

    def list_changes(self) -> list[str]:
        """Return descriptions of the threads that were started since and still run."""
        started = [
            thread
            for thread in threading.enumerate()
            if thread not in self.threads | frozenset(_REPORTED_THREADS)
            and not _is_idle_pool_thread(thread)
        ]
        for thread in started:
            thread.join(THREAD_END_SECONDS)
        running = [thread for thread in started if thread.is_alive()]
        _REPORTED_THREADS.update(running)
        return [f"the thread {thread.name!r} was left running" for thread in running]


def _is_idle_pool_thread(thread: threading.Thread) -> bool:
    """Return whether a thread belongs to a library and only waits for work.

    Every frame of its stack must belong to such a library or to Python: a pool thread that runs a
    plugin's function is not idle.
    """
    target = getattr(thread, "_target", None) or type(thread).run
    if _top_package(getattr(target, "__module__", "")) not in POOL_LIBRARIES:
        return False
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        package = _top_package(str(frame.f_globals.get("__name__", "")))
        if package not in POOL_LIBRARIES and package not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return True


def _top_package(module: str) -> str:
    return module.partition(".")[0]
