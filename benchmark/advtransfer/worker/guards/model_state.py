"""Snapshot of a model: its tensors, modules, modes, hooks and attributes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Attributes: TypeAlias = dict[str, Any]  # Any: tensors, modules, hooks, or any other attribute
DictSnapshots: TypeAlias = Mapping[str, tuple[Attributes, Attributes]]
"""Dictionaries of a module by name, each as the object itself and a copy of its items."""

MODULE_DICTS = ("_parameters", "_buffers", "_modules")
"""Dictionaries that hold the parts of a module."""

PLAIN_TYPES = (bool, int, float, complex, str, tuple, torch.dtype, torch.device)
"""Types of attributes that act as settings of a module.

Attributes of other types, such as a list or a tensor, may be caches that a forward pass fills.
"""


@dataclass(frozen=True, slots=True)
class _TensorState:
    """One parameter or buffer, with copies of its values and of its gradient's values."""

    tensor: Tensor
    values: Tensor
    gradient: Tensor | None
    gradient_values: Tensor | None
    requires_grad: bool
    hooks: tuple[Any, ...]  # Any: torch's own

    @classmethod
    def capture(cls, tensor: Tensor) -> _TensorState:
        return cls(
            tensor=tensor,
            values=tensor.detach().clone(),
            gradient=tensor.grad,
            gradient_values=None if tensor.grad is None else tensor.grad.clone(),
            requires_grad=tensor.requires_grad,
            hooks=_hooks_of(tensor),
        )

    @property
    def same_values(self) -> bool:
        return _same_tensor(self.tensor.detach(), self.values)

    @property
    def same_gradient(self) -> bool:
        if self.gradient is None or self.gradient_values is None:
            return self.tensor.grad is None
        # The object and its values: a gradient can be replaced, or added to in place.
        return self.tensor.grad is self.gradient and _same_tensor(
            self.gradient, self.gradient_values
        )

    @property
    def same_hooks(self) -> bool:
        return _hooks_of(self.tensor) == self.hooks

    def put_back(self) -> None:
        if not self.same_values:
            # Through `.data`: dtype and device may have changed, which a copy in place would keep.
            self.tensor.data = self.values
        if not self.same_hooks:
            self._remove_new_hooks()
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        if not self.same_gradient:
            if self.gradient is not None and self.gradient_values is not None:
                self.gradient.data = self.gradient_values
            self.tensor.grad = self.gradient

    def _remove_new_hooks(self) -> None:
        for hooks in (self.tensor._backward_hooks, self.tensor._post_accumulate_grad_hooks):
            new_keys = [key for key, hook in (hooks or {}).items() if hook not in self.hooks]
            for key in new_keys:
                del hooks[key]  # type: ignore[union-attr]  # it has keys, so it is there


@dataclass(frozen=True, slots=True)
class _ModuleState:
    """One module: its class, mode, hooks, parts and other attributes."""

    module: nn.Module
    kind: type[nn.Module]
    training: bool
    parts: DictSnapshots
    hooks: DictSnapshots
    attributes: Attributes

    @classmethod
    def capture(cls, module: nn.Module) -> _ModuleState:
        attributes = vars(module)
        hook_names = [
            name
            for name, value in attributes.items()
            if name.endswith("_hooks") and isinstance(value, OrderedDict)
        ]
        part_names = [name for name in MODULE_DICTS if isinstance(attributes.get(name), dict)]
        separate = {*MODULE_DICTS, *hook_names, "training"}
        return cls(
            module=module,
            kind=type(module),
            training=module.training,
            parts=_snapshot_dicts(attributes, part_names),
            hooks=_snapshot_dicts(attributes, hook_names),
            attributes={name: value for name, value in attributes.items() if name not in separate},
        )

    @property
    def same_parts(self) -> bool:
        return self._same_dicts(self.parts)

    @property
    def same_hooks(self) -> bool:
        return self._same_dicts(self.hooks)

    def _same_dicts(self, snapshots: DictSnapshots) -> bool:
        attributes = vars(self.module)
        return all(
            attributes.get(name) is original and _same_items(original, items)
            for name, (original, items) in snapshots.items()
        )

    def changed_attributes(self) -> list[str]:
        """Return the attributes whose change alters what the module computes.

        These are settings that changed, and methods that were hidden by an attribute.
        """
        attributes = vars(self.module)
        changed = [
            name
            for name, before in self.attributes.items()
            if _changes_computation(attributes.get(name, _MISSING), before)
        ]
        captured = {*self.attributes, *self.parts, *self.hooks, "training"}
        hiding = [
            name
            for name in attributes
            if name not in captured and callable(getattr(self.kind, name, None))
        ]
        return changed + hiding

    def hidden_methods(self) -> list[str]:
        """Return the changed attributes that are called."""
        return [
            name
            for name in self.changed_attributes()
            if callable(self.attributes.get(name)) or callable(getattr(self.kind, name, None))
        ]

    def remove_patches(self, names: Iterable[str]) -> None:
        """Restore the class, the hooks, and the attributes of these names."""
        attributes = vars(self.module)
        if type(self.module) is not self.kind:
            self.module.__class__ = self.kind
        for name in names:
            if name in self.attributes:
                attributes[name] = self.attributes[name]
            else:
                del attributes[name]
        _restore_dicts(attributes, self.hooks)
        # torch sets this flag when the first backward hook is registered.
        attributes["_is_full_backward_hook"] = self.attributes.get("_is_full_backward_hook")

    def put_back(self) -> None:
        """Restore everything that was captured."""
        self.remove_patches(self.changed_attributes())
        _restore_dicts(vars(self.module), self.parts)
        self.module.training = self.training


