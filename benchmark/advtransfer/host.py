"""The plugin host: finds plugins by entry point, loads those named, looks components up as ``plugin/factory``."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import pluggy

from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import GROUP, QUESTIONS, Hooks, Kind
from advtransfer.options import Options
from advtransfer.types import Facts, Json, facts_of

# Where the name that is imported and the name that is installed differ.
_INSTALLED_AS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python"}


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that is installed, perhaps not yet imported: its name, its module, the distribution that brings it."""

    name: str
    module: str | ModuleType
    distribution: str
    version: str

    def load(self) -> object:
        """Import the plugin's module."""
        return importlib.import_module(self.module) if isinstance(self.module, str) else self.module


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
            MissingLibrary: A library that the factory imports is not installed; says the pip command.
        """
        try:
            return self.factory(**self.options.build(values), **parts)
        except ModuleNotFoundError as error:
            library = str(error.name).partition(".")[0]
            raise MissingLibrary(library, self.name, install_line(library, self.distribution)) from error


class Host:
    """The plugins of one process; there is no global one, so a test builds the host it wants."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins: dict[str, list[Plugin]] = {}
        for plugin in plugins:
            self._plugins.setdefault(plugin.name, []).append(plugin)
        self._loaded: dict[str, dict[str, Component]] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)

    @classmethod
    def discover(cls) -> Host:
        """A host over the installed entry points of the group ``advtransfer``; imports none of them."""
        from importlib.metadata import entry_points

        return cls(
            Plugin(
                entry.name,
                entry.value,
                entry.dist.name if entry.dist else "?",
                entry.dist.version if entry.dist else "?",
            )
            for entry in entry_points(group=GROUP)
        )

    @property
    def plugins(self) -> list[str]:
        """The names of the installed plugins, sorted."""
        return sorted(self._plugins)

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks of the loaded plugins; the runner tells its news through it."""
        return self._manager.hook

    def component(self, name: str, kind: Kind | None = None) -> Component:
        """Look up ``plugin/factory``, importing that plugin only.

        Raises:
            UnknownName: No such plugin or factory, or one of another kind; knows the nearest names.
            PluginError: The plugin cannot be imported or breaks the contract.
        """
        plugin, slash, _ = name.partition("/")
        if not slash:
            raise UnknownName(name, "a component, written plugin/factory", self._near(name, kind))
        if plugin not in self._plugins:
            expected = f"a component of an installed plugin ({', '.join(self.plugins)})"
            raise UnknownName(name, expected, self._near(name, kind))
        found = self.load(plugin).get(name)
        if found is None:
            raise UnknownName(name, f"{article(kind or 'component')} of plugin {plugin!r}", self._near(name, kind))
        if kind is not None and found.kind != kind:
            raise UnknownName(
                name, f"{article(kind)} (this is a component of kind {found.kind})", self._near(name, kind)
            )
        return found

    def components(self, kind: Kind | None = None) -> list[Component]:
        """Every component of every installed plugin, sorted by name; imports them all."""
        found = (one for plugin in self.plugins for one in self.load(plugin).values())
        return sorted((one for one in found if kind in (None, one.kind)), key=lambda one: one.name)

    def load(self, name: str) -> dict[str, Component]:
        """Import one plugin and ask it what it brings; later calls answer from memory.

        Raises:
            UnknownName: No plugin of this name is installed.
            PluginError: Two distributions bring it, it fails to import, or it breaks the contract.
        """
        if name not in self._loaded:
            if name not in self._plugins:
                near = difflib.get_close_matches(name, self.plugins, n=3)
                raise UnknownName(name, f"an installed plugin ({', '.join(self.plugins)})", near)
            self._loaded[name] = self._asked(self._registered(self._only(name)))
        return self._loaded[name]

    def _only(self, name: str) -> Plugin:
        plugin, *others = self._plugins[name]
        if others:
            bringers = ", ".join(sorted(f"{one.distribution} {one.version}" for one in (plugin, *others)))
            raise PluginError(name, f"is brought by several distributions ({bringers}); uninstall all but one")
        return plugin

    def _registered(self, plugin: Plugin) -> Plugin:
        try:
            self._manager.register(plugin.load(), name=plugin.name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(plugin.name, str(error)) from error
        except ModuleNotFoundError as error:
            library = str(error.name).partition(".")[0]
            raise MissingLibrary(
                library, f"plugin {plugin.name!r}", install_line(library, plugin.distribution)
            ) from error
        except Exception as error:
            raise PluginError(plugin.name, f"fails to import: {type(error).__name__}: {error}") from error
        return plugin

    def _asked(self, plugin: Plugin) -> dict[str, Component]:
        """Each question put to this plugin's own implementation: one broken plugin must not silence the others."""
        found: dict[str, Component] = {}
        for question, kind in QUESTIONS.items():
            for factory in self._answers(plugin.name, question):
                one = _component(plugin, kind, factory)
                if one.name in found:
                    raise PluginError(plugin.name, f"brings {one.name!r} twice; names are unique over all kinds")
                found[one.name] = one
        return found

    def _answers(self, plugin: str, question: str) -> Iterator[Callable[..., object]]:
        for implementation in getattr(self._manager.hook, question).get_hookimpls():
            if implementation.plugin_name != plugin:
                continue
            try:
                yield from implementation.function() or ()
            except Exception as error:
                raise PluginError(plugin, f"{question} fails: {type(error).__name__}: {error}") from error

    def _near(self, name: str, kind: Kind | None) -> list[str]:
        """The nearest names among components that can be loaded (a broken plugin must not hide the hint)."""
        known: list[str] = []
        for plugin in self.plugins:
            try:
                known += [one.name for one in self.load(plugin).values() if kind in (None, one.kind)]
            except (PluginError, MissingLibrary):
                continue
        ends = [one for one in known if one.rpartition("/")[2] == name.rpartition("/")[2]]
        return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=3), *ends]))[:3]


def article(noun: str) -> str:
    """The noun with its article: ``a source``, ``an evaluation``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _component(plugin: Plugin, kind: Kind, factory: Callable[..., object]) -> Component:
    name = getattr(factory, "__name__", None)
    if not callable(factory) or not isinstance(name, str) or not name.isidentifier():
        raise PluginError(plugin.name, f"register_{kind}s gave {factory!r}; expected a named function")
    if not inspect.getdoc(factory):
        raise PluginError(plugin.name, f"{name!r} has no docstring; it is the help that users read")
    try:
        Options.of(factory)
    except TypeError as error:
        raise PluginError(plugin.name, f"{name!r} is not a factory: {error}") from error
    return Component(
        f"{plugin.name}/{name}", kind, plugin.name, plugin.distribution, plugin.version, factory, facts_of(factory)
    )


def install_line(library: str, distribution: str) -> str:
    """The pip command that brings a library: the distribution's extra that asks for it, or the library itself."""
    from importlib.metadata import PackageNotFoundError, requires

    wanted = _INSTALLED_AS.get(library, library)
    try:
        requirements = requires(distribution) or []
    except PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if match and extra and match[0].lower().replace("_", "-") == wanted.lower().replace("_", "-"):
            return f"pip install '{distribution}[{extra[1]}]'"
    return f"pip install {wanted}"
