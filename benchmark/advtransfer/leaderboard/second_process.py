"""A second process for the pages of large runs.

It is a copy of this one (fork), so that it has all that was read without being sent it. It sends back a value that is
small beside the work, and everything it computes is what this process would have computed.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

Value = TypeVar("Value")

LARGE_TRIALS = 3_000
"""Number of trials from which a page is made by two processes: it takes some 7 seconds in one."""


def compute_beside(function: Callable[[], Value], *, trials: int) -> Callable[[], Value]:
    """Begin to compute a value in a second process, and return a function that waits for it.

    For a small run, or where no copy of this process can be made, the value is computed here once it is waited for;
    so it is if the second process ends without one, for want of memory or by an error, which is then raised here.

    Args:
        function: Computes the value, and changes nothing that the first process needs meanwhile.
        trials: Number of trials of the run.
    """
    if not pays_beside(trials):
        return function
    _give_back_memory()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    # Not of `multiprocessing`'s default method, which starts the caller's script again.
    process = multiprocessing.get_context("fork").Process(
        target=_send_value, args=(receiver, sender, function), daemon=True
    )
    with warnings.catch_warnings():
        # Threads of BLAS, which its libraries start again in a copy; others were excluded above.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()

    def wait_for_value() -> Value:
        try:
            value: Value = receiver.recv()
        except (EOFError, OSError):  # the latter if it ended while it sent
            return function()
        finally:
            receiver.close()
            process.join()
        return value

    return wait_for_value


def pays_beside(trials: int) -> bool:
    """Return whether the page of a run is made by two processes: it is large, and this process can be copied."""
    if trials < LARGE_TRIALS:
        return False
    # A copy has no other threads, but the locks that they held; macOS forbids more than that.
    if sys.platform != "linux" or threading.active_count() > 1:
        return False
    return len(os.sched_getaffinity(0)) > 1 and not multiprocessing.current_process().daemon


def _give_back_memory() -> None:
    """Give freed memory back to the system, which both processes would otherwise have and fill."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def _send_value(receiver: Connection, sender: Connection, function: Callable[[], Value]) -> None:
    # Its copy here: held open, it would let this process wait for ever for a first one that was killed.
    receiver.close()
    try:
        sender.send(function())
    except (
        BaseException
    ):  # also Ctrl-C; the first process raises an error again, with its own context
        os._exit(1)
