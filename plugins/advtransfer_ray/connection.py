"""Connection of this process to a Ray cluster."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from advtransfer.errors import BadInput, Problem


def connect(address: str, *, cpus: int | None) -> bool:
    """Connect to a cluster; return False where this process was connected already.

    Args:
        address: As the option of the executor.
        cpus: The cores of a cluster that is started here; None for all.

    Raises:
        BadInput: There is no cluster at the address, or it does not let this process in.
    """
    if ray.is_initialized():
        return False
    # What runs is the user's own affair.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    try:
        with _signal_handlers_kept():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except Exception as error:  # Ray raises errors of many classes here.
        found = f"no Ray cluster at address={address} ({' '.join(str(error).split())[:300]})"
        next_step = (
            "start one with `ray start --head`, correct --engine address=..., and set the mode of access that its "
            "nodes have: `RAY_AUTH_MODE=token advtransfer run ...` where `ray start` said that token authentication is "
            "enabled; `--engine address=local` starts one on this machine"
        )
        raise BadInput([Problem(found, "one that runs", next_step)]) from error
    return True


def has_room(*, cpus: float, gpus: float) -> bool:
    """Return whether some node of the cluster has this many cores and GPUs in all, busy or not."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return any(one.get("CPU", 0) >= cpus and one.get("GPU", 0) >= gpus for one in resources)


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Restore the handler of SIGTERM, with which a run stops in order: Ray puts its own in its place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
