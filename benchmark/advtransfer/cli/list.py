"""``advtransfer list``: every component that is installed."""

from __future__ import annotations

import difflib
import json

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import align_columns, print_note, print_product
from advtransfer.hookspecs import COMPONENT_KINDS, ComponentKind
from advtransfer.host import Component, Host


def parse_kind(value: str) -> ComponentKind:
    """The kind that a word names, in the singular or the plural; a click type."""
    word = value.lower().removesuffix("s")
    for kind in COMPONENT_KINDS:
        if word == kind:
            return kind
    near = difflib.get_close_matches(word, COMPONENT_KINDS, n=1)
    hint = (
        f"; did you mean {near[0]!r}?"
        if near
        else "; without one, all are listed, each as plugin/factory"
    )
    raise click.BadParameter(
        f"{value!r} is no kind of component; expected one of {', '.join(COMPONENT_KINDS)}{hint}"
    )


@click.command(cls=Subcommand, short_help="Every component that is installed.")
@click.argument("kind", type=parse_kind, metavar="[KIND]", required=False)
@click.option("--json", "as_json", is_flag=True, help="A list of {name, kind, plugin, summary}.")
@click.pass_context
def command(ctx: click.Context, kind: str | None, as_json: bool) -> None:
    """List every component that is installed, or those of one KIND.

    A KIND is dataset, source, adapter, transfer, evaluation or executor.
    A plugin that cannot be loaded is told on stderr, and the exit code is 1; the others are listed all the same.
    """
    host = Host.discover()
    chosen = sorted(host.components(), key=lambda one: (COMPONENT_KINDS.index(one.kind), one.name))
    chosen = [one for one in chosen if kind in (None, one.kind)]
    print_product(_components_json(chosen) if as_json else _components_table(chosen))
    for error in host.broken_plugins.values():
        print_note(error)
    ctx.exit(1 if host.broken_plugins else 0)


def _components_json(components: list[Component]) -> str:
    rows = [
        {"name": one.name, "kind": one.kind, "plugin": one.plugin, "summary": one.summary}
        for one in components
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _components_table(components: list[Component]) -> str:
    rows = [
        (one.name, one.kind, f"{one.plugin} ({one.distribution} {one.version})", one.summary)
        for one in components
    ]
    return align_columns(("name", "kind", "plugin", "summary"), rows)
