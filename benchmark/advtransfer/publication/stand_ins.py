"""Stand-ins for components of plugins that are not installed here: they take any option of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Component, Host, Plugin
from advtransfer.host.plugin import HOST_NAME, plugins_of
from advtransfer.node import Node
from advtransfer.options import RESERVED_NAMES, Option, OptionFault, Options
from advtransfer.types import ComponentMetadata, Json, Need, Task

NOT_INSTALLED = "not installed"
PRESET = "preset"


class AnyOptions(Options):
    """Options of any value, of which only the names are known."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)

    @cached_property
    def fields(self) -> Mapping[str, Option]:
        """All options by name."""
        return {name: Option(name, None, False, None, False, None, "any") for name in self._names}

    def validate(self, values: Mapping[str, Json]) -> tuple[dict[str, Json], list[OptionFault]]:
        """Return the values as they are, None for options that are not written, and no fault."""
        return {**dict.fromkeys(self._names), **values}, []

    def python_values(self, values: Mapping[str, Json]) -> dict[str, object]:
        """Return the values as they are."""
        return dict(values)


@dataclass(frozen=True)
class StandIn(Component):
    """A component in place of one that is not installed; `option_names` are those that the suite writes."""

    option_names: frozenset[str] = frozenset()

    @cached_property
    def options(self) -> Options:
        """The options that the suite writes."""
        return AnyOptions(self.option_names)


class StandInHost(Host):
    """A host with a stand-in for every component of a plugin that is not installed.

    Args:
        host: The installed plugins.
        suite: The suite as plain data, of which the stand-ins have the options.
    """

    def __init__(self, host: Host, suite: Json) -> None:
        super().__init__(())
        self._host = host
        self._entries: dict[str, list[Mapping[str, Json]]] = {}
        for use, entry in _used_components(suite):
            self._entries.setdefault(use, []).append(entry)

    @property
    def plugin_names(self) -> list[str]:
        """The names of the installed plugins, sorted."""
        return self._host.plugin_names

    @property
    def missing(self) -> list[str]:
        """The plugins that the suite names and that are not installed, sorted."""
        return sorted({use.partition("/")[0] for use in self._entries if self._is_missing(use)})

    def component(self, name: str, kind: ComponentKind | None = None) -> Component:
        """Look up ``plugin/factory``, or return a stand-in where the plugin is not installed.

        Raises:
            AdvTransferError: As `Host.component`, for a plugin that is installed.
        """
        if not self._is_missing(name):
            return self._host.component(name, kind)
        entries = self._entries.get(name, [])
        options = {option for entry in entries for option in _option_names(entry)}
        plugin = name.partition("/")[0]
        return StandIn(
            name,
            kind or "dataset",
            plugin,
            NOT_INSTALLED,
            NOT_INSTALLED,
            _not_installed,
            _stand_in_metadata(kind, entries),
            Plugin(plugin, NOT_INSTALLED, NOT_INSTALLED, NOT_INSTALLED),
            frozenset(options),
        )

    def lacks(self, node: Node) -> bool:
        """Return whether a node, or one that it is made from, is of a plugin that is not installed."""
        return not plugins_of(node) <= {*self.plugin_names, HOST_NAME}

    def is_stand_in(self, node: Node) -> bool:
        """Return whether the component of a node itself is not installed."""
        return node.use.partition("/")[0] not in {*self.plugin_names, HOST_NAME}

    def _is_missing(self, use: str) -> bool:
        plugin, slash, _ = use.partition("/")
        return bool(slash) and plugin not in self.plugin_names


def _not_installed() -> None:
    """Stand for a factory that is not installed; nothing calls it."""


def _used_components(value: Json) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Yield ``plugin/factory`` and the entry of everything in a suite that names a component."""
    if isinstance(value, list):
        for item in value:
            yield from _used_components(item)
    if not isinstance(value, Mapping):
        return
    if isinstance(value.get("use"), str):
        yield str(value["use"]), value
    defaults = value.get("defaults")
    for use, options in defaults.items() if isinstance(defaults, Mapping) else ():
        yield use, options if isinstance(options, Mapping) else {}
    for item in value.values():
        yield from _used_components(item)


def _option_names(entry: Mapping[str, Json]) -> set[str]:
    """Return the options that an entry may mean: those it writes, sweeps over or chooses among."""
    choose = entry.get("choose")
    among = choose.get("among") if isinstance(choose, Mapping) else None
    names = {*entry, "seed"} - RESERVED_NAMES | ({PRESET} & entry.keys())
    for listed in (entry.get("sweep"), among):
        if isinstance(listed, Mapping):
            names |= {name.partition(".")[0] for name in listed}
    return names


def _stand_in_metadata(
    kind: ComponentKind | None, entries: Iterable[Mapping[str, Json]]
) -> ComponentMetadata:
    """Return metadata that skip no cell. Whether a transfer needs a source, `_with_needs` corrects."""
    needs: tuple[Need, ...] = ("source",) if kind == "transfer" else ("model",)
    presets = {entry[PRESET] for entry in entries if isinstance(entry.get(PRESET), str)}
    return ComponentMetadata(
        needs=frozenset(needs),
        tasks=frozenset(get_args(Task)),
        # Without its name among the options, two entries that differ in their preset would be one.
        presets={str(preset): {PRESET: preset} for preset in presets},
    )
