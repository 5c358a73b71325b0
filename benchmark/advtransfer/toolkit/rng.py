"""Random streams.

Generators named by what they depend on, never by the order in which they are requested.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.node import canonical_json

T = TypeVar("T")


def stream_seed(*parts: str | int) -> int:
    """The seed of a stream: 63 bits of the sha256 of its parts as canonical JSON."""
    content = hashlib.sha256(canonical_json(parts).encode()).digest()
    return int.from_bytes(content[:8], "big") >> 1


def stream_generator(*parts: str | int) -> torch.Generator:
    """A new CPU generator at the start of the stream that `parts` name."""
    return torch.Generator().manual_seed(stream_seed(*parts))


@contextmanager
def fork_global_rng(
    source: torch.Generator, *, device: torch.device | None = None
) -> Iterator[None]:
    """Inside, torch's global random state starts from a draw of `source`; afterwards it is as it was.

    For code that knows only the global state: layers' initialisation, dropout. `device` names the accelerator whose
    state is borrowed along with the CPU's.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=source))
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(
            seed
        )  # torch.manual_seed would also seed devices that are not restored
        for borrowed in cuda:
            with torch.cuda.device(borrowed):
                torch.cuda.manual_seed(seed)
        yield


def build_initialized(build: Callable[[], T], generator: torch.Generator) -> T:
    """What `build` returns, its random initial weights drawn from `stream_generator` alone."""
    with fork_global_rng(generator):
        return build()


def reinitialize(
    module: nn.Module, source: torch.Generator, *, whose: str, trained_only: bool = False
) -> None:
    """Give a module new initial weights, in place, drawn from `source` alone.

    Each layer with weights of its own draws them by its `reset_parameters`, as torch's layers do from torch's global
    random state; on the CPU, so that every device starts alike.

    Args:
        module: Whose weights are drawn.
        source: What they are drawn from.
        whose: What it belongs to, for the error.
        trained_only: Leave layers alone whose weights are not trained.

    Raises:
        Inapplicable: A layer has weights of its own and no `reset_parameters`.
    """
    drawn = copy.deepcopy(module).cpu()
    with fork_global_rng(source):
        for name, layer in drawn.named_modules():
            weights = list(layer.parameters(recurse=False))
            if trained_only and not any(weight.requires_grad for weight in weights):
                continue
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset) and (weights or list(layer.buffers(recurse=False))):
                reset()
            elif weights:
                found = f"{name or 'the whole'} ({type(layer).__name__}) in {whose}"
                raise Inapplicable(
                    f"found {found}, which cannot draw new weights; give it a method reset_parameters"
                )
    module.load_state_dict(drawn.state_dict())
