"""The worker's side of a pool: takes jobs from its driver, tells news and reports, and ends when its driver does."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection

from advtransfer.trial import perform
from advtransfer.types import Job, Json, Report

PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``: the signal that a process gets when its parent ends."""


def work(wire: Connection, driver: int) -> None:
    """Carry out one job after the other until the driver hangs up; its own Ctrl-C is for the driver alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(driver)
    guard = threading.Lock()

    def send(message: Mapping[str, object]) -> None:
        text = json.dumps(message).encode()
        with guard:  # a plugin's threads may tell their progress as well
            wire.send_bytes(text)

    def tell(news: Mapping[str, Json]) -> None:
        send({"news": news})

    with suppress(EOFError, OSError):  # the driver has hung up
        while True:
            job: Job = wire.recv()
            send({"report": asdict(perform(job, tell))})


def report_of(message: Mapping[str, Json]) -> Report:
    """A report as `work` sent it."""
    fields = dict(message)
    records = fields.pop("records")
    return Report(**fields, records=tuple(records))  # type: ignore[arg-type]  # JSON that `asdict` of a report gave


def _end_with(driver: int) -> None:
    """Let this process end when its driver is gone: at once on Linux, also within C code that holds the GIL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(driver,), daemon=True).start()


def _watch(driver: int) -> None:
    """End this worker when the driver is gone, where the system does not, or did before it was asked to."""
    pause = threading.Event()
    while os.getppid() == driver:
        pause.wait(0.5)
    os._exit(1)
