"""One model under one evaluation, judged as the host judges a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from advtransfer.testing.canaries.honest import Subject
from advtransfer.testing.context import InMemoryContext
from advtransfer.trial.battery import Battery, Threat, compared, run_battery
from advtransfer.trial.battery.run import examples_from
from advtransfer.trial.claims import claims, unheld
from advtransfer.trial.legality import checked
from advtransfer.trial.perform import deterministic
from advtransfer.trial.sound import unsound
from advtransfer.trial.untouched import watched
from advtransfer.types import Check, Evaluation, Given, Outcome
from advtransfer.verdict import Believed, verdict

Judged: TypeAlias = Believed | Literal["refused"]

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one evaluation.

    Args:
        judged: The verdict, or ``refused`` where it ended in an error.
        reason: Why, in words.
        claimed: The robust accuracy that it gave; None without one.
        checks: The evidence.
    """

    judged: Judged
    reason: str
    claimed: float | None = None
    checks: tuple[Check, ...] = ()

    @property
    def doubted(self) -> bool:
        """Whether nobody would take the number for a robust accuracy."""
        return self.judged in ("refused", "suspicious", "invalid")


def examine(evaluation: Evaluation, subject: Subject, *, battery: Battery) -> Seen:
    """Let an evaluation measure a model, and judge what it gave by the host's checks and the battery."""
    try:
        with deterministic():
            return _examined(evaluation, subject, battery)
    except Exception as error:  # whatever a model or a plugin raises ends a trial, and is shown
        return Seen("refused", f"{type(error).__name__}: {error}")


def _examined(evaluation: Evaluation, subject: Subject, battery: Battery) -> Seen:
    model, test = subject.model, subject.test
    with watched(model) as touched:
        found = evaluation.measure(Given(test=test, model=model), context=InMemoryContext(0))
    if fault := unsound(found, test):
        return Seen("refused", fault)
    outcomes, checks = checked(found.outcomes, found.examples, test=test, model=model, device=CPU)
    claimed = claims(found)
    if not claimed:
        return Seen("unchecked", "gives no robust_accuracy, so it claims nothing that could be held")
    checks += [*found.checks, touched.check(), *unheld(claimed)]
    held = {claim.metric: claim.threat for claim in claimed if claim.threat is not None}
    if not held:
        judged = verdict(checks)
        return Seen(judged.value, judged.reason, checks=tuple(checks))
    metric, threat = max(held.items(), key=lambda claim: claim[1].eps)
    checks += _battery(subject, outcomes[metric].tolist(), threat, battery)
    judged = verdict(checks)
    robust = float((outcomes[metric] == Outcome.ROBUST).double().mean())
    return Seen(judged.value, judged.reason, robust, tuple(checks))


def _battery(subject: Subject, outcomes: list[int], threat: Threat, battery: Battery) -> list[Check]:
    examples = examples_from(subject.source, subject.test, threat, battery, device=CPU)
    found = run_battery(subject.model, subject.test, threat, battery, device=CPU, transferred=examples)
    return [*compared(outcomes, found.positions, found.outcomes, battery=battery), *found.checks]
