"""Snapshot of a model: its tensors, modules, modes, hooks and attributes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Attributes: TypeAlias = dict[
    str, Any
]  # Any: a tensor, a module, a hook, or whatever a module keeps

MODULE_DICTS = ("_parameters", "_buffers", "_modules")
"""Where a module keeps what it is made of."""

PLAIN_TYPES = (bool, int, float, complex, str, tuple, torch.dtype, torch.device)
"""Types of attributes that say how a module computes; others, such as a list or a tensor, may be kept by a forward."""


@dataclass(frozen=True, slots=True)
class _TensorState:
    """One parameter or buffer, with copies of its values and of its gradient's."""

    tensor: Tensor
    values: Tensor
    gradient: Tensor | None
    gradient_values: Tensor | None
    requires_grad: bool
    hooks: tuple[Any, ...]  # Any: torch's own

    @classmethod
    def capture(cls, tensor: Tensor) -> _TensorState:
        slopes = None if tensor.grad is None else tensor.grad.clone()
        return cls(
            tensor,
            tensor.detach().clone(),
            tensor.grad,
            slopes,
            tensor.requires_grad,
            _hooks_of(tensor),
        )

    @property
    def same_values(self) -> bool:
        return _same_tensor(self.tensor.detach(), self.values)

    @property
    def same_gradient(self) -> bool:
        if self.gradient is None or self.gradient_values is None:
            return self.tensor.grad is None
        return self.tensor.grad is self.gradient and _same_tensor(
            self.gradient, self.gradient_values
        )

    @property
    def same_hooks(self) -> bool:
        return _hooks_of(self.tensor) == self.hooks

    def put_back(self) -> None:
        if not self.same_values:
            self.tensor.data = self.values
        if not self.same_hooks:
            for hooks in (self.tensor._backward_hooks, self.tensor._post_accumulate_grad_hooks):
                for key in [key for key, hook in (hooks or {}).items() if hook not in self.hooks]:
                    del hooks[key]  # type: ignore[union-attr]  # it has keys, so it is there
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        if not self.same_gradient:
            if self.gradient is not None and self.gradient_values is not None:
                self.gradient.data = self.gradient_values
            self.tensor.grad = self.gradient


