"""A failure as an attempt on disk: its reason in words, its traceback, and whether it would end so again."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Literal, TypeAlias, cast

from advtransfer.errors import AdvTransferError, Diverged, Inapplicable, Leaked
from advtransfer.node import Node
from advtransfer.result import Run, attempt
from advtransfer.types import Job, Json

Ending: TypeAlias = tuple[Literal["failed", "skipped"], str]
"""What became of a step, and the reason."""


def failed(job: Job, run: Run, node: Node, error: BaseException, started: float) -> Ending:
    """Put a failure on disk; what the plugins say of themselves needs no traceback to be understood, but has one."""
    from advtransfer.trial.workshop import installed

    status: Literal["failed", "skipped"] = "skipped" if isinstance(error, Inapplicable) else "failed"
    reason = reason_of(error)
    record = attempt(
        node,
        status=status,
        reason=reason,
        exception=type(error).__name__,
        traceback="".join(traceback.format_exception(error)),
        deterministic=isinstance(error, Diverged | Inapplicable | Leaked),
        environment=job.environment,
        observed={
            "asked_by": job.asked_by,
            "started": started,
            "seconds": time.time() - started,
            "code": cast(Json, installed().code_of(node)),
        },
    )
    run.write_attempt(record)
    return status, reason


def reason_of(error: BaseException) -> str:
    """An error in words: its text, with its class unless it is one of ours; where it was raised, if it has no text."""
    told = str(traceback.TracebackException.from_exception(error)).strip()
    if isinstance(error, AdvTransferError) and told:
        return told
    return f"{type(error).__name__}: {told or _origin(error)}"


def _origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "no reason given"
    last = frames[-1]
    return f"raised without a word in {last.name} ({'/'.join(Path(last.filename).parts[-2:])}:{last.lineno})"
