"""Figures of a plan that its page may not be able to show, as far as that is known before the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from advtransfer.host import Host
from advtransfer.leaderboard.questions_config import read_selection
from advtransfer.planning import Plan, Trial
from advtransfer.suite import Suite
from advtransfer.suite.figure_settings import option_names
from advtransfer.suite.outlines import Outlines
from advtransfer.types import FigureKeyType, FigureKind, Json


def figure_warnings(
    plan: Plan, trials: Sequence[Trial], suite: Suite, host: Host, outlines: Outlines
) -> Iterator[str]:
    """Yield why figures may be absent, which the page then says in their place.

    Args:
        plan: The plan.
        trials: Its trials that are not skipped.
        suite: Its suite.
        host: The plugins.
        outlines: What evaluations say of themselves before the run.
    """
    figures = plan.leaderboard.get("figures")
    for number, entry in enumerate(figures if isinstance(figures, list | tuple) else (), start=1):
        if isinstance(entry, Mapping):
            kind = host.figure_kind(str(entry["kind"]))
            for reason in _reasons(kind, entry, trials, suite, outlines):
                yield f"figure {number} ({kind.name}): {reason}"


def _reasons(
    kind: FigureKind,
    entry: Mapping[str, Json],
    trials: Sequence[Trial],
    suite: Suite,
    outlines: Outlines,
) -> Iterator[str]:
    values: dict[FigureKeyType, Json] = {holds: entry.get(key) for key, holds in kind.keys.items()}
    selection = read_selection(values.get("selection"))
    selected = [trial for trial in trials if selection.selects_trial(trial)]
    if not selected:
        yield "`given` selects no trial"
        return
    option, evaluation = values.get("option"), values.get("evaluation")
    if isinstance(option, str) and not _has_option(option, selected, suite):
        yield f"no transfer or source that `given` selects has the option {option}"
    if not isinstance(evaluation, str):
        return
    if not any(evaluation in trial.evaluations for trial in selected):
        yield f"no trial that it shows is evaluated by {evaluation}"
        return
    nodes = [cell.node for cell in suite.evaluations if cell.label == evaluation]
    if "file" in values and nodes and outlines.file_names(nodes[0]) is None:
        file = values["file"]
        yield (
            f"{nodes[0].use} does not say which files it writes, so that only its results tell whether there "
            f"{f'is a file {file}' if file else 'are any'}"
        )


def _has_option(option: str, trials: Sequence[Trial], suite: Suite) -> bool:
    """Return whether the transfer or the source of a trial has an option, by its name with dots."""
    having = {
        (cell.node.kind, cell.label)
        for cell in (*suite.transfers, *suite.sources)
        if option in option_names(cell.node.options)
    }
    return any(
        ("transfer", trial.transfer) in having or ("source", trial.source) in having
        for trial in trials
    )
