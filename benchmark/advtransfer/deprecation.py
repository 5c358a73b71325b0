"""Deprecated names of the public surface that plugins may still import."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping


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
