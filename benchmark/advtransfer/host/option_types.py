"""Whether options can have the types that a factory's signature says: values come from YAML, and go into ids."""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from advtransfer.options import MISSING, Options
from advtransfer.types import NotAsked, Since

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
    unusual = [
        name
        for name, hint, default in options.plain_parameters()
        if not _usual(hint) or not (default is MISSING or _fits(hint, default))
    ]
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
    if arguments and (origin in _UNIONS or origin in _CONTAINERS):
        return _all_usual(one for one in arguments if one is not Ellipsis)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return _all_usual(hints[field.name] for field in fields(hint))
    return False


def _all_usual(hints: Iterable[Any]) -> bool:  # Any: a type hint can be any object
    return all(_usual(one) for one in hints)


def _fits(hint: object, default: object) -> bool:
    """Whether a default is plainly a value of a usual type; where it is not so plain, pydantic decides."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(arguments[0], default) and all(_within(one, default) for one in arguments[1:])
    if origin is Literal:
        return any(default is one or (type(default) is type(one) and default == one) for one in arguments)
    if origin in _UNIONS:
        return any(_fits(one, default) for one in arguments)
    if origin in _CONTAINERS:
        return isinstance(default, list | tuple) and all(_fits(arguments[0], one) for one in default)
    if hint is float:
        return type(default) in (float, int)
    return type(default) is hint


def _within(constraint: object, default: object) -> bool:
    """Whether a number is within a constraint of annotated_types; marks of this package constrain nothing."""
    if default is None or isinstance(constraint, Since | NotAsked):  # limits of an option are of its other values
        return True
    if isinstance(default, list | tuple):
        return len(default) >= getattr(constraint, "min_length", math.inf)
    limits = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
    told = {name: limit for name in limits if (limit := getattr(constraint, name, None)) is not None}
    if not told:
        return is_dataclass(default)
    return isinstance(default, int | float) and all(limits[name](default, limit) for name, limit in told.items())
