"""Annotations for options that are one of several dataclasses.

This module imports pydantic only when the schema of an option is built.
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
    """Annotation of a dataclass, or of a union of dataclasses distinguished by their field `kind`.

    A mapping is validated against the dataclass that its ``kind`` names (by default the first one),
    so that a mistake is reported for that dataclass alone. A field marked `Since` is left out of
    the canonical value while it equals its default, so that adding the field changes no id.

    ```python
    # kind: Literal["sgd"] = "sgd" in Sgd, kind: Literal["adam"] = "adam" in Adam
    OptimizerConfig: TypeAlias = Annotated[Sgd | Adam, TaggedUnion()]
    ```
    """

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401  # Any: a type hint can be any object
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """Return the pydantic schema that validates and serialises a value."""
        from pydantic_core import core_schema

        branches = {_kind_of(branch): branch for branch in get_args(source) or (source,)}
        first_kind = next(iter(branches))
        kinds = " or ".join(map(repr, branches))
        return core_schema.tagged_union_schema(
            {kind: handler.generate_schema(branch) for kind, branch in branches.items()},
            lambda value: _named_kind(value, first_kind),
            custom_error_type="kind",
            custom_error_message=f"a mapping whose kind is {kinds}",
            serialization=core_schema.wrap_serializer_function_ser_schema(_omit_default_additions),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema with ``anyOf`` instead of ``oneOf``."""
        # A mapping without a kind may fit several branches, which oneOf would refuse.
        json_schema = handler(schema)
        return {"anyOf" if key == "oneOf" else key: value for key, value in json_schema.items()}


@dataclass(frozen=True, slots=True)
class UnionByFirstField:
    """Annotation of a union of dataclasses distinguished by their first fields.

    A mapping is validated against the dataclass whose first field it has, or else against the first
    dataclass, so that a mistake is reported for one dataclass alone.
    """

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401  # Any: a type hint can be any object
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """Return the pydantic schema that validates and serialises a value."""
        from pydantic_core import core_schema

        # Tagged by class name, not by the first field: pydantic puts the tag into the path of an
        # error, where a key of the mapping would look like a position in it.
        branches: dict[str, type] = {branch.__name__: branch for branch in get_args(source)}
        first_fields = {name: _first_field(branch) for name, branch in branches.items()}

        def branch_name(value: object) -> str | None:
            if isinstance(value, Mapping):
                matching = (name for name, field in first_fields.items() if field in value)
                return next(matching, next(iter(branches)))
            instances = (name for name, branch in branches.items() if isinstance(value, branch))
            return next(instances, None)

        return core_schema.tagged_union_schema(
            {name: handler.generate_schema(branch) for name, branch in branches.items()},
            branch_name,
            custom_error_type="first_field",
            custom_error_message=f"a mapping with {' or '.join(map(repr, first_fields.values()))}",
        )


def _first_field(branch: type) -> str:
    return fields(cast(Any, branch))[0].name  # Any: mypy does not know that it is a dataclass


def _kind_of(branch: type) -> str:
    (kind,) = get_args(get_type_hints(branch)["kind"])
    return cast(str, kind)


def _named_kind(value: object, first: str) -> str | None:
    """Return the kind of a mapping or of an instance; None if it has none."""
    if isinstance(value, Mapping):
        kind = value.get("kind", first)
        return kind if isinstance(kind, str) else None
    return getattr(value, "kind", None)


def _omit_default_additions(value: object, handler: Any) -> dict[str, object]:  # noqa: ANN401  # Any: pydantic's own signature
    """Serialise a dataclass without the fields marked `Since` that equal their defaults."""
    serialized = cast("dict[str, object]", handler(value))
    hints = get_type_hints(type(value), include_extras=True)
    defaults = {
        field.name: field.default
        for field in fields(cast(Any, value))  # Any: pydantic has built a dataclass
        if _is_marked_since(hints[field.name])
    }
    return {
        name: field_value
        for name, field_value in serialized.items()
        if name not in defaults or getattr(value, name) != defaults[name]
    }


def _is_marked_since(hint: object) -> bool:
    annotations = get_args(hint)[1:]
    return any(isinstance(annotation, Since) for annotation in annotations)
