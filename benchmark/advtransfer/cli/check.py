"""``advtransfer check``: whether an evaluation is fooled by models that are made to fool it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import align_columns, print_note, print_product
from advtransfer.errors import BadInput, Location, Problem
from advtransfer.host import Component, Host
from advtransfer.types import Evaluation, Json

if TYPE_CHECKING:
    from advtransfer.testing.canaries.score import ScoredModel
    from advtransfer.worker.verification import ThreatModel

QUICKSTART_OPTIONS: dict[str, Json] = {"norm": "linf", "eps": 0.1, "steps": 20, "step_size": 0.0125}
"""The attack of the quickstart, as far as an evaluation has options of these names and they are not given."""


@click.command(cls=Subcommand, short_help="Score an evaluation by the canaries that it catches.")
@click.option(
    "--canaries",
    "name",
    metavar="PLUGIN/EVALUATION",
    required=True,
    help="The evaluation to score.",
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
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    battery: Literal["small", "full"],
    seed: int,
    as_json: bool,
    options: tuple[str, ...],
) -> None:
    """Run an evaluation, the host's battery behind it, on models that seem robust and are not, and on honest ones.

    Every canary must be doubted (suspicious, invalid, or refused with an error), no honest model may be, and no model
    whose robust accuracy is known exactly may come out below it. OPTION=VALUE are the evaluation's, as in a suite; by
    default the quickstart's PGD: norm=linf eps=0.1 steps=20 step_size=0.0125. The exit code is 1 when one fails.
    """
    from advtransfer.testing.canaries.score import score_evaluation
    from advtransfer.worker.verification.config import BATTERY_SIZES

    component = Host.discover().component(name, "evaluation")
    values = _evaluation_options(component, options)
    evaluation = cast(Evaluation, component.build(values, {}))
    rows = []
    for row in score_evaluation(
        evaluation, threat=_threat_model(values), battery=BATTERY_SIZES[battery], seed=seed
    ):
        rows.append(row)
        print_note(f"{row.outcome}: {row.name} {_strength_text(row)}")
    print_product(_scores_json(rows) if as_json else _score_table(rows))
    ctx.exit(0 if all(row.passes for row in rows) else 1)


def _evaluation_options(component: Component, written: Iterable[str]) -> dict[str, Json]:
    """The evaluation's options: as written, over the usual ones where it has such and no default for them.

    Raises:
        BadInput: A text that is no OPTION=VALUE, or options that the evaluation does not take.
    """
    fields = component.options.fields
    given = {
        name: value
        for name, value in QUICKSTART_OPTIONS.items()
        if name in fields and fields[name].required
    }
    for text in written:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(
                [
                    Problem(
                        repr(text), "OPTION=VALUE, such as eps=0.1", f"see `show {component.name}`"
                    )
                ]
            )
        given[name] = _parse_value(value)
    values, faults = component.options.validate(given)
    if faults:
        where = Location("options", 1, 1)
        raise BadInput(
            Problem(
                f"{'.'.join(map(str, one.path))}: {one.found}",
                one.expected,
                f"see `show {component.name}`",
                where,
            )
            for one in faults
        )
    return values


def _parse_value(text: str) -> Json:
    """A value as in a suite: JSON, a fraction, or else a text."""
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else cast(Json, json.loads(text))
    except (ValueError, ZeroDivisionError):
        return text


def _threat_model(values: dict[str, Json]) -> ThreatModel:
    """The ball that the exact models are fitted to; of several radii the largest, the usual one where none is named."""
    from advtransfer.worker.verification import ThreatModel

    eps = values.get("eps", QUICKSTART_OPTIONS["eps"])
    radius = max(cast("list[float]", eps)) if isinstance(eps, list) else cast(float, eps)
    norm = values.get("norm")
    return ThreatModel(norm if norm in ("l2", "l1") else "linf", radius)


def _score_table(rows: list[ScoredModel]) -> str:
    """A line a model, and how many of each kind came out well."""
    lines = [
        (
            row.kind,
            row.name,
            _strength_text(row),
            _share_text(row.seen.claimed),
            _share_text(row.exact),
            row.outcome,
            _verdict_text(row),
        )
        for row in rows
    ]
    head = ("kind", "model", "strength", "claimed", "exact", "outcome", "verdict")
    counted = {
        kind: [row.passes for row in rows if row.kind == kind]
        for kind in ("canary", "honest", "exact")
    }
    return "\n".join(
        [
            align_columns(head, lines),
            "",
            f"{sum(counted['canary'])} of {len(counted['canary'])} canaries caught; "
            f"{sum(counted['honest'])} of {len(counted['honest'])} honest models not flagged; "
            f"{sum(counted['exact'])} of {len(counted['exact'])} exact values kept",
        ]
    )


def _strength_text(row: ScoredModel) -> str:
    return "" if row.strength is None else f"{row.strength:g}"


def _share_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _verdict_text(row: ScoredModel) -> str:
    """The verdict, and the checks that it comes from."""
    doubts = [
        f"{check.name} {check.value:.3g}"
        for check in row.seen.checks
        if check.grade in ("suspicious", "fail")
    ]
    told = ", ".join(doubts) or (row.seen.reason if row.seen.judged != "verified" else "")
    return f"{row.seen.judged}: {told[:100]}" if told else row.seen.judged


def _scores_json(rows: list[ScoredModel]) -> str:
    told: list[dict[str, Any]] = [
        asdict(row) | {"good": row.passes, "outcome": row.outcome} for row in rows
    ]  # Any: JSON
    return json.dumps(told, indent=2, ensure_ascii=False)
