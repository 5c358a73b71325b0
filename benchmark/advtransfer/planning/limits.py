"""Limits on the size of a plan: not too many trials or results, and at least one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from advtransfer.errors import BadInput, Problem
from advtransfer.planning.nodes import references_for
from advtransfer.planning.trials import Trial
from advtransfer.suite import Suite
from advtransfer.suite.sections import MAX_RESULTS, MAX_TRIALS


def limit_trials(suite: Suite, trials: Iterable[Trial]) -> list[Trial]:
    """The trials, which are counted before they are made where nothing restricts the grid, and as they are made else.

    Raises:
        BadInput: There are too many of them, or of their results.
    """
    if not _has_restrictions(suite):
        count, results = _unrestricted_counts(suite)
        if count > MAX_TRIALS or results > MAX_RESULTS:
            _raise_too_large(suite, f"{count:,} trials with {results:,} results")
    kept: list[Trial] = []
    results = 0
    for trial in trials:
        kept.append(trial)
        results += len(trial.record_ids()) - 1
        if len(kept) > MAX_TRIALS or results > MAX_RESULTS:
            _raise_too_large(suite, f"more than {len(kept) - 1:,} trials with {results:,} results")
    return kept


def require_evaluations(suite: Suite, trials: Sequence[Trial]) -> None:
    """Refuse a plan in which nothing is run, or nothing is measured.

    Raises:
        BadInput: `exclude` and `only` leave no trial, or no evaluation.
    """
    if any(trial.evaluations for trial in trials):
        return
    kept = f"no evaluation in any of {len(trials):,} trials" if trials else "no trial"
    mark = suite.section_locations.get("exclude", suite.section_locations.get("targets"))
    next_step = "exclude less, or correct `only`"
    raise BadInput(
        [Problem(f"{kept} that `exclude` and `only` leave", "at least one", next_step, mark)]
    )


def _has_restrictions(suite: Suite) -> bool:
    cells = (*suite.sources, *suite.adapters, *suite.transfers, *suite.evaluations)
    return bool(suite.exclude) or any(cell.only for cell in cells)


def _unrestricted_counts(suite: Suite) -> tuple[int, int]:
    """How many trials and results a suite without restrictions asks for."""
    trials = results = 0
    for target in suite.targets:
        for transfer in suite.transfers:
            sourced = "source" in transfer.facts.needs
            rows = len(suite.sources) * max(1, len(suite.adapters)) if sourced else 1
            count = rows * len(target.subsets)
            measured = [
                one for one in suite.evaluations if sourced or "source" not in one.facts.needs
            ]
            trials += count
            results += count * sum(len(references_for(one, target)) for one in measured)
    return trials, results


def _raise_too_large(suite: Suite, found: str) -> NoReturn:
    expected = f"at most {MAX_TRIALS:,} trials with {MAX_RESULTS:,} results"
    next_step = "shorten the lists of `n`, `seeds` and `sweep`, or split the suite"
    raise BadInput([Problem(found, expected, next_step, suite.section_locations.get("targets"))])
