"""``advtransfer.check``: hold a plugin to the kit, and an evaluation to canaries or another attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

from advtransfer.api.arguments import ArgumentChecker
from advtransfer.api.kit import apply_kit
from advtransfer.api.tables import CheckTable
from advtransfer.errors import BadInput, Location, Problem
from advtransfer.host import Component, Host
from advtransfer.runner.settings import usable_cores
from advtransfer.text import align_columns
from advtransfer.types import Evaluation, Json

if TYPE_CHECKING:
    from advtransfer.testing.agreement import Agreement
    from advtransfer.testing.canaries.score import ScoredModel
    from advtransfer.worker.verification import ThreatModel

DEFAULT_OPTIONS: dict[str, Json] = {"norm": "linf", "eps": 0.1, "steps": 20, "step_size": 0.0125}
"""Values of options of these names that an evaluation requires."""

MAX_JOBS = 8
"""Most processes of a score by canaries, each of which takes about half a GiB of memory."""


def check_plugin(
    name: str,
    *,
    options: Mapping[str, Json] | None = None,
    canaries: bool = False,
    against: Literal["pyautoattack"] | None = None,
    battery: Literal["small", "full"] = "small",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> CheckTable:
    """Hold a plugin or a component to the rules of the kit, or an evaluation to models.

    This is ``advtransfer check``. With `canaries`, an evaluation runs on models that only seem robust
    and on honest ones: every canary must be caught, no honest model flagged, and no model whose robust
    accuracy is known exactly measured below it. A costly evaluation is scored on fewer canaries and
    images; the last line of the table says on which.

    Args:
        name: The plugin, or a component as plugin/factory.
        options: Options of the component. With `canaries` or `against`, they are over
            ``norm=linf eps=0.1 steps=20 step_size=0.0125`` where the evaluation requires these.
        canaries: Score an evaluation by canaries.
        against: Compare it with this library's attack on the honest models instead (or as well,
            with `canaries`).
        battery: Size of the host's battery: ``"small"`` or ``"full"``.
        seed: Draws the networks.
        progress: Called with a line for each model that is done, or each rule that is broken.

    Raises:
        BadInput: The arguments or options are wrong; holds every problem.
        UnknownName: There is no such plugin or component.
        MissingLibrary: The other attack is not installed.
    """
    check = ArgumentChecker()
    name = check.text("name", name, example="foolbox/pgd")
    wants_canaries = check.flag("canaries", canaries)
    check.word("against", "pyautoattack" if against is None else against, ["pyautoattack"])
    check.word("battery", battery, ["small", "full"])
    drawn = check.required_number("seed", seed, least=0)
    check.raise_if_any()
    report = progress or _no_progress
    if not wants_canaries and against is None:
        return apply_kit(name, options or {}, progress=report)
    component = Host.discover().component(name, "evaluation")
    values = _evaluation_options(component, options or {}, report_counts=against is not None)
    evaluation = cast(Evaluation, component.build(values, {}))
    threat = _threat_model(values)
    tables = []
    if against is not None:
        tables.append(_compare(evaluation, against, threat, seed=drawn, progress=report))
    if wants_canaries:
        tables.append(
            _score(component, values, threat, battery=battery, seed=drawn, progress=report)
        )
    return tables[0] if len(tables) == 1 else _joined_tables(tables)


def _no_progress(line: str) -> None:
    """Show nothing."""


def _joined_tables(tables: list[CheckTable]) -> CheckTable:
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    joined = CheckTable(
        [row for table in tables for row in table],
        columns=columns,
        text="\n".join(map(str, tables)),
        data=[table.data for table in tables],
    )
    joined.ok = all(table.ok for table in tables)
    return joined


def _score(
    component: Component,
    values: dict[str, Json],
    threat: ThreatModel,
    *,
    battery: Literal["small", "full"],
    seed: int,
    progress: Callable[[str], None],
) -> CheckTable:
    """Return the score of an evaluation by canaries; one that claims to be strong may miss less."""
    from advtransfer.testing.canaries.processes import Scoring, score_evaluation
    from advtransfer.worker.verification.config import BATTERY_SIZES

    scoring = Scoring(
        component.name,
        values,
        threat,
        BATTERY_SIZES[battery],
        seed,
        is_strong=component.metadata.is_strong,
    )
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        progress(line)

    scored = score_evaluation(scoring, jobs=min(usable_cores(), MAX_JOBS), report=note)
    rows = []
    with closing(scored):  # Ctrl-C ends the processes at once.
        for row in scored:
            rows.append(row)
            progress(f"{row.outcome}: {row.name} {_strength_text(row)}")
    data = _scores_json(rows)
    columns = ("kind", "name", "strength", "outcome", "good")
    text = "\n".join([_score_table(rows), *notes])
    table = CheckTable(data, columns=columns, text=text, data=data)
    table.ok = all(row.passes for row in rows)
    return table


def _compare(
    evaluation: Evaluation,
    against: str,
    threat: ThreatModel,
    *,
    seed: int,
    progress: Callable[[str], None],
) -> CheckTable:
    """Return an evaluation beside another attack."""
    from advtransfer.testing.agreement import OTHER_ATTACKS, compare_attacks

    other = OTHER_ATTACKS[against]()
    rows = []
    for row in compare_attacks(evaluation, other, threat=threat, seed=seed):
        rows.append(row)
        progress(f"{_agreement_text(row)}: {row.network}")
    data = [_agreement_json(row) for row in rows]
    table = CheckTable(
        data, columns=("model", "good"), text=_agreement_table(rows, against), data=data
    )
    table.ok = all(row.passes for row in rows)
    return table


def _evaluation_options(
    component: Component, written: Mapping[str, Json], *, report_counts: bool
) -> dict[str, Json]:
    """Return the evaluation's options: those written, over `DEFAULT_OPTIONS` where it requires one.

    With `report_counts`, an evaluation that can count its queries does so.

    Raises:
        BadInput: The evaluation refuses the options.
    """
    fields = component.options.fields
    # An option with a default keeps it, so that the evaluation is tested as its users run it.
    options = {
        name: value
        for name, value in DEFAULT_OPTIONS.items()
        if name in fields and fields[name].required
    }
    if report_counts and "counts" in fields:
        options["counts"] = True
    options |= written
    values, faults = component.options.validate(options)
    if faults:
        raise BadInput(
            Problem(
                f"{'.'.join(map(str, fault.path))}: {fault.found}",
                fault.expected,
                f"see `show {component.name}`",
                Location("options", 1, 1),
            )
            for fault in faults
        )
    return values


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
