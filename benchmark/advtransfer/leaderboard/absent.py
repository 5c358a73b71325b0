"""What a reader would miss: trials not done, evaluations skipped, results that are not believed, with reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.markdown import escaped, table
from advtransfer.plan import Trial
from advtransfer.plan.status import VALUES, WORDS
from advtransfer.verdict import WORST_FIRST

SHOWN = 3  # places written out for one reason; `advtransfer status` lists all


def absent(evidence: Evidence) -> str:
    """The trials that are not done: counts, reasons, and where."""
    grouped: dict[tuple[int, str], list[Trial]] = defaultdict(list)
    for trial in evidence.plan.trials:
        state = evidence.state(trial)
        if state.value != "done":
            told = state.failures if state.evaluation in state.failures else {state.evaluation: state.reason}
            for evaluation, reason in told.items():
                text = f"{f'{evaluation}: ' if evaluation else ''}{reason or 'no record yet'}"
                grouped[VALUES.index(state.value), text].append(trial)
    rows = [
        [WORDS[VALUES[place]], str(len(trials)), escaped(reason), _where(trials)]
        for (place, reason), trials in sorted(grouped.items(), key=lambda item: item[0])
    ]
    if not rows:
        return ""
    return f"## Trials that are not done\n\n{_table('status', 'trials', rows)}"


def skipped(evidence: Evidence) -> str:
    """The evaluations that make no sense in trials whose other results are shown."""
    grouped: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in evidence.plan.trials:
        for evaluation, reason in evidence.state(trial).skipped.items():
            grouped[evaluation, reason].append(trial)
    rows = [
        [escaped(evaluation), str(len(trials)), escaped(reason), _where(trials)]
        for (evaluation, reason), trials in sorted(grouped.items(), key=lambda item: item[0])
    ]
    return f"## Evaluations that were skipped\n\n{_table('evaluation', 'trials', rows)}" if rows else ""


def doubted(evidence: Evidence) -> str:
    """The results that are shown but never ranked."""
    grouped: dict[tuple[int, str, str], list[Trial]] = defaultdict(list)
    for trial in evidence.plan.trials:
        for label, ids in trial.evaluations.items():
            for answer in (evidence.answers[id] for id in ids if id in evidence.answers):
                if not answer.verdict.ranked:
                    place = WORST_FIRST.index(answer.verdict.value)
                    grouped[place, label, answer.verdict.reason].append(trial)
    rows = [
        [WORST_FIRST[place], str(len(trials)), escaped(f"{label}: {reason}"), _where(trials)]
        for (place, label, reason), trials in sorted(grouped.items(), key=lambda item: item[0])
    ]
    if not rows:
        return ""
    return f"## Results that are not ranked\n\n{_table('verdict', 'results', rows)}"


def _table(what: str, counted: str, rows: Sequence[Sequence[str]]) -> str:
    return table([what, counted, "reason", "where"], rows, right=[False, True, False, False])


def _where(trials: Iterable[Trial]) -> str:
    """Places in the grid with their seeds, the first few written out."""
    places: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        source = f"{trial.source or 'no source'}{f' via {trial.adapter}' if trial.adapter else ''}"
        places[f"{source} -> {trial.target} n={trial.n} {trial.transfer}"].append(trial.seed)
    told = [
        f"{escaped(place)} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))})"
        for place, seeds in sorted(places.items())
    ]
    more = len(told) - SHOWN
    return "; ".join(told[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
