"""Who answers: interpreter, libraries, machine type, device, threads, precision; records hold its digest."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from advtransfer.errors import BadInput, Problem
from advtransfer.result import Run
from advtransfer.types import Json

LIBRARIES = ("advtransfer", "foolbox", "numpy", "safetensors", "scikit-learn", "scipy", "torch", "torchvision")
LINE = ("device", "threads", "precision")


def environment(*, device: str, threads: int, precision: str = "float32") -> dict[str, Json]:
    """The environment of this process's workers; read from what is installed, without importing it."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "device": device.partition(":")[0],
        "threads": threads,
        "precision": precision,
    }


def agree(run: Run, wanted: Mapping[str, Json]) -> None:
    """Refuse to mix numbers of two devices, thread counts or precisions in one folder.

    Raises:
        BadInput: The run's first environment has another line than `wanted`.
    """
    for digest, earlier in run.environments().items():
        found = {name: wanted[name] for name in LINE if earlier[name] != wanted[name]}
        if found:
            before = ", ".join(f"{name} {earlier[name]}" for name in found)
            now = ", ".join(f"{name} {value}" for name, value in found.items())
            problem = Problem(
                f"{now}",
                f"{before}, as in the records of {run.path} (environment {digest[:12]})",
                "run with the same settings, choose another folder with --runs, or allow a mixture with --mixed",
            )
            raise BadInput([problem])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
