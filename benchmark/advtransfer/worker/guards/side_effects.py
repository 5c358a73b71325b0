"""Side effects of plugins on the model and on the process.

Detected, undone, and marked on the results.

After a lasting side effect the worker process is replaced before another job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from torch import nn

from advtransfer.types import Check, Json
from advtransfer.worker.guards.model_state import ModelState
from advtransfer.worker.guards.namespaces import Namespaces
from advtransfer.worker.guards.process_state import LibrarySettings, RandomState, RunningThreads

NOTHING_CHANGED = "weights, modes, .grad and global random state are as they were"


@dataclass(slots=True)
class SideEffects:
    """What a watched piece of code changed, in words; empty when it changed nothing.

    `lasting` are those of the changes for which another process should take over, though all but `running` threads
    are put back.
    """

    changed: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)
    running_threads: list[str] = field(default_factory=list)

    def to_check(self) -> Check:
        """One check: how many kinds of things were changed."""
        return untouched_check(self.changed)


def untouched_check(changes: Sequence[str]) -> Check:
    """One check: how many kinds of things were changed."""
    text = ", ".join(changes) or NOTHING_CHANGED
    return Check("untouched", "fail" if changes else "pass", len(changes), 0, 1, text)


@contextmanager
def guard_side_effects(
    model: nn.Module | None, *, draws: bool = False, fits: bool = False
) -> Iterator[SideEffects]:
    """Watch the code inside; what it changed of the model or of the process is told, and put back.

    It is put back also when the code raises: what is measured next finds the model and the process as they were.

    Args:
        model: The model that it is handed.
        draws: Whether it may draw from torch's global random state, as the first weights of a layer do. What makes no
            fit may seed it before it draws as well: the state is put back.
        fits: Whether it is there to change the model's weights, modes and layers; not its hooks or methods.
    """
    found = SideEffects()
    shared, threads, randoms = (
        (LibrarySettings(), Namespaces.capture()),
        RunningThreads.capture(),
        RandomState.capture(),
    )
    before = None if model is None else ModelState.capture(model, values=not fits)
    try:
        yield found
    finally:
        lasting = []
        for one in shared:  # first: everything after it is computed with it
            if changes := one.list_changes():
                lasting += changes
                one.put_back()
        found.running_threads += threads.list_changes()
        if before is not None:
            found.changed += [] if fits else before.list_changes()
            lasting += before.list_patches(settings=not fits)
            before.put_back() if not fits else before.remove_patches()
        used, seeded = (
            randoms.used_generators(),
            [] if draws and not fits else randoms.seeded_generators(),
        )
        if seeded or (used and not draws):
            text = f"global random state was used: {', '.join(seeded if draws else used)}"
            found.changed.append(text)
            found.lasting += [text] if seeded else []
        if not randoms.is_unchanged:
            randoms.put_back()
        found.changed += [*lasting, *found.running_threads]
        found.lasting += [*lasting, *found.running_threads]


@dataclass(slots=True)
class SideEffectLog:
    """One job's account of it.

    Args:
        job: All of it, in words: why no other job may run in this process.
        trial: What marks every result of the job; an evaluation's own marks its own result alone.
        running: Threads that still run, which nobody can put back.
    """

    lasting_effects: list[str] = field(default_factory=list)
    result_effects: list[str] = field(default_factory=list)
    running_threads: list[str] = field(default_factory=list)

    @property
    def checks(self) -> list[Check]:
        """The check that marks what was made with something left behind; none where nothing was."""
        changes = list(dict.fromkeys(self.result_effects))
        return [untouched_check(changes)] if changes else []

    def artifact_facts(self, who: str, found: SideEffects) -> dict[str, Json]:
        """What an artifact says of how it was made; nothing where all was left as it was."""
        return {"left": [f"{who}: {text}" for text in found.changed]} if found.changed else {}

    def add_from_artifact(self, facts: Mapping[str, Json]) -> None:
        """Let an artifact that was made with something left behind mark what is made from it."""
        self.result_effects += cast("list[str]", facts.get("left", []))

    @contextmanager
    def guard_component(
        self, who: str, model: nn.Module | None = None, *, own: bool = False, fits: bool = False
    ) -> Iterator[SideEffects]:
        """Watch what a plugin does inside, and put down what it leaves behind.

        Args:
            who: The component.
            model: The model that it is handed.
            own: Whether it marks one result, which is made inside, and no other. Whoever does may not even draw from
                global random state; others may, for the first weights of a layer.
            fits: Whether it is there to change the model's weights.
        """
        try:
            with guard_side_effects(model, draws=not own, fits=fits) as found:
                yield found
        finally:
            self.result_effects += [] if own else [f"{who}: {text}" for text in found.changed]
            self.lasting_effects += [f"{who}: {text}" for text in found.lasting]
            self.running_threads += [f"{who}: {text}" for text in found.running_threads]
