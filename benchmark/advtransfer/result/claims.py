"""Claims of jobs in a run folder: machines that share this folder alone do no job twice.

    claims/jobs/<id[:2]>/<id>

A claim is a lock (`advtransfer.cache.lock`) whose token fences what is published under it: see `Run.publish`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from advtransfer.cache.lock import HeldLock, LockClaim, binding_lock, binding_locks, hold

CLAIMS_FOLDER = "claims"


def hold_job_claim(run: Path, id: str) -> AbstractContextManager[HeldLock]:
    """Hold the claim of a job while the context is open; raise Busy when another process holds it."""
    return hold(_claim_path(run, id), what="job")


def binding_job_claim(run: Path, id: str) -> LockClaim | None:
    """Return the claim of a job if it binds."""
    path = _claim_path(run, id)
    return binding_lock(path) if path.exists() else None


def binding_job_claims(run: Path) -> dict[str, LockClaim]:
    """Return the claims of jobs that bind, by the job's id."""
    claims: dict[str, LockClaim] = {}
    for folder in sorted((run / CLAIMS_FOLDER / "jobs").glob("[0-9a-f][0-9a-f]")):
        claims |= {path.name: claim for path, claim in binding_locks(folder).items()}
    return claims


def _claim_path(run: Path, id: str) -> Path:
    # Spread over folders, since every change happens under the guard of one.
    return run / CLAIMS_FOLDER / "jobs" / id[:2] / id
