"""The plugins of one process.

Each is loaded when it is named, so a broken plugin does not affect the others.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping

import pluggy

from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import GROUP, HOOKS, QUESTIONS, ComponentKind, Hooks
from advtransfer.host.component import Component, make_component
from advtransfer.host.plugin import Plugin, code_digest, plugins_of
from advtransfer.node import Node
from advtransfer.text import error_text, with_article


def check_hook_names(manager: pluggy.PluginManager, loaded: object, *, plugin: str) -> None:
    """Refuse a registered plugin of which something would never be called.

    Raises:
        PluginError: It marks what is no hook, or has something named like a hook without the marker.
    """
    implemented = {caller.name for caller in manager.get_hookcallers(loaded) or ()}
    for name in sorted(implemented.difference(HOOKS)):
        near = difflib.get_close_matches(name, HOOKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(HOOKS)}"
        raise PluginError(plugin, f"implements the unknown hook {name!r}; {hint}")
    for name in HOOKS:
        member = inspect.getattr_static(loaded, name, None)
        if name not in implemented and callable(member) and not hasattr(member, f"{GROUP}_spec"):
            found = f"has {name!r}, which is named like a hook and is none"
            raise PluginError(
                plugin, f"{found}; write a function with @hookimpl above it, or rename it"
            )
    if not implemented and (meant := _unmarked_hook(loaded)):
        hook, name = meant
        raise PluginError(
            plugin,
            f"implements no hook, but has {name!r}; did you mean {hook}? write @hookimpl above it",
        )


def _unmarked_hook(loaded: object) -> tuple[str, str] | None:
    """A function whose name is close to a hook's, after that hook."""
    for name in dir(loaded):
        near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.85)
        if near and inspect.isroutine(inspect.getattr_static(loaded, name, None)):
            return near[0], name
    return None


HOST_NAME = "host"
"""The name before the slash of what the host makes itself, such as subsets and batteries."""

_PLUGIN_NAME = re.compile(r"\w[\w.-]*")


