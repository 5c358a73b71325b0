"""Devices, threads and the folder of data sets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from advtransfer.doctor.finding import Finding
from advtransfer.runner.settings import usable_cores
from advtransfer.worker.environment import INSTRUCTION_LIMIT_VARIABLES

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CUDA_LINE = r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]"
SHOWN_ENTRIES = 8


def examine_devices() -> list[Finding]:
    """Compare the CUDA version that torch was built for with the driver of the machine."""
    cuda = _torch_cuda_version()
    has_driver = NVIDIA_DRIVER.exists()
    if cuda is None and has_driver:
        found = "the machine has an NVIDIA driver, but torch was built for the CPU alone"
        next_step = (
            "install torch for CUDA (https://pytorch.org/get-started/locally) to use --device cuda"
        )
        return [Finding("devices", "problem", found, next_step)]
    if cuda is not None and not has_driver:
        found = f"torch was built for CUDA {cuda}; there is no NVIDIA driver, so that only the CPU is used"
        return [Finding("devices", "note", found, "install a driver to use --device cuda")]
    if cuda is None:
        return [Finding("devices", "ok", "the CPU; torch was built for it alone")]
    next_step = (
        "for a test of the driver: python -c 'import torch; torch.zeros(1, device=\"cuda\")'"
    )
    return [Finding("devices", "ok", f"torch for CUDA {cuda}, and an NVIDIA driver", next_step)]


def _torch_cuda_version() -> str | None:
    """Return the CUDA version in ``torch/version.py``, which is read as text; None without one."""
    folder = _torch_folder()
    if folder is None:
        return None
    try:
        match = re.search(CUDA_LINE, (folder / "version.py").read_text("utf-8"), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None


def _torch_folder() -> Path | None:
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def examine_threads() -> list[Finding]:
    """Compare the cores that may be used with CPU quotas and thread variables."""
    cores = usable_cores()
    findings = [Finding("threads", "ok", f"{cores} cores: `run` starts as many workers")]
    quota = _cpu_quota()
    if quota is not None and quota < cores:
        found = f"{cores} cores are visible, but a quota of the container allows {quota:g}"
        next_step = f"run with --jobs {max(1, int(quota))}"
        findings.append(Finding("threads", "problem", found, next_step))
    findings += _thread_variable_faults(cores)
    limits = [name for name in INSTRUCTION_LIMIT_VARIABLES if os.environ.get(name)]
    if limits:
        found = f"{', '.join(limits)} limits the processor's instructions: slower, and other bits"
        findings.append(Finding("threads", "note", found, f"unset {' '.join(limits)}"))
    return findings


def _thread_variable_faults(cores: int) -> Iterator[Finding]:
    for name in THREAD_VARIABLES:
        value = os.environ.get(name)
        if not value:
            continue
        # OMP_NUM_THREADS may hold a number for each level of nesting, as in "4,2".
        outermost = value.partition(",")[0].strip()
        if not outermost.isdigit() or int(outermost) < 1:
            found = f"{name}={value!r}, which is no number of threads"
            yield Finding("threads", "problem", found, f"unset {name}, or set it to 1")
        elif int(outermost) > cores:
            found = f"{name}={value} on {cores} cores"
            yield Finding("threads", "problem", found, f"unset {name}, or set it to {cores}")


def _cpu_quota() -> float | None:
    """Return the number of cores that the control group allows (cgroup v2); None without a limit."""
    try:
        quota, period = CPU_QUOTA.read_text("utf-8").split()
        return float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # No such file, or "max".
        return None


def examine_data_folder() -> list[Finding]:
    """Examine the folder that ADVTRANSFER_DATA names."""
    value = os.environ.get("ADVTRANSFER_DATA")
    if not value:
        found = "ADVTRANSFER_DATA is not set: suites on MNIST, Fashion-MNIST, CIFAR-10 ... need it"
        next_step = "export ADVTRANSFER_DATA=FOLDER; `download: true` in a suite fills it"
        return [Finding("data", "note", found, next_step)]
    folder = Path(value).expanduser()
    try:
        entries = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        found = f"ADVTRANSFER_DATA={value!r} cannot be listed ({error.strerror})"
        next_step = "make the folder, or name another"
        return [Finding("data", "problem", found, next_step)]
    if not entries:
        found = f"ADVTRANSFER_DATA={value!r} is empty"
        next_step = "write `download: true` at data sets of a suite, or copy them there"
        return [Finding("data", "note", found, next_step)]
    more = ", ..." if len(entries) > SHOWN_ENTRIES else ""
    found = f"ADVTRANSFER_DATA={value!r} has {', '.join(entries[:SHOWN_ENTRIES])}{more}"
    return [Finding("data", "ok", found)]
