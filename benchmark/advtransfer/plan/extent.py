"""How large a plan may be, and that it has anything at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from advtransfer.errors import BadInput, Problem
from advtransfer.plan.nodes import references_for
from advtransfer.plan.trials import Trial
from advtransfer.suite import Suite
from advtransfer.suite.limits import MOST_RESULTS, MOST_TRIALS


def bounded(suite: Suite, trials: Iterable[Trial]) -> list[Trial]:
    """The trials, which are counted before they are made where nothing restricts the grid, and as they are made else.

    Raises:
        BadInput: There are too many of them, or of their results.
    """
    if not _restricted(suite):
        count, results = _counts(suite)
        if count > MOST_TRIALS or results > MOST_RESULTS:
            _refuse(suite, f"{count:,} trials with {results:,} results")
    kept: list[Trial] = []
    results = 0
    for trial in trials:
        kept.append(trial)
        results += len(trial.records()) - 1
        if len(kept) > MOST_TRIALS or results > MOST_RESULTS:
            _refuse(suite, f"more than {len(kept) - 1:,} trials with {results:,} results")
    return kept


def expect_some(suite: Suite, trials: Sequence[Trial]) -> None:
    """Refuse a plan in which nothing is run, or nothing is measured.

    Raises:
        BadInput: `exclude` and `only` leave no trial, or no evaluation.
    """
    if any(trial.evaluations for trial in trials):
        return
    kept = f"no evaluation in any of {len(trials):,} trials" if trials else "no trial"
    mark = suite.marks.get("exclude", suite.marks.get("targets"))
    next_step = "exclude less, or correct `only`"
    raise BadInput([Problem(f"{kept} that `exclude` and `only` leave", "at least one", next_step, mark)])


def _restricted(suite: Suite) -> bool:
    cells = (*suite.sources, *suite.adapters, *suite.transfers, *suite.evaluations)
    return bool(suite.exclude) or any(cell.only for cell in cells)


def _counts(suite: Suite) -> tuple[int, int]:
    """How many trials and results a suite without restrictions asks for."""
    trials = results = 0
    for target in suite.targets:
        for transfer in suite.transfers:
            sourced = "source" in transfer.facts.needs
            rows = len(suite.sources) * max(1, len(suite.adapters)) if sourced else 1
            count = rows * len(target.subsets)
            measured = [one for one in suite.evaluations if sourced or "source" not in one.facts.needs]
            trials += count
            results += count * sum(len(references_for(one, target)) for one in measured)
    return trials, results


def _refuse(suite: Suite, found: str) -> NoReturn:
    expected = f"at most {MOST_TRIALS:,} trials with {MOST_RESULTS:,} results"
    next_step = "shorten the lists of `n`, `seeds` and `sweep`, or split the suite"
    raise BadInput([Problem(found, expected, next_step, suite.marks.get("targets"))])
