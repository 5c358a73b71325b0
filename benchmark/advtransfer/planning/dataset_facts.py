"""Facts of a plan on its targets' data: those of the table of data sets, and the further test parts."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.planning.trials import FurtherTest, Trial
from advtransfer.suite import GridEntry, Suite
from advtransfer.suite.further_tests import SEPARATOR
from advtransfer.suite.outlines import Outlines
from advtransfer.types import Json


def dataset_facts(suite: Suite, outlines: Outlines) -> dict[str, dict[str, Json]]:
    """Return what is known of each target's data before it is read, by target and name."""
    facts: dict[str, dict[str, Json]] = {}
    for target in sorted(suite.targets, key=lambda target: target.key):
        facts[target.key] = _facts_of(target.data, outlines)
        if target.also:
            also = sorted(target.also, key=lambda cell: cell.label)
            facts[target.key]["also"] = {cell.label: _facts_of(cell, outlines) for cell in also}
    return facts


def _facts_of(data: GridEntry, outlines: Outlines) -> dict[str, Json]:
    outline = outlines.outline_of(data.node)
    known: dict[str, Json] = {
        "use": data.node.use,
        "classes": outline.outputs if outline.task == "classes" else None,
        "shape": None if outline.shape is None else list(outline.shape),
        "train": outline.train,
        "test": outline.test,
    }
    return {name: value for name, value in known.items() if value is not None}


def further_tests(suite: Suite, trials: Iterable[Trial]) -> dict[str, FurtherTest]:
    """Return the evaluations of the plan that are measured on further data sets, by label."""
    planned = {label for trial in trials for label in trial.evaluations}
    labels: dict[str, FurtherTest] = {}
    for cell in sorted(suite.evaluations, key=lambda cell: cell.label):
        if cell.test_data is not None and cell.label in planned:
            evaluation = cell.label.removesuffix(f"{SEPARATOR}{cell.test_data.label}")
            labels[cell.label] = FurtherTest(evaluation, cell.test_data.label)
    return labels
