"""The score of an evaluation.

The canaries that it and the host's battery catch, and the honest models that they pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from advtransfer.errors import BadInput, Problem
from advtransfer.result.verdict import VerdictValue, verdict_from_checks
from advtransfer.testing.canaries.catalogue import CANARIES
from advtransfer.testing.canaries.honest_models import Subject, digits_dataset, honest_network
from advtransfer.testing.canaries.oracle import plane_subject
from advtransfer.testing.context import InMemoryContext
from advtransfer.types import Check, Evaluation, EvaluationInputs, Outcome
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.plugin_values import contract_violation
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification import (
    BatteryConfig,
    ThreatModel,
    compare_outcomes,
    run_battery,
)
from advtransfer.worker.verification.battery import examples_from_source
from advtransfer.worker.verification.claims import robustness_claims, unverifiable_checks
from advtransfer.worker.verification.examples import verify_examples

ExaminationStatus: TypeAlias = VerdictValue | Literal["refused"]

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Examination:
    """What became of one evaluation.

    Args:
        judged: The verdict, or ``refused`` where it ended in an error.
        reason: Why, in words.
        claimed: The robust accuracy that it gave; None without one.
        checks: The evidence.
    """

    judged: ExaminationStatus
    reason: str
    claimed: float | None = None
    checks: tuple[Check, ...] = ()

    @property
    def is_doubted(self) -> bool:
        """Whether nobody would take the number for a robust accuracy."""
        return self.judged in ("refused", "suspicious", "invalid")


def examine_model(
    evaluation: Evaluation, subject: Subject, *, battery: BatteryConfig
) -> Examination:
    """Let an evaluation measure a model, and judge what it gave by the host's checks and the battery."""
    try:
        with deterministic_algorithms():
            return _examine(evaluation, subject, battery)
    except Exception as error:  # whatever a model or a plugin raises ends a trial, and is shown
        return Examination("refused", f"{type(error).__name__}: {error}")


def _examine(evaluation: Evaluation, subject: Subject, battery: BatteryConfig) -> Examination:
    model, test = subject.model, subject.test
    with guard_side_effects(model) as touched:
        found = evaluation.measure(
            EvaluationInputs(test=test, model=model), context=InMemoryContext(0)
        )
    if fault := contract_violation(found, test):
        return Examination("refused", fault)
    outcomes, checks = verify_examples(
        found.outcomes, found.examples, test=test, model=model, device=CPU
    )
    claimed = robustness_claims(found)
    if not claimed:
        return Examination(
            "unchecked", "gives no robust_accuracy, so it claims nothing that could be held"
        )
    checks += [*found.checks, touched.to_check(), *unverifiable_checks(claimed)]
    held = {claim.metric: claim.threat for claim in claimed if claim.threat is not None}
    if not held:
        judged = verdict_from_checks(checks)
        return Examination(judged.value, judged.reason, checks=tuple(checks))
    metric, threat = max(held.items(), key=lambda claim: claim[1].eps)
    checks += _battery_checks(subject, outcomes[metric].tolist(), threat, battery)
    judged = verdict_from_checks(checks)
    robust = float((outcomes[metric] == Outcome.ROBUST).double().mean())
    return Examination(judged.value, judged.reason, robust, tuple(checks))


def _battery_checks(
    subject: Subject, outcomes: list[int], threat: ThreatModel, battery: BatteryConfig
) -> list[Check]:
    examples = examples_from_source(subject.source, subject.test, threat, battery, device=CPU)
    found = run_battery(
        subject.model, subject.test, threat, battery, device=CPU, transferred=examples
    )
    return [
        *compare_outcomes(outcomes, found.positions, found.outcomes, battery=battery),
        *found.checks,
    ]


ModelKind: TypeAlias = Literal["canary", "honest", "exact"]


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """One model that was evaluated.

    Args:
        kind: ``canary`` (to be doubted), ``honest_network`` (not to be), ``exact`` (not to be below the exact value).
        name: Which one.
        strength: Of a canary.
        seen: What became of it.
        exact: The exact robust accuracy, where it is known.
    """

    kind: ModelKind
    name: str
    strength: float | None
    seen: Examination
    exact: float | None = None

    @property
    def passes(self) -> bool:
        """Whether the evaluation passes here."""
        if self.kind == "canary":
            return self.seen.is_doubted
        if self.seen.is_doubted:
            return False
        return self.exact is None or self.seen.claimed is None or self.seen.claimed >= self.exact

    @property
    def outcome(self) -> str:
        """In a word."""
        if self.kind == "canary":
            return "caught" if self.passes else "missed"
        if self.seen.is_doubted:
            return "flagged"
        return "fine" if self.passes else "below exact"


def score_evaluation(
    evaluation: Evaluation, *, threat: ThreatModel, battery: BatteryConfig, seed: int = 0
) -> Iterator[ScoredModel]:
    """Honest models, exact ones, then every canary at every strength, over a natural and a robust network.

    Args:
        evaluation: What is scored.
        threat: The ball that it attacks in; the exact models are fitted to it.
        battery: How much is done.
        seed: Draws the networks.

    Raises:
        BadInput: The evaluation refuses the honest models and the exact ones: what refuses all catches nothing.
    """
    subjects = {
        name: _honest_subject(seed, robust=name == "robust") for name in ("natural", "robust")
    }
    fair = [
        ScoredModel(
            "honest", f"{name} network", None, examine_model(evaluation, subject, battery=battery)
        )
        for name, subject in subjects.items()
    ]
    plane, exact = plane_subject(seed, norm=threat.norm, eps=threat.eps)
    fair.append(
        ScoredModel(
            "exact",
            "two classes, a plane",
            None,
            examine_model(evaluation, plane, battery=battery),
            exact,
        )
    )
    _require_measurable(fair)
    yield from fair
    for name, canary in CANARIES.items():
        for strength in canary.strengths:
            for base, subject in subjects.items():
                seen = examine_model(evaluation, canary.spoil(subject, strength), battery=battery)
                yield ScoredModel("canary", f"{name} ({base})", strength, seen)


def _require_measurable(fair: Sequence[ScoredModel]) -> None:
    if all(row.seen.judged == "refused" for row in fair):
        found = f"every model refused, the honest ones too, the first with {fair[0].seen.reason}"
        raise BadInput(
            [Problem(found, "an evaluation that measures honest models", "correct its options")]
        )


def _honest_subject(seed: int, *, robust: bool) -> Subject:
    return Subject(
        honest_network(seed, robust=robust),
        digits_dataset().part("test"),
        honest_network(seed + 1000),
    )
