"""Whether an evaluation left everything as it found it: weights, modes, gradients, global random state."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advtransfer.types import Check


@dataclass(slots=True)
class Watched:
    """What a watched piece of code changed, in words; empty when it changed nothing."""

    changed: list[str] = field(default_factory=list)

    def check(self) -> Check:
        """One check: how many kinds of things were changed."""
        text = ", ".join(self.changed) or "weights, modes, .grad and global random state are as they were"
        return Check("untouched", "fail" if self.changed else "pass", len(self.changed), 0, 1, text)


@contextmanager
def watched(model: nn.Module | None) -> Iterator[Watched]:
    """Watch the code inside; what it changed of the model or of global random state is told, and put back.

    It is put back also when the code raises: what is measured next finds the model as it was.
    """
    found = Watched()
    randoms = _Randoms.now()
    before = None if model is None else _Model.now(model)
    try:
        yield found
    finally:
        if before is not None:
            found.changed += before.moved()
            before.put_back()
        if moved := randoms.moved():
            randoms.put_back()
            found.changed.append(f"global random state was used: {', '.join(moved)}")


@dataclass(frozen=True, slots=True)
class _Held:
    """One parameter or buffer, with copies of its values and of its gradient's."""

    tensor: Tensor
    values: Tensor
    gradient: Tensor | None
    slopes: Tensor | None
    requires_grad: bool

    @classmethod
    def now(cls, tensor: Tensor) -> _Held:
        slopes = None if tensor.grad is None else tensor.grad.clone()
        return cls(tensor, tensor.detach().clone(), tensor.grad, slopes, tensor.requires_grad)

    @property
    def same_values(self) -> bool:
        return _equal(self.tensor.detach(), self.values)

    @property
    def same_gradient(self) -> bool:
        if self.gradient is None or self.slopes is None:
            return self.tensor.grad is None
        return self.tensor.grad is self.gradient and _equal(self.gradient, self.slopes)

    def put_back(self) -> None:
        if not self.same_values:
            self.tensor.data = self.values
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        if not self.same_gradient:
            if self.gradient is not None and self.slopes is not None:
                self.gradient.data = self.slopes
            self.tensor.grad = self.gradient


@dataclass(frozen=True, slots=True)
class _Model:
    """A model's modules, the names that tensors and modules have in each, and what these tensors hold."""

    modes: tuple[tuple[nn.Module, bool], ...]
    names: tuple[tuple[dict[str, Any], dict[str, Any]], ...]  # Any: a tensor, a module or None
    tensors: tuple[_Held, ...]

    @classmethod
    def now(cls, model: nn.Module) -> _Model:
        modules = tuple(model.modules())
        named = [one for module in modules for one in (module._parameters, module._buffers, module._modules)]
        return cls(
            tuple((module, module.training) for module in modules),
            tuple((now, dict(now)) for now in named),
            tuple(map(_Held.now, (*model.parameters(), *model.buffers()))),
        )

    def moved(self) -> list[str]:
        """What is no longer as it was, in words."""
        same = {
            "the model's state was changed": all(_same(*names) for names in self.names)
            and all(one.same_values for one in self.tensors),
            "modules were left in another mode": all(module.training == was for module, was in self.modes),
            "gradients were left on the weights": all(one.same_gradient for one in self.tensors),
            "requires_grad was changed": all(one.tensor.requires_grad == one.requires_grad for one in self.tensors),
        }
        return [text for text, one in same.items() if not one]

    def put_back(self) -> None:
        for now, before in self.names:
            now.clear()
            now.update(before)
        for module, training in self.modes:
            module.training = training
        for one in self.tensors:
            one.put_back()


@dataclass(frozen=True, slots=True)
class _Randoms:
    """The global random states of a process; CUDA's where it is in use."""

    python: tuple[Any, ...]  # Any: what random.getstate gives is its own business
    numpy: dict[str, Any]  # Any: the same of numpy's
    torch: Tensor
    cuda: tuple[Tensor, ...]

    @classmethod
    def now(cls) -> _Randoms:
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        cuda = torch.cuda.get_rng_state_all() if used else ()
        return cls(random.getstate(), dict(np.random.get_state(legacy=False)), torch.get_rng_state(), tuple(cuda))

    def moved(self) -> list[str]:
        """Those that are no longer as they were; CUDA's only if it was in use before."""
        now = _Randoms.now()
        same = {
            "random": self.python == now.python,
            "numpy": pickle.dumps(self.numpy) == pickle.dumps(now.numpy),
            "torch": torch.equal(self.torch, now.torch),
            "CUDA": all(map(torch.equal, self.cuda, now.cuda)),
        }
        return [name for name, one in same.items() if not one]

    def put_back(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))


def _same(now: dict[str, Any], before: dict[str, Any]) -> bool:  # Any: a tensor, a module or None
    return now.keys() == before.keys() and all(now[name] is one for name, one in before.items())


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether they hold the same; tensors of other kinds do not, where torch would raise or convert."""
    return (one.dtype, one.device) == (other.dtype, other.device) and torch.equal(one, other)
