"""What can go wrong, as one tree.

AdvTransferError
├── BadInput            the user's words are wrong: every problem at once (exit code 2)
├── UnknownName         no component has this name; knows the nearest ones
├── PluginError         a plugin does not keep the contract; names the plugin
├── ModelError          a model gives something else than logits, or no gradient
├── MissingLibrary      a library is absent; says the pip command where it is known
├── Diverged            a fit or training gave a non-finite loss; deterministic, so not retried
├── Leaked              training images are among those measured on, and the suite calls that an error
├── Inapplicable        a cell of the grid makes no sense: skipped with this reason
├── CacheError          an artifact cannot be read, written or reproduced
│   └── Busy            another worker is building this node: come back later
│       └── Unfit       this process is no longer fit for the job: another one goes on with it
└── Cancelled           the run is stopping
Interrupted             the user has stopped the run: no error, and no failure of what was running
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.deprecation import deprecated_names


class AdvTransferError(Exception):
    """The base of every error that advtransfer raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file: 1-based line and column."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the user's input: what was found, where, what was expected, the next step."""

    found: str
    expected: str
    next_step: str
    location: Location | None = None

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        return f"{where}found {self.found}; expected {self.expected}; {self.next_step}"


class BadInput(AdvTransferError):
    """The user's words are wrong; holds every problem found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class AdvTransferWarning(UserWarning):
    """Something in the user's data or words that may not be meant; a run goes on, and shows it as a line."""


class UnknownName(AdvTransferError):
    """No component has this name; `near` holds the names it may have meant, best first."""

    def __init__(self, name: str, expected: str, near: Iterable[str] = ()) -> None:
        self.name, self.expected, self.near = name, expected, tuple(near)
        hint = f"; did you mean {self.near[0]!r}?" if self.near else ""
        super().__init__(f"found {name!r}; expected {expected}{hint}")


class PluginError(AdvTransferError):
    """A plugin does not keep the contract."""

    def __init__(self, plugin: str, message: str) -> None:
        self.plugin = plugin
        super().__init__(f"plugin {plugin!r}: {message}")


class ModelError(AdvTransferError):
    """A model gives something else than logits, or no gradient of its inputs."""


class MissingLibrary(AdvTransferError):
    """A library that a component needs is not installed.

    `install` is the command that brings it, where it is known; `where` says what imports it.
    """

    def __init__(
        self, library: str, component: str, install: str | None = None, *, where: str = ""
    ) -> None:
        self.library = library
        told = f"{component} needs the library {library!r}, which is not installed"
        place = f"{where}; " if where else ""
        unknown = f"{place}install what its documentation names, or correct the import"
        super().__init__(f"{told}; run: {install}" if install else f"{told}; {unknown}")


class Diverged(AdvTransferError):
    """A training gave a loss that is not finite; the same inputs do so again, so it is not retried."""

    def __init__(self, epoch: int, loss: float) -> None:
        self.epoch, self.loss = epoch, loss
        super().__init__(f"diverged in epoch {epoch}: loss {loss}")

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, float]]:
        return Diverged, (self.epoch, self.loss)


class Leaked(AdvTransferError):
    """Images of a training set are among those measured on, and the suite says ``leakage: error``."""

    def __init__(self, counts: str) -> None:
        super().__init__(
            f"found leaked images ({counts}); expected none, since the target says `leakage: error`; "
            "remove them from the data, or write `leakage: count` to go on and show them"
        )


class Inapplicable(AdvTransferError):
    """This cell of the grid makes no sense; the message is the reason shown for the skip."""


class CacheError(AdvTransferError):
    """An artifact cannot be read, written or reproduced."""


class Busy(CacheError):
    """Another worker holds the lease on this node; the job is put back, never waited on."""


class Unfit(Busy):
    """A plugin left something running in this process: the rest of the job is for another one."""


class Cancelled(AdvTransferError):
    """The run is stopping."""


class Interrupted(KeyboardInterrupt):
    """The user has stopped a run whose jobs run in this process: told from a KeyboardInterrupt that a plugin raises."""


if not TYPE_CHECKING:  # mypy then reports an old name, as it should
    __getattr__ = deprecated_names(
        __name__,
        {
            "Mark": "advtransfer.errors:Location",
        },
    )
