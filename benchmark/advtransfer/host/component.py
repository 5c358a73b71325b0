"""One component: a factory with its options and metadata.

Holds the checks of the plugin contract: option types at registration, and what the factory and its product return.
"""

from __future__ import annotations

import inspect
import math
import operator
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from advtransfer.errors import PluginError
from advtransfer.hookspecs import ComponentKind
from advtransfer.host.plugin import Plugin
from advtransfer.options import NO_DEFAULT, Options
from advtransfer.text import error_text, type_text, with_article
from advtransfer.types import ComponentMetadata, Json, NotInId, Since, metadata_of

_PLAIN_TYPES = (bool, int, float, str, type(None))
_UNION_ORIGINS = (Union, types.UnionType)
_CONTAINER_ORIGINS = (list, tuple, dict, Sequence, Mapping)
ALLOWED_TYPES = (
    "bool, int, float, str, Literal, lists, tuples, mappings or light dataclasses of these; or Dataset, Source, "
    "Adapter, File, Folder"
)


def check_option_types(options: Options) -> None:
    """Refuse options of types that cannot be written in a suite, and defaults that are no such values.

    Raises:
        TypeError: Names each of them.
    """
    unusual = [
        name
        for name, hint, default in options.plain_parameters()
        if not _is_usual_type(hint)
        or not (default is NO_DEFAULT or _is_plainly_valid(hint, default))
    ]
    faults = [fault for name in unusual if (fault := options.type_fault(name))]
    if faults:
        raise TypeError("; ".join(faults) + f"; expected {ALLOWED_TYPES}")


def _is_usual_type(hint: object) -> bool:
    """Whether a hint is made of types that every option may have; others are left to pydantic, which is slower."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_usual_type(arguments[0])
    if origin is Literal or hint in _PLAIN_TYPES:
        return True
    if arguments and (origin in _UNION_ORIGINS or origin in _CONTAINER_ORIGINS):
        return _are_usual_types(one for one in arguments if one is not Ellipsis)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return _are_usual_types(hints[field.name] for field in fields(hint))
    return False


def _are_usual_types(hints: Iterable[Any]) -> bool:  # Any: a type hint can be any object
    return all(_is_usual_type(one) for one in hints)


def _is_plainly_valid(hint: object, default: object) -> bool:
    """Whether a default is plainly a value of a usual type; where it is not so plain, pydantic decides."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_plainly_valid(arguments[0], default) and all(
            _is_within_constraint(one, default) for one in arguments[1:]
        )
    if origin is Literal:
        return any(
            default is one or (type(default) is type(one) and default == one) for one in arguments
        )
    if origin in _UNION_ORIGINS:
        return any(_is_plainly_valid(one, default) for one in arguments)
    if origin in _CONTAINER_ORIGINS:
        return isinstance(default, list | tuple) and all(
            _is_plainly_valid(arguments[0], one) for one in default
        )
    if hint is float:
        return type(default) in (float, int)
    return type(default) is hint


def _is_within_constraint(constraint: object, default: object) -> bool:
    """Whether a number is within a constraint of annotated_types; marks of this package constrain nothing."""
    if default is None or isinstance(
        constraint, Since | NotInId
    ):  # limits of an option are of its other values
        return True
    if isinstance(default, list | tuple):
        return len(default) >= getattr(constraint, "min_length", math.inf)
    limits = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
    told = {
        name: limit for name in limits if (limit := getattr(constraint, name, None)) is not None
    }
    if not told:
        return is_dataclass(default)
    return isinstance(default, int | float) and all(
        limits[name](default, limit) for name, limit in told.items()
    )


