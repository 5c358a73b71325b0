"""The plugins of one process: loaded when they are named, each by itself, so that a broken one harms itself alone."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping

import pluggy

from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import GROUP, QUESTIONS, Hooks, Kind
from advtransfer.host.code import code_digest, plugins_of
from advtransfer.host.component import Component, make_component
from advtransfer.host.hooks import check_hooks
from advtransfer.host.plugin import Plugin, described
from advtransfer.node import Node
from advtransfer.printable import article

RESERVED = "host"
"""The name before the slash of what the host makes itself, such as subsets and batteries."""

_NAME = re.compile(r"\w[\w.-]*")


class Host:
    """The plugins of one process; there is no global one, so a test builds the host it wants."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins: dict[str, list[Plugin]] = {}
        for plugin in plugins:
            self._plugins.setdefault(plugin.name, []).append(plugin)
        self._loaded: dict[str, dict[str, Component]] = {}
        self._code: dict[str, str | None] = {}
        self._broken: dict[str, PluginError | MissingLibrary] = {}
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

    @property
    def broken(self) -> Mapping[str, PluginError | MissingLibrary]:
        """The plugins that cannot be loaded, with the reason; imports them all."""
        for plugin in self.plugins:
            self._tried(plugin)
        return dict(sorted(self._broken.items()))

    def component(self, name: str, kind: Kind | None = None) -> Component:
        """Look up ``plugin/factory``, importing that plugin only.

        Raises:
            UnknownName: No such plugin or factory, or one of another kind; knows the nearest names.
            PluginError: The plugin cannot be imported or breaks the contract.
            MissingLibrary: The plugin imports a library that is not installed.
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
        """Every component of every plugin that can be loaded, sorted by name; imports them all, see `broken`."""
        found = (one for plugin in self.plugins for one in self._tried(plugin).values())
        return sorted((one for one in found if kind in (None, one.kind)), key=lambda one: one.name)

    def load(self, name: str) -> dict[str, Component]:
        """Import one plugin and ask it what it brings; later calls answer from memory.

        Raises:
            UnknownName: No plugin of this name is installed.
            PluginError: Two distributions bring it, it fails to import, or it breaks the contract.
            MissingLibrary: It imports a library that is not installed.
        """
        if name in self._broken:
            raise self._broken[name]
        if name not in self._loaded:
            if name not in self._plugins:
                near = difflib.get_close_matches(name, self.plugins, n=3)
                raise UnknownName(name, f"an installed plugin ({', '.join(self.plugins)})", near)
            try:
                self._loaded[name] = self._asked(self._registered(self._only(name)))
            except (PluginError, MissingLibrary) as error:
                self._broken[name] = error
                if self._manager.has_plugin(name):  # nothing of it is called any more
                    self._manager.unregister(name=name)
                raise
        return self._loaded[name]

    def code(self, name: str) -> str | None:
        """The digest of a plugin's installed code, computed once; None where there is no such plugin, or no file of it.

        The plugin is not imported.
        """
        if name not in self._code:
            self._code[name] = code_digest(self._plugins[name][0]) if name in self._plugins else None
        return self._code[name]

    def code_of(self, node: Node) -> dict[str, str]:
        """The digests of the code that a node is made with: of its plugin, and of those of all its inputs."""
        return {name: found for name in sorted(plugins_of(node)) if (found := self.code(name)) is not None}

    def changed(self, code: object) -> list[str]:
        """The plugins whose installed code is another than `code`, as a record or an artifact holds it, says.

        None where it says nothing, as records of an earlier release do, or where a plugin has no code here.
        """
        told = code if isinstance(code, Mapping) else {}
        return [str(name) for name, one in sorted(told.items()) if self.code(str(name)) not in (None, one)]

    def _tried(self, name: str) -> dict[str, Component]:
        """What a plugin brings; nothing where it is broken."""
        try:
            return self.load(name)
        except (PluginError, MissingLibrary):
            return {}

    def _only(self, name: str) -> Plugin:
        plugin, *others = self._plugins[name]
        if others:
            bringers = ", ".join(sorted(f"{one.distribution} {one.version}" for one in (plugin, *others)))
            raise PluginError(name, f"is brought by several distributions ({bringers}); uninstall all but one")
        if not _NAME.fullmatch(name) or name == RESERVED:
            expected = f"letters, digits, '_', '-' and '.', and not {RESERVED!r}, which is advtransfer's own"
            raise PluginError(name, f"has a name that suites cannot use; expected {expected}; rename its entry point")
        return plugin

    def _registered(self, plugin: Plugin) -> Plugin:
        loaded = plugin.load()
        if inspect.isclass(loaded):
            message = f"is the class {loaded.__qualname__!r}; expected a module or an object; name an object of it"
            raise PluginError(plugin.name, message)
        twin = next((name for name, other in self._manager.list_name_plugin() if other is loaded), None)
        if twin is not None:
            raise PluginError(plugin.name, f"is the same object as the plugin {twin!r}; remove one of the entry points")
        try:
            self._manager.register(loaded, name=plugin.name)
            check_hooks(self._manager, loaded, plugin=plugin.name)
        except (PluginError, KeyboardInterrupt):
            raise
        except pluggy.PluginValidationError as error:
            raise PluginError(plugin.name, " ".join(str(error).split())) from error
        except BaseException as error:  # whatever a plugin raises when it is looked at
            message = f"cannot be registered: {described(error)}{plugin.place_of(error)}"
            raise PluginError(plugin.name, message) from error
        return plugin

    def _asked(self, plugin: Plugin) -> dict[str, Component]:
        """Each question put to this plugin's own implementation: one broken plugin must not silence the others."""
        found: dict[str, Component] = {}
        for question, kind in QUESTIONS.items():
            for factory in self._answers(plugin, question):
                one = make_component(plugin, kind, factory)
                if one.name in found:
                    other = found[one.name].kind
                    message = f"brings {one.name!r} twice, as {article(other)} and as {article(kind)}"
                    raise PluginError(plugin.name, f"{message}; names are unique over all kinds; rename one")
                found[one.name] = one
        return found

    def _answers(self, plugin: Plugin, question: str) -> Iterator[object]:
        for implementation in getattr(self._manager.hook, question).get_hookimpls():
            if implementation.plugin_name == plugin.name:
                yield from _listed(plugin, question, implementation)

    def _near(self, name: str, kind: Kind | None) -> list[str]:
        """The nearest names among components that can be loaded (a broken plugin must not hide the hint)."""
        known = [one.name for one in self.components(kind)]
        ends = [one for one in known if one.rpartition("/")[2] == name.rpartition("/")[2]]
        return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=3), *ends]))[:3]


def _listed(plugin: Plugin, question: str, implementation: pluggy.HookImpl) -> list[object]:
    """What a plugin answers to one question; no answer is an empty one."""
    try:
        answer: object = implementation.function()
        if answer is None:
            return []
        if isinstance(answer, str | Mapping) or not isinstance(answer, Iterable):
            raise PluginError(plugin.name, f"{question} gave {answer!r}; expected a list of factories")
        return list(answer)
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a plugin raises when it is asked
        message = f"{question} fails: {described(error)}{plugin.place_of(error)}"
        raise PluginError(plugin.name, message) from error
