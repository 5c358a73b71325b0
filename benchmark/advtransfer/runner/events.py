"""What happens in a run, told to every listener and kept in the run's event log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, cast

from advtransfer.host import Host
from advtransfer.plan import Trial
from advtransfer.types import Json

Listener: TypeAlias = Callable[[Mapping[str, Json]], None]
QUIET = frozenset({"progress", "step_started"})
"""Events that are news for a moment and not kept."""


class Events:
    """Tells each event to the listeners, and appends it to ``events.jsonl``."""

    def __init__(self, log: Path, listeners: Iterable[Listener]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        torn = log.exists() and not log.read_bytes().endswith(b"\n")
        self._log = log.open("a", encoding="utf-8")
        self._listeners = tuple(listeners)
        if torn:  # a killed run left half a line; it stays, on a line of its own
            self._log.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._log.close()

    def tell(self, event: str, **facts: Json) -> None:
        """Tell one event, with the time unless the facts have it."""
        told: dict[str, Json] = {"event": event, "time": time.time(), **facts}
        if event not in QUIET:
            self._log.write(json.dumps(told, ensure_ascii=False) + "\n")
            self._log.flush()
        for listener in self._listeners:
            listener(told)


def place(trial: Trial) -> dict[str, Json]:
    """A trial as events carry it."""
    return {
        "id": trial.id,
        "name": trial.name,
        "source": trial.source,
        "adapter": trial.adapter,
        "target": trial.target,
        "n": trial.n,
        "seed": trial.seed,
        "transfer": trial.transfer,
    }


def to_hooks(host: Host) -> Listener:
    """A listener that passes the news of trials on to the plugins' hooks."""
    carried = {
        "trial_finished": ("trial", "metrics"),
        "trial_skipped": ("trial", "reason"),
        "trial_failed": ("trial", "reason"),
        "trial_started": ("trial",),
    }

    def listener(event: Mapping[str, Json]) -> None:
        name = cast(str, event["event"])
        if name in carried:
            getattr(host.hook, name)(**{key: event[key] for key in carried[name]})

    return listener
