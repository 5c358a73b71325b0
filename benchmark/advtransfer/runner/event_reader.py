"""Reading a run's event log, of this version and of earlier ones (docs/events.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from advtransfer.types import Json

EVENT_LOG_VERSION = 1
"""Version of the event log, in each `run_started`. A field or an event that is added does not raise it."""


def read_events(log: Path) -> Iterator[Mapping[str, Json]]:
    """Yield the events of a log; none where there is no log.

    A line that a killed run left torn is passed over. A log of earlier releases states no version and
    has the same events with fewer fields; of a later version, what is known of it is read.
    """
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    yield event
    except FileNotFoundError:
        return
