"""Options of a factory: read from its signature, validated strictly, completed with defaults."""

from __future__ import annotations

import inspect
import json
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from advtransfer.types import Adapter, Dataset, File, Folder, Json, NotInId, Since, Source

if TYPE_CHECKING:
    from pydantic import BaseModel

EntryKind: TypeAlias = Literal["dataset", "source", "adapter"]
ContentKind: TypeAlias = Literal["file", "folder"]
OptionPath: TypeAlias = tuple[str | int, ...]

NO_DEFAULT = inspect.Parameter.empty
"""Placeholder for the default of an option without one."""

EXECUTOR_WORDS = ("resources", "timeout")
"""Words of every entry that are kept for executors, and will never be in an id."""

RESERVED_NAMES = frozenset(
    {
        *EXECUTOR_WORDS,
        "use",
        "only",
        "sweep",
        "choose",
        "label",
        "preset",
        "classes",
        "channels",
        "size",
        "attribute",
        "seeds",
    }
)
_ENTRY_KINDS: dict[object, EntryKind] = {Dataset: "dataset", Source: "source", Adapter: "adapter"}
_CONTENT_KINDS: dict[object, ContentKind] = {File: "file", Folder: "folder"}
_PLAIN: tuple[EntryKind | None, bool, ContentKind | None] = (None, False, None)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a factory: a plain value, an entry of the suite, or a file.

    Args:
        name: The name of the parameter.
        kind: The kind of entry that the option names; None for a plain value or a file.
        many: Whether it takes several entries or files.
        file: ``"file"`` or ``"folder"`` where it names one; the id depends on the content only.
        required: Whether it has no default.
        default: The default as a JSON value.
        text: The annotation as shown to the user.
        in_id: False for an option marked `NotInId`: it is passed to the factory and is part of no id.
    """

    name: str
    kind: EntryKind | None
    many: bool
    file: ContentKind | None
    required: bool
    default: Json
    text: str
    in_id: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether the value itself is hashed and passed to the factory."""
        return self.kind is None and self.file is None


@dataclass(frozen=True, slots=True)
class OptionFault:
    """A mistake in a mapping of options: its path, what was found and what was expected."""

    path: OptionPath
    found: str
    expected: str


