"""A factory's options, read from its signature.

What may be written, strictly checked, with defaults filled in.
"""

from __future__ import annotations

import inspect
import json
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
"""What stands for the default of an option that has none."""

RESERVED_NAMES = frozenset(
    {"use", "only", "sweep", "label", "preset", "classes", "channels", "size", "seeds"}
)
_ENTRY_KINDS: dict[object, EntryKind] = {Dataset: "dataset", Source: "source", Adapter: "adapter"}
_CONTENT_KINDS: dict[object, ContentKind] = {File: "file", Folder: "folder"}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: plain, or of a `kind` (names an entry of the suite), or a `file` whose content is what counts.

    A plain option that is not `asked` says how a thing is got, not what it is: it reaches the factory, never an id.
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
        """Whether the value itself is what is hashed and handed over."""
        return self.kind is None and self.file is None


@dataclass(frozen=True, slots=True)
class OptionFault:
    """A mistake in a mapping of options: where inside it, what was found, what was expected."""

    path: OptionPath
    found: str
    expected: str


class Options:
    """The options of one factory; raises TypeError where the signature is not a plugin factory's."""

    def __init__(self, factory: Callable[..., object]) -> None:
        self._hints = _type_hints(factory)
        self._parameters = {
            name: _require_option(name, one)
            for name, one in inspect.signature(factory).parameters.items()
        }
        self._name = getattr(factory, "__name__", "factory")

    @classmethod
    def from_factory(cls, factory: Callable[..., object]) -> Options:
        """The options of `factory`."""
        return cls(factory)

    @cached_property
    def fields(self) -> Mapping[str, Option]:
        """Every option by name, in the order of the signature."""
        defaults = self._default_values
        return {name: self._read_option(name, defaults.get(name)) for name in self._parameters}

    def validate(self, values: Mapping[str, Json]) -> tuple[dict[str, Json], list[OptionFault]]:
        """The plain options with defaults filled in, as canonical JSON values; and every fault found.

        An option marked `Since` is left out while it equals its default, so that adding it changed no id.
        """
        from pydantic import ValidationError

        try:
            model = self._pydantic_model.model_validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            return {}, _option_faults(
                error.errors(include_url=False, include_context=False),
                values,
                tuple(self._plain_names),
            )
        dumped = model.model_dump(mode="json")
        return {
            name: value
            for name, value in dumped.items()
            if not self._is_implied_default(name, value)
        }, []

    def python_values(self, values: Mapping[str, Json]) -> dict[str, object]:
        """Validated plain options as the Python values that the factory is called with."""
        model = self._pydantic_model.model_validate_json(json.dumps(values), strict=True)
        return {name: getattr(model, name) for name in self._plain_names}

    def json_schema(self) -> Mapping[str, Json]:
        """The JSON Schema (draft 2020-12) of the plain options, references inlined."""
        return self._inlined_schema

    @cached_property
    def _inlined_schema(self) -> Mapping[str, Json]:
        schema = self._pydantic_model.model_json_schema()
        definitions = schema.pop("$defs", {})
        for definition in definitions.values():
            if "properties" in definition:  # a dataclass; pydantic itself says so from 2.14 on
                definition.setdefault("additionalProperties", False)
        return cast("dict[str, Json]", _inline_references(schema, definitions))

    def plain_parameters(self) -> Iterator[tuple[str, object, object]]:
        """The plain options as the signature has them: name, annotation, and default, `NO_DEFAULT` where there is none."""
        for name in self._plain_names:
            yield name, self._hints[name], self._parameters[name].default

    def type_fault(self, name: str) -> str | None:
        """What keeps a plain option from having the type and the default that the signature says; None for nothing."""
        from pydantic import TypeAdapter

        hint, parameter = self._hints[name], self._parameters[name]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # pydantic warns of defaults of other types, and refuses other things
            try:
                adapter = TypeAdapter[object](hint)
                adapter.json_schema()
            except Exception:  # pydantic and the plugin's own types raise errors of many kinds here
                return f"its option {name!r} has the type {_hint_text(hint)}, which cannot be written in a suite"
            try:
                if parameter.default is not inspect.Parameter.empty:
                    adapter.validate_json(adapter.dump_json(parameter.default), strict=True)
            except Exception:  # as above
                return f"its option {name!r} has the default {parameter.default!r}, which is no {_hint_text(hint)}"
        return None

    @cached_property
    def _plain_names(self) -> list[str]:
        return [
            name
            for name in self._parameters
            if _classify_hint(self._hints[name]) == (None, False, None)
        ]

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
        return cast(
            "type[BaseModel]",
            create_model(
                self._name, __config__=config, **cast("dict[str, Any]", fields)
            ),  # Any: pydantic's signature
        )

    @cached_property
    def _default_values(self) -> dict[str, Json]:
        given = [
            name
            for name in self._plain_names
            if self._parameters[name].default is not inspect.Parameter.empty
        ]
        model = self._pydantic_model.model_construct()
        return cast("dict[str, Json]", model.model_dump(mode="json", include=set(given)))

    def _read_option(self, name: str, default: Json) -> Option:
        kind, many, file = _classify_hint(self._hints[name])
        required = self._parameters[name].default is inspect.Parameter.empty
        hint = self._hints[name]
        return Option(
            name,
            kind,
            many,
            file,
            required,
            default,
            _hint_text(hint),
            in_id=not _is_not_in_id(hint),
        )

    def _is_implied_default(self, name: str, value: Json) -> bool:
        marked = any(isinstance(one, Since) for one in _annotation_metadata(self._hints[name]))
        return marked and value == self._default_values.get(name)


