"""The plugins of one process, each loaded when it is named, so that a broken one does not affect the others."""

from __future__ import annotations

import difflib
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import pluggy

from advtransfer.deprecation import HookDeprecation
from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import GROUP, HOOKS, QUESTIONS, ComponentKind, Hooks
from advtransfer.host.component import Component, make_component
from advtransfer.host.figure_kinds import FIGURES_HOOK, OWN_FIGURES, checked_kinds
from advtransfer.host.plugin import HOST_NAME, Plugin, code_digest, plugins_of
from advtransfer.node import Node
from advtransfer.text import error_text, with_article
from advtransfer.types import FigureKind


def check_hook_names(manager: pluggy.PluginManager, loaded: object, *, plugin: str) -> None:
    """Refuse a registered plugin with a function that looks like a hook and would never be called.

    Raises:
        PluginError: A marked function is no hook, or a function with a hook's name has no marker.
    """
    implemented = _hook_names(manager, loaded)
    for name in sorted(implemented.difference(HOOKS)):
        similar = difflib.get_close_matches(name, HOOKS, n=1)
        hint = f"did you mean {similar[0]}?" if similar else f"expected one of {', '.join(HOOKS)}"
        raise PluginError(plugin, f"implements the unknown hook {name!r}; {hint}")
    for name in HOOKS:
        member = inspect.getattr_static(loaded, name, None)
        # A plugin's class may inherit from `Hooks`, whose functions carry the specification's marker.
        is_function = callable(member) and not hasattr(member, f"{GROUP}_spec")
        if name not in implemented and is_function:
            found = f"has {name!r}, which is named like a hook and is none"
            next_step = "write a function with @hookimpl above it, or rename it"
            raise PluginError(plugin, f"{found}; {next_step}")
    unmarked = None if implemented else _unmarked_hook(loaded)
    if unmarked is not None:
        hook, name = unmarked
        found = f"implements no hook, but has {name!r}"
        raise PluginError(plugin, f"{found}; did you mean {hook}? write @hookimpl above it")


def _hook_names(manager: pluggy.PluginManager, loaded: object) -> set[str]:
    return {caller.name for caller in manager.get_hookcallers(loaded) or ()}


def warn_of_deprecated_hooks(manager: pluggy.PluginManager, plugin: str) -> None:
    """Warn of each deprecated hook that a registered plugin implements, and each argument it takes."""
    for caller in manager.get_hookcallers(manager.get_plugin(plugin)) or ():
        for implementation in caller.get_hookimpls():
            if caller.spec is None or implementation.plugin_name != plugin:
                continue
            subject = f"the hook {caller.name}, which plugin {plugin!r} implements,"
            _warn_at(implementation.function, subject, caller.spec.warn_on_impl)
            for argument, warning in (caller.spec.warn_on_impl_args or {}).items():
                if argument in (*implementation.argnames, *implementation.kwargnames):
                    subject = f"the argument {argument!r} of {caller.name}, which plugin {plugin!r} takes,"
                    _warn_at(implementation.function, subject, warning)


def _warn_at(function: Callable[..., object], subject: str, warning: Warning | None) -> None:
    """Issue the warning of a hook's specification, if any, at the function that implements the hook."""
    if not isinstance(warning, HookDeprecation):
        return
    code = inspect.unwrap(function).__code__
    warnings.warn_explicit(
        warning.used_as(subject), HookDeprecation, code.co_filename, code.co_firstlineno
    )


def _unmarked_hook(loaded: object) -> tuple[str, str] | None:
    """Return a hook and the name of a function that is close to it, or None."""
    for name in dir(loaded):
        similar = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.85)
        if similar and inspect.isroutine(inspect.getattr_static(loaded, name, None)):
            return similar[0], name
    return None


_PLUGIN_NAME = re.compile(r"\w[\w.-]*")


