"""Snapshot of shared functions, classes and hooks of torch and NumPy, to find and undo monkey patches."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import eq, is_
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
"""Modules whose functions plugins share."""

GLOBAL_HOOKS = tuple(
    name for name in vars(all_modules) if name.startswith("_global_") and name.endswith("_hooks")
)
"""Where torch keeps the hooks of all modules."""

_TORCH_FOLDER = Path(torch.__file__).parent


@dataclass(frozen=True, slots=True)
class Namespaces:
    """What these modules and classes, and torch's hooks of all modules, held at one moment."""

    held: tuple[tuple[NamespaceOwner, Namespace], ...]
    hooks: Mapping[str, Namespace]

    @classmethod
    def capture(cls) -> Namespaces:
        """What they hold."""
        hooks = {name: dict(getattr(all_modules, name)) for name in GLOBAL_HOOKS}
        owners: list[NamespaceOwner] = [*SHARED_MODULES, *_shared_classes()]
        return cls(tuple((owner, dict(vars(owner))) for owner in owners), hooks)

    def list_changes(self) -> list[str]:
        """What was replaced, removed or hidden, in words; what a library adds when it is imported is no change."""
        found = [
            f"{_owner_name(owner)}.{name} was replaced" for owner, name, _ in self._patched_names()
        ]
        hooked = not all(
            _same_namespace(getattr(all_modules, name), was) for name, was in self.hooks.items()
        )
        return found + (["hooks of all modules were changed"] if hooked else [])

    def put_back(self) -> None:
        """Restore the functions and hooks."""
        for owner, name, was in list(self._patched_names()):
            if was is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, was)
        for name, hooks in self.hooks.items():
            now = getattr(all_modules, name)
            now.clear()
            now.update(hooks)

    def _patched_names(self) -> Iterator[tuple[NamespaceOwner, str, object]]:
        """Each owner and name that gives something else than it did, and what it held itself."""
        for owner, before in self.held:
            now = vars(owner)
            if _same_namespace(now, before):
                continue
            for name, was in before.items():
                if (
                    now.get(name, _MISSING) is not was
                    and _is_called(was)
                    and not _wrapped_by_torch(now.get(name), was)
                ):
                    yield owner, name, was
            if isinstance(owner, type):
                for name in [name for name in now if name not in before]:
                    inherited = getattr(super(owner, owner), name, None)
                    if _is_called(inherited) and not _wrapped_by_torch(now[name], inherited):
                        yield owner, name, _MISSING


_MISSING = object()


def _shared_classes() -> Iterable[type]:
    """The tensor classes, and each class of module there is."""
    found: dict[type, None] = {}
    waiting: list[type] = [
        torch.Tensor,
        nn.Module,
        torch.optim.Optimizer,
        torch.autograd.Function,
        torch.Generator,
    ]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting += type.__subclasses__(one)
    return found


def _is_called(value: object) -> bool:
    """Whether something is called, or stands for a call: only that changes what others compute."""
    return callable(value) or hasattr(type(value), "__get__") or isinstance(value, ModuleType)


def _wrapped_by_torch(now: object, was: object) -> bool:
    """Whether torch itself wrapped a function of its own: an optimizer's at its first use, its compiler many."""
    if not isinstance(now, FunctionType):
        return False
    folders, inner = Path(now.__code__.co_filename).parents, inspect.unwrap(now)
    same = callable(was) and inner is inspect.unwrap(was)
    return (same and _TORCH_FOLDER in folders) or (
        inner is now and _TORCH_FOLDER / "_dynamo" in folders
    )


def _same_namespace(now: Namespace, was: Namespace) -> bool:
    """Whether two namespaces hold the very same things in the same order; quick, since there are many."""
    return (
        len(now) == len(was)
        and all(map(is_, now.values(), was.values()))
        and all(map(eq, now, was))
    )


def _owner_name(owner: NamespaceOwner) -> str:
    return (
        owner.__name__
        if isinstance(owner, ModuleType)
        else f"{owner.__module__}.{owner.__qualname__}"
    )
