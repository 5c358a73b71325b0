"""``advtransfer check``: hold an evaluation against models made to fool it, or against another attack."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import align_columns, print_json, print_note, print_product
from advtransfer.errors import BadInput, Location, Problem
from advtransfer.host import Component, Host
from advtransfer.suite.yaml_core import parse_fraction
from advtransfer.types import Evaluation, Json

if TYPE_CHECKING:
    from advtransfer.testing.agreement import Agreement
    from advtransfer.testing.canaries.score import ScoredModel
    from advtransfer.worker.verification import ThreatModel

DEFAULT_OPTIONS: dict[str, Json] = {"norm": "linf", "eps": 0.1, "steps": 20, "step_size": 0.0125}
"""Values of options of these names that an evaluation requires."""


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
    against: str | None,
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
    component = Host.discover().component(name, "evaluation")
    values = _evaluation_options(component, options, report_counts=against is not None)
    evaluation = cast(Evaluation, component.build(values, {}))
    threat = _threat_model(values)
    passes = []
    if against is not None:
        passes.append(_compare(evaluation, against, threat, seed=seed, as_json=as_json))
    if canaries or against is None:
        rows = _scored_models(component, evaluation, threat, battery=battery, seed=seed)
        passes.append(_print_score(rows, as_json=as_json))
    ctx.exit(0 if all(passes) else 1)


def _scored_models(
    component: Component,
    evaluation: Evaluation,
    threat: ThreatModel,
    *,
    battery: Literal["small", "full"],
    seed: int,
) -> Iterator[ScoredModel]:
    """Score an evaluation as the host would judge it: one that claims to be strong may miss less."""
    from advtransfer.testing.canaries.score import score_evaluation
    from advtransfer.worker.verification.config import BATTERY_SIZES

    return score_evaluation(
        evaluation,
        threat=threat,
        battery=BATTERY_SIZES[battery],
        seed=seed,
        is_strong=component.metadata.is_strong,
    )


def _print_score(scored_models: Iterable[ScoredModel], *, as_json: bool) -> bool:
    """Print the score of an evaluation by canaries; return whether every model passes."""
    rows = []
    for row in scored_models:
        rows.append(row)
        print_note(f"{row.outcome}: {row.name} {_strength_text(row)}")
    if as_json:
        print_json(_scores_json(rows))
    else:
        print_product(_score_table(rows))
    return all(row.passes for row in rows)


def _compare(
    evaluation: Evaluation, against: str, threat: ThreatModel, *, seed: int, as_json: bool
) -> bool:
    """Print an evaluation beside another attack; return whether it is as strong on every model."""
    from advtransfer.testing.agreement import OTHER_ATTACKS, compare_attacks

    other = OTHER_ATTACKS[against]()
    rows = []
    for row in compare_attacks(evaluation, other, threat=threat, seed=seed):
        rows.append(row)
        print_note(f"{_agreement_text(row)}: {row.network}")
    if as_json:
        print_json([_agreement_json(row) for row in rows])
    else:
        print_product(_agreement_table(rows, against))
    return all(row.passes for row in rows)


def _evaluation_options(
    component: Component, written: Iterable[str], *, report_counts: bool
) -> dict[str, Json]:
    """Return the evaluation's options: those written, over `DEFAULT_OPTIONS` where it requires one.

    With `report_counts`, an evaluation that can count its queries does so.

    Raises:
        BadInput: A text is not OPTION=VALUE, or the evaluation refuses the options.
    """
    fields = component.options.fields
    show_step = f"see `show {component.name}`"
    # An option with a default keeps it, so that the evaluation is tested as its users run it.
    options = {
        name: value
        for name, value in DEFAULT_OPTIONS.items()
        if name in fields and fields[name].required
    }
    if report_counts and "counts" in fields:
        options["counts"] = True
    for text in written:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput([Problem(repr(text), "OPTION=VALUE, such as eps=0.1", show_step)])
        options[name] = _parse_value(value)
    values, faults = component.options.validate(options)
    if faults:
        raise BadInput(
            Problem(
                f"{'.'.join(map(str, fault.path))}: {fault.found}",
                fault.expected,
                show_step,
                Location("options", 1, 1),
            )
            for fault in faults
        )
    return values


def _parse_value(text: str) -> Json:
    """Return a value as in a suite: JSON, a fraction, or else the text."""
    try:
        if "/" not in text:
            return cast(Json, json.loads(text))
        number = parse_fraction(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _threat_model(values: dict[str, Json]) -> ThreatModel:
    """Return the ball for which the exact models are made: of several radii the largest."""
    from advtransfer.worker.verification import ThreatModel

    eps = values.get("eps", DEFAULT_OPTIONS["eps"])
    radius = max(cast("list[float]", eps)) if isinstance(eps, list) else cast(float, eps)
    norm = values.get("norm")
    return ThreatModel(norm if norm in ("l2", "l1") else "linf", radius)


def _score_table(rows: list[ScoredModel]) -> str:
    """Return a line for each model, and how many of each kind passed."""
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
    headers = ("kind", "model", "strength", "claimed", "exact", "outcome", "verdict")
    summary = "; ".join(
        [
            f"{_passed_text(rows, 'canary')} canaries caught",
            f"{_passed_text(rows, 'honest')} honest models not flagged",
            f"{_passed_text(rows, 'exact')} exact values kept",
        ]
    )
    return f"{align_columns(headers, lines)}\n\n{summary}"


def _passed_text(rows: list[ScoredModel], kind: str) -> str:
    passes = [row.passes for row in rows if row.kind == kind]
    return f"{sum(passes)} of {len(passes)}"


def _strength_text(row: ScoredModel) -> str:
    return "" if row.strength is None else f"{row.strength:g}"


def _share_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _verdict_text(row: ScoredModel) -> str:
    """Return the verdict, and the checks that it follows from."""
    failed_checks = ", ".join(
        f"{check.name} {check.value:.3g}"
        for check in row.seen.checks
        if check.grade in ("suspicious", "fail")
    )
    reason = row.seen.reason if row.seen.judged != "checked" else ""
    details = failed_checks or reason
    return f"{row.seen.judged}: {details[:100]}" if details else row.seen.judged


def _scores_json(rows: list[ScoredModel]) -> list[dict[str, Any]]:  # Any: JSON
    return [asdict(row) | {"good": row.passes, "outcome": row.outcome} for row in rows]


def _agreement_table(rows: list[Agreement], against: str) -> str:
    """Return two lines for each network, and the samples that only one of the attacks breaks."""
    lines = []
    for row in rows:
        results = {"evaluation": row.own, against: row.other}
        for attack, result in results.items():
            lines.append(
                (
                    row.network,
                    attack,
                    f"{result.share:.4f}",
                    _count_text(result.gradients),
                    _count_text(result.forwards),
                    f"{result.seconds:.1f}",
                    _agreement_text(row) if attack == "evaluation" else "",
                )
            )
    headers = ("model", "attack", "robust", "gradients", "forwards", "seconds", "outcome")
    only_one = []
    for row in rows:
        only_one.append(f"{row.network}: only the evaluation breaks {_list_text(row.only_own)}")
        only_one.append(f"{row.network}: only {against} breaks {_list_text(row.only_other)}")
    return "\n".join([align_columns(headers, lines), "", *only_one])


def _agreement_text(row: Agreement) -> str:
    return "as strong" if row.passes else "weaker"


def _count_text(count: float | None) -> str:
    return "" if count is None else f"{count:.0f}"


def _list_text(positions: list[int]) -> str:
    return f"the samples {', '.join(map(str, positions))}" if positions else "none"


def _agreement_json(row: Agreement) -> dict[str, Any]:  # Any: JSON
    sides = {"evaluation": row.own, "other": row.other}
    results = {
        name: {
            "robust": result.share,
            "gradients": result.gradients,
            "forwards": result.forwards,
            "seconds": result.seconds,
        }
        for name, result in sides.items()
    }
    only = {"only_evaluation": row.only_own, "only_other": row.only_other}
    return {"model": row.network, "good": row.passes, **results, **only}
