"""Limits on the size of a plan: not too many trials or results, and at least one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from advtransfer.errors import BadInput, Problem
from advtransfer.planning.nodes import references_for
from advtransfer.planning.trials import Trial
from advtransfer.suite import Suite
from advtransfer.suite.further_tests import is_measured_at
from advtransfer.suite.sections import MAX_RESULTS, MAX_TRIALS


def limit_trials(suite: Suite, trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials, unless they or their results are too many.

    Raises:
        BadInput: There are too many trials or results.
    """
    # A suite of ten lines can ask for millions of trials. Without restrictions their number is a
    # product, so they need not be made to be refused; with restrictions they are counted as made.
    if not _has_restrictions(suite):
        trial_count, result_count = _unrestricted_counts(suite)
        if trial_count > MAX_TRIALS or result_count > MAX_RESULTS:
            _raise_too_large(suite, f"{trial_count:,} trials with {result_count:,} results")
    allowed: list[Trial] = []
    result_count = 0
    for trial in trials:
        allowed.append(trial)
        result_count += len(trial.record_ids()) - 1
        if len(allowed) > MAX_TRIALS or result_count > MAX_RESULTS:
            found = f"more than {len(allowed) - 1:,} trials with {result_count:,} results"
            _raise_too_large(suite, found)
    return allowed


def require_evaluations(suite: Suite, trials: Sequence[Trial]) -> None:
    """Raise where a plan runs nothing or measures nothing.

    Raises:
        BadInput: `exclude` and `only` leave no trial, or no evaluation.
    """
    if any(trial.evaluations for trial in trials):
        return
    remaining = f"no evaluation in any of {len(trials):,} trials" if trials else "no trial"
    mark = suite.section_locations.get("exclude", suite.section_locations.get("targets"))
    next_step = "exclude less, or correct `only`"
    raise BadInput(
        [Problem(f"{remaining} that `exclude` and `only` leave", "at least one", next_step, mark)]
    )


def _has_restrictions(suite: Suite) -> bool:
    cells = (*suite.sources, *suite.adapters, *suite.transfers, *suite.evaluations)
    subsets = (subset for target in suite.targets for subset in target.subsets)
    is_paired = any(subset.pairing is not None for subset in subsets)
    return is_paired or bool(suite.exclude) or any(cell.only for cell in cells)


def _unrestricted_counts(suite: Suite) -> tuple[int, int]:
    """Return the numbers of trials and of results of a suite without restrictions."""
    trial_count = result_count = 0
    for target in suite.targets:
        for transfer in suite.transfers:
            needs_source = "source" in transfer.facts.needs
            rows = len(suite.sources) * max(1, len(suite.adapters)) if needs_source else 1
            trials = rows * len(target.subsets)
            measured = [
                evaluation
                for evaluation in suite.evaluations
                if is_measured_at(evaluation, target)
                and (needs_source or "source" not in evaluation.facts.needs)
            ]
            results = sum(len(references_for(evaluation, target)) for evaluation in measured)
            trial_count += trials
            result_count += trials * results
    return trial_count, result_count


def _raise_too_large(suite: Suite, found: str) -> NoReturn:
    expected = f"at most {MAX_TRIALS:,} trials with {MAX_RESULTS:,} results"
    next_step = "shorten the lists of `n`, `seeds` and `sweep`, or split the suite"
    raise BadInput([Problem(found, expected, next_step, suite.section_locations.get("targets"))])
