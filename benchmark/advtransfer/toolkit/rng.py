"""Random streams: generators seeded by names, never by the order in which they are requested."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.node import canonical_json

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
Words: TypeAlias = NDArray[np.uint64]
"""Unsigned 32-bit integers, each in 64 bits so that a product of two fits."""

PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
PHILOX_ROUNDS = 10
"""Philox4x32-10 (Salmon et al. 2011, section 4.3): the constants of Random123."""

COUNTERS_PER_CHUNK = 2**14
"""Counters that are encrypted together: their words stay in the processor's cache."""


def stream_seed(*parts: str | int) -> int:
    """Return the seed of a stream: 63 bits of the sha256 of its parts as canonical JSON."""
    content = hashlib.sha256(canonical_json(parts).encode()).digest()
    # 63 bits fit into the signed 64-bit integers of torch.
    return int.from_bytes(content[:8], "big") >> 1


def stream_generator(*parts: str | int) -> torch.Generator:
    """Return a new CPU generator at the start of the stream that `parts` name."""
    return torch.Generator().manual_seed(stream_seed(*parts))


def key_words(keys: Sequence[int] | Words) -> Words:
    """Return the keys of samples, 64-bit integers, as an array ``(B,)`` that `keyed_uniform` takes as it is."""
    if isinstance(keys, np.ndarray):
        return keys
    return np.array([key & _MASK_64 for key in keys], dtype=np.uint64)


