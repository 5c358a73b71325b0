"""The GPU that a run asks for: whether torch can use it, and what it is."""

from __future__ import annotations

import torch

from advtransfer.types import Json


def unusable(device: str) -> str | None:
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


def described(device: str) -> dict[str, Json]:
    """What numbers may depend on: the model of the GPU, its libraries, and how precisely float32 is computed."""
    wanted = torch.device(device)
    major, minor = torch.cuda.get_device_capability(wanted)
    return {
        "model": torch.cuda.get_device_name(wanted),
        "capability": f"{major}.{minor}",
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # torch leaves it bare
        "tf32": False,  # a job computes with it off, see `trial.precision`
        "reduced_bfloat16_sums": bool(torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction),
    }
