"""Examine one model: evaluate it, and judge the result as the host judges a trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.result.battery_index import BatteryEvidence
from advtransfer.result.comparison import compare_outcomes, missed_limit
from advtransfer.result.outcomes import outcomes_from_values
from advtransfer.result.verdict import VerdictValue, verdict_from_checks
from advtransfer.testing.canaries.honest_models import Subject
from advtransfer.testing.canaries.models import ModelKind
from advtransfer.testing.context import InMemoryContext
from advtransfer.types import Check, Evaluation, EvaluationInputs, Measurement, Outcome
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.plugin_values import contract_violation
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification import (
    BatteryConfig,
    ThreatModel,
    run_battery,
)
from advtransfer.worker.verification.battery import examples_from_source
from advtransfer.worker.verification.claims import robustness_claims, unverifiable_checks
from advtransfer.worker.verification.examples import verify_examples

ExaminationStatus: TypeAlias = VerdictValue | Literal["refused"]

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of evaluating one model.

    Args:
        judged: The verdict, or ``refused`` if the evaluation ended in an error.
        reason: The reason of the verdict.
        claimed: The robust accuracy that the evaluation reported; None without one.
        checks: The checks behind the verdict.
        passes: How often the evaluation passed each image through the model, on average.
    """

    judged: ExaminationStatus
    reason: str
    claimed: float | None = None
    checks: tuple[Check, ...] = ()
    passes: float = 0.0

    @property
    def is_doubted(self) -> bool:
        """True if the reported number would not be taken for a robust accuracy."""
        return self.judged in ("refused", "suspicious", "invalid")


def examine_model(
    evaluation: Evaluation,
    subject: Subject,
    *,
    battery: BatteryConfig,
    is_strong: bool = False,
) -> Examination:
    """Evaluate a model and judge the measurement by the host's checks and the battery.

    Args:
        evaluation: The evaluation.
        subject: The model.
        battery: The size of the battery.
        is_strong: Whether the evaluation claims to be strong, so that it may miss less.
    """
    try:
        with deterministic_algorithms():
            return _examine(evaluation, subject, battery, missed_limit(is_strong=is_strong))
    except Exception as error:  # any error of a model or a plugin ends a trial and is shown
        return Examination("refused", f"{type(error).__name__}: {error}")


def _examine(
    evaluation: Evaluation, subject: Subject, battery: BatteryConfig, limit: float
) -> Examination:
    """Evaluate and judge a model as the host judges a trial."""
    inputs = EvaluationInputs(test=subject.test, model=subject.model)
    with _counted_rows(subject.model) as rows, guard_side_effects(subject.model) as guard:
        measurement = evaluation.measure(inputs, context=InMemoryContext(0))
    seen = _judge(measurement, guard.to_check(), subject, battery, limit)
    return replace(seen, passes=sum(rows) / len(subject.test))


@contextmanager
def _counted_rows(model: nn.Module) -> Iterator[list[int]]:
    """Give a list that gets the number of rows of each pass of the model, or of a copy of it."""
    rows: list[int] = []

    def count_rows(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows.extend(len(inputs) for inputs in given[:1])

    hook = model.register_forward_pre_hook(count_rows)
    try:
        yield rows
    finally:
        hook.remove()


def _judge(
    measurement: Measurement,
    untouched: Check,
    subject: Subject,
    battery: BatteryConfig,
    limit: float,
) -> Examination:
    """Judge a measurement by the host's checks and the battery."""
    model = subject.model
    test = subject.test
    violation = contract_violation(measurement, test)
    if violation:
        return Examination("refused", violation)
    outcomes, checks = verify_examples(
        measurement.outcomes, measurement.examples, test=test, model=model, device=CPU
    )
    claims = robustness_claims(measurement)
    if not claims:
        return Examination(
            "unchecked", "gives no robust_accuracy, so it claims nothing that could be held"
        )
    checks += [*measurement.checks, untouched, *unverifiable_checks(claims)]
    threats = {claim.metric: claim.threat for claim in claims if claim.threat is not None}
    if not threats:
        verdict = verdict_from_checks(checks)
        return Examination(verdict.value, verdict.reason, checks=tuple(checks))
    metric, threat = max(threats.items(), key=lambda item: item[1].eps)
    found = _run_battery(subject, threat, battery)
    values = outcomes_from_values(outcomes[metric].tolist())
    checks += [*compare_outcomes(values, found, limit=limit), *found.checks]
    verdict = verdict_from_checks(checks)
    robust_accuracy = float((outcomes[metric] == Outcome.ROBUST).double().mean())
    return Examination(verdict.value, verdict.reason, robust_accuracy, tuple(checks))


def _run_battery(subject: Subject, threat: ThreatModel, battery: BatteryConfig) -> BatteryEvidence:
    """Return what a battery finds, with transfer attacks from the subject's source."""
    transferred = examples_from_source(subject.source, subject.test, threat, battery, device=CPU)
    result = run_battery(
        subject.model, subject.test, threat, battery, device=CPU, transferred=transferred
    )
    return result.evidence(threat, of=len(subject.test))


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """One model that was evaluated.

    Args:
        kind: ``canary`` (must be doubted), ``honest`` (must not be doubted) or ``exact`` (must not
            be doubted, nor measured below its exact robust accuracy).
        name: The name of the model.
        strength: The strength of a canary; None for other models.
        seen: The result of the evaluation.
        exact: The exact robust accuracy; None if it is not known.
    """

    kind: ModelKind
    name: str
    strength: float | None
    seen: Examination
    exact: float | None = None

    @property
    def passes(self) -> bool:
        """True if the evaluation treats this model correctly."""
        if self.kind == "canary":
            return self.seen.is_doubted
        if self.seen.is_doubted:
            return False
        if self.exact is None or self.seen.claimed is None:
            return True
        return self.seen.claimed >= self.exact

    @property
    def outcome(self) -> str:
        """The result as one word or two, for a table."""
        if self.kind == "canary":
            return "caught" if self.passes else "missed"
        if self.seen.is_doubted:
            return "flagged"
        return "fine" if self.passes else "below exact"