class Options:
    """The options of one factory; raises TypeError where its signature breaks the contract."""

    def __init__(self, factory: Callable[..., object]) -> None:
        self._hints = type_hints(factory)
        self._parameters = {
            name: _require_option(name, parameter)
            for name, parameter in inspect.signature(factory).parameters.items()
        }
        self._name = getattr(factory, "__name__", "factory")

    @classmethod
    def from_factory(cls, factory: Callable[..., object]) -> Options:
        """Return the options of `factory`."""
        return cls(factory)

    @cached_property
    def fields(self) -> Mapping[str, Option]:
        """All options by name, in the order of the signature."""
        defaults = self._default_values
        return {name: self._read_option(name, defaults.get(name)) for name in self._parameters}

    def validate(self, values: Mapping[str, Json]) -> tuple[dict[str, Json], list[OptionFault]]:
        """Return the plain options with defaults filled in, as JSON values, and all faults.

        An option marked `Since` is left out while it equals its default, so that adding it changes no id.
        """
        from pydantic import ValidationError

        try:
            # Strict JSON mode and not strict Python mode: a tuple option is written as a list in YAML.
            model = self._pydantic_model.model_validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
            return {}, _option_faults(details, values, tuple(self._plain_names))
        completed = {
            name: value
            for name, value in model.model_dump(mode="json").items()
            if not self._is_implied_default(name, value)
        }
        return completed, []

    def python_values(self, values: Mapping[str, Json]) -> dict[str, object]:
        """Return validated plain options as the Python values to call the factory with."""
        model = self._pydantic_model.model_validate_json(json.dumps(values), strict=True)
        return {name: getattr(model, name) for name in self._plain_names}

    def json_schema(self) -> Mapping[str, Json]:
        """Return the JSON Schema (draft 2020-12) of the plain options, with references inlined."""
        return self._inlined_schema

    @cached_property
    def _inlined_schema(self) -> Mapping[str, Json]:
        schema = self._pydantic_model.model_json_schema()
        definitions = schema.pop("$defs", {})
        for definition in definitions.values():
            # A dataclass refuses unknown keys; pydantic writes that into the schema from 2.14 on.
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)
        return cast("dict[str, Json]", _inline_references(schema, definitions))

    def plain_parameters(self) -> Iterator[tuple[str, object, object]]:
        """Yield name, annotation and default (or `NO_DEFAULT`) of each plain option."""
        for name in self._plain_names:
            yield name, self._hints[name], self._parameters[name].default

    def type_fault(self, name: str) -> str | None:
        """Return why a plain option's type or default cannot be used; None where both can."""
        from pydantic import TypeAdapter

        hint = self._hints[name]
        default = self._parameters[name].default
        with warnings.catch_warnings():
            # Pydantic only warns of a default of another type.
            warnings.simplefilter("error")
            try:
                adapter = TypeAdapter[object](hint)
                adapter.json_schema()
            except Exception:  # Pydantic and the plugin's types raise errors of many classes here.
                return f"its option {name!r} has the type {hint_text(hint)}, which cannot be written in a suite"
            try:
                if default is not NO_DEFAULT:
                    adapter.validate_json(adapter.dump_json(default), strict=True)
            except Exception:  # As above.
                return f"its option {name!r} has the default {default!r}, which is no {hint_text(hint)}"
        return None

    @cached_property
    def _plain_names(self) -> list[str]:
        return [name for name in self._parameters if _classify_hint(self._hints[name]) == _PLAIN]

    @cached_property
    def _pydantic_model(self) -> type[BaseModel]:
        from pydantic import ConfigDict, create_model

        fields = {
            name: (self._hints[name], _pydantic_default(self._parameters[name]))
            for name in self._plain_names
        }
        config = ConfigDict(
            strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
        )
        keywords = cast("dict[str, Any]", fields)  # Any: as in pydantic's signature
        return cast("type[BaseModel]", create_model(self._name, __config__=config, **keywords))

    @cached_property
    def _default_values(self) -> dict[str, Json]:
        optional = {
            name for name in self._plain_names if self._parameters[name].default is not NO_DEFAULT
        }
        model = self._pydantic_model.model_construct()
        return cast("dict[str, Json]", model.model_dump(mode="json", include=optional))

    def _read_option(self, name: str, default: Json) -> Option:
        hint = self._hints[name]
        kind, many, file = _classify_hint(hint)
        return Option(
            name,
            kind,
            many,
            file,
            required=self._parameters[name].default is NO_DEFAULT,
            default=default,
            text=hint_text(hint),
            in_id=not _is_not_in_id(hint),
        )

    def _is_implied_default(self, name: str, value: Json) -> bool:
        marks = _annotation_metadata(self._hints[name])
        is_newer = any(isinstance(mark, Since) for mark in marks)
        return is_newer and value == self._default_values.get(name)


def type_hints(factory: Callable[..., object]) -> dict[str, Any]:
    """Return the annotations of a factory with their metadata; raise TypeError where one does not resolve."""
    # Any: a type hint can be any object
    try:
        return get_type_hints(factory, include_extras=True)
    except NameError as error:
        message = (
            f"its annotations do not resolve at run time ({error}); import what they name outside TYPE_CHECKING, "
            "from a module that does not import torch"
        )
        raise TypeError(message) from error


