"""``advtransfer show``: show the options of a component, or the grid of a suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_product
from advtransfer.errors import BadInput, UnknownName
from advtransfer.hookspecs import COMPONENT_KINDS
from advtransfer.host import Component, Host
from advtransfer.options import Option
from advtransfer.text import align_columns
from advtransfer.types import Json

if TYPE_CHECKING:
    from advtransfer.planning import Plan
    from advtransfer.suite import Suite


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


@click.command(cls=Subcommand, short_help="Show a component's options, or a suite's grid.")
@click.argument("name")
@click.option(
    "--leakage", is_flag=True, help="Of a suite: count images that two of its data sets share."
)
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
def command(name: str, leakage: bool, as_json: bool) -> None:
    """Show the component or the suite NAME.

    A component is written plugin/factory: its help, options, types, defaults and presets are shown.
    A suite is given by its file or its name: the cells on each axis are shown, and how many trials
    they make.
    """
    host = Host.discover()
    if _names_component(name):
        component = host.component(name)
        if as_json:
            print_json(component_json(component))
        else:
            print_product(component_text(component))
        return
    # Components are shown without these imports, which take most of the time of a suite.
    from advtransfer import planning, suite

    if not name.endswith(SUITE_SUFFIXES):
        _require_suite(name, host)
    loaded = suite.load(name, host)
    plan = planning.make_plan(loaded, host)
    if leakage:
        _print_leakage(loaded, host, as_json=as_json)
    else:
        _print_grid(plan, loaded, as_json=as_json)


def _print_leakage(suite: Suite, host: Host, *, as_json: bool) -> None:
    from advtransfer.cli import leakage

    rows = leakage.leakage_rows(suite, host)
    if as_json:
        print_json(rows)
    else:
        print_product(leakage.leakage_text(rows))


def _print_grid(plan: Plan, suite: Suite, *, as_json: bool) -> None:
    from advtransfer.cli import plan_text

    if as_json:
        print_json(plan_text.grid_json(plan, suite))
    else:
        print_product(plan_text.grid_text(plan, suite))


def _names_component(name: str) -> bool:
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
