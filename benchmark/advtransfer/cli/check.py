"""``advtransfer check``: hold an evaluation against models made to fool it, or against another attack."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Literal, cast

import click

from advtransfer.api.check import check_evaluation
from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.suite.yaml_core import parse_fraction
from advtransfer.types import Json


@click.command(cls=Subcommand, short_help="Hold an evaluation against canaries or another attack.")
@click.argument("name", metavar="PLUGIN/EVALUATION")
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("--canaries", is_flag=True, help="Score it by canaries; the default.")
@click.option(
    "--against",
    type=click.Choice(["pyautoattack"]),
    help="Compare it with this library's attack on the honest models.",
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
    battery: Literal["small", "full"],
    seed: int,
    as_json: bool,
) -> None:
    """Run an evaluation and the host's battery on models that only seem robust, and on honest ones.

    Every canary must be caught: its result is suspicious, invalid, or refused with an error. No
    honest model may be flagged, and no model whose robust accuracy is known exactly may be measured
    below it.

    With --against, run the evaluation and another attack on the honest models instead (or as well,
    with --canaries). On none may the evaluation leave more than .5 points more robust than the other
    attack; the samples that only one of them breaks are listed.

    OPTION=VALUE are options of the evaluation, as in a suite. Those that it requires are
    norm=linf eps=0.1 steps=20 step_size=0.0125 by default. The exit code is 1 when a model fails.
    """
    table = check_evaluation(
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
    options: dict[str, Json] = {}
    for text in written:
        option, equals, value = text.partition("=")
        if not equals:
            problem = Problem(repr(text), "OPTION=VALUE, such as eps=0.1", f"see `show {name}`")
            raise BadInput([problem])
        options[option] = _parse_value(value)
    return options


def _parse_value(text: str) -> Json:
    """Return a value as in a suite: JSON, a fraction, or else the text."""
    try:
        if "/" not in text:
            return cast(Json, json.loads(text))
        number = parse_fraction(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
