"""``advtransfer.list`` and ``advtransfer.show``: the installed components, their options, and suites."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer.api.tables import Table
from advtransfer.errors import AdvTransferWarning, BadInput, Problem, UnknownName
from advtransfer.hookspecs import COMPONENT_KINDS, ComponentKind
from advtransfer.host import Component, Host
from advtransfer.options import Option
from advtransfer.text import align_columns
from advtransfer.types import Json

if TYPE_CHECKING:
    from advtransfer.api.suite_input import SuiteInput
    from advtransfer.suite import Suite


def list_components(kind: str | None = None) -> Table:
    """Return the installed components, a line each. This is ``advtransfer list``.

    A plugin that cannot be loaded is warned of; the others are still listed.

    Args:
        kind: Only those of this kind: dataset, source, adapter, transfer, evaluation or executor.

    Raises:
        BadInput: There is no such kind.
    """
    host = Host.discover()
    table = component_table(host, None if kind is None else parse_kind(kind))
    for error in host.broken_plugins.values():
        warnings.warn(str(error), AdvTransferWarning, stacklevel=2)
    return table


def component_table(host: Host, kind: ComponentKind | None) -> Table:
    """Return a line for each component of a kind, or of all."""
    components = [component for component in host.components() if kind in (None, component.kind)]
    components.sort(key=lambda component: (COMPONENT_KINDS.index(component.kind), component.name))
    rows: list[dict[str, Json]] = [
        {
            "name": component.name,
            "kind": component.kind,
            "plugin": component.plugin,
            "summary": component.summary,
        }
        for component in components
    ]
    lines = [
        (
            component.name,
            component.kind,
            f"{component.plugin} ({component.distribution} {component.version})",
            component.summary,
        )
        for component in components
    ]
    columns = ("name", "kind", "plugin", "summary")
    return Table(rows, columns=columns, text=align_columns(columns, lines), data=rows)


def parse_kind(value: str) -> ComponentKind:
    """Return the kind that a word names, in the singular or the plural.

    Raises:
        BadInput: The word names no kind.
    """
    word = str(value).lower().removesuffix("s")
    for kind in COMPONENT_KINDS:
        if word == kind:
            return kind
    near = difflib.get_close_matches(word, COMPONENT_KINDS, n=1)
    hint = "without one, all are listed, each as plugin/factory"
    if near:
        hint = f"did you mean {near[0]!r}?"
    expected = f"one of {', '.join(COMPONENT_KINDS)}"
    raise BadInput([Problem(f"{value!r}, which is no kind of component", expected, hint)])


def show_name(name: SuiteInput, *, leakage: bool = False) -> Table:
    """Return the options of a component, or the grid of a suite. This is ``advtransfer show``.

    Of a component the table has a line for each option, of a suite one for each axis; `Table.data`
    is what ``--json`` prints.

    Args:
        name: A component, written plugin/factory, or a suite: its name, path, text or mapping.
        leakage: Of a suite: count images that two of its data sets share, a line for each pair.

    Raises:
        BadInput: There is no such suite, or it has mistakes.
        UnknownName: There is no such component.
    """
    host = Host.discover()
    if isinstance(name, str) and names_component(name):
        return _options_table(host.component(name))
    # Components are shown without these imports, which take most of the time of a suite.
    from advtransfer.api.suite_input import load_suite

    if isinstance(name, str) and "\n" not in name and not name.endswith(SUITE_SUFFIXES):
        _require_suite(name, host)
    is_written = not isinstance(name, str | Path) or "\n" in str(name)
    loaded = load_suite(name, "suite" if is_written else None, host)
    return _leakage_table(loaded, host) if leakage else _grid_table(loaded, host)


def _options_table(component: Component) -> Table:
    return Table(
        [_option_json(option) for option in component.options.fields.values()],
        columns=("name", "type", "required", "default"),
        text=component_text(component),
        data=component_json(component),
    )


def _grid_table(suite: Suite, host: Host) -> Table:
    from advtransfer import planning
    from advtransfer.api import plan_text

    plan = planning.make_plan(suite, host)
    rows: list[dict[str, Json]] = [
        {"axis": axis, "cells": cells} for axis, cells in plan_text.grid_rows(plan, suite)
    ]
    return Table(
        rows,
        columns=("axis", "cells"),
        text=plan_text.grid_text(plan, suite),
        data=plan_text.grid_json(plan, suite),
    )


def _leakage_table(suite: Suite, host: Host) -> Table:
    from advtransfer.api import leakage
    from advtransfer.leaderboard.caveats import LEAKAGE_HEADERS

    rows = leakage.leakage_rows(suite, host)
    text = leakage.leakage_text(rows)
    return Table(rows, columns=LEAKAGE_HEADERS, text=text, data=rows)


def component_text(component: Component) -> str:
    """Return the description of a component, from its name down to its presets."""
    return "\n\n".join(_component_paragraphs(component))


def component_json(component: Component) -> dict[str, Json]:
    """Return the description of a component as plain data."""
    return {
        "name": component.name,
        "kind": component.kind,
        "plugin": component.plugin,
        "distribution": component.distribution,
        "distribution_version": component.version,
        "version": component.metadata.version,
        "summary": component.summary,
        "help": component.help_text,
        "needs": sorted(component.metadata.needs),
        "tasks": sorted(component.metadata.tasks),
        "options": [_option_json(option) for option in component.options.fields.values()],
        "presets": {name: dict(values) for name, values in component.metadata.presets.items()},
    }


def _component_paragraphs(component: Component) -> Iterator[str]:
    metadata = component.metadata
    distribution = f"{component.distribution} {component.version}"
    origin = f"{component.kind} of plugin {component.plugin} ({distribution})"
    needs = f"; needs {', '.join(sorted(metadata.needs))}" if metadata.needs else ""
    tasks = ", ".join(sorted(metadata.tasks))
    yield f"{component.name}: {origin}, version {metadata.version}{needs}; tasks: {tasks}"
    yield component.help_text
    options = [_option_row(option) for option in component.options.fields.values()]
    if options:
        yield align_columns(("option", "type", "default"), options)
    else:
        yield "It has no options."
    if component.kind == "transfer" and options:
        yield (
            "Any of these options can be chosen by validation, beside them in the entry: "
            "choose: {by: validation.accuracy, among: {OPTION: [...]}, folds: 5}."
        )
    if metadata.presets:
        presets = [
            (name, json.dumps(values, ensure_ascii=False))
            for name, values in metadata.presets.items()
        ]
        yield align_columns(("preset", "stands for"), presets)


def _option_row(option: Option) -> tuple[str, str, str]:
    default = "required" if option.required else json.dumps(option.default, ensure_ascii=False)
    return option.name, option.text, default


def _option_json(option: Option) -> dict[str, Json]:
    return {
        "name": option.name,
        "type": option.text,
        "required": option.required,
        "default": option.default,
        "kind": option.kind or option.file,
        "many": option.many,
    }


SUITE_SUFFIXES = (".yaml", ".yml")


def names_component(name: str) -> bool:
    """Return True for a name written plugin/factory that is not the path of a suite."""
    return name.count("/") == 1 and not name.endswith(SUITE_SUFFIXES) and not Path(name).is_file()


def _require_suite(name: str, host: Host) -> None:
    """Raise where no suite has a name, with a hint at components that may be meant.

    Raises:
        BadInput: There is no such suite.
    """
    from advtransfer.suite.loader import find_suite

    try:
        find_suite(name)
    except BadInput as error:
        problem = error.problems[0]
        component_step = f"a component is written plugin/factory{_component_hint(name, host)}"
        next_step = f"{problem.next_step}; {component_step}: `advtransfer list` shows each"
        raise BadInput([replace(problem, next_step=next_step)]) from error


def _component_hint(name: str, host: Host) -> str:
    """Return the components that a name without a slash may mean.

    They are those of a kind, of a plugin, or of a similar name.
    """
    kind = name.lower().removesuffix("s")
    if kind in COMPONENT_KINDS:
        return f" (did you mean `advtransfer list {kind}`?)"
    if name in host.plugin_names:
        return f" (the plugin {name!r} brings {', '.join(host.load_plugin(name))})"
    try:
        host.component(name)
    except UnknownName as error:
        return f" (did you mean {' or '.join(map(repr, error.near))}?)" if error.near else ""
    return ""
