"""The exceptions of advtransfer, as one tree.

AdvTransferError
├── BadInput            the user's input is wrong; holds every problem (exit code 2)
│   └── UnknownName     no component has this name; holds the most similar names
├── PluginError         a plugin breaks its contract; names the plugin
├── ModelError          a model does not return logits, or has no gradient
├── MissingLibrary      a library is not installed; gives the pip command where it is known
├── Diverged            a training had a non-finite loss; deterministic, so not retried
├── Leaked              training images are also test images, and the suite treats that as an error
├── TimeLimitExceeded   a step was stopped at its time limit; tried again by the next run
├── Inapplicable        a cell of the grid is not applicable; skipped with this reason
├── CacheError          an artifact cannot be read, written or reproduced
│   └── Busy            another worker is building this node; the job is tried again later
│       ├── Unfit       this process cannot run further jobs; another one continues the job
│       └── ClaimLost   this process stood still, and another one has taken over what it held
└── Cancelled           the run is stopping
Interrupted             the user stopped the run; not an error of the job that was running
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advtransfer.deprecation import deprecated_names


class AdvTransferError(Exception):
    """Base class of every error that advtransfer raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A position in a file: 1-based line and column."""

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

    @property
    def mark(self) -> Location | None:
        """Deprecated name of `location`."""
        return self.location

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        return f"{where}found {self.found}; expected {self.expected}; {self.next_step}"


class AbsentFile(Problem):
    """A file or folder that the input names and that is not here: another machine may have it."""

    __slots__ = ()


class BadInput(AdvTransferError):
    """Wrong user input; `problems` holds every mistake, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class AdvTransferWarning(UserWarning):
    """User input or data that may be a mistake; the run continues and prints one line."""


class UnknownName(BadInput):
    """A name that no component has; `near` holds similar names, the most similar first."""

    def __init__(self, name: str, expected: str, near: Iterable[str] = ()) -> None:
        self.name = name
        self.expected = expected
        self.near = tuple(near)
        next_step = f"did you mean {self.near[0]!r}?" if self.near else "correct it"
        super().__init__([Problem(repr(name), expected, next_step)])


class PluginError(AdvTransferError):
    """A plugin that breaks its contract."""

    def __init__(self, plugin: str, message: str) -> None:
        self.plugin = plugin
        super().__init__(f"plugin {plugin!r}: {message}")


class ModelError(AdvTransferError):
    """A model that does not return logits, or has no gradient with respect to its inputs."""


class MissingLibrary(AdvTransferError):
    """A library that a component needs and that is not installed.

    Args:
        library: The library's name.
        component: What needs it, as the message names it.
        install: The command that installs it, where it is known.
        where: Which module imports it, and in which file.
    """

    def __init__(
        self, library: str, component: str, install: str | None = None, *, where: str = ""
    ) -> None:
        self.library = library
        if install:
            next_step = f"run: {install}"
        else:
            importer = f"{where}; " if where else ""
            next_step = f"{importer}install what its documentation names, or correct the import"
        super().__init__(
            f"{component} needs the library {library!r}, which is not installed; {next_step}"
        )


class Diverged(AdvTransferError):
    """A training with a non-finite loss; deterministic, so it is not retried."""

    def __init__(self, epoch: int, loss: float) -> None:
        self.epoch = epoch
        self.loss = loss
        super().__init__(f"diverged in epoch {epoch}: loss {loss}")

    # By default pickle calls the class with the message alone, which does not fit this signature.
    def __reduce__(self) -> tuple[type[Diverged], tuple[int, float]]:
        return Diverged, (self.epoch, self.loss)


class Leaked(AdvTransferError):
    """Training images that are also test images, where the suite says ``leakage: error``."""

    def __init__(self, counts: str) -> None:
        super().__init__(
            f"found leaked images ({counts}); expected none, since the target says `leakage: error`; "
            "remove them from the data, or write `leakage: count` to go on and show them"
        )


class TimeLimitExceeded(AdvTransferError):
    """A step of a job that was stopped because it took longer than its limit."""


class Inapplicable(AdvTransferError):
    """A cell of the grid that is not applicable; the message is the reason shown for the skip."""


class CacheError(AdvTransferError):
    """An artifact that cannot be read, written or reproduced."""


class Busy(CacheError):
    """A node that another worker is building; the job is put back into the queue, never waited for."""


class Unfit(Busy):
    """A process in which a plugin left something running; another process continues the job."""


class ClaimLost(Busy):
    """A lock that another process took over, since this one did not renew it; nothing is published."""


class Cancelled(AdvTransferError):
    """A job that ends because the run is stopping."""


class Interrupted(KeyboardInterrupt):
    """The user stopped a run whose jobs run in this process.

    A class of its own, because a plugin may raise KeyboardInterrupt, which is a failure of its job.
    """


if not TYPE_CHECKING:  # Hidden from mypy, so that it reports uses of the old names.
    __getattr__ = deprecated_names(
        __name__,
        {
            "Mark": "advtransfer.errors:Location",
        },
    )
