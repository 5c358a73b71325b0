"""Device and numerical precision.

The requested GPU, float32 in full for measurements, autocast for training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from advtransfer.types import Json, Precision


def gpu_problem(device: str) -> str | None:
    """Why torch cannot compute on a CUDA device, in a few words; None where it can."""
    version, wanted = f"torch {torch.__version__}", torch.device(device)
    if torch.version.cuda is None and torch.version.hip is None and not torch.cuda.is_available():
        return f"{version} was built for CPU only"
    if not torch.cuda.is_available():
        return f"{version} finds no driver, or no device"
    count = torch.cuda.device_count()
    if (wanted.index or 0) >= count:
        return f"device index {wanted.index} of {count}"
    try:
        torch.ones(1, device=wanted).add(1).item()
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0]
    return None


def describe_gpu(device: str) -> dict[str, Json]:
    """What numbers may depend on: the model of the GPU, its libraries, and how precisely float32 is computed."""
    wanted = torch.device(device)
    major, minor = torch.cuda.get_device_capability(wanted)
    return {
        "model": torch.cuda.get_device_name(wanted),
        "capability": f"{major}.{minor}",
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # torch leaves it bare
        "tf32": False,  # a job computes with it off, see `trial.precision`
        "reduced_bfloat16_sums": bool(
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        ),
    }


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, products of float32 numbers keep all their bits: TF32 (10 of 23 bits) and bfloat16 take no part.

    For training, too: a precision that a GPU chose by itself would differ from GPU to GPU, and be in no record.
    """
    before = [(owner, name, getattr(owner, name)) for owner, name in _precision_switches()]
    coarse = _legacy_switches()
    try:
        if coarse is not None:
            torch.backends.cudnn.allow_tf32 = False
            torch.set_float32_matmul_precision("highest")
        for owner, name, _ in before:
            setattr(owner, name, "ieee")
        yield
    finally:
        if coarse is not None:
            torch.backends.cudnn.allow_tf32, product = coarse
            torch.set_float32_matmul_precision(product)
        for owner, name, value in before:
            setattr(owner, name, value)


def _legacy_switches() -> tuple[bool, str] | None:
    """The switches that every torch has; None where finer ones were set, after which torch does not read these."""
    try:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _precision_switches() -> Iterator[tuple[object, str]]:
    """The switches for each kind of operation, which torch has from 2.9 on."""
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    owners: list[object] = [torch.backends.cuda.matmul]
    owners += [
        getattr(library, kind, None)
        for library in (cudnn, mkldnn)
        for kind in ("matmul", "conv", "rnn")
    ]
    yield from ((owner, "fp32_precision") for owner in owners if hasattr(owner, "fp32_precision"))


def training_precision(
    precision: Precision, device: torch.device
) -> AbstractContextManager[object]:
    """Inside, ``bfloat16`` lets torch choose the operations that are safe in it; weights and losses stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
