"""Whether options can have the types that a factory's signature says: values come from YAML, and go into ids."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from advtransfer.options import Options

_PLAIN = (bool, int, float, str, type(None))
_UNIONS = (Union, types.UnionType)
_CONTAINERS = (list, tuple, dict, Sequence, Mapping)
WANTED = (
    "bool, int, float, str, Literal, lists, tuples, mappings or light dataclasses of these; or Dataset, Source, "
    "Adapter, File, Folder"
)


def check_types(options: Options) -> None:
    """Refuse options of types that cannot be written in a suite, and defaults that are no such values.

    Raises:
        TypeError: Names each of them.
    """
    unusual = [name for name, hint, default in options.plain_parameters() if not (_usual(hint) and _json(default))]
    faults = [fault for name in unusual if (fault := options.type_fault(name))]
    if faults:
        raise TypeError("; ".join(faults) + f"; expected {WANTED}")


def _usual(hint: object) -> bool:
    """Whether a hint is made of types that every option may have; others are left to pydantic, which is slower."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _usual(arguments[0])
    if origin is Literal or hint in _PLAIN:
        return True
    if origin in _UNIONS or origin in _CONTAINERS:
        return _all_usual(one for one in arguments if one is not Ellipsis)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return _all_usual(hints[field.name] for field in fields(hint))
    return False


def _all_usual(hints: Iterable[Any]) -> bool:  # Any: a type hint can be any object
    return all(_usual(one) for one in hints)


def _json(default: object) -> bool:
    """Whether a default is a value that JSON has, or a dataclass, which pydantic writes field by field."""
    if isinstance(default, tuple | list):
        return all(_json(one) for one in default)
    if isinstance(default, dict):
        return all(isinstance(name, str) and _json(one) for name, one in default.items())
    return isinstance(default, _PLAIN) or (is_dataclass(default) and not isinstance(default, type))