def _require_option(name: str, parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        raise TypeError(f"its parameter {name!r} must be keyword-only (write `*` before it)")
    if parameter.annotation is inspect.Parameter.empty:
        raise TypeError(f"its option {name!r} needs an annotation")
    if name in RESERVED_NAMES:
        raise TypeError(
            f"its option {name!r} has a reserved name ({', '.join(sorted(RESERVED_NAMES))}); rename it"
        )
    return parameter


def _pydantic_default(parameter: inspect.Parameter) -> object:
    return ... if parameter.default is NO_DEFAULT else parameter.default


def _classify_hint(hint: object) -> tuple[EntryKind | None, bool, ContentKind | None]:
    """Return the kind of entry or content that a hint names, and whether it takes several."""
    origin = get_origin(hint)
    arguments = get_args(hint)
    if origin is Annotated:
        return _classify_hint(arguments[0])
    if origin in (Union, types.UnionType):
        # `Source | None` is an optional source; other unions with an entry are plain and fail as such.
        members = [member for member in arguments if member is not type(None)]
        return _classify_hint(members[0]) if len(members) == 1 else _PLAIN
    if origin in (tuple, list, Sequence):
        kind, _, file = _classify_hint(arguments[0])
        return (kind, True, file) if kind or file else _PLAIN
    key = hint if isinstance(hint, type) else None
    return _ENTRY_KINDS.get(key), False, _CONTENT_KINDS.get(key)


def _is_not_in_id(hint: object) -> bool:
    return any(isinstance(mark, NotInId) for mark in _annotation_metadata(hint))


def _annotation_metadata(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def hint_text(hint: object) -> str:
    """Return an annotation as shown to the user: ``int >= 1``, ``float | None``."""
    origin = get_origin(hint)
    arguments = get_args(hint)
    if origin is Annotated:
        return _annotated_text(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(map(hint_text, arguments))
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if hint is type(None):
        return "None"
    if hint is Ellipsis:
        return "..."
    if origin is not None:
        return f"{hint_text(origin)}[{', '.join(map(hint_text, arguments))}]"
    return hint.__name__ if isinstance(hint, type) else inspect.formatannotation(hint)


def _annotated_text(hint: object) -> str:
    inner, *marks = get_args(hint)
    limits = list(chain.from_iterable(map(_constraint_texts, marks)))
    text = f"{hint_text(inner)} {' and '.join(limits)}" if limits else hint_text(inner)
    return f"{text} (never in an id)" if _is_not_in_id(hint) else text


def _constraint_texts(constraint: object) -> list[str]:
    """Return the limits of a constraint of annotated_types: ``> 0``."""
    signs = {
        "gt": ">",
        "ge": ">=",
        "lt": "<",
        "le": "<=",
        "multiple_of": "a multiple of",
        "min_length": "with at least",
    }
    limits = {sign: getattr(constraint, name, None) for name, sign in signs.items()}
    return [f"{sign} {limit:g}" for sign, limit in limits.items() if isinstance(limit, int | float)]


def _option_faults(
    errors: Iterable[Any], values: Mapping[str, Json], names: Sequence[str]
) -> list[OptionFault]:
    """Return pydantic's errors as faults; the branches of a union at one path become one fault."""
    merged: dict[tuple[OptionPath, str], list[str]] = {}
    for error in errors:  # Any above: pydantic's ErrorDetails is a TypedDict of a private package
        path, found, expected = _fault_parts(error, values, names)
        merged.setdefault((path, found), []).append(expected)
    faults = [
        OptionFault(path, found, " or ".join(dict.fromkeys(texts)))
        for (path, found), texts in merged.items()
    ]
    return [fault for fault in faults if not _is_superseded(fault, faults)]


def _is_superseded(fault: OptionFault, faults: Sequence[OptionFault]) -> bool:
    """Return whether another branch of a union has a fault inside this list or mapping.

    That one is more precise, so this one is not reported.
    """
    size = len(fault.path)
    is_container = fault.found[:1] in ("[", "{")
    return is_container and any(other.path[:size] == fault.path != other.path for other in faults)


def _fault_parts(
    error: Mapping[str, Any], values: Mapping[str, Json], names: Sequence[str]
) -> tuple[OptionPath, str, str]:
    # Any: the values of pydantic's ErrorDetails
    path, value = _locate_value(error["loc"], values)
    if error["type"] == "missing":
        return path, f"no option {error['loc'][-1]!r}", "a value, since it has no default"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return path, f"unknown option {path[-1]!r}", _expected_key(path, names)
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return path, json.dumps(value), message


def _expected_key(path: OptionPath, names: Sequence[str]) -> str:
    if len(path) > 1:
        return "a key that it knows"
    return f"one of {', '.join(names)}" if names else "no options"


def _locate_value(loc: Sequence[str | int], values: Mapping[str, Json]) -> tuple[OptionPath, Json]:
    """Return the path of pydantic's location inside the values, and the value there.

    The other steps of a location name branches of unions.
    """
    path: OptionPath = ()
    value: Json = cast(Json, values)
    for step in loc:
        members: Mapping[str | int, Json] = {}
        if isinstance(value, list):
            members = dict(enumerate(value))
        elif isinstance(value, Mapping):
            members = cast("Mapping[str | int, Json]", value)
        if step in members:
            path = (*path, step)
            value = members[step]
    return path, value


def _inline_references(schema: object, definitions: Mapping[str, object]) -> object:
    if isinstance(schema, dict):
        if "$ref" in schema:
            target = cast("dict[str, object]", definitions[str(schema["$ref"]).rsplit("/", 1)[-1]])
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return _inline_references({**target, **rest}, definitions)
        return {key: _inline_references(value, definitions) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inline_references(member, definitions) for member in schema]
    return schema
