"""One component: a factory with its options and facts, held to the contract when its plugin is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from advtransfer.errors import PluginError
from advtransfer.hookspecs import Kind
from advtransfer.host.option_types import check_types
from advtransfer.host.plugin import Plugin, described
from advtransfer.options import Options
from advtransfer.types import Facts, Json, facts_of


@dataclass(frozen=True)
class Component:
    """One factory, by the name it has in YAML; `version` is its distribution's, `facts.version` its own."""

    name: str
    kind: Kind
    plugin: str
    distribution: str
    version: str
    factory: Callable[..., object]
    facts: Facts
    origin: Plugin = field(repr=False)

    @cached_property
    def options(self) -> Options:
        """Its options, from the factory's signature."""
        return Options.of(self.factory)

    @property
    def help(self) -> str:
        """The factory's docstring."""
        return inspect.getdoc(self.factory) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.help.partition("\n")[0]

    def build(self, values: Mapping[str, Json], parts: Mapping[str, object]) -> object:
        """Call the factory with validated plain options and the built parts (data sets, files ...).

        Raises:
            MissingLibrary: A library that the factory imports is not installed; says the pip command where it is known.
            PluginError: The factory imports a module that does not exist, or ends the process.
        """
        try:
            return self.factory(**self.options.build(values), **parts)
        except ModuleNotFoundError as error:
            if error.name is None:
                raise
            raise self.origin.missing(error, self.name) from error
        except SystemExit as error:
            message = f"{self.name} would end the process: {described(error)}{self.origin.place_of(error)}"
            raise PluginError(self.plugin, message) from error


def make_component(plugin: Plugin, kind: Kind, factory: object) -> Component:
    """The component of a factory that a plugin registers.

    Raises:
        PluginError: The factory breaks the contract, or cannot be looked at.
    """
    try:
        return _checked(plugin, kind, factory)
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a plugin raises when it is looked at
        named = getattr(factory, "__qualname__", type(factory).__name__)
        raise PluginError(plugin.name, f"{named!r} is not a factory: {described(error)}") from error


def _checked(plugin: Plugin, kind: Kind, factory: object) -> Component:
    name = getattr(factory, "__name__", None)
    if not callable(factory) or inspect.isclass(factory) or not isinstance(name, str) or not name.isidentifier():
        raise PluginError(plugin.name, f"register_{kind}s gave {factory!r}; expected a named function")
    if not inspect.getdoc(factory):
        raise PluginError(plugin.name, f"{name!r} has no docstring; it is the help that users read")
    if kind == "source" and "start" in inspect.signature(factory).parameters:
        message = f"{name!r} has the option 'start', which is the suite's word for where a reference starts; rename it"
        raise PluginError(plugin.name, message)
    try:
        check_types(Options.of(factory))
    except TypeError as error:
        raise PluginError(plugin.name, f"{name!r} is not a factory: {error}") from error
    return Component(
        f"{plugin.name}/{name}",
        kind,
        plugin.name,
        plugin.distribution,
        plugin.version,
        factory,
        facts_of(factory),
        plugin,
    )
