"""Snapshot of what the interpreter shares with all code of a process.

Environment variables, warning filters, signal handlers and the recursion limit.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COMPILER_RECURSION_LIMIT = 2000
"""Recursion limit to which torch's compiler raises a lower one."""

COMPILER_VARIABLES = ("TORCH", "_TORCH", "TRITON_")
"""Beginnings of the environment variables in which torch's compiler leaves its settings while it compiles."""

WATCHED_SIGNALS = tuple(number for number in signal.Signals if number is not signal.SIGCHLD)
"""Signals whose handlers are compared; not SIGCHLD, whose handler torch's DataLoader sets for good."""


@dataclass(frozen=True, slots=True)
class InterpreterState:
    """State of the interpreter at one moment.

    Args:
        environment: Environment variables.
        warning_filters: What `warnings` does with which warning, the first match first.
        handlers: Signal handlers by signal; empty outside the main thread, where none can be set.
        recursion_limit: The largest depth of Python's stack.
        module_count: The number of imported modules.
    """

    environment: Mapping[str, str]
    warning_filters: tuple[Any, ...]  # Any: typeshed has no name for the type of a filter
    handlers: Mapping[signal.Signals, Any]  # Any: functions, numbers, or None for a handler in C
    recursion_limit: int
    module_count: int

    @classmethod
    def capture(cls) -> InterpreterState:
        """Return the current state."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        watched = WATCHED_SIGNALS if in_main_thread else ()
        return cls(
            environment=dict(os.environ),
            warning_filters=tuple(warnings.filters),
            handlers={number: signal.getsignal(number) for number in watched},
            recursion_limit=sys.getrecursionlimit(),
            module_count=len(sys.modules),
        )

    def list_changes(self) -> list[str]:
        """Return descriptions of the changes since; of environment variables the names alone.

        Variables and filters that were added while a module was imported are no change: many
        libraries add theirs when they are imported.
        """
        now = InterpreterState.capture()
        imported = now.module_count > self.module_count
        changes = []
        variables = self._changed_variables(now, imported=imported)
        if variables:
            changes.append(f"environment variables were changed: {', '.join(variables)}")
        if self._has_other_filters(now, imported=imported):
            changes.append("warning filters were changed")
        changes += [
            f"the handler of {number.name} was changed" for number in self._changed_handlers(now)
        ]
        if now.recursion_limit not in (
            self.recursion_limit,
            max(self.recursion_limit, COMPILER_RECURSION_LIMIT),
        ):
            limits = f"{self.recursion_limit} to {now.recursion_limit}"
            changes.append(f"the recursion limit was changed ({limits})")
        return changes

    def put_back(self) -> None:
        """Restore the state, but for variables and filters that are no change."""
        now = InterpreterState.capture()
        imported = now.module_count > self.module_count
        for name in self._changed_variables(now, imported=imported):
            if name in self.environment:
                os.environ[name] = self.environment[name]
            else:
                del os.environ[name]
        if self._has_other_filters(now, imported=imported):
            # Also has `warnings` forget what it has decided by the other filters.
            warnings.resetwarnings()
            warnings.filters = list(self.warning_filters)
        for number in self._changed_handlers(now):
            signal.signal(number, self.handlers[number])
        sys.setrecursionlimit(self.recursion_limit)

    def _changed_variables(self, now: InterpreterState, *, imported: bool) -> list[str]:
        before = self.environment
        changed = {name for name, value in before.items() if now.environment.get(name) != value}
        if not imported:
            added = now.environment.keys() - before.keys()
            changed |= {name for name in added if not name.startswith(COMPILER_VARIABLES)}
        return sorted(changed)

    def _has_other_filters(self, now: InterpreterState, *, imported: bool) -> bool:
        if imported:
            return any(one not in now.warning_filters for one in self.warning_filters)
        return self.warning_filters != now.warning_filters

    def _changed_handlers(self, now: InterpreterState) -> list[signal.Signals]:
        """Return the signals with another handler; a handler in C cannot be put back."""
        return [
            number
            for number, handler in self.handlers.items()
            if handler is not None and now.handlers.get(number) != handler
        ]
