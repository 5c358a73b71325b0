"""Whether a plugin left everything as it found it: the model, and what all that runs in the process shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from advtransfer.trial.library_settings import LibrarySettings
from advtransfer.trial.model_state import ModelState
from advtransfer.trial.namespaces import Namespaces
from advtransfer.trial.random_state import RandomState
from advtransfer.trial.running_threads import RunningThreads
from advtransfer.types import Check

AS_THEY_WERE = "weights, modes, .grad and global random state are as they were"


@dataclass(slots=True)
class Watched:
    """What a watched piece of code changed, in words; empty when it changed nothing.

    `lasting` are those of the changes for which another process should take over, though all but `running` threads
    are put back.
    """

    changed: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def check(self) -> Check:
        """One check: how many kinds of things were changed."""
        return untouched_check(self.changed)


def untouched_check(changes: Sequence[str]) -> Check:
    """One check: how many kinds of things were changed."""
    text = ", ".join(changes) or AS_THEY_WERE
    return Check("untouched", "fail" if changes else "pass", len(changes), 0, 1, text)


@contextmanager
def watched(model: nn.Module | None, *, draws: bool = False, fits: bool = False) -> Iterator[Watched]:
    """Watch the code inside; what it changed of the model or of the process is told, and put back.

    It is put back also when the code raises: what is measured next finds the model and the process as they were.

    Args:
        model: The model that it is handed.
        draws: Whether it may draw from torch's global random state, as the first weights of a layer do. What makes no
            fit may seed it before it draws as well: the state is put back.
        fits: Whether it is there to change the model's weights, modes and layers; not its hooks or methods.
    """
    found = Watched()
    shared, threads, randoms = (LibrarySettings(), Namespaces.now()), RunningThreads.now(), RandomState.now()
    before = None if model is None else ModelState.now(model, values=not fits)
    try:
        yield found
    finally:
        lasting = []
        for one in shared:  # first: everything after it is computed with it
            if changes := one.changed():
                lasting += changes
                one.put_back()
        found.running += threads.left()
        if before is not None:
            found.changed += [] if fits else before.changed()
            lasting += before.patched(settings=not fits)
            before.put_back() if not fits else before.unpatch()
        used, seeded = randoms.used(), [] if draws and not fits else randoms.seeded()
        if seeded or (used and not draws):
            text = f"global random state was used: {', '.join(seeded if draws else used)}"
            found.changed.append(text)
            found.lasting += [text] if seeded else []
        if not randoms.same:
            randoms.put_back()
        found.changed += [*lasting, *found.running]
        found.lasting += [*lasting, *found.running]
