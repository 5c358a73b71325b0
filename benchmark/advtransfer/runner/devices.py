"""Devices of a run: which its workers take, and whether they have the memory to start."""

from __future__ import annotations

from collections.abc import Sequence

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.runner.settings import RunSettings
from advtransfer.text import format_bytes, pluralize

LEAST_FREE_BYTES = 2**30
"""Free memory of a GPU that each worker needs to start: the libraries' own, and some for a small model."""

CROWDED_SHARE = 0.5
"""Share of a GPU's memory in use above which a run warns before it starts."""


def choose_devices(settings: RunSettings, host: Host) -> tuple[str, ...]:
    """Return the devices that workers take in turn: those of ``--device``, or for ``cuda`` every GPU.

    With fewer jobs than GPUs, ``cuda`` is the first GPUs. An executor that places jobs itself gets
    the one device that is named.

    Raises:
        BadInput: Several devices are named that differ in kind, repeat one, are more than the jobs,
            or that the executor does not place jobs on.
    """
    names = tuple(name.strip() for name in settings.device.split(","))
    places_jobs = "devices" in host.component(settings.executor, "executor").options.fields
    if len(names) > 1:
        _check_several(names, settings, places_jobs=places_jobs)
        return names
    if names != ("cuda",) or not places_jobs:
        return names
    from advtransfer.worker.device import count_gpus

    count = count_gpus()
    used = count if settings.jobs is None else min(count, settings.jobs)
    return tuple(f"cuda:{index}" for index in range(used)) if used > 1 else names


def require_free_memory(devices: Sequence[str], *, workers: int) -> list[str]:
    """Return a warning for each GPU that others use much of.

    Args:
        devices: The devices that workers take in turn.
        workers: The number of workers.

    Raises:
        BadInput: A GPU has too little free memory to start its workers.
    """
    if devices == ("cpu",):
        return []
    from advtransfer.worker.device import gpu_memory, gpu_users

    problems: list[Problem] = []
    warnings: list[str] = []
    for position, device in enumerate(devices):
        count = len(range(position, workers, len(devices)))
        free, total = gpu_memory(device)
        needed = count * LEAST_FREE_BYTES
        users = "".join(f"; {user}" for user in gpu_users(device))
        state = f"{format_bytes(free)} of {format_bytes(total)} free on {device}{users}"
        if free < needed:
            expected = f"{format_bytes(needed)} to start {pluralize(count, 'worker')}"
            next_step = "end what holds the memory, name another GPU, or lower --jobs"
            problems.append(Problem(state, expected, next_step))
        elif free < total * (1 - CROWDED_SHARE):
            warnings.append(f"{state}: jobs may run out of memory")
    if problems:
        raise BadInput(problems)
    return warnings


def _check_several(names: tuple[str, ...], settings: RunSettings, *, places_jobs: bool) -> None:
    found = f"--device {settings.device}"
    problems: list[Problem] = []
    if not all(name.startswith("cuda:") for name in names):
        expected = "GPUs by their numbers, as cuda:0,cuda:1"
        problems.append(Problem(found, expected, "name them, or write cuda for every GPU"))
    elif len(set(names)) < len(names):
        expected = "each GPU once"
        problems.append(Problem(found, expected, "raise --jobs for several workers on each"))
    if not places_jobs:
        expected = f"one device, since {settings.executor} places no jobs on several"
        problems.append(Problem(found, expected, "name one, or use local/pool"))
    elif settings.jobs is not None and settings.jobs < len(names):
        expected = f"at least {len(names)} jobs, one for each device"
        next_step = "raise --jobs, leave it out, or name fewer devices"
        problems.append(Problem(f"--jobs {settings.jobs} with {found}", expected, next_step))
    if problems:
        raise BadInput(problems)
