"""Events of a run: sent to every listener, and appended to the run's event log."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO, TypeAlias, cast

from advtransfer.host import Host
from advtransfer.planning import Trial
from advtransfer.text import printable_text
from advtransfer.types import Json

Listener: TypeAlias = Callable[[Mapping[str, Json]], object]
TRANSIENT_EVENTS = frozenset({"progress", "record_written", "step_started"})
"""Events that are sent to listeners and not logged."""

PLUGIN_EVENTS: dict[str, dict[str, str]] = {
    "run_started": {"run": "run_facts", "plan": "plan"},
    "record_written": {"record": "record"},
    "run_finished": {"run": "run_facts", "summary": "summary", "files": "files"},
    "trial_finished": {
        "trial": "trial",
        "metrics": "metrics",
        "upper_bounds": "upper_bounds",
        "intervals": "intervals",
    },
    "trial_skipped": {"trial": "trial", "reason": "reason"},
    "trial_failed": {"trial": "trial", "reason": "reason"},
    "trial_started": {"trial": "trial"},
}
"""Events that plugins have hooks for, with the arguments that the hooks may take and their facts."""

MAX_MESSAGE = 300  # characters of a plugin's line


class EventLog:
    """Sends each event to the listeners, and appends it to ``events.jsonl``.

    A listener that raises is reported, once per kind of event and error, and the run continues.
    """

    def __init__(self, log: Path, listeners: Iterable[Listener]) -> None:
        self._path = log
        self._log: TextIO | None = None
        self._listeners = tuple(listeners)
        self._reported_errors: set[tuple[str, str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._log is not None:
            self._log.close()

    def is_heard(self, event: str) -> bool:
        """Return whether a plugin has a hook for an event; otherwise it need not be prepared."""
        return any(
            isinstance(listener, PluginListener) and event in listener.hooks
            for listener in self._listeners
        )

    def emit(
        self,
        event: str,
        unlogged: Mapping[str, Json] | None = None,
        logged: bool = True,
        /,
        **facts: Json,
    ) -> None:
        """Send and log one event; its time is now unless the facts have one.

        Args:
            event: Name of the event.
            unlogged: Facts for listeners that are not logged, since they are large and on disk.
            logged: Whether it goes to the log; another driver has logged what it did itself.
            **facts: Facts of the event.
        """
        message: dict[str, Json] = {"event": event, "time": time.time(), **facts}
        if logged and event not in TRANSIENT_EVENTS:
            self._append(json.dumps(message, ensure_ascii=False))
        message |= unlogged or {}
        for listener in self._listeners:
            try:
                answer = listener(message)
                if event == "run_started" and isinstance(answer, str):
                    self._tell_answer(listener, answer)
            except KeyboardInterrupt:
                raise
            # SystemExit too: the outage of a tracker must not end a benchmark.
            except BaseException as error:
                self._warn_of_listener(listener, event, error)

    def _append(self, line: str) -> None:
        """Append a line to the log, which several drivers may share over a network."""
        is_first = self._log is None
        if self._log is None:
            # Not before the first event: a folder that is refused is left as it is.
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._log = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        # Network file systems append at the end that they know of; a lock makes them look again.
        fcntl.flock(self._log, fcntl.LOCK_EX)
        try:
            if is_first and _ends_within_a_line(self._path):
                # A killed run left half a line. A newline keeps it from spoiling the next event.
                line = f"\n{line}"
            self._log.write(f"{line}\n")
            self._log.flush()
        finally:
            fcntl.flock(self._log, fcntl.LOCK_UN)

    def warn(self, text: str) -> None:
        """Emit a warning: something a user should know that does not stop the run."""
        self.emit("warning", text=text)

    def _tell_answer(self, listener: Listener, answer: str) -> None:
        text = " ".join(printable_text(answer).split())[:MAX_MESSAGE]
        self.emit("plugin_message", plugin=str(getattr(listener, "plugin", "")), text=text)

    def _warn_of_listener(self, listener: Listener, event: str, error: BaseException) -> None:
        name = getattr(listener, "plugin", type(listener).__name__)
        kind = (str(name), event, type(error).__name__)
        if kind in self._reported_errors:
            return
        # Added before warning: the warning is an event too, and the same listener may raise again.
        self._reported_errors.add(kind)
        self.warn(
            f"the listener {name} raised {type(error).__name__} at {event}: {error}; "
            "the run goes on"
        )


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def trial_fields(trial: Trial) -> dict[str, Json]:
    """Return the fields of a trial that events carry."""
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


@dataclass(frozen=True, slots=True)
class PluginListener:
    """A listener that passes events on to the hooks of one plugin."""

    plugin: str
    hooks: Mapping[str, Callable[..., object]]

    def __call__(self, event: Mapping[str, Json]) -> object:
        """Call the plugin's hook for this event, if it has one, and return its answer."""
        name = cast(str, event["event"])
        return self.hooks[name](event) if name in self.hooks else None


def plugin_listeners(host: Host) -> list[Listener]:
    """Return a listener for each loaded plugin that has a hook for events.

    One per plugin rather than pluggy's call of all hooks, so that an error names its plugin and
    keeps no other plugin from its event.
    """
    hooks_by_plugin: dict[str, dict[str, Callable[..., object]]] = {}
    for name, facts in PLUGIN_EVENTS.items():
        for hook in getattr(host.hook, name).get_hookimpls():
            wanted = tuple(facts[one] for one in hook.argnames if one in facts)
            hooks = hooks_by_plugin.setdefault(str(hook.plugin_name), {})
            hooks[name] = partial(_call_hook, hook.function, wanted)
    return [PluginListener(plugin, hooks) for plugin, hooks in sorted(hooks_by_plugin.items())]


def _call_hook(
    function: Callable[..., object], wanted: tuple[str, ...], event: Mapping[str, Json]
) -> object:
    return function(*(event[fact] for fact in wanted))
