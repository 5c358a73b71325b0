"""``advtransfer show``: the options of a component, or the grid of a suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import align_columns, print_product
from advtransfer.errors import BadInput, UnknownName
from advtransfer.hookspecs import COMPONENT_KINDS
from advtransfer.host import Component, Host
from advtransfer.options import Option
from advtransfer.types import Json


def component_text(component: Component) -> str:
    """The component as a reader wants it, from its name down to its presets."""
    return "\n\n".join(_component_paragraphs(component))


def component_json(component: Component) -> dict[str, Json]:
    """The same as plain data."""
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
        "options": [_option_json(one) for one in component.options.fields.values()],
        "presets": {name: dict(values) for name, values in component.metadata.presets.items()},
    }


def _component_paragraphs(component: Component) -> Iterator[str]:
    facts = component.metadata
    origin = f"{component.kind} of plugin {component.plugin} ({component.distribution} {component.version})"
    needs = f"; needs {', '.join(sorted(facts.needs))}" if facts.needs else ""
    yield f"{component.name}: {origin}, version {facts.version}{needs}; tasks: {', '.join(sorted(facts.tasks))}"
    yield component.help_text
    options = component.options.fields.values()
    yield (
        align_columns(("option", "type", "default"), [_option_row(one) for one in options])
        if options
        else "It has no options."
    )
    if facts.presets:
        presets = [
            (name, json.dumps(values, ensure_ascii=False)) for name, values in facts.presets.items()
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


@click.command(cls=Subcommand, short_help="A component's options, or a suite's grid.")
@click.argument("name")
@click.option(
    "--leakage", is_flag=True, help="Of a suite: count images that two of its data sets share."
)
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
def command(name: str, leakage: bool, as_json: bool) -> None:
    """Show what NAME stands for.

    NAME is a component, written plugin/factory: its help, options, types, defaults and presets; or a suite, by its
    file or its name: the cells on each axis, and how many trials they make.
    """
    host = Host.discover()
    if _names_component(name):
        found = host.component(name)
        print_product(_json_text(component_json(found)) if as_json else component_text(found))
        return
    from advtransfer import planning, suite
    from advtransfer.cli import plan_text

    if not name.endswith(SUITE_SUFFIXES):
        _expect_suite(name, host)
    loaded = suite.load(name, host)
    planned = planning.make_plan(loaded, host)
    if leakage:
        from advtransfer.cli import leakage as leaks

        shared = leaks.leakage_rows(loaded, host)
        print_product(_json_text(shared) if as_json else leaks.leakage_text(shared))
        return
    print_product(
        _json_text(plan_text.grid_json(planned, loaded))
        if as_json
        else plan_text.grid_text(planned, loaded)
    )


def _names_component(name: str) -> bool:
    """Whether a name is written plugin/factory, and is not the path of a suite."""
    return name.count("/") == 1 and not name.endswith(SUITE_SUFFIXES) and not Path(name).is_file()


def _expect_suite(name: str, host: Host) -> None:
    """Refuse a name of nothing; it may be a component's without its plugin, or a plugin's.

    Raises:
        BadInput: There is no such suite.
    """
    from advtransfer.suite.loader import find_suite

    try:
        find_suite(name)
    except BadInput as error:
        hint = f"{error.problems[0].next_step}; a component is written plugin/factory{_component_hint(name, host)}: "
        problem = replace(error.problems[0], next_step=f"{hint}`advtransfer list` shows each")
        raise BadInput([problem]) from error


def _component_hint(name: str, host: Host) -> str:
    """The components that a name without a slash may mean: those of a kind, of a plugin, or of nearly this name."""
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


def _json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
