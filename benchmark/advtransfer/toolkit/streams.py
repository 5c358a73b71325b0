"""Random streams: generators named by what they depend on, never by the order in which they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from advtransfer.node import canonical

T = TypeVar("T")


def stream_seed(*parts: str | int) -> int:
    """The seed of a stream: 63 bits of the sha256 of its parts as canonical JSON."""
    content = hashlib.sha256(canonical(parts).encode()).digest()
    return int.from_bytes(content[:8], "big") >> 1


def generator(*parts: str | int) -> torch.Generator:
    """A new CPU generator at the start of the stream that `parts` name."""
    return torch.Generator().manual_seed(stream_seed(*parts))


@contextmanager
def seeded(source: torch.Generator, *, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's global random state starts from a draw of `source`; afterwards it is as it was.

    For code that knows only the global state: layers' initialisation, dropout. `device` names the accelerator whose
    state is borrowed along with the CPU's.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=source))
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed devices that are not restored
        for borrowed in cuda:
            with torch.cuda.device(borrowed):
                torch.cuda.manual_seed(seed)
        yield


def initialised(build: Callable[[], T], generator: torch.Generator) -> T:
    """What `build` returns, its random initial weights drawn from `generator` alone."""
    with seeded(generator):
        return build()
