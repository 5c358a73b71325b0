"""Software and hardware environment of the worker in this process. Every record stores the digest of its description.

It is read without importing torch, except where a GPU is requested or models are compiled.
"""

from __future__ import annotations

import os
import platform
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.host.distributions import direct_requirements, installed_version
from advtransfer.types import Json

CPUINFO = Path("/proc/cpuinfo")

INSTRUCTION_LIMIT_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
"""Variables that limit the instructions that libraries use, and thereby change the bits of results."""

VECTOR_INSTRUCTION_SETS = {
    "AVX512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "AVX2": {"avx2", "fma"},
}
"""Processor flags that each of torch's vector instruction sets needs; the largest set comes first."""

LIBRARIES = (
    "advtransfer",
    "foolbox",
    "numpy",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
)
"""Distributions whose versions are part of the environment."""


def describe_processor() -> dict[str, Json]:
    """Return the model of the CPU, torch's vector instructions on it, and the limits that are set."""
    cpuinfo = CPUINFO.read_text("utf-8", "replace") if CPUINFO.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    limits: dict[str, Json] = {
        name: os.environ[name] for name in INSTRUCTION_LIMIT_VARIABLES if os.environ.get(name)
    }
    return {
        "model": model[1].strip() if model else platform.processor() or None,
        "instructions": _vector_instructions(cpuinfo),
        "limits": limits,
    }


def _vector_instructions(cpuinfo: str) -> str | None:
    """Return the instruction set that torch chooses; None where the system does not report flags."""
    limit = os.environ.get("ATEN_CPU_CAPABILITY")
    if limit:
        return limit.upper()
    match = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if match is None:
        return None
    flags = set(match[1].split())
    for name, required_flags in VECTOR_INSTRUCTION_SETS.items():
        if required_flags <= flags:
            return name
    return "DEFAULT"


def require_gpu(device: str) -> dict[str, Json] | None:
    """Return a description of the GPU named by ``--device``, or of several that are equal; None for the CPU.

    Raises:
        BadInput: A word names no device, torch cannot use the device, or two devices differ.
    """
    if device == "cpu":
        return None
    first, *others = [(name, _require_one_gpu(name)) for name in device.split(",")]
    for name, description in others:
        different = [key for key in first[1] if first[1][key] != description[key]]
        if different:
            found = ", ".join(f"{key} {description[key]} of {name}" for key in different)
            expected = ", ".join(f"{first[1][key]}" for key in different)
            next_step = "run on GPUs of one kind; the rest can be another run, in another folder"
            raise BadInput([Problem(found, f"{expected}, as {first[0]} has", next_step)])
    return first[1]


def _require_one_gpu(device: str) -> dict[str, Json]:
    if not re.fullmatch(r"cuda(:\d+)?", device):
        problem = Problem(
            f"--device {device}", "cpu, cuda, or a GPU by its number as cuda:1", "name one of them"
        )
        raise BadInput([problem])
    from advtransfer.worker.device import describe_gpu, gpu_problem

    reason = gpu_problem(device)
    if reason:
        found = f"--device {device}: no usable GPU ({reason})"
        next_step = (
            "install torch for CUDA and a driver, name another GPU, "
            "or leave --device out to use the CPU"
        )
        raise BadInput([Problem(found, "one that torch can use", next_step)])
    return describe_gpu(device)


def require_compiler(device: str) -> str:
    """Return the version of the C++ compiler with which ``--compile`` compiles models on a device.

    Raises:
        BadInput: torch finds none, or lacks another part that it needs to compile.
    """
    from advtransfer.worker.compiler import CompilerMissing, find_compiler

    try:
        return find_compiler(device)
    except CompilerMissing as missing:
        next_step = f"{missing.next_step}, or leave --compile out"
        problem = Problem(f"--compile, but {missing}", "what torch.compile needs", next_step)
        raise BadInput([problem]) from missing


def describe_worker(
    *,
    device: str,
    threads: int,
    precision: str,
    kernel_batch: int | None = None,
    compiled: bool = False,
    plugin_distributions: Iterable[str],
) -> dict[str, Json]:
    """Return the environment of this process as a worker, with its GPU.

    Raises:
        BadInput: The device names no GPU that torch can use here, or models are to be compiled and
            torch finds no compiler.
    """
    return describe_environment(
        device=device,
        threads=threads,
        precision=precision,
        kernel_batch=kernel_batch,
        gpu=require_gpu(device),
        compiler=require_compiler(device) if compiled else None,
        plugin_distributions=plugin_distributions,
    )


def describe_environment(
    *,
    device: str,
    threads: int,
    precision: str = "float32",
    kernel_batch: int | None = None,
    gpu: Mapping[str, Json] | None = None,
    compiler: str | None = None,
    plugin_distributions: Iterable[str] = (),
) -> dict[str, Json]:
    """Return the environment of workers on this machine, read without importing the libraries.

    Args:
        device: Device of the jobs.
        threads: CPU threads of a worker.
        precision: Precision of training.
        kernel_batch: Rows that a kernel computes at once, where the run names them.
        gpu: The description that `require_gpu` returns; None on the CPU.
        compiler: The description that `require_compiler` returns, where models are compiled.
        plugin_distributions: Distributions whose plugins the suite uses.
    """
    environment: dict[str, Json] = {} if gpu is None else {"gpu": dict(gpu)}
    if kernel_batch is not None:
        environment["kernel_batch"] = kernel_batch
    if compiler is not None:
        environment["compiler"] = compiler
    foreign = sorted(set(plugin_distributions) - {"advtransfer"})
    if foreign:
        environment["plugins"] = {name: _describe_distribution(name) for name in foreign}
    return environment | {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": describe_processor(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "libraries": {name: installed_version(name) for name in LIBRARIES},
        # Without the index: equal GPUs of one machine compute the same.
        "device": device.partition(":")[0],
        "threads": threads,
        "precision": precision,
    }


def _describe_distribution(name: str) -> dict[str, Json]:
    """Return a distribution's version, and those of the libraries that it requires and `LIBRARIES` lacks."""
    required = {requirement.name for requirement in direct_requirements(name)}
    libraries = sorted(required.difference(LIBRARIES))
    return {
        "version": installed_version(name),
        "libraries": {library: installed_version(library) for library in libraries},
    }
