"""Rules for executors; jobs themselves need a run folder, and are tried by running a suite."""

from __future__ import annotations

from typing import cast

from advtransfer.jobs import Executor
from advtransfer.testing.kit.check import presupposed, require
from advtransfer.testing.kit.running import undisturbed
from advtransfer.testing.kit.specimen import Specimen


def has_slots(specimen: Specimen) -> None:
    """It runs at least one job at a time."""
    slots = cast(Executor, specimen.product()).slots
    is_count = isinstance(slots, int) and not isinstance(slots, bool) and slots >= 1
    require(is_count, f"{slots!r} slots", "1 or more")


def starts_and_stops(specimen: Specimen) -> None:
    """Without a job it starts, has no news, and stops, leaving no thread and no setting changed."""
    with presupposed("has_slots"):
        has_slots(specimen)
    executor = cast(Executor, specimen.product())
    with undisturbed(), executor.start() as started:
        news = list(started.news())
        started.stop(grace=1.0)
    require(not news, f"{len(news)} messages without a job", "none")


RULES = (has_slots, starts_and_stops)