@dataclass(frozen=True, slots=True)
class _ModuleState:
    """One module: its class, mode, hooks, what it is made of, and its other attributes."""

    module: nn.Module
    kind: type[nn.Module]
    training: bool
    parts: Mapping[str, tuple[Attributes, Attributes]]
    hooks: Mapping[str, tuple[Attributes, Attributes]]
    attributes: Attributes

    @classmethod
    def capture(cls, module: nn.Module) -> _ModuleState:
        own = vars(module)
        hooks = [
            name
            for name, value in own.items()
            if name.endswith("_hooks") and isinstance(value, OrderedDict)
        ]
        return cls(
            module,
            type(module),
            module.training,
            {
                name: (own[name], dict(own[name]))
                for name in MODULE_DICTS
                if isinstance(own.get(name), dict)
            },
            {name: (own[name], dict(own[name])) for name in hooks},
            {
                name: value
                for name, value in own.items()
                if name not in (*MODULE_DICTS, *hooks, "training")
            },
        )

    @property
    def same_parts(self) -> bool:
        return self._same_dicts(self.parts)

    @property
    def same_hooks(self) -> bool:
        return self._same_dicts(self.hooks)

    def _same_dicts(self, before: Mapping[str, tuple[Attributes, Attributes]]) -> bool:
        own = vars(self.module)
        return all(
            own.get(name) is kept and _same_items(kept, was) for name, (kept, was) in before.items()
        )

    def changed_attributes(self) -> list[str]:
        """Attributes that make the module compute something else: methods that are hidden, settings that changed."""
        own = vars(self.module)
        known = {*self.attributes, *self.parts, *self.hooks, "training"}
        found = [
            name
            for name, was in self.attributes.items()
            if _computes_otherwise(own.get(name, _MISSING), was)
        ]
        return found + [
            name for name in own if name not in known and callable(getattr(self.kind, name, None))
        ]

    def hidden_methods(self) -> list[str]:
        """Those of the attributes that stand for a call."""
        return [
            name
            for name in self.changed_attributes()
            if callable(self.attributes.get(name)) or callable(getattr(self.kind, name, None))
        ]

    def remove_patches(self, names: Iterable[str]) -> None:
        """Restore class, hooks, and the attributes of these names."""
        own = vars(self.module)
        if type(self.module) is not self.kind:
            self.module.__class__ = self.kind
        for name in names:
            if name in self.attributes:
                own[name] = self.attributes[name]
            else:
                del own[name]
        _restore_dicts(own, self.hooks)
        own["_is_full_backward_hook"] = self.attributes.get("_is_full_backward_hook")

    def put_back(self) -> None:
        """Restore all of it."""
        self.remove_patches(self.changed_attributes())
        _restore_dicts(vars(self.module), self.parts)
        self.module.training = self.training


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model's modules and tensors, with copies of what the tensors hold."""

    modules: tuple[_ModuleState, ...]
    tensors: tuple[_TensorState, ...]

    @classmethod
    def capture(cls, model: nn.Module, *, values: bool = True) -> ModelState:
        """The model as it is; without `values`, all but what its tensors hold."""
        tensors = (*model.parameters(), *model.buffers()) if values else ()
        return cls(
            tuple(map(_ModuleState.capture, model.modules())),
            tuple(map(_TensorState.capture, tensors)),
        )

    def list_changes(self) -> list[str]:
        """Weights, modes and gradients that are no longer as they were, in words."""
        same = {
            "the model's state was changed": all(one.same_parts for one in self.modules)
            and all(one.same_values for one in self.tensors),
            "modules were left in another mode": all(
                one.module.training == one.training for one in self.modules
            ),
            "gradients were left on the weights": all(one.same_gradient for one in self.tensors),
            "requires_grad was changed": all(
                one.tensor.requires_grad == one.requires_grad for one in self.tensors
            ),
        }
        return [text for text, one in same.items() if not one]

    def list_patches(self, *, settings: bool) -> list[str]:
        """Hooks, methods and, where `settings` count, other attributes that are no longer as they were, in words."""
        same = all(one.same_hooks for one in self.modules) and all(
            one.same_hooks for one in self.tensors
        )
        names = {
            f"{one.kind.__name__}.{name}"
            for one in self.modules
            for name in (one.changed_attributes() if settings else one.hidden_methods())
        }
        names |= {
            f"{one.kind.__name__}.__class__"
            for one in self.modules
            if type(one.module) is not one.kind
        }
        found = [] if same else ["hooks of the model were changed"]
        return found + (
            [f"attributes of the model were changed: {', '.join(sorted(names))}"] if names else []
        )

    def remove_patches(self) -> None:
        """Restore hooks and methods."""
        for module in self.modules:
            module.remove_patches(module.hidden_methods())

    def put_back(self) -> None:
        """Restore all of it."""
        for module in self.modules:
            module.put_back()
        for tensor in self.tensors:
            tensor.put_back()


_MISSING = object()


def _restore_dicts(own: Attributes, before: Mapping[str, tuple[Attributes, Attributes]]) -> None:
    for name, (kept, was) in before.items():
        kept.clear()
        kept.update(was)
        own[name] = kept


def _computes_otherwise(now: object, was: object) -> bool:
    """Whether an attribute that was there makes the module compute something else."""
    if now is was:
        return False
    if isinstance(was, PLAIN_TYPES):
        return type(now) is not type(was) or now != was
    return callable(was)


def _hooks_of(tensor: Tensor) -> tuple[Any, ...]:  # Any: torch's own
    return tuple(
        hook
        for hooks in (tensor._backward_hooks, tensor._post_accumulate_grad_hooks)
        for hook in (hooks or {}).values()
    )


def _same_items(
    now: Mapping[str, Any], before: Mapping[str, Any]
) -> bool:  # Any: attributes of modules
    return list(now) == list(before) and all(now[name] is one for name, one in before.items())


def _same_tensor(one: Tensor, other: Tensor) -> bool:
    """Whether they hold the same; tensors of other kinds do not, where torch would raise or convert."""
    return (one.dtype, one.device) == (other.dtype, other.device) and torch.equal(one, other)
