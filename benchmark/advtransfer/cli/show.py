"""``advtransfer show``: a component's options, or a suite's grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import echo
from advtransfer.errors import BadInput, UnknownName
from advtransfer.hookspecs import KINDS
from advtransfer.host import Host

SUITES = (".yaml", ".yml")


@click.command(cls=Subcommand, short_help="A component's options, or a suite's grid.")
@click.argument("name")
@click.option("--leakage", is_flag=True, help="Of a suite: count images that two of its data sets share.")
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
def command(name: str, leakage: bool, as_json: bool) -> None:
    """Show what NAME stands for.

    NAME is a component, written plugin/factory: its help, options, types, defaults and presets; or a suite, by its
    file or its name: the cells on each axis, and how many trials they make.
    """
    host = Host.discover()
    if _names_component(name):
        from advtransfer.cli import component

        found = host.component(name)
        echo(_dumped(component.as_json(found)) if as_json else component.as_text(found))
        return
    from advtransfer import plan, suite
    from advtransfer.cli import grid

    if not name.endswith(SUITES):
        _expect_suite(name, host)
    loaded = suite.load(name, host)
    planned = plan.make(loaded, host)
    if leakage:
        from advtransfer.cli import leakage as leaks

        shared = leaks.counted(loaded, host)
        echo(_dumped(shared) if as_json else leaks.as_text(shared))
        return
    echo(_dumped(grid.as_json(planned, loaded)) if as_json else grid.as_text(planned, loaded))


def _names_component(name: str) -> bool:
    """Whether a name is written plugin/factory, and is not the path of a suite."""
    return name.count("/") == 1 and not name.endswith(SUITES) and not Path(name).is_file()


def _expect_suite(name: str, host: Host) -> None:
    """Refuse a name of nothing; it may be a component's without its plugin, or a plugin's.

    Raises:
        BadInput: There is no such suite.
    """
    from advtransfer.suite.load import find

    try:
        find(name)
    except BadInput as error:
        hint = f"{error.problems[0].next_step}; a component is written plugin/factory{_meant(name, host)}: "
        problem = replace(error.problems[0], next_step=f"{hint}`advtransfer list` shows each")
        raise BadInput([problem]) from error


def _meant(name: str, host: Host) -> str:
    """The components that a name without a slash may mean: those of a kind, of a plugin, or of nearly this name."""
    kind = name.lower().removesuffix("s")
    if kind in KINDS:
        return f" (did you mean `advtransfer list {kind}`?)"
    if name in host.plugins:
        return f" (the plugin {name!r} brings {', '.join(host.load(name))})"
    try:
        host.component(name)
    except UnknownName as error:
        return f" (did you mean {' or '.join(map(repr, error.near))}?)" if error.near else ""
    return ""


def _dumped(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
