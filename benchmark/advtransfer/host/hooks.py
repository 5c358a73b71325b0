"""Whether what a plugin implements are hooks: no misspelt name, none without its marker."""

from __future__ import annotations

import difflib
import inspect

import pluggy

from advtransfer.errors import PluginError
from advtransfer.hookspecs import GROUP, HOOKS


def check_hooks(manager: pluggy.PluginManager, loaded: object, *, plugin: str) -> None:
    """Refuse a registered plugin of which something would never be called.

    Raises:
        PluginError: It marks what is no hook, or has something named like a hook without the marker.
    """
    implemented = {caller.name for caller in manager.get_hookcallers(loaded) or ()}
    for name in sorted(implemented.difference(HOOKS)):
        near = difflib.get_close_matches(name, HOOKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(HOOKS)}"
        raise PluginError(plugin, f"implements the unknown hook {name!r}; {hint}")
    for name in HOOKS:
        member = inspect.getattr_static(loaded, name, None)
        if name not in implemented and callable(member) and not hasattr(member, f"{GROUP}_spec"):
            found = f"has {name!r}, which is named like a hook and is none"
            raise PluginError(plugin, f"{found}; write a function with @hookimpl above it, or rename it")
    if not implemented and (meant := _meant(loaded)):
        hook, name = meant
        raise PluginError(
            plugin, f"implements no hook, but has {name!r}; did you mean {hook}? write @hookimpl above it"
        )


def _meant(loaded: object) -> tuple[str, str] | None:
    """A function whose name is close to a hook's, after that hook."""
    for name in dir(loaded):
        near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.85)
        if near and inspect.isroutine(inspect.getattr_static(loaded, name, None)):
            return near[0], name
    return None
