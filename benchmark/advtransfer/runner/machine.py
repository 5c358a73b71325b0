"""What a run computes on: its processor, read without importing torch, and its GPU, if it asks for one."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.types import Json

CPUINFO = Path("/proc/cpuinfo")

LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
"""Variables by which libraries compute with fewer instructions than the processor has, and so give other bits."""

SETS = {
    "AVX512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "AVX2": {"avx2", "fma"},
}
"""torch's sets of vector instructions, the largest first, by the flags of the processor that each needs."""


def processor() -> dict[str, Json]:
    """The model of the CPU, the vector instructions that torch uses on it, and limits that are set for libraries."""
    told = CPUINFO.read_text("utf-8", "replace") if CPUINFO.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return {
        "model": model[1].strip() if model else platform.processor() or None,
        "instructions": _instructions(told),
        "limits": {name: os.environ[name] for name in LIMITS if os.environ.get(name)},
    }


def gpu(device: str) -> dict[str, Json] | None:
    """What the GPU of ``--device`` is; None for the CPU.

    Raises:
        BadInput: There is no such device here, or no such word.
    """
    if device == "cpu":
        return None
    if not re.fullmatch(r"cuda(:\d+)?", device):
        problem = Problem(f"--device {device}", "cpu, cuda, or a GPU by its number as cuda:1", "name one of them")
        raise BadInput([problem])
    from advtransfer.trial.accelerator import described, unusable

    if reason := unusable(device):
        next_step = "install torch for CUDA and a driver, name another GPU, or leave --device out to use the CPU"
        raise BadInput([Problem(f"--device {device}: no usable GPU ({reason})", "one that torch can use", next_step)])
    return described(device)


def _instructions(told: str) -> str | None:
    """As torch chooses them; None where neither a variable nor the system says."""
    if limit := os.environ.get("ATEN_CPU_CAPABILITY"):
        return limit.upper()
    flags = re.search(r"^flags\s*:\s*(.+)$", told, re.MULTILINE)
    if flags is None:
        return None
    has = set(flags[1].split())
    return next((name for name, needs in SETS.items() if needs <= has), "DEFAULT")
