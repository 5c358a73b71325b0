"""Deprecated names of the public surface, which plugins may still import."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping


def deprecated_names(module: str, new_names: Mapping[str, str]) -> Callable[[str], object]:
    """Return a module ``__getattr__`` (PEP 562) that answers old names with the objects of today.

    Args:
        module: The module that had the old names.
        new_names: For each old name the new one, as ``module:name``.

    The new module is imported on access only: an import at the top could close a circle.
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
        return getattr(importlib.import_module(new_module), new_name)

    return find_deprecated
