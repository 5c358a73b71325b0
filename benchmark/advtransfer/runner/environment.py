"""Who answers: interpreter, libraries, processor, device, threads, precision; records hold its digest."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.result import Run
from advtransfer.runner.machine import processor
from advtransfer.types import BatterySize, Json

LIBRARIES = ("advtransfer", "foolbox", "numpy", "safetensors", "scikit-learn", "scipy", "torch", "torchvision")
LINE = ("device", "threads", "precision")


def environment(
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
        "processor": processor(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "device": device.partition(":")[0],
        "threads": threads,
        "precision": precision,
    }


def agree(run: Run, wanted: Mapping[str, Json], *, battery: BatterySize) -> None:
    """Refuse to mix numbers of two devices, thread counts, precisions or sizes of battery in one folder.

    One record speaks for its folder; a folder without any agrees with everything.

    Raises:
        BadInput: The run's records come from another line than `wanted`, or its results have another size of battery.
    """
    found = (record.get("provenance") for record in run.records())
    provenance = next((one for one in found if isinstance(one, Mapping)), None)
    if provenance is None:
        return
    digest = str(provenance["environment"])
    device = str(provenance["device"]).partition(":")[0]
    recorded_battery = battery_of(run)
    before = {**provenance, "device": device, "battery": recorded_battery or battery}
    now = {name: wanted[name] for name in LINE} | {"battery": battery}
    if differs := [name for name, value in now.items() if before[name] != value]:
        problem = Problem(
            ", ".join(f"{name} {now[name]}" for name in differs),
            f"{', '.join(f'{name} {before[name]}' for name in differs)}, as in the records of {run.path} "
            f"(environment {digest[:12]})",
            "run with the same settings, choose another folder with --runs, or allow a mixture with --mixed",
        )
        raise BadInput([problem])


def battery_of(run: Run) -> str | None:
    """The size of battery of a run's results: as its plan says, or else its records; None where neither does."""
    if (run.path / "plan.json").is_file():
        with suppress(CacheError):  # a damaged plan is written anew; the records say the same
            return cast("str | None", run.plan().get("battery"))
    for record in run.records():
        asked = cast("Mapping[str, Mapping[str, Json]]", record.get("asked") or {})
        if record.get("kind") == "battery":
            return cast("str | None", asked["options"].get("size"))
        outcomes = cast("Mapping[str, Json]", record.get("outcomes") or {})
        if record.get("kind") == "result" and not record.get("battery") and any(map(_is_claim, outcomes)):
            return "none"
    return None


def _is_claim(metric: str) -> bool:
    return metric.startswith("robust_accuracy")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