@dataclass(frozen=True, slots=True)
class ModelState:
    """Modules and tensors of a model, with copies of the tensors' values."""

    modules: tuple[_ModuleState, ...]
    tensors: tuple[_TensorState, ...]

    @classmethod
    def capture(cls, model: nn.Module, *, values: bool = True) -> ModelState:
        """Return the current state of a model; without `values`, that of its modules only."""
        tensors = (*model.parameters(), *model.buffers()) if values else ()
        return cls(
            modules=tuple(map(_ModuleState.capture, model.modules())),
            tensors=tuple(map(_TensorState.capture, tensors)),
        )

    def list_changes(self) -> list[str]:
        """Return descriptions of the changes of weights, modes and gradients."""
        same_parts = all(state.same_parts for state in self.modules)
        same_values = all(state.same_values for state in self.tensors)
        same_modes = all(state.module.training == state.training for state in self.modules)
        same_gradients = all(state.same_gradient for state in self.tensors)
        same_requires_grad = all(
            state.tensor.requires_grad == state.requires_grad for state in self.tensors
        )
        changes = []
        if not (same_parts and same_values):
            changes.append("the model's state was changed")
        if not same_modes:
            changes.append("modules were left in another mode")
        if not same_gradients:
            changes.append("gradients were left on the weights")
        if not same_requires_grad:
            changes.append("requires_grad was changed")
        return changes

    def list_patches(self, *, settings: bool) -> list[str]:
        """Return descriptions of changed hooks, methods and, with `settings`, other attributes."""
        changed_names: set[str] = set()
        for state in self.modules:
            names = state.changed_attributes() if settings else state.hidden_methods()
            if type(state.module) is not state.kind:
                names.append("__class__")
            changed_names |= {f"{state.kind.__name__}.{name}" for name in names}
        same_module_hooks = all(state.same_hooks for state in self.modules)
        same_tensor_hooks = all(state.same_hooks for state in self.tensors)
        patches = []
        if not (same_module_hooks and same_tensor_hooks):
            patches.append("hooks of the model were changed")
        if changed_names:
            listed = ", ".join(sorted(changed_names))
            patches.append(f"attributes of the model were changed: {listed}")
        return patches

    def remove_patches(self) -> None:
        """Restore hooks and methods."""
        for module in self.modules:
            module.remove_patches(module.hidden_methods())

    def put_back(self) -> None:
        """Restore everything that was captured."""
        for module in self.modules:
            module.put_back()
        for tensor in self.tensors:
            tensor.put_back()


_MISSING = object()


def _snapshot_dicts(attributes: Attributes, names: Iterable[str]) -> DictSnapshots:
    return {name: (attributes[name], dict(attributes[name])) for name in names}


def _restore_dicts(attributes: Attributes, snapshots: DictSnapshots) -> None:
    # The original dictionaries are refilled, since the handles of hooks refer to them.
    for name, (original, items) in snapshots.items():
        original.clear()
        original.update(items)
        attributes[name] = original


def _changes_computation(now: object, before: object) -> bool:
    """Return whether replacing an attribute alters what the module computes."""
    if now is before:
        return False
    if isinstance(before, PLAIN_TYPES):
        return type(now) is not type(before) or now != before
    return callable(before)


def _hooks_of(tensor: Tensor) -> tuple[Any, ...]:  # Any: torch's own
    backward_hooks = (tensor._backward_hooks or {}).values()
    accumulation_hooks = (tensor._post_accumulate_grad_hooks or {}).values()
    return (*backward_hooks, *accumulation_hooks)


def _same_items(now: Attributes, before: Attributes) -> bool:
    return list(now) == list(before) and all(now[name] is item for name, item in before.items())


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors have the same values.

    Dtype and device are compared first: torch would convert the one and raise for the other.
    """
    if first.dtype != second.dtype or first.device != second.device:
        return False
    return torch.equal(first, second)
