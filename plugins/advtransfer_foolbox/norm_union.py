"""Accuracy on the union of norm balls, each with a radius of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from advtransfer.types import Context, EvaluationInputs, Measurement, Outcome, Tensors
from advtransfer.types.metric_names import UNION_ACCURACY
from advtransfer_foolbox.attack_accuracy import AttackAccuracy

WORST_FIRST = (Outcome.WRONG, Outcome.BROKEN, Outcome.UNKNOWN, Outcome.ROBUST)
"""Outcomes of a sample from the worst to the best."""


@dataclass(frozen=True, slots=True)
class UnionAccuracy:
    """An evaluation of the accuracy under the worst of several norms' attacks.

    Args:
        members: One evaluation for each norm; the first also reports the clean accuracy.
    """

    members: Sequence[AttackAccuracy]

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return each norm's outcomes with its examples, and the worst of each sample.

        Raises:
            Inapplicable: The labels are attributes, and an attack knows classes only.
            ValueError: As `AttackAccuracy.measure`.
        """
        measured = [member.measure(given, context=context) for member in self.members]
        outcomes: Tensors = {
            name: values for each in measured for name, values in each.outcomes.items()
        }
        return Measurement(
            outcomes={**outcomes, UNION_ACCURACY: worst_of(list(outcomes.values()))},
            examples=[examples for each in measured for examples in each.examples],
            checks=measured[0].checks,
        )


def worst_of(outcomes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the worst outcome of each sample, ``(N,)`` uint8."""
    stacked = torch.stack(list(outcomes))
    worst = torch.full_like(stacked[0], int(Outcome.ROBUST))
    for outcome in reversed(WORST_FIRST):
        worst[(stacked == int(outcome)).any(0)] = int(outcome)
    return worst
