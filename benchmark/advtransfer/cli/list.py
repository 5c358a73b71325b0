"""``advtransfer list``: every component that is installed."""

from __future__ import annotations

import difflib
import json

import click

from advtransfer.cli.columns import columns
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import echo, note
from advtransfer.hookspecs import KINDS, Kind
from advtransfer.host import Component, Host


def kind_of(value: str) -> Kind:
    """The kind that a word names, in the singular or the plural; a click type."""
    word = value.lower().removesuffix("s")
    for kind in KINDS:
        if word == kind:
            return kind
    near = difflib.get_close_matches(word, KINDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; without one, all are listed, each as plugin/factory"
    raise click.BadParameter(f"{value!r} is no kind of component; expected one of {', '.join(KINDS)}{hint}")


@click.command(cls=Subcommand, short_help="Every component that is installed.")
@click.argument("kind", type=kind_of, metavar="[KIND]", required=False)
@click.option("--json", "as_json", is_flag=True, help="A list of {name, kind, plugin, summary}.")
@click.pass_context
def command(ctx: click.Context, kind: str | None, as_json: bool) -> None:
    """List every component that is installed, or those of one KIND.

    A KIND is dataset, source, adapter, transfer, evaluation or executor.
    A plugin that cannot be loaded is told on stderr, and the exit code is 1; the others are listed all the same.
    """
    host = Host.discover()
    chosen = sorted(host.components(), key=lambda one: (KINDS.index(one.kind), one.name))
    chosen = [one for one in chosen if kind in (None, one.kind)]
    echo(_json(chosen) if as_json else _table(chosen))
    for error in host.broken.values():
        note(error)
    ctx.exit(1 if host.broken else 0)


def _json(components: list[Component]) -> str:
    rows = [{"name": one.name, "kind": one.kind, "plugin": one.plugin, "summary": one.summary} for one in components]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _table(components: list[Component]) -> str:
    rows = [(one.name, one.kind, f"{one.plugin} ({one.distribution} {one.version})", one.summary) for one in components]
    return columns(("name", "kind", "plugin", "summary"), rows)
