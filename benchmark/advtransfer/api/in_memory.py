"""Modules in memory as sources of a suite; `suite_objects` places them there."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.text import type_text
from advtransfer.types import Json, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advtransfer.api.arrays import DatasetInMemory

Rebuild: TypeAlias = "tuple[Callable[..., nn.Module], Mapping[str, Json]]"
"""A function or class, and the keyword arguments that it was called with."""


@dataclass(frozen=True, kw_only=True)
class SourceInMemory:
    """A module as a source, as `source` returns it.

    Attributes:
        module: The module itself, not a copy.
        rebuild: The factory and its arguments; None where the module cannot be rebuilt.
        trained_on: The source's own data: the name of an entry of the suite, an entry, or arrays.
        shape: The shape of one input; None for that of `trained_on`, or of the suite's first target.
        blocks: Paths of the modules where blocks begin; empty to find them.
        head: Path of the module that gives the logits.
        bounds: The smallest and the largest pixel that the module knows.
        mean: Mean of each channel, within `bounds`; empty for none.
        std: Standard deviation of each channel.
        state: Digest of the module's weights and buffers when it was given.
    """

    module: nn.Module
    rebuild: Rebuild | None
    trained_on: str | Mapping[str, Json] | DatasetInMemory | None
    shape: Shape | None
    blocks: tuple[str, ...]
    head: str | None
    bounds: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    state: str = field(repr=False)

    @property
    def is_rebuilt(self) -> bool:
        """True where a worker can build the module again; not from ``__main__``, which is not imported."""
        return self.rebuild is not None and self.rebuild[0].__module__ != "__main__"


def source(
    module: nn.Module,
    *,
    rebuild: Callable[..., nn.Module] | Rebuild | None = None,
    trained_on: str | Mapping[str, Json] | DatasetInMemory | None = None,
    shape: Sequence[int] | None = None,
    blocks: Sequence[str] = (),
    head: str | None = None,
    bounds: tuple[float, float] = (0, 1),
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
) -> SourceInMemory:
    """Return a module in memory as a source of a suite, for `run`: ``sources={"mine": ...}``.

    Args:
        module: From images ``(B, C, H, W)`` to logits ``(B, outputs)``; it is not changed.
        rebuild: The function or class that built the module and its keyword arguments, ``(factory,
            {"width": 16})``, or the function alone: the rows can then be made again, cached and
            published. Without it, and for a function of ``__main__``, the module is used in this
            process, and its rows say "in memory: cannot be rebuilt".
        trained_on: The source's own data: the name of an entry under ``datasets``, an entry, or what
            `dataset` returned; its clean accuracy is measured on the test part.
        shape: The shape ``(C, H, W)`` of one input; by default that of `trained_on`, or else of the
            suite's first target.
        blocks: Paths of the modules where blocks begin, given together with `head`; by default the
            layers of an ``nn.Sequential``, or what lies before the last linear layer.
        head: Path of the module that gives the logits.
        bounds: The smallest and the largest pixel that the module was trained on; suites have images
            in [0, 1], which are moved there first.
        normalize: Mean and standard deviation of each channel, within `bounds`; None if the module
            normalises its inputs itself.

    Raises:
        BadInput: Names everything that is wrong.
    """
    from torch import nn

    from advtransfer.toolkit.module_network import unit_normalization

    if not isinstance(module, nn.Module):
        raise BadInput([Problem(f"{type_text(module)} as a source", "an nn.Module", "pass one")])
    pair = (rebuild, {}) if callable(rebuild) else rebuild
    problems = [*hook_problems(module), *_rebuild_problems(pair)]
    if shape is not None and not all(isinstance(size, int) and size > 0 for size in shape):
        found = f"shape={shape!r}"
        problems.append(Problem(found, "positive whole numbers, such as (3, 32, 32)", "correct it"))
    mean, std = normalize or ((), ())
    try:
        unit_normalization(bounds, tuple(mean), tuple(std))
    except (ValueError, TypeError) as error:
        problems.append(_argument_problem(error))
    if bool(tuple(blocks)) != (head is not None):
        found = f"blocks={list(blocks)} and head={head!r}"
        problems.append(Problem(found, "both or neither", "name the modules of both"))
    if problems:
        raise BadInput(problems)
    low, high = bounds
    return SourceInMemory(
        module=module,
        rebuild=pair,
        trained_on=trained_on,
        shape=None if shape is None else tuple(map(int, shape)),
        blocks=tuple(blocks),
        head=head,
        bounds=(float(low), float(high)),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        state=state_digest(module),
    )


def state_digest(module: nn.Module) -> str:
    """Return the sha256 of all parameters and buffers by name, also of buffers outside the state dict."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in all_tensors(module).items():
        values = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        # As bytes, since numpy lacks bfloat16.
        digest.update(values.view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those of tied modules under every name."""
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def hook_problems(module: nn.Module) -> list[Problem]:
    """Return a problem for each hook: it may change what the module computes, and no weights hold it."""
    from advtransfer.toolkit.module_network import hook_texts

    expected = "a module whose forward pass is its own code alone"
    next_step = "remove it, or write what it does into forward"
    return [Problem(text, expected, next_step) for text in hook_texts(module)]


def _argument_problem(error: Exception) -> Problem:
    """Return the problem that an error of the toolkit tells as ``found ...; expected ...; next step``."""
    found, _, rest = str(error).removeprefix("found ").partition("; expected ")
    expected, _, next_step = rest.partition("; ")
    return Problem(found, expected or "other arguments", next_step or "correct them")


def _rebuild_problems(rebuild: object) -> Iterator[Problem]:
    """Yield what hinders that a worker calls the factory again."""
    if rebuild is None:
        return
    factory, arguments = (
        rebuild if isinstance(rebuild, tuple) and len(rebuild) == 2 else (None, None)
    )
    if not callable(factory) or not isinstance(arguments, Mapping):
        found = f"rebuild={type_text(rebuild)}"
        yield Problem(found, "a pair (factory, kwargs)", "write rebuild=(Net, {'width': 16})")
        return
    if getattr(factory, "__module__", None) == "__main__":
        return
    name = getattr(factory, "__qualname__", "")
    is_importable = bool(name) and "<" not in name
    if not is_importable or code_file(factory) is None:
        yield Problem(
            f"the factory {name or type_text(factory)}, which no file holds by a name",
            "a function or class at the top level of a Python file",
            "move it there, or leave rebuild out",
        )
    try:
        json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        found = f"arguments of {name} that JSON cannot hold ({error})"
        yield Problem(
            found, "numbers, texts, booleans, None and lists of these", "pass such values"
        )


def code_file(factory: Callable[..., object]) -> Path | None:
    """Return the Python file that defines a function or class."""
    try:
        path = Path(inspect.getfile(factory))
    except (TypeError, OSError):
        return None
    return path.resolve() if path.suffix == ".py" and path.is_file() else None


def package_of(factory: Callable[..., object]) -> str | None:
    """Return the package of a function's module, for relative imports of its file."""
    module = sys.modules.get(factory.__module__)
    return getattr(module, "__package__", None) or None
