"""Settings of torch, NumPy and the process that every later computation in it depends on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.backends import cuda, cudnn, mkldnn

_STEPPED_OUT: list[object] = []
"""Contexts that put inference mode back; torch leaves one when its object is collected."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in words, and how it is read and written."""

    name: str
    read: Callable[[], Any]  # Any: as varied as the settings
    write: Callable[[Any], object]  # Any: the same


@dataclass(frozen=True, slots=True)
class LibrarySettings:
    """The settings at one moment."""

    values: Mapping[str, Any] = field(default_factory=lambda: {one.name: one.read() for one in SETTINGS})

    def changed(self) -> list[str]:
        """Those that are no longer as they were, in words."""
        now = LibrarySettings().values
        return [f"{name} was changed ({was} to {now[name]})" for name, was in self.values.items() if now[name] != was]

    def put_back(self) -> None:
        """Restore the settings."""
        for setting in SETTINGS:
            if setting.read() != (was := self.values[setting.name]):
                setting.write(was)


def _set_modes(was: int) -> None:
    """Leave function modes (``with torch.device(...)``) that were entered and not left."""
    while torch._C._len_torch_function_stack() > was:
        torch._C._pop_torch_function_stack()


def _set_dispatch(was: int) -> None:
    from torch.utils._python_dispatch import _pop_mode

    while torch._C._len_torch_dispatch_stack() > was:
        _pop_mode()


def _set_device(was: torch.device) -> None:
    # a default of the CPU is no default at all, and costs a mode on every call
    torch.set_default_device(None if was.type == "cpu" else was)


def _set_inference(was: bool) -> None:
    context = torch.inference_mode(mode=was)
    context.__enter__()
    _STEPPED_OUT.append(context)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(was: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(was[0], warn_only=was[1])


def _flushes() -> bool:
    """Whether numbers too small for a normal float are taken for 0."""
    return bool(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1 == 0)


def _attribute(name: str, module: ModuleType, attribute: str) -> Setting:
    return Setting(name, partial(getattr, module, attribute), partial(setattr, module, attribute))


SETTINGS: tuple[Setting, ...] = (
    # modes first: what is read and written below them is theirs
    Setting("the stack of torch's dispatch modes", torch._C._len_torch_dispatch_stack, _set_dispatch),
    Setting("the default device", torch.get_default_device, _set_device),
    Setting("the stack of torch's function modes", torch._C._len_torch_function_stack, _set_modes),
    Setting("inference mode", torch.is_inference_mode_enabled, _set_inference),
    Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("autocast", partial(torch.is_autocast_enabled, "cpu"), partial(torch.set_autocast_enabled, "cpu")),
    Setting(
        "autocast on CUDA", partial(torch.is_autocast_enabled, "cuda"), partial(torch.set_autocast_enabled, "cuda")
    ),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("deterministic algorithms", _deterministic, _set_deterministic),
    Setting("flushing of small numbers", _flushes, torch.set_flush_denormal),
    Setting("the precision of matrix products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting("flash attention", cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    Setting("memory-efficient attention", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    Setting("plain attention", cuda.math_sdp_enabled, cuda.enable_math_sdp),
    _attribute("cuDNN", cudnn, "enabled"),
    _attribute("cuDNN's benchmark mode", cudnn, "benchmark"),
    _attribute("cuDNN's deterministic mode", cudnn, "deterministic"),
    _attribute("TF32 in cuDNN", cudnn, "allow_tf32"),
    _attribute("oneDNN", mkldnn, "enabled"),
    Setting("NumPy's handling of errors", np.geterr, lambda was: np.seterr(**was)),
    Setting("the working folder", os.getcwd, os.chdir),
)
