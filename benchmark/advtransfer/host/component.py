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
_COMPARISONS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
ALLOWED_TYPES = (
    "bool, int, float, str, Literal, lists, tuples, mappings or light dataclasses of these; or Dataset, Source, "
    "Adapter, File, Folder"
)


def check_option_types(options: Options) -> None:
    """Require option types that a suite can express, and defaults of these types.

    Raises:
        TypeError: Names each option that breaks this.
    """
    # Pydantic is slow, and imported only where it is needed: the usual types are checked here, and
    # pydantic decides on the rest.
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
    """Return whether a hint consists of types that every option may have."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_usual_type(arguments[0])
    if origin is Literal or hint in _PLAIN_TYPES:
        return True
    if arguments and (origin in _UNION_ORIGINS or origin in _CONTAINER_ORIGINS):
        return _are_usual_types(argument for argument in arguments if argument is not Ellipsis)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return _are_usual_types(hints[field.name] for field in fields(hint))
    return False


def _are_usual_types(hints: Iterable[Any]) -> bool:  # Any: a type hint can be any object
    return all(_is_usual_type(hint) for hint in hints)


def _is_plainly_valid(hint: object, default: object) -> bool:
    """Return whether a default is certainly a value of a usual type; False where pydantic must decide."""
    origin = get_origin(hint)
    arguments = get_args(hint)
    if origin is Annotated:
        base, *constraints = arguments
        is_within = all(_is_within_constraint(constraint, default) for constraint in constraints)
        return _is_plainly_valid(base, default) and is_within
    if origin is Literal:
        # Types are compared too, since True == 1 and 1 == 1.0.
        return any(type(default) is type(word) and default == word for word in arguments)
    if origin in _UNION_ORIGINS:
        return any(_is_plainly_valid(member, default) for member in arguments)
    if origin in _CONTAINER_ORIGINS:
        if isinstance(default, Mapping):
            return not default
        if not isinstance(default, list | tuple):
            return False
        return all(_is_plainly_valid(arguments[0], item) for item in default)
    if hint is float:
        return type(default) in (float, int)
    return type(default) is hint


def _is_within_constraint(constraint: object, default: object) -> bool:
    """Return whether a default is within a constraint of annotated_types."""
    # The limits of an optional number do not apply to None, and `Since` and `NotInId` are no limits.
    if default is None or isinstance(constraint, Since | NotInId):
        return True
    if isinstance(default, list | tuple):
        return len(default) >= getattr(constraint, "min_length", math.inf)
    limits = {name: getattr(constraint, name, None) for name in _COMPARISONS}
    if all(limit is None for limit in limits.values()):
        return is_dataclass(default)
    return isinstance(default, int | float) and all(
        _COMPARISONS[name](default, limit) for name, limit in limits.items() if limit is not None
    )


@dataclass(frozen=True)
class Component:
    """One factory by its name in YAML.

    `version` is that of its distribution; `metadata.version` is that of the component.
    """

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
        """The options of the factory."""
        return Options(self.factory)

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
            MissingLibrary: A library that the factory imports is not installed.
            PluginError: The factory imports a module that does not exist, or tries to end the process.
        """
        try:
            return self.factory(**self.options.python_values(values), **parts)
        except ModuleNotFoundError as error:
            if error.name is None:
                raise
            raise self.origin.missing_module_error(error, self.name) from error
        except SystemExit as error:
            location = self.origin.error_location(error)
            message = f"{self.name} would end the process: {error_text(error)}{location}"
            raise PluginError(self.plugin, message) from error


def make_component(plugin: Plugin, kind: ComponentKind, factory: object) -> Component:
    """Return the component of a factory that a plugin registers.

    Raises:
        PluginError: The factory breaks the contract, or cannot be inspected.
    """
    try:
        return _checked_component(plugin, kind, factory)
    except (PluginError, KeyboardInterrupt):
        raise
    except (
        BaseException
    ) as error:  # Inspecting an object can run a plugin's code, which raises anything.
        name = getattr(factory, "__qualname__", type(factory).__name__)
        message = f"{name!r} is not a factory: {error_text(error)}"
        raise PluginError(plugin.name, message) from error


def _checked_component(plugin: Plugin, kind: ComponentKind, factory: object) -> Component:
    name = getattr(factory, "__name__", None)
    has_name = isinstance(name, str) and name.isidentifier()
    if not callable(factory) or inspect.isclass(factory) or not has_name:
        raise PluginError(
            plugin.name, f"register_{kind}s gave {factory!r}; expected a named function"
        )
    if not inspect.getdoc(factory):
        raise PluginError(plugin.name, f"{name!r} has no docstring; it is the help that users read")
    if kind == "source" and "start" in inspect.signature(factory).parameters:
        message = f"{name!r} has the option 'start', which is the suite's word for where a reference starts; rename it"
        raise PluginError(plugin.name, message)
    try:
        check_option_types(Options(factory))
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
"""The members that the protocol of each kind requires."""


def return_error(component: Component, call: str, found: str, expected: str) -> PluginError:
    """Return the error of a component with a function that returned something unexpected."""
    return PluginError(
        component.plugin, f"{component.name}: {call} gave {found}; expected {expected}"
    )


def check_return_value(
    component: Component, call: str, value: object, expected: type[ReturnT]
) -> ReturnT:
    """Return the value that a function of a component returned, if it has the expected type.

    Raises:
        PluginError: It has another type; names the component, the function and both types.
    """
    if not isinstance(value, expected):
        raise return_error(component, call, type_text(value), with_article(expected.__name__))
    return value


def check_product(component: Component, value: object) -> object:
    """Return the product of a factory, if it has the members that its kind's protocol requires.

    Raises:
        PluginError: It lacks some of them; names these.
    """
    required = PROTOCOL_MEMBERS[component.kind]
    # A class has the members of its instances, but is no instance.
    missing = [name for name in required if isinstance(value, type) or not hasattr(value, name)]
    if not missing:
        return value
    found = type_text(value)
    if len(missing) < len(required):
        found += f" without {', '.join(missing)}"
    expected = f"{with_article(component.kind)}, which has {', '.join(required)}"
    raise return_error(component, "the factory", found, expected)