def _type_hints(
    factory: Callable[..., object],
) -> dict[str, Any]:  # Any: a type hint can be any object
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
    return ... if parameter.default is inspect.Parameter.empty else parameter.default


def _classify_hint(hint: object) -> tuple[EntryKind | None, bool, ContentKind | None]:
    """Which kind of entry or content a hint names, and whether it takes several."""
    if get_origin(hint) is Annotated:
        return _classify_hint(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        found = [_classify_hint(one) for one in get_args(hint) if one is not type(None)]
        return found[0] if len(found) == 1 else (None, False, None)
    if get_origin(hint) in (tuple, list, Sequence):
        kind, _, file = _classify_hint(get_args(hint)[0])
        return (kind, True, file) if kind or file else (None, False, None)
    key = hint if isinstance(hint, type) else None
    return _ENTRY_KINDS.get(key), False, _CONTENT_KINDS.get(key)


def _is_not_in_id(hint: object) -> bool:
    return any(isinstance(one, NotInId) for one in _annotation_metadata(hint))


def _annotation_metadata(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _hint_text(hint: object) -> str:
    """An annotation as a reader would write it."""
    if get_origin(hint) is Annotated:
        inner, *constraints = get_args(hint)
        notes = [note for one in constraints for note in _constraint_texts(one)]
        told = f"{_hint_text(inner)} {' and '.join(notes)}" if notes else _hint_text(inner)
        return f"{told} (never in an id)" if _is_not_in_id(hint) else told
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(map(_hint_text, get_args(hint)))
    if get_origin(hint) is Literal:
        return " | ".join(map(repr, get_args(hint)))
    if hint is type(None) or hint is Ellipsis:
        return "None" if hint is type(None) else "..."
    if get_origin(hint) is not None:
        return f"{_hint_text(get_origin(hint))}[{', '.join(map(_hint_text, get_args(hint)))}]"
    return hint.__name__ if isinstance(hint, type) else inspect.formatannotation(hint)


def _constraint_texts(constraint: object) -> list[str]:
    """A constraint of annotated_types as a reader would write it."""
    signs = {
        "gt": ">",
        "ge": ">=",
        "lt": "<",
        "le": "<=",
        "multiple_of": "a multiple of",
        "min_length": "with at least",
    }
    found = {name: getattr(constraint, name, None) for name in signs}
    return [
        f"{signs[name]} {value:g}"
        for name, value in found.items()
        if isinstance(value, int | float)
    ]


def _option_faults(
    errors: Iterable[Any], values: Mapping[str, Json], names: Sequence[str]
) -> list[OptionFault]:
    """Pydantic's errors as faults: the branches of a union at one place are one fault."""
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
    """Whether another branch of a union got further into the same list or mapping, and so says more."""
    size = len(fault.path)
    return fault.found[:1] in ("[", "{") and any(
        other.path[:size] == fault.path != other.path for other in faults
    )


def _fault_parts(
    error: Mapping[str, Any], values: Mapping[str, Json], names: Sequence[str]
) -> tuple[OptionPath, str, str]:
    # Any: the values of pydantic's ErrorDetails
    path, here = _locate_value(error["loc"], values)
    if error["type"] == "missing":
        return path, f"no option {error['loc'][-1]!r}", "a value, since it has no default"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = f"one of {', '.join(names)}" if len(path) == 1 else "a key that it knows"
        return (
            path,
            f"unknown option {path[-1]!r}",
            known if names or len(path) > 1 else "no options",
        )
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return path, json.dumps(here), message


def _locate_value(loc: Sequence[str | int], values: Mapping[str, Json]) -> tuple[OptionPath, Json]:
    """The part of pydantic's location that is in the data (the rest names branches of unions), and what is there."""
    path: OptionPath = ()
    here: Json = cast(Json, values)
    for step in loc:
        inside: Mapping[str | int, Json] = dict(enumerate(here)) if isinstance(here, list) else {}
        inside = cast("Mapping[str | int, Json]", here) if isinstance(here, Mapping) else inside
        if step in inside:
            path, here = (*path, step), inside[step]
    return path, here


def _inline_references(schema: object, definitions: Mapping[str, object]) -> object:
    if isinstance(schema, dict):
        if "$ref" in schema:
            target = cast("dict[str, object]", definitions[str(schema["$ref"]).rsplit("/", 1)[-1]])
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return _inline_references({**target, **rest}, definitions)
        return {key: _inline_references(value, definitions) for key, value in schema.items()}
    return (
        [_inline_references(one, definitions) for one in schema]
        if isinstance(schema, list)
        else schema
    )
