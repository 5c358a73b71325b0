"""A `Context` without a host, which holds everything in memory for assertions."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch
from torch import Tensor

from advtransfer.errors import Cancelled
from advtransfer.node import canonical_json
from advtransfer.toolkit.prediction import InMemoryRows, compute_rows
from advtransfer.toolkit.rng import keyed_uniform, stream_generator, stream_seed
from advtransfer.types import Json, Samples, Shape, Tensors


class InMemoryContext:
    """A `Context` for tests, with the methods that the host offers to running components.

    Args:
        seed: The seed of every random stream.
        device: Where to compute.
        batch_size: The batch size offered to evaluations.
        cancel_after: Raise Cancelled at this call of `progress`, as when a run is stopped; None for
            never.
        saved: The state that an earlier call saved.

    Attributes:
        told: The arguments of each call of `progress`: ``{"done": ..., "total": ..., **news}``.
        built: The values that `remember` has built, by name and canonical key.
        stored: The rows that `rows` has computed, by name and canonical key.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        device: str = "cpu",
        batch_size: int = 64,
        cancel_after: int | None = None,
        saved: Tensors | None = None,
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.told: list[dict[str, float]] = []
        self.built: dict[tuple[str, str], Tensors] = {}
        self.stored: dict[tuple[str, str], InMemoryRows] = {}
        self._cancel_after = cancel_after
        self._saved = saved
        self._scratch: Path | None = None

    @property
    def scratch(self) -> Path:
        """A temporary folder that is removed with the context."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="advtransfer-"))
            # Removed with the context, also when a test fails.
            weakref.finalize(self, rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """Return a CPU generator that depends on the seed, the name of the stream and the keys."""
        return stream_generator("test context", self.seed, stream, *keys)

    def uniform(
        self, stream: str, keys: Sequence[int], shape: Shape, restart: int = 0, step: int = 0
    ) -> Tensor:
        """Return uniform numbers in [0, 1) of each sample, ``(len(keys), *shape)`` float32."""
        seed = stream_seed("test context", self.seed, stream, restart, step)
        return keyed_uniform(seed, keys, shape)

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """Return the same stream as a numpy generator."""
        return np.random.default_rng(stream_seed("test context", self.seed, stream, *keys))

    def remember(
        self,
        what: str,
        key: Mapping[str, Json],
        build: Callable[[], Tensors],
        *,
        of: Iterable[str] | None = None,
    ) -> Tensors:
        """Return the value that `build` gave for this name and key the first time."""
        name_and_key = what, canonical_json(key)
        if name_and_key not in self.built:
            self.built[name_and_key] = build()
        return self.built[name_and_key]

    def rows(
        self,
        what: str,
        key: Mapping[str, Json],
        samples: Samples,
        compute: Callable[[Tensor], Tensor],
        *,
        of: Iterable[str],
    ) -> Tensor:
        """Return the row of each sample, computed once for this name, key and content."""
        content_key = canonical_json({"key": key, "content": samples.card.digest})
        store = self.stored.setdefault((what, content_key), InMemoryRows())
        return compute_rows(samples, compute, device=self.device, store=store)

    def saved(self) -> Tensors | None:
        """Return the last saved state."""
        return self._saved

    def save(self, state: Tensors) -> None:
        """Store a copy of the state."""
        # A copy, since a training goes on to change its tensors in place.
        self._saved = {name: tensor.clone() for name, tensor in state.items()}

    def progress(self, done: int, total: int, **news: float) -> None:
        """Record the progress.

        Raises:
            Cancelled: This is the call of number `cancel_after`.
        """
        self.told.append({"done": done, "total": total, **news})
        if len(self.told) == self._cancel_after:
            raise Cancelled(f"stopped by the test at {done} of {total}")

    def resumed(self) -> InMemoryContext:
        """Return the context of the next call after this one was stopped.

        It has the same seed and the same saved state, and is never stopped.
        """
        return InMemoryContext(
            self.seed, device=str(self.device), batch_size=self.batch_size, saved=self._saved
        )
