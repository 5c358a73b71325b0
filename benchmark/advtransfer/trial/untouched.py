"""Whether an evaluation left everything as it found it: weights, modes, gradients, global random state."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Mapping
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
    """Watch the code inside; what it changed of the model or of global random state is told, and put back."""
    found = Watched()
    randoms = _Randoms.now()
    state = {} if model is None else {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [] if model is None else [(module, module.training) for module in model.modules()]
    gradients = [] if model is None else [(one, one.grad) for one in model.parameters()]
    yield found
    if model is not None and not _same(state, model.state_dict()):
        model.load_state_dict(state)
        found.changed.append("the model's state was changed")
    if any(module.training != training for module, training in modes):
        for module, training in modes:
            module.training = training
        found.changed.append("modules were left in another mode")
    if any(one.grad is not gradient for one, gradient in gradients):
        for one, gradient in gradients:
            one.grad = gradient
        found.changed.append("gradients were left on the weights")
    if moved := randoms.moved():
        randoms.put_back()
        found.changed.append(f"global random state was used: {', '.join(moved)}")


@dataclass(frozen=True, slots=True)
class _Randoms:
    """The global random states of a process."""

    python: tuple[Any, ...]  # Any: what random.getstate gives is its own business
    numpy: dict[str, Any]  # Any: the same of numpy's
    torch: Tensor

    @classmethod
    def now(cls) -> _Randoms:
        return cls(random.getstate(), dict(np.random.get_state(legacy=False)), torch.get_rng_state())

    def moved(self) -> list[str]:
        """Those that are no longer as they were."""
        now = _Randoms.now()
        same = {
            "random": self.python == now.python,
            "numpy": pickle.dumps(self.numpy) == pickle.dumps(now.numpy),
            "torch": torch.equal(self.torch, now.torch),
        }
        return [name for name, one in same.items() if not one]

    def put_back(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)


def _same(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    return before.keys() == after.keys() and all(torch.equal(one, after[name]) for name, one in before.items())
