"""Detection of side effects that plugins have on the model and on the process.

Side effects are undone and marked on the results. After a lasting one the worker process is replaced
before another job.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from torch import nn

from advtransfer.types import Check, Json
from advtransfer.worker.guards.interpreter_state import InterpreterState
from advtransfer.worker.guards.model_state import ModelState
from advtransfer.worker.guards.namespaces import Namespaces
from advtransfer.worker.guards.process_state import LibrarySettings, RandomState, RunningThreads

NOTHING_CHANGED = "weights, modes, .grad and global random state are as they were"


@dataclass(slots=True)
class SideEffects:
    """Descriptions of what a guarded piece of code changed; empty when it changed nothing.

    Args:
        changed: All changes.
        lasting: The changes after which another process should take over, although all of them
            except running threads are undone.
        running_threads: Threads that were started and still run.
        undone: Changes of the interpreter, on which no number depends once they are undone. Only
            the kit names them.
    """

    changed: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)
    running_threads: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)

    @property
    def all_changes(self) -> tuple[str, ...]:
        """All changes, also those of the interpreter."""
        return (*self.changed, *self.undone)

    def to_check(self) -> Check:
        """Return the check that counts the changes."""
        return untouched_check(self.changed)


def untouched_check(changes: Sequence[str]) -> Check:
    """Return the check that counts changes; it fails if there is any."""
    text = ", ".join(changes) or NOTHING_CHANGED
    return Check("untouched", "fail" if changes else "pass", len(changes), 0, 1, text)


@dataclass(slots=True)
class LatestNamespaces:
    """The namespaces at the last look of a guard of a job; None if they have changed since a guard began.

    Between two guards of a job no component runs, so that the next one begins with them.
    """

    snapshot: Namespaces | None = None


@contextmanager
def guard_side_effects(
    model: nn.Module | None,
    *,
    draws: bool = False,
    fits: bool = False,
    latest: LatestNamespaces | None = None,
) -> Iterator[SideEffects]:
    """Detect and undo what the code inside changes of the model or of the process.

    Changes are undone also when the code raises, so that the next measurement finds the model and
    the process as they were. A child process that the code has forked, and that leaves it as this one
    does, ends there: two processes would go on with the job.

    Args:
        model: The model that the code receives.
        draws: Whether the code may draw from torch's global random state, as the first weights of
            a layer do. Code that fits nothing may also seed it first: the state is restored.
        fits: Whether the code may change the model's weights, modes and layers; its hooks and
            methods it may not.
        latest: Shared by the guards of a job, so that only the first one copies all namespaces.
    """
    found = SideEffects()
    latest = latest or LatestNamespaces()
    process = os.getpid()
    settings = LibrarySettings.capture()
    namespaces = latest.snapshot or Namespaces.capture()
    latest.snapshot = namespaces
    interpreter = InterpreterState.capture()
    threads = RunningThreads.capture()
    random_state = RandomState.capture()
    model_state = None if model is None else ModelState.capture(model, values=not fits)
    try:
        yield found
    finally:
        if os.getpid() != process:
            os._exit(0)
        lasting = []
        # Shared state comes first: everything after it is computed with it.
        if changes := settings.list_changes():
            lasting += changes
            settings.put_back()
        same_namespaces = namespaces.is_unchanged
        if not same_namespaces and (changes := namespaces.list_changes()):
            lasting += changes
            namespaces.put_back()
        stays = same_namespaces and namespaces.has_all_classes
        latest.snapshot = namespaces if stays else None
        if changes := interpreter.list_changes():
            found.undone += changes
            interpreter.put_back()
        found.running_threads += threads.list_changes()
        if model_state is not None:
            if not fits:
                found.changed += model_state.list_changes()
            lasting += model_state.list_patches(settings=not fits)
            _undo_model_changes(model_state, fits=fits)
        if not random_state.is_unchanged:
            _add_random_use(found, random_state, draws=draws, fits=fits)
            random_state.put_back()
        found.changed += [*lasting, *found.running_threads]
        found.lasting += [*lasting, *found.running_threads]


def _undo_model_changes(model_state: ModelState, *, fits: bool) -> None:
    if fits:
        model_state.remove_patches()
    else:
        model_state.put_back()


def _add_random_use(
    found: SideEffects, random_state: RandomState, *, draws: bool, fits: bool
) -> None:
    """Add a forbidden use of global random generators to `found`."""
    used = random_state.used_generators()
    # Code that may draw and fits nothing may seed as well, so it is not examined.
    seeded = [] if draws and not fits else random_state.seeded_generators()
    if seeded or (used and not draws):
        names = ", ".join(seeded if draws else used)
        text = f"global random state was used: {names}"
        found.changed.append(text)
        if seeded:
            found.lasting.append(text)


@dataclass(slots=True)
class SideEffectLog:
    """Side effects of one job.

    Args:
        lasting_effects: Reasons why no other job may run in this process.
        result_effects: Effects that mark every result of the job; those of an evaluation mark its
            own result alone.
        running_threads: Threads that still run and that nobody can stop.
        latest_namespaces: What the guards of the job share.
    """

    lasting_effects: list[str] = field(default_factory=list)
    result_effects: list[str] = field(default_factory=list)
    running_threads: list[str] = field(default_factory=list)
    latest_namespaces: LatestNamespaces = field(default_factory=LatestNamespaces)

    @property
    def checks(self) -> list[Check]:
        """The failed check for side effects of this job; empty if there were none."""
        changes = list(dict.fromkeys(self.result_effects))
        return [untouched_check(changes)] if changes else []

    def artifact_facts(self, who: str, found: SideEffects) -> dict[str, Json]:
        """Return the facts with which an artifact records the side effects of its making."""
        return {"left": [f"{who}: {text}" for text in found.changed]} if found.changed else {}

    def add_from_artifact(self, facts: Mapping[str, Json]) -> None:
        """Add the side effects that an artifact records: they mark everything made from it."""
        self.result_effects += cast("list[str]", facts.get("left", []))

    @contextmanager
    def guard_component(
        self, who: str, model: nn.Module | None = None, *, own: bool = False, fits: bool = False
    ) -> Iterator[SideEffects]:
        """Detect, undo and log the side effects of a component that runs inside.

        Args:
            who: The component.
            model: The model that it receives.
            own: Whether its effects mark only the result that is made inside. Such a component may
                not draw from global random state; others may, for the first weights of a layer.
            fits: Whether it may change the model's weights.
        """
        try:
            with guard_side_effects(
                model, draws=not own, fits=fits, latest=self.latest_namespaces
            ) as found:
                yield found
        finally:
            if not own:
                self.result_effects += [f"{who}: {text}" for text in found.changed]
            self.lasting_effects += [f"{who}: {text}" for text in found.lasting]
            self.running_threads += [f"{who}: {text}" for text in found.running_threads]
