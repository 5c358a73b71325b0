"""What is said of locks whose owners are on other hosts, where nobody can ask whether they still run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from advtransfer.cache import Cache
from advtransfer.cache.lock import LockClaim, describe_owner
from advtransfer.result import Run
from advtransfer.result.claims import binding_job_claims
from advtransfer.text import pluralize


def waiting_text(locks: Iterable[tuple[str, LockClaim]]) -> str:
    """Return whose locks are waited for, and how long; ``""`` without locks of other hosts.

    Args:
        locks: What is locked, as a noun (``job``), and the lock.
    """
    foreign = [(what, claim) for what, claim in locks if claim.owner.is_alive() is None]
    if not foreign:
        return ""
    held: dict[str, Counter[str]] = {}
    for what, claim in foreign:
        held.setdefault(describe_owner(claim.owner), Counter())[what] += 1
    parts = [
        f"{owner} holds {' and '.join(pluralize(count, what) for what, count in counts.items())}"
        for owner, counts in held.items()
    ]
    seconds = max(claim.seconds_left for _, claim in foreign)
    return (
        f"{'; '.join(parts)}; nobody here can ask whether it still runs, so it is waited for "
        f"at most {seconds:.0f} s, unless it renews them"
    )


def foreign_work_text(run: Run, cache: Cache, drivers: Iterable[LockClaim]) -> str:
    """Return whose jobs and artifacts a run may wait for, and how long; ``""`` for nobody's.

    Args:
        run: The run folder.
        cache: The cache of the run's environment.
        drivers: The drivers at work in the run folder: what their hosts hold is being done.
    """
    hosts = {driver.owner.host for driver in drivers}
    locks = [
        *(("job", claim) for claim in binding_job_claims(run.path).values()),
        *(("artifact", claim) for claim in cache.binding_locks()),
    ]
    return waiting_text((what, claim) for what, claim in locks if claim.owner.host not in hosts)