@dataclass(frozen=True)
class Component:
    """One factory, by the name it has in YAML; `version` is its distribution's, `facts.version` its own."""

    name: str
    kind: ComponentKind
    plugin: str
    distribution: str
    version: str
    factory: Callable[..., object]
    metadata: ComponentMetadata
    origin: Plugin = field(repr=False)

    @cached_property
    def options(self) -> Options:
        """Its options, from the factory's signature."""
        return Options.from_factory(self.factory)

    @property
    def help_text(self) -> str:
        """The factory's docstring."""
        return inspect.getdoc(self.factory) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.help_text.partition("\n")[0]

    def build(self, values: Mapping[str, Json], parts: Mapping[str, object]) -> object:
        """Call the factory with validated plain options and the built parts (data sets, files ...).

        Raises:
            MissingLibrary: A library that the factory imports is not installed; says the pip command where it is known.
            PluginError: The factory imports a module that does not exist, or ends the process.
        """
        try:
            return self.factory(**self.options.python_values(values), **parts)
        except ModuleNotFoundError as error:
            if error.name is None:
                raise
            raise self.origin.missing_module_error(error, self.name) from error
        except SystemExit as error:
            message = f"{self.name} would end the process: {error_text(error)}{self.origin.error_location(error)}"
            raise PluginError(self.plugin, message) from error


def make_component(plugin: Plugin, kind: ComponentKind, factory: object) -> Component:
    """The component of a factory that a plugin registers.

    Raises:
        PluginError: The factory breaks the contract, or cannot be looked at.
    """
    try:
        return _checked_component(plugin, kind, factory)
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a plugin raises when it is looked at
        named = getattr(factory, "__qualname__", type(factory).__name__)
        raise PluginError(
            plugin.name, f"{named!r} is not a factory: {error_text(error)}"
        ) from error


def _checked_component(plugin: Plugin, kind: ComponentKind, factory: object) -> Component:
    name = getattr(factory, "__name__", None)
    if (
        not callable(factory)
        or inspect.isclass(factory)
        or not isinstance(name, str)
        or not name.isidentifier()
    ):
        raise PluginError(
            plugin.name, f"register_{kind}s gave {factory!r}; expected a named function"
        )
    if not inspect.getdoc(factory):
        raise PluginError(plugin.name, f"{name!r} has no docstring; it is the help that users read")
    if kind == "source" and "start" in inspect.signature(factory).parameters:
        message = f"{name!r} has the option 'start', which is the suite's word for where a reference starts; rename it"
        raise PluginError(plugin.name, message)
    try:
        check_option_types(Options.from_factory(factory))
    except TypeError as error:
        raise PluginError(plugin.name, f"{name!r} is not a factory: {error}") from error
    return Component(
        f"{plugin.name}/{name}",
        kind,
        plugin.name,
        plugin.distribution,
        plugin.version,
        factory,
        metadata_of(factory),
        plugin,
    )


ReturnT = TypeVar("ReturnT")

PROTOCOL_MEMBERS: Mapping[ComponentKind, tuple[str, ...]] = {
    "dataset": ("card", "part"),
    "source": ("card", "network", "weights"),
    "adapter": ("learned", "module"),
    "transfer": ("model", "fit"),
    "evaluation": ("measure",),
    "executor": ("slots", "start", "submit", "news", "stop"),
}
"""What the protocol of each kind asks for."""


def return_error(component: Component, call: str, found: str, expected: str) -> PluginError:
    """The error of a component one of whose functions gave something else than is expected."""
    return PluginError(
        component.plugin, f"{component.name}: {call} gave {found}; expected {expected}"
    )


def check_return_value(
    component: Component, call: str, value: object, expected: type[ReturnT]
) -> ReturnT:
    """What a function of a component returned, if it is of the type.

    Raises:
        PluginError: It is not; names the component, the function and both types.
    """
    if not isinstance(value, expected):
        raise return_error(component, call, type_text(value), with_article(expected.__name__))
    return value


def check_product(component: Component, value: object) -> object:
    """What a factory returned, if it has what its kind's protocol asks for.

    Raises:
        PluginError: It lacks some of it; names it.
    """
    asked = PROTOCOL_MEMBERS[component.kind]
    missing = [name for name in asked if isinstance(value, type) or not hasattr(value, name)]
    if missing:
        found = (
            type_text(value)
            if len(missing) == len(asked)
            else f"{type_text(value)} without {', '.join(missing)}"
        )
        expected = f"{with_article(component.kind)}, which has {', '.join(asked)}"
        raise return_error(component, "the factory", found, expected)
    return value
