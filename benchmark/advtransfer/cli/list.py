"""``advtransfer list``: list the installed components."""

from __future__ import annotations

import difflib

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.hookspecs import COMPONENT_KINDS, ComponentKind
from advtransfer.host import Component, Host
from advtransfer.text import align_columns


def parse_kind(value: str) -> ComponentKind:
    """Return the kind that a word names, in the singular or the plural. This is a click type."""
    word = value.lower().removesuffix("s")
    for kind in COMPONENT_KINDS:
        if word == kind:
            return kind
    near = difflib.get_close_matches(word, COMPONENT_KINDS, n=1)
    hint = "without one, all are listed, each as plugin/factory"
    if near:
        hint = f"did you mean {near[0]!r}?"
    raise click.BadParameter(
        f"{value!r} is no kind of component; expected one of {', '.join(COMPONENT_KINDS)}; {hint}"
    )


@click.command(cls=Subcommand, short_help="List the installed components.")
@click.argument("kind", type=parse_kind, metavar="[KIND]", required=False)
@click.option("--json", "as_json", is_flag=True, help="A list of {name, kind, plugin, summary}.")
@click.pass_context
def command(ctx: click.Context, kind: str | None, as_json: bool) -> None:
    """List the installed components, or those of one KIND.

    A KIND is dataset, source, adapter, transfer, evaluation or executor. A plugin that cannot be
    loaded is reported on stderr, and the exit code is 1; the others are still listed.
    """
    host = Host.discover()
    components = [component for component in host.components() if kind in (None, component.kind)]
    components.sort(key=lambda component: (COMPONENT_KINDS.index(component.kind), component.name))
    if as_json:
        print_json(_components_json(components))
    else:
        print_product(_components_table(components))
    for error in host.broken_plugins.values():
        print_note(error)
    ctx.exit(1 if host.broken_plugins else 0)


def _components_json(components: list[Component]) -> list[dict[str, str]]:
    return [
        {
            "name": component.name,
            "kind": component.kind,
            "plugin": component.plugin,
            "summary": component.summary,
        }
        for component in components
    ]


def _components_table(components: list[Component]) -> str:
    rows = [
        (
            component.name,
            component.kind,
            f"{component.plugin} ({component.distribution} {component.version})",
            component.summary,
        )
        for component in components
    ]
    return align_columns(("name", "kind", "plugin", "summary"), rows)
