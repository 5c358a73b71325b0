"""Software and hardware environment of a run.

Every record stores the digest of this description.

It is read without importing torch, except where a GPU is requested.
"""

from __future__ import annotations

import os
import platform
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.result import Run
from advtransfer.types import BatterySize, Json

CPUINFO = Path("/proc/cpuinfo")

INSTRUCTION_LIMIT_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
"""Variables by which libraries compute with fewer instructions than the processor has, and so give other bits."""

VECTOR_INSTRUCTION_SETS = {
    "AVX512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "AVX2": {"avx2", "fma"},
}
"""torch's sets of vector instructions, the largest first, by the flags of the processor that each needs."""


def describe_processor() -> dict[str, Json]:
    """The model of the CPU, the vector instructions that torch uses on it, and limits that are set for libraries."""
    told = CPUINFO.read_text("utf-8", "replace") if CPUINFO.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return {
        "model": model[1].strip() if model else platform.processor() or None,
        "instructions": _vector_instructions(told),
        "limits": {
            name: os.environ[name] for name in INSTRUCTION_LIMIT_VARIABLES if os.environ.get(name)
        },
    }


def require_gpu(device: str) -> dict[str, Json] | None:
    """What the GPU of ``--device`` is; None for the CPU.

    Raises:
        BadInput: There is no such device here, or no such word.
    """
    if device == "cpu":
        return None
    if not re.fullmatch(r"cuda(:\d+)?", device):
        problem = Problem(
            f"--device {device}", "cpu, cuda, or a GPU by its number as cuda:1", "name one of them"
        )
        raise BadInput([problem])
    from advtransfer.worker.device import describe_gpu, gpu_problem

    if reason := gpu_problem(device):
        next_step = "install torch for CUDA and a driver, name another GPU, or leave --device out to use the CPU"
        raise BadInput(
            [
                Problem(
                    f"--device {device}: no usable GPU ({reason})",
                    "one that torch can use",
                    next_step,
                )
            ]
        )
    return describe_gpu(device)


def _vector_instructions(told: str) -> str | None:
    """As torch chooses them; None where neither a variable nor the system says."""
    if limit := os.environ.get("ATEN_CPU_CAPABILITY"):
        return limit.upper()
    flags = re.search(r"^flags\s*:\s*(.+)$", told, re.MULTILINE)
    if flags is None:
        return None
    has = set(flags[1].split())
    return next(
        (name for name, needs in VECTOR_INSTRUCTION_SETS.items() if needs <= has), "DEFAULT"
    )


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
COMPUTE_SETTINGS = ("device", "threads", "precision")


def describe_environment(
    *, device: str, threads: int, precision: str = "float32", gpu: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """The environment of this process's workers; read from what is installed, without importing it.

    Args:
        device: What jobs compute on.
        threads: CPU threads of a worker.
        precision: Of training.
        gpu: What `machine.gpu` says of the device; None on the CPU.
    """
    return ({} if gpu is None else {"gpu": dict(gpu)}) | {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": describe_processor(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "libraries": {name: _installed_version(name) for name in LIBRARIES},
        "device": device.partition(":")[0],
        "threads": threads,
        "precision": precision,
    }


def require_same_environment(run: Run, wanted: Mapping[str, Json], *, battery: BatterySize) -> None:
    """Refuse to mix numbers of two devices, thread counts, precisions or sizes of battery in one folder.

    One record speaks for its folder; a folder without any agrees with everything.

    Raises:
        BadInput: The run's records come from another line than `wanted`, or its results have another size of battery.
    """
    found = (record.get("provenance") for record in run.read_records())
    provenance = next((one for one in found if isinstance(one, Mapping)), None)
    if provenance is None:
        return
    digest = str(provenance["environment"])
    device = str(provenance["device"]).partition(":")[0]
    recorded_battery = battery_size_of(run)
    before = {**provenance, "device": device, "battery": recorded_battery or battery}
    now = {name: wanted[name] for name in COMPUTE_SETTINGS} | {"battery": battery}
    if differs := [name for name, value in now.items() if before[name] != value]:
        problem = Problem(
            ", ".join(f"{name} {now[name]}" for name in differs),
            f"{', '.join(f'{name} {before[name]}' for name in differs)}, as in the records of {run.path} "
            f"(environment {digest[:12]})",
            "run with the same settings, choose another folder with --runs, or allow a mixture with --mixed",
        )
        raise BadInput([problem])


def battery_size_of(run: Run) -> str | None:
    """The size of battery of a run's results: as its plan says, or else its records; None where neither does."""
    if (run.path / "plan.json").is_file():
        with suppress(CacheError):  # a damaged plan is written anew; the records say the same
            return cast("str | None", run.read_plan().get("battery"))
    for record in run.read_records():
        asked = cast("Mapping[str, Mapping[str, Json]]", record.get("asked") or {})
        if record.get("kind") == "battery":
            return cast("str | None", asked["options"].get("size"))
        outcomes = cast("Mapping[str, Json]", record.get("outcomes") or {})
        if (
            record.get("kind") == "result"
            and not record.get("battery")
            and any(map(_is_robustness_claim, outcomes))
        ):
            return "none"
    return None


def _is_robustness_claim(metric: str) -> bool:
    return metric.startswith("robust_accuracy")


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
