"""The global random states of a process: of Python, of NumPy, of torch, and of CUDA where it is in use."""

from __future__ import annotations

import pickle
import random
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCKS = 1000
"""How many draws are followed, in blocks of 624: some 10 ms."""


@dataclass(frozen=True, slots=True)
class RandomState:
    """The states at one moment; CUDA's where it is in use."""

    python: tuple[Any, ...]  # Any: what random.getstate gives is its own business
    numpy: dict[str, Any]  # Any: the same of numpy's
    torch: Tensor
    seed: int
    cuda: tuple[Tensor, ...]
    modules: frozenset[str]

    @classmethod
    def now(cls) -> RandomState:
        """The states as they are."""
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        cuda = torch.cuda.get_rng_state_all() if used else ()
        numpy = dict(np.random.get_state(legacy=False))
        modules = frozenset(sys.modules)
        return cls(random.getstate(), numpy, torch.get_rng_state(), torch.initial_seed(), tuple(cuda), modules)

    @property
    def same(self) -> bool:
        """Whether all are as they were."""
        return not self._moved()

    def used(self) -> list[str]:
        """Those that are no longer as they were; CUDA's only if it was in use before.

        A library that is imported for the first time may draw from Python's, as scikit-learn does.
        """
        moved = self._moved()
        imports = not self.modules.issuperset(sys.modules) and "random" not in self.seeded()
        return [name for name in moved if not (imports and name == "random")]

    def seeded(self) -> list[str]:
        """Those that no draws lead to from where they were."""
        drawn = {
            "random": _leads(self.python[1][:-1], random.getstate()[1][:-1]),
            "numpy": _leads(self._key, RandomState.now()._key),
            "torch": torch.initial_seed() == self.seed,
        }
        return [name for name in self._moved() if not drawn.get(name, True)]

    @property
    def _key(self) -> tuple[int, ...]:
        return tuple(map(int, self.numpy["state"]["key"]))

    def _moved(self) -> list[str]:
        now = RandomState.now()
        same = {
            "random": self.python == now.python,
            "numpy": pickle.dumps(self.numpy) == pickle.dumps(now.numpy),
            "torch": torch.equal(self.torch, now.torch),
            "CUDA": all(map(torch.equal, self.cuda, now.cuda)),
        }
        return [name for name, one in same.items() if not one]

    def put_back(self) -> None:
        """Restore the states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))


def _leads(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether draws lead from one state of a Mersenne twister to another, within `BLOCKS` times its 624 words."""
    if before == after:
        return True
    twister = random.Random()
    twister.setstate((3, (*before, 624), None))
    for _ in range(BLOCKS):
        twister.getrandbits(32 * 624)
        if twister.getstate()[1][:-1] == after:
            return True
    return False
