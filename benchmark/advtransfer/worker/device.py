"""Device and numerical precision.

The requested GPU, float32 in full for measurements, autocast for training.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from advtransfer.types import Json, Precision


def gpu_problem(device: str) -> str | None:
    """Return a short reason why torch cannot compute on a CUDA device; None where it can."""
    version = f"torch {torch.__version__}"
    requested = torch.device(device)
    if torch.version.cuda is None and torch.version.hip is None and not torch.cuda.is_available():
        return f"{version} was built for CPU only"
    if not torch.cuda.is_available():
        return f"{version} finds no driver, or no device"
    count = torch.cuda.device_count()
    if (requested.index or 0) >= count:
        return f"device index {requested.index} of {count}"
    # torch can list a device that it has no kernels for, so one operation is tried.
    try:
        torch.ones(1, device=requested).add(1).item()
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0]
    return None


def describe_gpu(device: str) -> dict[str, Json]:
    """Return the properties of a GPU that numbers may depend on.

    These are its model, its libraries, and the precision in which float32 is computed.
    """
    requested = torch.device(device)
    major, minor = torch.cuda.get_device_capability(requested)
    return {
        "model": torch.cuda.get_device_name(requested),
        "capability": f"{major}.{minor}",
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # torch leaves it bare
        "tf32": False,  # jobs compute without it, see `full_float32`
        "reduced_bfloat16_sums": bool(
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        ),
    }


def count_gpus() -> int:
    """Return the number of GPUs that torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def make_current(device: torch.device) -> None:
    """Make a GPU the one that code gets which names none, such as ``tensor.cuda()``."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def gpu_memory(device: str) -> tuple[int, int]:
    """Return the free and the whole memory of a GPU in bytes, over all processes."""
    free, total = torch.cuda.mem_get_info(torch.device(device))
    return free, total


def gpu_users(device: str) -> list[str]:
    """Return the other processes on a GPU with their memory, as ``nvidia-smi`` tells; none without it."""
    uuid = getattr(torch.cuda.get_device_properties(torch.device(device)), "uuid", None)
    query = ["--query-compute-apps=gpu_uuid,pid,process_name,used_memory", "--format=csv,noheader"]
    try:
        listed = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    users: list[str] = []
    for line in listed.splitlines():
        fields = [field.strip() for field in line.split(",")]
        is_there = len(fields) == 4 and uuid is not None and fields[0].endswith(str(uuid))
        if is_there and fields[1] != str(os.getpid()):
            users.append(f"process {fields[1]} ({fields[2]}) holds {fields[3]}")
    return users


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute products of float32 numbers with all their bits.

    TF32 keeps 10 of the 23 bits of a fraction, bfloat16 7. Training is included: a precision that a
    GPU chose by itself would differ between GPUs without being recorded.
    """
    before = [(owner, name, getattr(owner, name)) for owner, name in _precision_switches()]
    legacy = _legacy_switches()
    try:
        # The legacy switches come first, since they overwrite the finer ones.
        if legacy is not None:
            torch.backends.cudnn.allow_tf32 = False
            torch.set_float32_matmul_precision("highest")
        for owner, name, _ in before:
            setattr(owner, name, "ieee")
        yield
    finally:
        if legacy is not None:
            torch.backends.cudnn.allow_tf32, matmul_precision = legacy
            torch.set_float32_matmul_precision(matmul_precision)
        for owner, name, value in before:
            setattr(owner, name, value)


def _legacy_switches() -> tuple[bool, str] | None:
    """Return the values of the switches that every release of torch has.

    None where finer switches were set: torch then refuses to read these.
    """
    try:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _precision_switches() -> Iterator[tuple[object, str]]:
    """Yield owner and name of the switches for each kind of operation; torch has them from 2.9 on."""
    owners: list[object] = [torch.backends.cuda.matmul]
    for library in (torch.backends.cudnn, torch.backends.mkldnn):
        owners += [getattr(library, kind, None) for kind in ("matmul", "conv", "rnn")]
    for owner in owners:
        if hasattr(owner, "fp32_precision"):
            yield owner, "fp32_precision"


def training_precision(
    precision: Precision, device: torch.device
) -> AbstractContextManager[object]:
    """Return a context in which training computes in this precision.

    ``bfloat16`` lets torch choose the operations that are safe in it; weights and losses stay
    float32.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
