"""The types of options that are written as mappings in YAML, such as an optimizer: their keys and help."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from itertools import chain
from typing import Any, get_args, get_type_hints

from advtransfer.options import hint_text, type_hints


@dataclass(frozen=True, slots=True)
class Structure:
    """A dataclass that an option's type names: its docstring, and its keys as (name, type, default).

    The default is JSON, or ``required``.
    """

    name: str
    text: str
    keys: tuple[tuple[str, str, str], ...]


def option_structures(factory: Callable[..., object]) -> list[Structure]:
    """Return the dataclasses that the types of a factory's options name, in their order, each once."""
    found = chain.from_iterable(map(_structures_in, type_hints(factory).values()))
    return list({structure.name: structure for structure in found}.values())


def _structures_in(hint: object) -> Iterator[Structure]:
    """Yield the dataclasses in an annotation, each before those that its own fields name."""
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        yield Structure(hint.__name__, inspect.getdoc(hint) or "", _structure_keys(hint, hints))
        inner = tuple(hints.values())
    else:
        inner = get_args(hint)
    yield from chain.from_iterable(map(_structures_in, inner))


def _structure_keys(
    structure: type,
    hints: dict[str, Any],  # Any: a type hint can be any object
) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (field.name, hint_text(hints[field.name]), _default_text(field))
        for field in fields(structure)
    )


def _default_text(field: Field[Any]) -> str:  # Any: a field of any type
    if field.default_factory is not MISSING:
        default = field.default_factory()
    elif field.default is not MISSING:
        default = field.default
    else:
        return "required"
    return json.dumps(default, ensure_ascii=False, default=asdict)
