"""The kit: checks that a plugin keeps the rules that the host and its users rely on.

`advtransfer.testing.checks_for` gives the checks to pytest, ``advtransfer check`` prints them. A rule is a
function of a `Specimen`: its name is the rule's name, its docstring the rule's text. It raises CheckFailed where
a component breaks it, and NotChecked where it cannot be applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from advtransfer.errors import BadInput, MissingLibrary, PluginError, Problem
from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Component, Host
from advtransfer.testing.kit import (
    adapter_rules,
    any_component,
    dataset_rules,
    evaluation_rules,
    executor_rules,
    plugin_rules,
    recorded,
    source_rules,
    transfer_rules,
)
from advtransfer.testing.kit.check import CheckFailed, KitCheck, NotChecked
from advtransfer.testing.kit.recorded import record_decisions
from advtransfer.testing.kit.specimen import Specimen
from advtransfer.types import Json

Rule = Callable[[Specimen], None]
FactoryOptions = Mapping[str, Mapping[str, Json]]

KIND_RULES: Mapping[ComponentKind, tuple[Rule, ...]] = {
    "dataset": dataset_rules.RULES,
    "source": source_rules.RULES,
    "adapter": adapter_rules.RULES,
    "transfer": transfer_rules.RULES,
    "evaluation": evaluation_rules.RULES,
    "executor": executor_rules.RULES,
}
"""The rules of each kind, beside those of `any_component`."""


def plugin_checks(
    host: Host, plugin: str, *, factory: str | None = None, options: FactoryOptions | None = None
) -> list[KitCheck]:
    """Return the checks of a plugin, or of one of its factories.

    Args:
        host: The host that has the plugin.
        plugin: The plugin's name.
        factory: Check this factory alone.
        options: Options of each factory, over those of its ``example``; files and folders by their paths.

    Raises:
        UnknownName: No plugin of this name is installed.
        BadInput: Options are given of a factory that the plugin does not have.
    """
    host.plugin(plugin)
    checks = [
        KitCheck(plugin, rule.__name__, _rule_text(rule), partial(rule, host, plugin))
        for rule in plugin_rules.RULES
        if factory is None
    ]
    try:
        components = host.load_plugin(plugin)
    except (PluginError, MissingLibrary):
        return checks  # The rule `registers` says why.
    given = options or {}
    names = {component.name.partition("/")[2]: component for component in components.values()}
    require_known("options of the factory", given, names)
    for name, component in names.items():
        if factory in (None, name):
            checks += component_checks(component, given.get(name, {}))
    return checks


def component_checks(component: Component, options: Mapping[str, Json]) -> list[KitCheck]:
    """Return the checks of one component, built with its example and these options over it."""
    specimen = Specimen(component, {**component.metadata.example, **options})
    name = component.name.partition("/")[2]
    passed: set[str] = set()
    return [
        KitCheck(name, rule.__name__, _rule_text(rule), partial(rule, specimen), passed)
        for rule in (*any_component.RULES, *KIND_RULES[component.kind], recorded.same_as_recorded)
    ]


def _rule_text(rule: Callable[..., None]) -> str:
    """Return the first line of a rule's docstring."""
    return (rule.__doc__ or "").partition("\n")[0]


def require_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise BadInput for each name that is not among the known ones."""
    expected = list(known)
    unknown = [name for name in names if name not in expected]
    if unknown:
        raise BadInput(
            Problem(f"{what} {name!r}", f"one of {', '.join(expected)}", "correct the name")
            for name in unknown
        )


__all__ = [
    "CheckFailed",
    "KitCheck",
    "NotChecked",
    "component_checks",
    "plugin_checks",
    "record_decisions",
    "require_known",
]
