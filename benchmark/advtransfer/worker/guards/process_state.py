"""Snapshots of state that all code in a process shares.

Settings of torch, NumPy and the process; global random states; running threads.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.backends import cuda, cudnn, mkldnn

_EXITED_CONTEXTS: list[object] = []
"""Contexts that put inference mode back; torch leaves one when its object is collected."""


@dataclass(frozen=True, slots=True)
class LibrarySetting:
    """One setting: its name in words, and how it is read and written."""

    name: str
    read: Callable[[], Any]  # Any: as varied as the settings
    write: Callable[[Any], object]  # Any: the same


@dataclass(frozen=True, slots=True)
class LibrarySettings:
    """The settings at one moment."""

    values: Mapping[str, Any] = field(
        default_factory=lambda: {one.name: one.read() for one in LIBRARY_SETTINGS}
    )

    def list_changes(self) -> list[str]:
        """Those that are no longer as they were, in words."""
        now = LibrarySettings().values
        return [
            f"{name} was changed ({was} to {now[name]})"
            for name, was in self.values.items()
            if now[name] != was
        ]

    def put_back(self) -> None:
        """Restore the settings."""
        for setting in LIBRARY_SETTINGS:
            if setting.read() != (was := self.values[setting.name]):
                setting.write(was)


def _pop_function_modes(was: int) -> None:
    """Leave function modes (``with torch.device(...)``) that were entered and not left."""
    while torch._C._len_torch_function_stack() > was:
        torch._C._pop_torch_function_stack()


def _pop_dispatch_modes(was: int) -> None:
    from torch.utils._python_dispatch import _pop_mode

    while torch._C._len_torch_dispatch_stack() > was:
        _pop_mode()


def _set_default_device(was: torch.device) -> None:
    # a default of the CPU is no default at all, and costs a mode on every call
    torch.set_default_device(None if was.type == "cpu" else was)


def _set_inference_mode(was: bool) -> None:
    context = torch.inference_mode(mode=was)
    context.__enter__()
    _EXITED_CONTEXTS.append(context)


def _deterministic_flags() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic_flags(was: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(was[0], warn_only=was[1])


def _flushes_denormals() -> bool:
    """Whether numbers too small for a normal float are taken for 0."""
    return bool(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1 == 0)


def _attribute_setting(name: str, module: ModuleType, attribute: str) -> LibrarySetting:
    return LibrarySetting(
        name, partial(getattr, module, attribute), partial(setattr, module, attribute)
    )


LIBRARY_SETTINGS: tuple[LibrarySetting, ...] = (
    # modes first: what is read and written below them is theirs
    LibrarySetting(
        "the stack of torch's dispatch modes",
        torch._C._len_torch_dispatch_stack,
        _pop_dispatch_modes,
    ),
    LibrarySetting("the default device", torch.get_default_device, _set_default_device),
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
    LibrarySetting("NumPy's handling of errors", np.geterr, lambda was: np.seterr(**was)),
    LibrarySetting("the working folder", os.getcwd, os.chdir),
)


MAX_DRAW_BLOCKS = 1000
"""How many draws are followed, in blocks of 624: some 10 ms."""


@dataclass(frozen=True, slots=True)
class RandomState:
    """The states at one moment; CUDA's where it is in use."""

    python: tuple[Any, ...]  # Any: what random.getstate gives is its own business
    numpy: dict[str, Any]  # Any: the same of numpy's
    torch: Tensor
    seed: int
    cuda: tuple[Tensor, ...]
    modules: frozenset[str]

    @classmethod
    def capture(cls) -> RandomState:
        """The states as they are."""
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        cuda = torch.cuda.get_rng_state_all() if used else ()
        numpy = dict(np.random.get_state(legacy=False))
        modules = frozenset(sys.modules)
        return cls(
            random.getstate(),
            numpy,
            torch.get_rng_state(),
            torch.initial_seed(),
            tuple(cuda),
            modules,
        )

    @property
    def is_unchanged(self) -> bool:
        """Whether all are as they were."""
        return not self._changed_generators()

    def used_generators(self) -> list[str]:
        """Those that are no longer as they were; CUDA's only if it was in use before.

        A library that is imported for the first time may draw from Python's, as scikit-learn does.
        """
        moved = self._changed_generators()
        imports = (
            not self.modules.issuperset(sys.modules) and "random" not in self.seeded_generators()
        )
        return [name for name in moved if not (imports and name == "random")]

    def seeded_generators(self) -> list[str]:
        """Those that no draws lead to from where they were."""
        drawn = {
            "random": _reachable_by_draws(self.python[1][:-1], random.getstate()[1][:-1]),
            "numpy": _reachable_by_draws(self._numpy_key, RandomState.capture()._numpy_key),
            "torch": torch.initial_seed() == self.seed,
        }
        return [name for name in self._changed_generators() if not drawn.get(name, True)]

    @property
    def _numpy_key(self) -> tuple[int, ...]:
        return tuple(map(int, self.numpy["state"]["key"]))

    def _changed_generators(self) -> list[str]:
        now = RandomState.capture()
        same = {
            "random": self.python == now.python,
            "numpy": pickle.dumps(self.numpy) == pickle.dumps(now.numpy),
            "torch": torch.equal(self.torch, now.torch),
            "CUDA": all(map(torch.equal, self.cuda, now.cuda)),
        }
        return [name for name, one in same.items() if not one]

    def put_back(self) -> None:
        """Restore the states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))


def _reachable_by_draws(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether draws lead from one state of a Mersenne twister to another, within `MAX_DRAW_BLOCKS` times its 624 words."""
    if before == after:
        return True
    twister = random.Random()
    twister.setstate((3, (*before, 624), None))
    for _ in range(MAX_DRAW_BLOCKS):
        twister.getrandbits(32 * 624)
        if twister.getstate()[1][:-1] == after:
            return True
    return False


THREAD_END_SECONDS = 0.2
"""How long a thread that is about to end is waited for."""

POOL_LIBRARIES = frozenset(
    {"advtransfer", "concurrent", "joblib", "multiprocessing", "torch", "tqdm"}
)
"""Packages whose threads wait for work of their own, such as pools that are kept for the next call."""


@dataclass(frozen=True, slots=True)
class RunningThreads:
    """The threads of the process at one moment."""

    threads: frozenset[threading.Thread]

    @classmethod
    def capture(cls) -> RunningThreads:
        """Those that run."""
        return cls(frozenset(threading.enumerate()))

    def list_changes(self) -> list[str]:
        """Those that were started since and still run, in words."""
        started = [
            one
            for one in threading.enumerate()
            if one not in self.threads and not _is_idle_pool_thread(one)
        ]
        for one in started:
            one.join(THREAD_END_SECONDS)
        return [f"the thread {one.name!r} was left running" for one in started if one.is_alive()]


def _is_idle_pool_thread(thread: threading.Thread) -> bool:
    """Whether a library's own thread waits for work, and runs nobody else's code."""
    begins = getattr(thread, "_target", None) or type(thread).run
    if _top_package(getattr(begins, "__module__", "")) not in POOL_LIBRARIES:
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
