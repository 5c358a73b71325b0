"""Deprecated names that plugins may still import, and deprecated hooks that they may still implement."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO


def deprecated_names(module: str, new_names: Mapping[str, str]) -> Callable[[str], object]:
    """Return a module ``__getattr__`` (PEP 562) that resolves old names to the current objects.

    Args:
        module: The module that had the old names.
        new_names: The new name of each old one, as ``module:name``.
    """

    def find_deprecated(name: str) -> object:
        if name not in new_names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, _, new_name = new_names[name].partition(":")
        warnings.warn(
            f"{module}.{name} is now {new_module}.{new_name}; import it from there",
            DeprecationWarning,
            stacklevel=2,
        )
        # Imported on access only: an import at the top of this module could close an import circle.
        return getattr(importlib.import_module(new_module), new_name)

    return find_deprecated


class HookDeprecation(DeprecationWarning):
    """The deprecation of a hook or of one of its arguments, declared in the hook's specification.

    A hook is marked ``@hookspec(warn_on_impl=HookDeprecation(...))``, an argument
    ``@hookspec(warn_on_impl_args={"argument": HookDeprecation(...)})``. The host warns once of each
    plugin that implements the hook or names the argument.

    Args:
        since: The release that deprecates it, such as "0.3".
        removal: The first release without it, at least one minor version later.
        instead: An instruction to the plugin's author, such as "implement record_written".
        subject: The use that is warned of, which the host fills in.
    """

    def __init__(self, *, since: str, removal: str, instead: str, subject: str = "it") -> None:
        self.since = since
        self.removal = removal
        self.instead = instead
        times = f"deprecated since advtransfer {since} and removed in {removal}"
        super().__init__(f"{subject} is {times}; {instead}")

    def used_as(self, subject: str) -> HookDeprecation:
        """Return the same deprecation as a warning of one use."""
        return HookDeprecation(
            since=self.since, removal=self.removal, instead=self.instead, subject=subject
        )


class SuiteRenamed(FutureWarning):
    """A shipped suite that is asked for by its name in an earlier release."""


@contextmanager
def hook_deprecations_to(show: Callable[[str], object]) -> Iterator[None]:
    """Pass the text of each `HookDeprecation` and `SuiteRenamed` to `show`, once, while the context is open.

    Outside they have the fate of their class: Python ignores a `DeprecationWarning`, and shows a `FutureWarning`.
    """
    shown: set[str] = set()

    def take(message: Warning | str, category: type[Warning]) -> bool:
        if not issubclass(category, HookDeprecation | SuiteRenamed):
            return False
        if str(message) not in shown:
            shown.add(str(message))
            show(str(message))
        return True

    with warnings.catch_warnings():
        warnings.simplefilter("always", HookDeprecation)
        warnings.simplefilter("always", SuiteRenamed)
        with shown_warnings_to(take):
            yield


@contextmanager
def shown_warnings_to(take: Callable[[Warning | str, type[Warning]], bool]) -> Iterator[None]:
    """Offer each warning that Python would write to stderr to `take`, while the context is open.

    Args:
        take: Gets message and category; where it returns False, the warning is shown as before.
    """
    before: Any = warnings.showwarning  # Any: typeshed has no name for its type

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not take(message, category):
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