class Host:
    """The plugins of one process; there is no global one, so a test builds the host it wants."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins: dict[str, list[Plugin]] = {}
        for plugin in plugins:
            self._plugins.setdefault(plugin.name, []).append(plugin)
        self._loaded: dict[str, dict[str, Component]] = {}
        self._code_digests: dict[str, str | None] = {}
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
    def plugin_names(self) -> list[str]:
        """The names of the installed plugins, sorted."""
        return sorted(self._plugins)

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks of the loaded plugins; the runner tells its news through it."""
        return self._manager.hook

    @property
    def broken_plugins(self) -> Mapping[str, PluginError | MissingLibrary]:
        """The plugins that cannot be loaded, with the reason; imports them all."""
        for plugin in self.plugin_names:
            self._load_or_empty(plugin)
        return dict(sorted(self._broken.items()))

    def component(self, name: str, kind: ComponentKind | None = None) -> Component:
        """Look up ``plugin/factory``, importing that plugin only.

        Raises:
            UnknownName: No such plugin or factory, or one of another kind; knows the nearest names.
            PluginError: The plugin cannot be imported or breaks the contract.
            MissingLibrary: The plugin imports a library that is not installed.
        """
        plugin, slash, _ = name.partition("/")
        if not slash:
            raise UnknownName(
                name, "a component, written plugin/factory", self._similar_names(name, kind)
            )
        if plugin not in self._plugins:
            expected = f"a component of an installed plugin ({', '.join(self.plugin_names)})"
            raise UnknownName(name, expected, self._similar_names(name, kind))
        found = self.load_plugin(plugin).get(name)
        if found is None:
            raise UnknownName(
                name,
                f"{with_article(kind or 'component')} of plugin {plugin!r}",
                self._similar_names(name, kind),
            )
        if kind is not None and found.kind != kind:
            raise UnknownName(
                name,
                f"{with_article(kind)} (this is a component of kind {found.kind})",
                self._similar_names(name, kind),
            )
        return found

    def components(self, kind: ComponentKind | None = None) -> list[Component]:
        """Every component of every plugin that can be loaded, sorted by name; imports them all, see `broken`."""
        found = (
            one for plugin in self.plugin_names for one in self._load_or_empty(plugin).values()
        )
        return sorted((one for one in found if kind in (None, one.kind)), key=lambda one: one.name)

    def load_plugin(self, name: str) -> dict[str, Component]:
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
                near = difflib.get_close_matches(name, self.plugin_names, n=3)
                raise UnknownName(
                    name, f"an installed plugin ({', '.join(self.plugin_names)})", near
                )
            try:
                self._loaded[name] = self._collect_components(
                    self._register_plugin(self._single_plugin(name))
                )
            except (PluginError, MissingLibrary) as error:
                self._broken[name] = error
                if self._manager.has_plugin(name):  # nothing of it is called any more
                    self._manager.unregister(name=name)
                raise
        return self._loaded[name]

    def plugin_code(self, name: str) -> str | None:
        """The digest of a plugin's installed code, computed once; None where there is no such plugin, or no file of it.

        The plugin is not imported.
        """
        if name not in self._code_digests:
            self._code_digests[name] = (
                code_digest(self._plugins[name][0]) if name in self._plugins else None
            )
        return self._code_digests[name]

    def node_code(self, node: Node) -> dict[str, str]:
        """The digests of the code that a node is made with: of its plugin, and of those of all its inputs."""
        return {
            name: found
            for name in sorted(plugins_of(node))
            if (found := self.plugin_code(name)) is not None
        }

    def changed_plugins(self, code: object) -> list[str]:
        """The plugins whose installed code is another than `code`, as a record or an artifact holds it, says.

        None where it says nothing, as records of an earlier release do, or where a plugin has no code here.
        """
        told = code if isinstance(code, Mapping) else {}
        return [
            str(name)
            for name, one in sorted(told.items())
            if self.plugin_code(str(name)) not in (None, one)
        ]

    def _load_or_empty(self, name: str) -> dict[str, Component]:
        """What a plugin brings; nothing where it is broken."""
        try:
            return self.load_plugin(name)
        except (PluginError, MissingLibrary):
            return {}

    def _single_plugin(self, name: str) -> Plugin:
        plugin, *others = self._plugins[name]
        if others:
            bringers = ", ".join(
                sorted(f"{one.distribution} {one.version}" for one in (plugin, *others))
            )
            raise PluginError(
                name, f"is brought by several distributions ({bringers}); uninstall all but one"
            )
        if not _PLUGIN_NAME.fullmatch(name) or name == HOST_NAME:
            expected = f"letters, digits, '_', '-' and '.', and not {HOST_NAME!r}, which is advtransfer's own"
            raise PluginError(
                name,
                f"has a name that suites cannot use; expected {expected}; rename its entry point",
            )
        return plugin

    def _register_plugin(self, plugin: Plugin) -> Plugin:
        loaded = plugin.load()
        if inspect.isclass(loaded):
            message = f"is the class {loaded.__qualname__!r}; expected a module or an object; name an object of it"
            raise PluginError(plugin.name, message)
        twin = next(
            (name for name, other in self._manager.list_name_plugin() if other is loaded), None
        )
        if twin is not None:
            raise PluginError(
                plugin.name,
                f"is the same object as the plugin {twin!r}; remove one of the entry points",
            )
        try:
            self._manager.register(loaded, name=plugin.name)
            check_hook_names(self._manager, loaded, plugin=plugin.name)
        except (PluginError, KeyboardInterrupt):
            raise
        except pluggy.PluginValidationError as error:
            raise PluginError(plugin.name, " ".join(str(error).split())) from error
        except BaseException as error:  # whatever a plugin raises when it is looked at
            message = f"cannot be registered: {error_text(error)}{plugin.error_location(error)}"
            raise PluginError(plugin.name, message) from error
        return plugin

    def _collect_components(self, plugin: Plugin) -> dict[str, Component]:
        """Each question put to this plugin's own implementation: one broken plugin must not silence the others."""
        found: dict[str, Component] = {}
        for question, kind in QUESTIONS.items():
            for factory in self._registered_factories(plugin, question):
                one = make_component(plugin, kind, factory)
                if one.name in found:
                    other = found[one.name].kind
                    message = f"brings {one.name!r} twice, as {with_article(other)} and as {with_article(kind)}"
                    raise PluginError(
                        plugin.name, f"{message}; names are unique over all kinds; rename one"
                    )
                found[one.name] = one
        return found

    def _registered_factories(self, plugin: Plugin, question: str) -> Iterator[object]:
        for implementation in getattr(self._manager.hook, question).get_hookimpls():
            if implementation.plugin_name == plugin.name:
                yield from _hook_answer(plugin, question, implementation)

    def _similar_names(self, name: str, kind: ComponentKind | None) -> list[str]:
        """The nearest names among components that can be loaded (a broken plugin must not hide the hint)."""
        known = [one.name for one in self.components(kind)]
        ends = [one for one in known if one.rpartition("/")[2] == name.rpartition("/")[2]]
        return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=3), *ends]))[:3]


def _hook_answer(plugin: Plugin, question: str, implementation: pluggy.HookImpl) -> list[object]:
    """What a plugin answers to one question; no answer is an empty one."""
    try:
        answer: object = implementation.function()
        if answer is None:
            return []
        if isinstance(answer, str | Mapping) or not isinstance(answer, Iterable):
            raise PluginError(
                plugin.name, f"{question} gave {answer!r}; expected a list of factories"
            )
        return list(answer)
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a plugin raises when it is asked
        message = f"{question} fails: {error_text(error)}{plugin.error_location(error)}"
        raise PluginError(plugin.name, message) from error