def keyed_uniform(stream: int, keys: Sequence[int] | Words, shape: Sequence[int]) -> Tensor:
    """Return uniform numbers in [0, 1) for each sample, ``(len(keys), *shape)`` float32, on the CPU.

    They are multiples of 2**-24. The numbers of a sample depend on the stream and its key only, and
    are the same for every batch, order, device and machine.

    Args:
        stream: Seed of the stream, as `stream_seed` returns it.
        keys: Keys of the samples, 64-bit integers, or what `key_words` makes of them.
        shape: Shape of the numbers of one sample.
    """
    count = math.prod(shape)
    blocks = -(-count // 4)
    samples = key_words(keys)
    stream_key = stream & _MASK_32, stream >> 32
    numbers = np.empty((len(samples) * blocks, 4), dtype=np.float32)
    for start in range(0, len(numbers), COUNTERS_PER_CHUNK):
        rows = np.arange(start, min(start + COUNTERS_PER_CHUNK, len(numbers)), dtype=np.uint64)
        sample = samples[rows // np.uint64(blocks)]
        block = rows % np.uint64(blocks)
        counters = (block, np.zeros_like(block), sample & _WORD, sample >> _HALF)
        for column, words in enumerate(philox(counters, stream_key)):
            # A float32 holds 24 bits exactly: more would round up to 1.
            numbers[start : start + len(rows), column] = words >> np.uint64(8)
    numbers *= np.float32(2.0**-24)
    drawn = torch.from_numpy(numbers.reshape(len(samples), blocks * 4)[:, :count])
    return drawn.reshape(len(samples), *shape)


def philox(counters: Sequence[Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Return four random words ``(M,)`` for each of ``M`` counters: Philox4x32-10.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section
    4.3.

    Args:
        counters: The four words of the counters, each ``(M,)``.
        key: The two words of the key.
    """
    first, second, third, fourth = counters
    for round_number in range(PHILOX_ROUNDS):
        # The key moves on by Weyl sequences, modulo 2**32.
        round_key = [
            np.uint64((word + round_number * step) & _MASK_32)
            for word, step in zip(key, PHILOX_KEY_STEPS, strict=True)
        ]
        product = first * np.uint64(PHILOX_MULTIPLIERS[0])
        other_product = third * np.uint64(PHILOX_MULTIPLIERS[1])
        first = (other_product >> _HALF) ^ second ^ round_key[0]
        third = (product >> _HALF) ^ fourth ^ round_key[1]
        second = other_product & _WORD
        fourth = product & _WORD
    return first, second, third, fourth


_MASK_32 = 2**32 - 1
_MASK_64 = 2**64 - 1
_WORD = np.uint64(_MASK_32)
_HALF = np.uint64(32)


@contextmanager
def fork_global_rng(
    source: torch.Generator, *, device: torch.device | None = None
) -> Iterator[None]:
    """Seed torch's global random state from `source` in the block; restore it after the block.

    For code that can only draw from the global state, such as initialisation of layers and dropout.

    Args:
        source: The generator that the seed is drawn from.
        device: The accelerator whose global state is seeded and restored too; None for the CPU
            alone.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=source))
    cuda_devices = [device] if device is not None and device.type == "cuda" else []
    # Not by torch's fork_rng, which looks for accelerators at every call.
    before = torch.get_rng_state()
    cuda_before = [torch.cuda.get_rng_state(cuda_device) for cuda_device in cuda_devices]
    try:
        # torch.manual_seed would also seed devices that are not restored.
        torch.default_generator.manual_seed(seed)
        for cuda_device in cuda_devices:
            with torch.cuda.device(cuda_device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(before)
        for cuda_device, state in zip(cuda_devices, cuda_before, strict=True):
            torch.cuda.set_rng_state(state, cuda_device)


def build_initialized(build: Callable[[], T], generator: torch.Generator) -> T:
    """Return the result of `build`, whose random weights are drawn from `generator` alone."""
    with fork_global_rng(generator):
        return build()


def build_redrawable(build: Callable[[], M], generator: torch.Generator) -> M:
    """Return the network that `build` initialises, which `reinitialize` can draw again by it."""
    network = build_initialized(build, generator)
    # Not by setattr: torch's modules take only tensors and modules without a complaint of mypy.
    network.__dict__["rebuild"] = build
    return network


def reinitialize(
    module: nn.Module, source: torch.Generator, *, whose: str, trained_only: bool = False
) -> None:
    """Draw new initial weights for a module, in place, from `source` alone.

    A network of `build_redrawable` gets the weights of a new one, since the initialisation of an
    architecture may differ from that of its layers. Each other layer that holds weights draws them by its
    `reset_parameters`, as torch's layers do.

    Args:
        module: The module.
        source: The generator that the weights are drawn from.
        whose: The owner of the module, named in the error.
        trained_only: Skip layers whose weights do not require gradients.

    Raises:
        Inapplicable: A layer holds weights and has no `reset_parameters`.
    """
    # Drawn on the CPU, so that every device starts from the same weights.
    drawn = copy.deepcopy(module).cpu()
    with fork_global_rng(source):
        rebuilt: set[nn.Module] = set()
        for name, layer in drawn.named_modules():
            if layer in rebuilt:
                continue
            if not trained_only and _rebuild_network(layer):
                rebuilt.update(layer.modules())
                continue
            weights = list(layer.parameters(recurse=False))
            if trained_only and not any(weight.requires_grad for weight in weights):
                continue
            # Layers without weights may hold running averages, which start again too.
            has_state = bool(weights or list(layer.buffers(recurse=False)))
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset) and has_state:
                reset()
            elif weights:
                found = f"{name or 'the whole'} ({type(layer).__name__}) in {whose}"
                raise Inapplicable(
                    f"found {found}, which cannot draw new weights; "
                    "give it a method reset_parameters"
                )
    module.load_state_dict(drawn.state_dict())


def _rebuild_network(network: nn.Module) -> bool:
    """Give a network the weights of a new one; return False where it cannot be built again."""
    rebuild = getattr(network, "rebuild", None)
    if not callable(rebuild):
        return False
    new = rebuild().state_dict()
    own = network.state_dict()
    # A copy may have another head or normalisation than the architecture was built with.
    if any(name not in new or new[name].shape != tensor.shape for name, tensor in own.items()):
        return False
    network.load_state_dict({name: new[name] for name in own})
    return True
