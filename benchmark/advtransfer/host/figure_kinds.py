"""Checks of the kinds of figures that a plugin registers, and their names in suites."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from advtransfer.errors import PluginError
from advtransfer.host.plugin import HOST_NAME, Plugin
from advtransfer.types.figures import FigureKeyType, FigureKind

OWN_FIGURES = Plugin(HOST_NAME, "advtransfer.leaderboard.figure_kinds", "advtransfer", "")
"""The host's own kinds, which suites name without a plugin."""
KEY_TYPES = frozenset(get_args(FigureKeyType))
FIGURES_HOOK = "register_figures"


def checked_kinds(plugin: Plugin, kinds: Iterable[object]) -> dict[str, FigureKind]:
    """Return kinds by their name in suites: ``plugin/name``, for the host's own ``name`` alone.

    Raises:
        PluginError: A kind breaks the contract.
    """
    by_name: dict[str, FigureKind] = {}
    for kind in kinds:
        if not isinstance(kind, FigureKind):
            message = f"{FIGURES_HOOK} gave {kind!r}; expected a FigureKind"
            raise PluginError(plugin.name, message)
        fault = _kind_fault(kind)
        if fault:
            raise PluginError(plugin.name, f"figure {kind.name!r} {fault}; correct it")
        name = kind.name if plugin.name == HOST_NAME else f"{plugin.name}/{kind.name}"
        if name in by_name:
            raise PluginError(plugin.name, f"brings the figure {kind.name!r} twice; rename one")
        by_name[name] = kind
    return by_name


def _kind_fault(kind: FigureKind) -> str:
    """Return what is wrong with a kind, empty where nothing is."""
    if not kind.name.isidentifier():
        return "has a name that suites cannot use; expected letters, digits and '_'"
    if not callable(kind.draw):
        return f"has {kind.draw!r} to draw it; expected a function"
    keys = [*kind.required, *kind.optional]
    wrong = [key for key in keys if not key.isidentifier() or key == "kind" or keys.count(key) > 1]
    if wrong:
        return f"has the key {wrong[0]!r}; expected names, each once, and not 'kind'"
    unknown = [holds for holds in kind.keys.values() if holds not in KEY_TYPES]
    if unknown:
        return (
            f"has a key that holds {unknown[0]!r}; expected one of {', '.join(sorted(KEY_TYPES))}"
        )
    strays = [key for key in kind.either if key not in kind.optional]
    if strays:
        return f"has {strays[0]!r} in `either`; expected keys of `optional`"
    return ""
