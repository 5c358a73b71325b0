"""Annotations for options that are one of several dataclasses.

Imports pydantic only when an option's schema is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

from advtransfer.types import Since

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class TaggedUnion:
    """Annotates one dataclass, or a union of dataclasses that their field `kind` tells apart.

    A mapping is checked against the dataclass that its ``kind`` names (the first, when it names none), so that a
    mistake is told for that one alone. A field marked `Since` leaves the canonical value while it equals its default,
    so that adding it changes no id.

    ```python
    Optimiser: TypeAlias = Annotated[Sgd | Adam, Choice()]  # kind: Literal["sgd"] = "sgd", kind: Literal["adam"] = ...
    ```
    """

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401  # Any: a type hint can be any object
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """What pydantic asks an annotation for: how to check and to write a value."""
        from pydantic_core import core_schema

        branches = {_kind_of(branch): branch for branch in get_args(source) or (source,)}
        first, known = next(iter(branches)), " or ".join(map(repr, branches))
        return core_schema.tagged_union_schema(
            {kind: handler.generate_schema(branch) for kind, branch in branches.items()},
            lambda value: _named_kind(value, first),
            custom_error_type="kind",
            custom_error_message=f"a mapping whose kind is {known}",
            serialization=core_schema.wrap_serializer_function_ser_schema(_omit_default_additions),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The branches as ``anyOf``: a mapping without a kind may fit several."""
        written = handler(schema)
        return {"anyOf" if key == "oneOf" else key: value for key, value in written.items()}


@dataclass(frozen=True, slots=True)
class UnionByFirstField:
    """Annotates a union of dataclasses that their first fields tell apart, so that a mistake is told for one alone.

    A mapping is checked against the dataclass whose first field it has, or against the first dataclass.
    """

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401  # Any: a type hint can be any object
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """What pydantic asks an annotation for: how to check and to write a value."""
        from pydantic_core import core_schema

        # tagged by class, since a tag that is also a key of the mapping would be taken for a place in it
        branches: dict[str, type] = {branch.__name__: branch for branch in get_args(source)}
        firsts = {
            name: fields(cast(Any, branch))[0].name for name, branch in branches.items()
        }  # Any: dataclasses

        def chosen(value: object) -> str | None:
            if isinstance(value, Mapping):
                return next(
                    (name for name, first in firsts.items() if first in value), next(iter(branches))
                )
            return next(
                (name for name, branch in branches.items() if isinstance(value, branch)), None
            )

        return core_schema.tagged_union_schema(
            {name: handler.generate_schema(branch) for name, branch in branches.items()},
            chosen,
            custom_error_type="first_field",
            custom_error_message=f"a mapping with {' or '.join(map(repr, firsts.values()))}",
        )


def _kind_of(branch: type) -> str:
    (kind,) = get_args(get_type_hints(branch)["kind"])
    return cast(str, kind)


def _named_kind(value: object, first: str) -> str | None:
    """The kind that a value names; None where it cannot name one."""
    if isinstance(value, Mapping):
        kind = value.get("kind", first)
        return kind if isinstance(kind, str) else None
    return getattr(value, "kind", None)


def _omit_default_additions(value: object, handler: Any) -> dict[str, object]:  # noqa: ANN401  # Any: pydantic's own signature
    """The written dataclass without the later fields that equal their defaults."""
    written = cast("dict[str, object]", handler(value))
    hints = get_type_hints(type(value), include_extras=True)
    defaults = {
        field.name: field.default
        for field in fields(cast(Any, value))  # Any: pydantic has built a dataclass
        if any(isinstance(one, Since) for one in get_args(hints[field.name])[1:])
    }
    return {
        name: one
        for name, one in written.items()
        if name not in defaults or getattr(value, name) != defaults[name]
    }