class Host:
    """The plugins of one process. There is no global host, so a test builds its own."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins: dict[str, list[Plugin]] = {}
        for plugin in plugins:
            self._plugins.setdefault(plugin.name, []).append(plugin)
        self._loaded: dict[str, dict[str, Component]] = {}
        self._figure_kinds: dict[str, dict[str, FigureKind]] = {}
        self._code_digests: dict[str, str | None] = {}
        self._broken: dict[str, PluginError | MissingLibrary] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)

    @classmethod
    def discover(cls) -> Host:
        """Return a host of the installed entry points of the group ``advtransfer``; imports no plugin."""
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
    def distributions(self) -> list[str]:
        """The names of the distributions that bring plugins, sorted; imports no plugin."""
        return self.distributions_of(self._plugins)

    def distributions_of(self, names: Iterable[str]) -> list[str]:
        """Return the names of the distributions that bring these plugins, sorted; imports no plugin."""
        plugins = chain.from_iterable(self._plugins.get(name, ()) for name in names)
        return sorted({plugin.distribution for plugin in plugins})

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks of the loaded plugins; the runner calls its events through it."""
        return self._manager.hook

    @property
    def broken_plugins(self) -> Mapping[str, PluginError | MissingLibrary]:
        """The plugins that cannot be loaded, with the reason; imports them all."""
        for name in self.plugin_names:
            self._load_or_empty(name)
        return dict(sorted(self._broken.items()))

    def component(self, name: str, kind: ComponentKind | None = None) -> Component:
        """Look up ``plugin/factory``, importing that plugin only.

        Raises:
            UnknownName: No such plugin or factory, or one of another kind; holds similar names.
            PluginError: The plugin cannot be imported or breaks the contract.
            MissingLibrary: The plugin imports a library that is not installed.
        """
        plugin, slash, _ = name.partition("/")
        if not slash:
            raise self._unknown_name(name, kind, "a component, written plugin/factory")
        if plugin not in self._plugins:
            installed = ", ".join(self.plugin_names)
            raise self._unknown_name(
                name, kind, f"a component of an installed plugin ({installed})"
            )
        component = self.load_plugin(plugin).get(name)
        if component is None:
            noun = with_article(kind or "component")
            raise self._unknown_name(name, kind, f"{noun} of plugin {plugin!r}")
        if kind is not None and component.kind != kind:
            other = f"this is a component of kind {component.kind}"
            raise self._unknown_name(name, kind, f"{with_article(kind)} ({other})")
        return component

    def components(self, kind: ComponentKind | None = None) -> list[Component]:
        """Return the components of all plugins that can be loaded, sorted by name; imports all plugins.

        `broken_plugins` holds the others.
        """
        loaded = chain.from_iterable(
            self._load_or_empty(name).values() for name in self.plugin_names
        )
        wanted = (component for component in loaded if kind in (None, component.kind))
        return sorted(wanted, key=lambda component: component.name)

    def load_plugin(self, name: str) -> dict[str, Component]:
        """Import one plugin and return its components by name; later calls return the same.

        Raises:
            UnknownName: No plugin of this name is installed.
            PluginError: Two distributions contain it, its import fails, or it breaks the contract.
            MissingLibrary: It imports a library that is not installed.
        """
        if name in self._broken:
            raise self._broken[name]
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._plugins:
            similar = difflib.get_close_matches(name, self.plugin_names, n=3)
            expected = f"an installed plugin ({', '.join(self.plugin_names)})"
            raise UnknownName(name, expected, similar)
        try:
            plugin = self._register_plugin(self._single_plugin(name))
            components = self._collect_components(plugin)
            self._figure_kinds[name] = self._collect_figure_kinds(plugin)
            self._loaded[name] = components
        except (PluginError, MissingLibrary) as error:
            self._broken[name] = error
            if self._manager.has_plugin(name):  # Its event hooks must not be called either.
                self._manager.unregister(name=name)
            raise
        warn_of_deprecated_hooks(self._manager, name)
        return self._loaded[name]

    def figure_kind(self, name: str) -> FigureKind:
        """Return a kind of figure by its name in suites, importing its plugin only.

        Raises:
            UnknownName: There is no such plugin or kind; holds similar names.
            PluginError, MissingLibrary: As `load_plugin`.
        """
        plugin, slash, _ = name.partition("/")
        if slash:
            self.load_plugin(plugin)
            kinds = self._figure_kinds[plugin]
        else:
            kinds = self.own_figure_kinds
        if name not in kinds:
            others = self.own_figure_kinds if slash else {}
            similar = difflib.get_close_matches(name, [*kinds, *others], n=3)
            expected = f"a kind of figure: {', '.join(kinds)}" if kinds else "a kind of figure"
            raise UnknownName(name, expected, similar)
        return kinds[name]

    def figure_kinds(self) -> dict[str, FigureKind]:
        """Return all kinds by name, the host's own first; imports all plugins that can be loaded."""
        kinds = dict(self.own_figure_kinds)
        for name in self.plugin_names:
            self._load_or_empty(name)
            kinds |= self._figure_kinds.get(name, {})
        return kinds

    @property
    def own_figure_kinds(self) -> dict[str, FigureKind]:
        """The host's own kinds of figures by name."""
        if HOST_NAME not in self._figure_kinds:
            plugin = self._register_plugin(OWN_FIGURES)
            self._figure_kinds[HOST_NAME] = self._collect_figure_kinds(plugin)
        return self._figure_kinds[HOST_NAME]

    def hooks_of(self, name: str) -> list[str]:
        """Return the names of the hooks that a plugin implements, sorted; imports that plugin only.

        Raises:
            UnknownName, PluginError, MissingLibrary: As `load_plugin`.
        """
        self.load_plugin(name)
        return sorted(_hook_names(self._manager, self._manager.get_plugin(name)))

    def plugin_code(self, name: str) -> str | None:
        """Return the digest of a plugin's installed code, computed once; imports no plugin.

        None for a plugin that is not installed or has no files.
        """
        if name not in self._plugins:
            return None
        if name not in self._code_digests:
            self._code_digests[name] = code_digest(self._plugins[name][0])
        return self._code_digests[name]

    def node_code(self, node: Node) -> dict[str, str]:
        """Return the code digests of a node's plugin and of the plugins of all its inputs, by plugin."""
        digests = {name: self.plugin_code(name) for name in sorted(plugins_of(node))}
        return {name: digest for name, digest in digests.items() if digest is not None}

    def changed_plugins(self, code: object) -> list[str]:
        """Return the plugins whose installed code differs from `code`, the digests of a record or artifact.

        Empty where `code` is no mapping, as in records of earlier releases. A plugin without code here is
        not reported.
        """
        digests = code if isinstance(code, Mapping) else {}
        return [
            str(name)
            for name, digest in sorted(digests.items())
            if self.plugin_code(str(name)) not in (None, digest)
        ]

    def _load_or_empty(self, name: str) -> dict[str, Component]:
        try:
            return self.load_plugin(name)
        except (PluginError, MissingLibrary):
            return {}

    def plugin(self, name: str) -> Plugin:
        """Return an installed plugin, imported or not.

        Raises:
            UnknownName: No plugin has this name.
            PluginError: Several distributions bring it.
        """
        if name not in self._plugins:
            raise UnknownName(
                name, "an installed plugin", difflib.get_close_matches(name, self._plugins)
            )
        return self._single_plugin(name)

    def _single_plugin(self, name: str) -> Plugin:
        plugin, *others = self._plugins[name]
        if others:
            versions = sorted(f"{each.distribution} {each.version}" for each in (plugin, *others))
            found = f"is brought by several distributions ({', '.join(versions)})"
            raise PluginError(name, f"{found}; uninstall all but one")
        if not _PLUGIN_NAME.fullmatch(name) or name == HOST_NAME:
            found = "has a name that suites cannot use"
            expected = f"letters, digits, '_', '-' and '.', and not {HOST_NAME!r}, which is advtransfer's own"
            raise PluginError(name, f"{found}; expected {expected}; rename its entry point")
        return plugin

    def _register_plugin(self, plugin: Plugin) -> Plugin:
        loaded = plugin.load()
        if inspect.isclass(loaded):
            message = f"is the class {loaded.__qualname__!r}; expected a module or an object; name an object of it"
            raise PluginError(plugin.name, message)
        # Pluggy refuses to register an object twice, with an error that does not name the entry points.
        for name, other in self._manager.list_name_plugin():
            if other is loaded:
                found = f"is the same object as the plugin {name!r}"
                raise PluginError(plugin.name, f"{found}; remove one of the entry points")
        try:
            # Pluggy's own warning of a deprecated hook names neither the plugin nor the hook.
            with warnings.catch_warnings(action="ignore", category=HookDeprecation):
                self._manager.register(loaded, name=plugin.name)
            check_hook_names(self._manager, loaded, plugin=plugin.name)
        except (PluginError, KeyboardInterrupt):
            raise
        except pluggy.PluginValidationError as error:
            raise PluginError(plugin.name, " ".join(str(error).split())) from error
        except (
            BaseException
        ) as error:  # Pluggy inspects every attribute, which can run a plugin's code.
            message = f"cannot be registered: {error_text(error)}{plugin.error_location(error)}"
            raise PluginError(plugin.name, message) from error
        return plugin

    def _collect_components(self, plugin: Plugin) -> dict[str, Component]:
        """Call the registration hooks of one plugin and return its components by name."""
        components: dict[str, Component] = {}
        for hook, kind in QUESTIONS.items():
            for factory in self._registered_factories(plugin, hook):
                component = make_component(plugin, kind, factory)
                name = component.name
                if name in components:
                    first, second = with_article(components[name].kind), with_article(kind)
                    found = f"brings {name!r} twice, as {first} and as {second}"
                    next_step = "names are unique over all kinds; rename one"
                    raise PluginError(plugin.name, f"{found}; {next_step}")
                components[name] = component
        return components

    def _collect_figure_kinds(self, plugin: Plugin) -> dict[str, FigureKind]:
        """Call the plugin's hook of figures and return its kinds by their names in suites."""
        return checked_kinds(plugin, self._registered_factories(plugin, FIGURES_HOOK))

    def _registered_factories(self, plugin: Plugin, hook: str) -> Iterator[object]:
        # The plugin's implementation is called directly: a call through pluggy's hook would call
        # all plugins, and the error of one would hide the others.
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == plugin.name:
                yield from _call_hook(plugin, hook, implementation)

    def _unknown_name(self, name: str, kind: ComponentKind | None, expected: str) -> UnknownName:
        return UnknownName(name, expected, self._similar_names(name, kind))

    def _similar_names(self, name: str, kind: ComponentKind | None) -> list[str]:
        """Return up to three similar names of components in plugins that can be loaded."""
        known = [component.name for component in self.components(kind)]
        factory = name.rpartition("/")[2]
        same_factory = [other for other in known if other.rpartition("/")[2] == factory]
        similar = difflib.get_close_matches(name, known, n=3)
        return list(dict.fromkeys([*similar, *same_factory]))[:3]


def _call_hook(plugin: Plugin, hook: str, implementation: pluggy.HookImpl) -> list[object]:
    """Return what a registration hook returns, factories or kinds; none where it returns None."""
    try:
        factories: object = implementation.function()
        if factories is None:
            return []
        if isinstance(factories, str | Mapping) or not isinstance(factories, Iterable):
            noun = "kinds" if hook == FIGURES_HOOK else "factories"
            message = f"{hook} gave {factories!r}; expected a list of {noun}"
            raise PluginError(plugin.name, message)
        return list(factories)
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # A plugin may raise anything, also SystemExit.
        message = f"{hook} fails: {error_text(error)}{plugin.error_location(error)}"
        raise PluginError(plugin.name, message) from error
