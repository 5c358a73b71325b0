"""Modules in memory as sources of a suite; `suite_objects` places them there."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, TypeAlias, cast

from advtransfer.api.arrays import DatasetInMemory, bounds_problems
from advtransfer.errors import BadInput, Problem
from advtransfer.text import type_text
from advtransfer.types import Json, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    # An uninitialised layer has hooks of torch's own, until a batch has gone through it.
    problems = list(_weight_problems(module)) or hook_problems(module)
    problems += [*_rebuild_problems(pair), *_path_problems(blocks, head)]
    problems += _input_problems(trained_on, shape)
    input_problems = [*bounds_problems(bounds), *_normalize_problems(normalize)]
    mean, std = ((), ()) if input_problems or normalize is None else normalize
    if not input_problems:
        try:
            unit_normalization(bounds, tuple(mean), tuple(std))
        except ValueError as error:
            input_problems.append(_argument_problem(error))
    problems += input_problems
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


def _weight_problems(module: nn.Module) -> Iterator[Problem]:
    """Yield what has no values yet."""
    from torch.nn.parameter import is_lazy

    tensors = all_tensors(module)
    lazy = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if lazy:
        found = f"uninitialised parameters ({', '.join(lazy[:3])})"
        yield Problem(found, "weights", "run one batch through the module first")
    empty = [name for name in tensors if name not in lazy and tensors[name].is_meta]
    if empty:
        found = f"weights without values, on the device meta ({', '.join(empty[:3])})"
        yield Problem(found, "weights", "build the module on the CPU and load its weights")


def _path_problems(blocks: object, head: object) -> Iterator[Problem]:
    if not _is_list_of(blocks, str):
        example = f"[{blocks!r}]" if isinstance(blocks, str) else "['layer1', 'layer2']"
        found = f"blocks={blocks!r}" if isinstance(blocks, str) else f"blocks={type_text(blocks)}"
        yield Problem(found, "a list of paths", f"write blocks={example}")
    elif head is not None and not isinstance(head, str):
        yield Problem(f"head={type_text(head)}", "the path of a module", "write head='fc'")
    elif bool(blocks) != (head is not None):
        found = f"blocks={blocks!r} and head={head!r}"
        yield Problem(found, "both or neither", "name the modules of both")


def _input_problems(trained_on: object, shape: object) -> Iterator[Problem]:
    is_shape = _is_list_of(shape, int) and bool(shape) and min(cast("Sequence[int]", shape)) > 0
    if shape is not None and not is_shape:
        expected = "positive whole numbers, such as (3, 32, 32)"
        yield Problem(f"shape={shape!r}", expected, "correct it")
    if not isinstance(trained_on, str | Mapping | DatasetInMemory | None):
        expected = "the name of an entry under datasets, an entry, or advtransfer.dataset(...)"
        yield Problem(f"trained_on={type_text(trained_on)}", expected, "correct it")


def _normalize_problems(normalize: object) -> Iterator[Problem]:
    if normalize is None:
        return
    try:
        mean, std = cast("Iterable[Iterable[float]]", normalize)
        _ = [float(value) for value in (*mean, *std)]
    except Exception:  # Lists, arrays and tensors are taken; other objects raise anything.
        is_plain = isinstance(normalize, int | float | str)
        shown = repr(normalize) if is_plain else type_text(normalize)
        expected = "a pair (mean, std), each a list with a number for each channel"
        yield Problem(f"normalize={shown}", expected, "write normalize=([0.5], [0.25])")


def _is_list_of(value: object, kind: type | UnionType) -> bool:
    """Return whether a value is a list or tuple of one kind."""
    return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)


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
