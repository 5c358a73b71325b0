"""Refusal of ``--compile`` for transfers that take second derivatives."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.errors import BadInput, Problem
from advtransfer.planning import Trial
from advtransfer.suite import Suite


def refuse_second_derivatives(trials: Iterable[Trial], suite: Suite) -> None:
    """Refuse trials whose transfer takes second derivatives: of compiled models torch has none.

    Args:
        trials: The trials that ``--only`` chooses.
        suite: Their suite.

    Raises:
        BadInput: With each such transfer of the trials.
    """
    labels = {trial.transfer for trial in trials if trial.skipped is None}
    problems = [
        Problem(
            f"--compile and the transfer {entry.label!r} ({entry.node.use}), which takes second derivatives",
            "transfers that take first derivatives only, since torch.compile has no others",
            "leave --compile out, or choose other transfers with --only",
            suite.section_locations.get("transfers"),
        )
        for entry in suite.transfers
        if entry.label in labels and entry.facts.takes_second_derivatives
    ]
    if problems:
        raise BadInput(problems)
