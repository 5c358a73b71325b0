"""``advtransfer check``: hold a plugin to the kit, and an evaluation to canaries or another attack."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast

import click

from advtransfer.api.check import check_plugin
from advtransfer.api.kit import record_plugin
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_component
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.suite.yaml_core import parse_fraction
from advtransfer.types import Json


@click.command(cls=Subcommand, short_help="Check a plugin by the kit, canaries or another attack.")
@click.argument("name", metavar="PLUGIN[/COMPONENT]", shell_complete=complete_component())
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("--canaries", is_flag=True, help="Score an evaluation by canaries.")
@click.option(
    "--against",
    type=click.Choice(["pyautoattack"]),
    help="Compare it with this library's attack on the honest models.",
)
@click.option(
    "--record", is_flag=True, help="Write a plugin's decisions on toy data to checks.json."
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of checks.json; by default that of the plugin's module.",
)
@click.option(
    "--battery",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="As in run.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the networks."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model, with every check.")
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    options: tuple[str, ...],
    canaries: bool,
    against: Literal["pyautoattack"] | None,
    record: bool,
    into: Path | None,
    battery: Literal["small", "full"],
    seed: int,
    as_json: bool,
) -> None:
    """Apply the kit to a plugin or one of its components: every rule that the host relies on.

    The kit builds each component with its defaults and its example, on toy data, and prints a line
    for each rule: passed, broken, or not applicable with the reason.

    With --record, write what each component of a plugin decides on toy data: from then on, a
    difference breaks a rule unless the component's version is raised.

    With --canaries, run an evaluation and the host's battery on models that only seem robust, and
    on honest ones. Every canary must be caught: its result is suspicious, invalid, or refused with an error. No
    honest model may be flagged, and no model whose robust accuracy is known exactly may be measured
    below it. It takes minutes, and one process for each core, at most 8. An evaluation that passes
    each image more than 200 times through the model is scored on the weakest of each canary and on
    64 images; the last line says what was left out.

    With --against, run the evaluation and another attack on the honest models instead (or as well,
    with --canaries). On none may the evaluation leave more than .5 points more robust than the other
    attack; the samples that only one of them breaks are listed.

    OPTION=VALUE are options of the component, as in a suite; of a file, its path. With --canaries and
    --against, those that an evaluation requires are norm=linf eps=0.1 steps=20 step_size=0.0125 by
    default. The exit code is 1 when a rule is broken or a model fails.
    """
    if record:
        print_product(str(record_plugin(name, into=into)))
        return
    if canaries:
        print_note("training honest networks, then attacking them and the canaries (some minutes)")
    table = check_plugin(
        name,
        options=_parse_options(name, options),
        canaries=canaries,
        against=against,
        battery=battery,
        seed=seed,
        progress=print_note,
    )
    if as_json:
        print_json(table.data)
    else:
        print_product(str(table))
    ctx.exit(0 if table.ok else 1)


def _parse_options(name: str, written: Iterable[str]) -> dict[str, Json]:
    """Return the options that are written as OPTION=VALUE.

    Raises:
        BadInput: A text is not OPTION=VALUE.
    """
    texts = list(written)
    problems = [
        Problem(repr(text), "OPTION=VALUE, such as eps=0.1", f"see `show {name}`")
        for text in texts
        if "=" not in text
    ]
    if problems:
        raise BadInput(problems)
    pairs = (text.partition("=") for text in texts)
    return {option: _parse_value(value) for option, _, value in pairs}


def _parse_value(text: str) -> Json:
    """Return a value as in a suite: JSON, a fraction, or else the text."""
    try:
        if "/" not in text:
            return cast(Json, json.loads(text))
        number = parse_fraction(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
