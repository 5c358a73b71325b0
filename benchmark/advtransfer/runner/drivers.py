"""Drivers at work in a run folder: one, or several shards; a second one is refused with who holds it.

claims/drivers/<whole | shard-i-of-n>
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

from advtransfer import files
from advtransfer.cache.lock import (
    HeldLock,
    LockClaim,
    binding_locks,
    describe_owner,
    folder_guard,
    hold,
    remove_expired_locks,
)
from advtransfer.errors import BadInput, ClaimLost, Problem
from advtransfer.process_id import ProcessId
from advtransfer.result import Run
from advtransfer.result.claims import CLAIMS_FOLDER
from advtransfer.runner.environment import require_same_settings
from advtransfer.runner.lock_waits import waiting_text
from advtransfer.runner.shard import Shard
from advtransfer.types import Json

WHOLE = "whole"
"""Name of the lock of a driver that shares its folder with no other."""

MAX_WAIT_SECONDS = 70.0
"""Longest time for which a driver waits for another one that nobody can ask whether it still runs."""


def drivers_folder(run: Run) -> Path:
    """Return the folder with the locks of the drivers that are at work."""
    return run.path / CLAIMS_FOLDER / "drivers"


def drivers_at_work(run: Run) -> list[LockClaim]:
    """Return the locks of all drivers that are at work in a run folder."""
    return list(binding_locks(drivers_folder(run)).values())


def driver_fields(shard: Shard | None) -> dict[str, Json]:
    """Return the fields that name this driver in events."""
    me = ProcessId.current_process()
    return {"host": me.host_name, "pid": me.pid, "shard": str(shard) if shard else None}


@contextmanager
def register_driver(
    run: Run,
    settings: Mapping[str, Json],
    *,
    shard: Shard | None,
    mixed: bool,
    prepare: Callable[[], None],
    wait: Callable[[str], None],
) -> Iterator[HeldLock]:
    """Register this process as a driver of a run folder while the code inside runs, which gets its lock.

    Args:
        run: The run folder.
        settings: Settings that all drivers of the folder share.
        shard: Which of several drivers this is; None for the only one.
        mixed: Whether drivers with other settings are allowed.
        prepare: Called before, while no other driver can start.
        wait: Told of a driver on another host that may have died, before it is waited for.

    Raises:
        BadInput: A driver is at work that allows no other, or has other settings.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    _await_silent_drivers(run, shard, wait)
    with ExitStack() as stack:
        # The guard covers check, preparation and lock, so that of two drivers the second sees the first.
        with folder_guard(run.path):
            files.remove_stale_temporaries(run.path)
            remove_expired_locks(drivers_folder(run))
            _refuse_excluding(run, shard)
            if not mixed:
                _require_same_driver_settings(run, settings)
            prepare()
            facts = {
                "shard": str(shard) if shard else None,
                "began": time.time(),
                "settings": dict(settings),
            }
            path = drivers_folder(run) / _lock_name(shard)
            lock = stack.enter_context(hold(path, what="driver", facts=facts))
        yield lock


def require_driver_lock(lock: HeldLock, run: Run) -> None:
    """Require this process to be a driver of a run folder still.

    Raises:
        BadInput: It stood still for longer than its lock binds, and others may drive the folder now.
    """
    try:
        with lock.guard():
            return
    except ClaimLost as loss:
        problem = Problem(
            f"the run folder {run.path} no longer held by this process ({loss})",
            "a driver that renews its lock",
            "run it again, which goes on with what is missing, or watch the driver that is at work with --watch",
        )
        raise BadInput([problem]) from loss


def _lock_name(shard: Shard | None) -> str:
    return WHOLE if shard is None else f"shard-{shard.index}-of-{shard.count}"


def _excluding_drivers(run: Run, shard: Shard | None) -> dict[Path, LockClaim]:
    """Return the locks of drivers beside which this one may not work."""
    drivers = binding_locks(drivers_folder(run))
    if shard is None:
        return drivers
    return {
        path: claim for path, claim in drivers.items() if path.name in (WHOLE, _lock_name(shard))
    }


def _await_silent_drivers(run: Run, shard: Shard | None, wait: Callable[[str], None]) -> None:
    """Wait until drivers on other hosts have renewed their locks, and are refused for, or have lost them."""
    before = _excluding_drivers(run, shard)
    _refuse([claim for claim in before.values() if claim.owner.is_alive()], run)
    if not before:
        return
    wait(waiting_text(("run folder", claim) for claim in before.values()))
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while before and time.monotonic() < deadline:
        time.sleep(0.5)
        now = _excluding_drivers(run, shard)
        _refuse([claim for path, claim in now.items() if _is_newer(claim, before.get(path))], run)
        before = now


def _is_newer(claim: LockClaim, before: LockClaim | None) -> bool:
    """Return whether a lock was taken or renewed since it was read before."""
    return before is None or claim.token != before.token or claim.age < before.age


def _refuse_excluding(run: Run, shard: Shard | None) -> None:
    _refuse(list(_excluding_drivers(run, shard).values()), run)


def _refuse(claims: list[LockClaim], run: Run) -> None:
    if claims:
        raise BadInput([_refusal(claim, run) for claim in claims])


def _refusal(claim: LockClaim, run: Run) -> Problem:
    began = cast(float, claim.facts.get("began") or 0.0)
    since = datetime.fromtimestamp(began).astimezone().isoformat(" ", "minutes")
    shard = claim.facts.get("shard")
    role = f" as shard {shard}" if shard else ""
    return Problem(
        f"{run.path} held by {describe_owner(claim.owner)}{role} since {since}",
        "one driver for each run folder, or one for each --shard i/n",
        f"watch it with `advtransfer run {run.path.name} --runs {run.path.parent} --watch`, or run it "
        "again when it has ended; to share its work, begin all of its drivers with --shard",
    )


def _require_same_driver_settings(run: Run, settings: Mapping[str, Json]) -> None:
    for claim in binding_locks(drivers_folder(run)).values():
        other = claim.facts.get("settings")
        if isinstance(other, Mapping):
            origin = f"another driver of {run.path} that is at work now"
            require_same_settings(settings, other, origin=origin)
