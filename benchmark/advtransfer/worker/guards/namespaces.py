"""Snapshot of shared functions, classes and hooks of torch and NumPy, to undo monkey patches."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import eq, is_, methodcaller
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as all_modules

NamespaceOwner: TypeAlias = "ModuleType | type"
Namespace: TypeAlias = "Mapping[str, Any]"  # Any: whatever a module or a class holds

SHARED_MODULES: tuple[ModuleType, ...] = (
    *(
        torch,
        torch.nn,
        torch.nn.functional,
        torch.nn.init,
        torch.functional,
        torch.linalg,
        torch.special,
        torch.fft,
    ),
    *(torch.autograd, torch.optim, torch.random, torch.cuda, np, np.linalg, np.random, random),
)
"""Modules whose functions plugins share with the host."""

GLOBAL_HOOKS = tuple(
    name for name in vars(all_modules) if name.startswith("_global_") and name.endswith("_hooks")
)
"""Names of torch's dictionaries of hooks that run for all modules."""

COPY_OF: Callable[[Namespace], Namespace] = methodcaller("copy")
VALUES_OF: Callable[[Namespace], Iterable[object]] = methodcaller("values")

_TORCH_FOLDER = Path(torch.__file__).parent


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Contents of shared modules and classes, and torch's hooks for all modules, at one moment.

    Args:
        classes: The shared classes, in the order in which they are found.
        owners: The shared modules and classes, each once.
        copies: Copies of the owners' namespaces.
        live: The owners' namespaces themselves.
        names: The names in all copies, one after another.
        values: The values in all copies, one after another.
        hooks: Copies of torch's dictionaries of hooks, by name.
    """

    classes: tuple[type, ...]
    owners: tuple[NamespaceOwner, ...]
    copies: tuple[Namespace, ...]
    live: tuple[Namespace, ...]
    names: tuple[str, ...]
    values: tuple[Any, ...]  # Any: whatever a module or a class holds
    hooks: Mapping[str, Namespace]

    @classmethod
    def capture(cls) -> Namespaces:
        """Return the current contents."""
        classes = _shared_classes()
        owners: list[NamespaceOwner] = [*SHARED_MODULES, *dict.fromkeys(classes)]
        # `copy` and not `dict`, which reads a class's namespace name by name.
        live = tuple(map(vars, owners))
        copies = tuple(map(COPY_OF, live))
        return cls(
            classes=classes,
            owners=tuple(owners),
            copies=copies,
            live=live,
            names=tuple(chain.from_iterable(copies)),
            values=tuple(chain.from_iterable(map(VALUES_OF, copies))),
            hooks={name: dict(getattr(all_modules, name)) for name in GLOBAL_HOOKS},
        )

    @property
    def is_unchanged(self) -> bool:
        """Whether all namespaces hold the same objects under the same names in the same order.

        In C by `map`: there are thousands of names, and this runs after every component. Values are compared by
        identity, since a wrapper may say that it equals what it wraps.
        """
        return (
            all(map(eq, map(len, self.live), map(len, self.copies)))
            and all(map(is_, chain.from_iterable(map(VALUES_OF, self.live)), self.values))
            and all(map(eq, chain.from_iterable(self.live), self.names))
            and self._has_same_hooks
        )

    @property
    def has_all_classes(self) -> bool:
        """Whether there are no other shared classes now."""
        now = _shared_classes()
        return len(now) == len(self.classes) and all(map(is_, now, self.classes))

    @property
    def _has_same_hooks(self) -> bool:
        return all(
            _same_namespace(getattr(all_modules, name), before)
            for name, before in self.hooks.items()
        )

    def list_changes(self) -> list[str]:
        """Return descriptions of the functions that were replaced, removed or hidden.

        Names that a library adds when it is imported are no change.
        """
        changes = [
            f"{_owner_name(owner)}.{name} was replaced" for owner, name, _ in self._patched_names()
        ]
        if not self._has_same_hooks:
            changes.append("hooks of all modules were changed")
        return changes

    def put_back(self) -> None:
        """Restore the functions and hooks."""
        for owner, name, before in list(self._patched_names()):
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        for name, hooks in self.hooks.items():
            current_hooks = getattr(all_modules, name)
            current_hooks.clear()
            current_hooks.update(hooks)

    def _patched_names(self) -> Iterator[tuple[NamespaceOwner, str, object]]:
        """Yield each owner and name with another function now, and what the owner itself had."""
        for owner, now, before in zip(self.owners, self.live, self.copies, strict=True):
            if _same_namespace(now, before):
                continue
            for name, value in before.items():
                if _is_patched(now.get(name, _MISSING), value):
                    yield owner, name, value
            if isinstance(owner, type):
                for name in _hiding_names(owner, before):
                    yield owner, name, _MISSING


_MISSING = object()


def _is_patched(now: object, before: object) -> bool:
    if now is before or not _is_called(before):
        return False
    return not _wrapped_by_torch(now, before)


def _hiding_names(owner: type, before: Namespace) -> Iterator[str]:
    """Yield the names that were added to a class and hide a method that it inherits."""
    for name, value in list(vars(owner).items()):
        if name not in before:
            inherited = getattr(super(owner, owner), name, None)
            if _is_called(inherited) and not _wrapped_by_torch(value, inherited):
                yield name


def _shared_classes() -> tuple[type, ...]:
    """Return torch's base classes and all their subclasses; one with several bases more than once.

    Subclasses too, since a patch of `nn.Linear` changes every model that has one.
    """
    classes: list[type] = []
    generation: list[type] = [
        torch.Tensor,
        nn.Module,
        torch.optim.Optimizer,
        torch.autograd.Function,
        torch.Generator,
    ]
    while generation:
        classes += generation
        # Through `type`: a metaclass may define `__subclasses__` otherwise.
        generation = [*chain.from_iterable(map(type.__subclasses__, generation))]
    return tuple(classes)


def _is_called(value: object) -> bool:
    """Return whether a value is called or stands for a call; others change no computation."""
    return callable(value) or hasattr(type(value), "__get__") or isinstance(value, ModuleType)


def _wrapped_by_torch(now: object, before: object) -> bool:
    """Return whether torch itself wrapped one of its functions.

    torch wraps an optimizer's step at its first use, and its compiler wraps many functions.
    """
    if not isinstance(now, FunctionType):
        return False
    folders = Path(now.__code__.co_filename).parents
    unwrapped = inspect.unwrap(now)
    if _TORCH_FOLDER in folders and callable(before) and unwrapped is inspect.unwrap(before):
        return True
    # The compiler replaces functions by its own, which wrap nothing.
    return unwrapped is now and _TORCH_FOLDER / "_dynamo" in folders


def _same_namespace(now: Namespace, before: Namespace) -> bool:
    """Return whether two namespaces hold the same objects under the same names in the same order."""
    return (
        len(now) == len(before)
        and all(map(is_, now.values(), before.values()))
        and all(map(eq, now, before))
    )


def _owner_name(owner: NamespaceOwner) -> str:
    if isinstance(owner, ModuleType):
        return owner.__name__
    return f"{owner.__module__}.{owner.__qualname__}"
