"""Page sections about what is incomplete, skipped, not ranked, leaking, or asked for and not recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.figures import parse_figure
from advtransfer.leaderboard.markdown import ABSENT, escape_markdown, markdown_table
from advtransfer.leaderboard.questions_config import read_questions
from advtransfer.leaderboard.ranking import requested_ranking
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.planning import Trial
from advtransfer.planning.status import STATUS_NAMES, STATUS_WORDS
from advtransfer.result.verdict import WORST_FIRST
from advtransfer.types import Json

MAX_PLACES = 3  # places written out for one reason; `advtransfer status` lists all


def incomplete_section(evidence: RunData) -> str:
    """The trials that are not done: counts, reasons, and where."""
    grouped: dict[tuple[int, str], list[Trial]] = defaultdict(list)
    for trial in evidence.plan.trials:
        state = evidence.trial_state(trial)
        if state.value != "done":
            told = (
                state.failures
                if state.evaluation in state.failures
                else {state.evaluation: state.reason}
            )
            for evaluation, reason in told.items():
                text = f"{f'{evaluation}: ' if evaluation else ''}{reason or 'no record yet'}"
                grouped[STATUS_NAMES.index(state.value), text].append(trial)
    rows = [
        [
            STATUS_WORDS[STATUS_NAMES[place]],
            str(len(trials)),
            escape_markdown(reason),
            _places_text(trials),
        ]
        for (place, reason), trials in sorted(grouped.items(), key=lambda item: item[0])
    ]
    if not rows:
        return ""
    return f"## Trials that are not done\n\n{_reason_table('status', 'trials', rows)}"


def skipped_section(evidence: RunData) -> str:
    """The evaluations that make no sense in trials whose other results are shown."""
    grouped: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in evidence.plan.trials:
        for evaluation, reason in evidence.trial_state(trial).skipped.items():
            grouped[evaluation, reason].append(trial)
    rows = [
        [
            escape_markdown(evaluation),
            str(len(trials)),
            escape_markdown(reason),
            _places_text(trials),
        ]
        for (evaluation, reason), trials in sorted(grouped.items(), key=lambda item: item[0])
    ]
    return (
        f"## Evaluations that were skipped\n\n{_reason_table('evaluation', 'trials', rows)}"
        if rows
        else ""
    )


def unranked_section(evidence: RunData) -> str:
    """The results that are shown but never ranked."""
    grouped: dict[tuple[int, str, str], list[Trial]] = defaultdict(list)
    for trial in evidence.plan.trials:
        for label, ids in trial.evaluations.items():
            for answer in (evidence.results[id] for id in ids if id in evidence.results):
                if not answer.verdict.is_ranked:
                    place = WORST_FIRST.index(answer.verdict.value)
                    grouped[place, label, answer.verdict.reason].append(trial)
    rows = [
        [
            WORST_FIRST[place],
            str(len(trials)),
            escape_markdown(f"{label}: {reason}"),
            _places_text(trials),
        ]
        for (place, label, reason), trials in sorted(grouped.items(), key=lambda item: item[0])
    ]
    if not rows:
        return ""
    return f"## Results that are not ranked\n\n{_reason_table('verdict', 'results', rows)}"


def _reason_table(what: str, counted: str, rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(
        [what, counted, "reason", "where"], rows, right=[False, True, False, False]
    )


def _places_text(trials: Iterable[Trial]) -> str:
    """Places in the grid with their seeds, the first few written out."""
    places: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        source = f"{trial.source or 'no source'}{f' via {trial.adapter}' if trial.adapter else ''}"
        places[f"{source} -> {trial.target} n={trial.n} {trial.transfer}"].append(trial.seed)
    told = [
        f"{escape_markdown(place)} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))})"
        for place, seeds in sorted(places.items())
    ]
    more = len(told) - MAX_PLACES
    return "; ".join(told[:MAX_PLACES]) + (f"; and {more} more" if more > 0 else "")


MAX_SOURCES = 3  # sources written out of those of which the same is found
LEAKAGE_HEADERS = ("target", "source", "images", "exact", "near", "of")


def leakage_section(evidence: RunData) -> str:
    """A table of what was found, a sentence where nothing was, nothing where nobody looked."""
    found = [
        (target, source, name, one["exact"], one["near"], one["of"])
        for (target, source), pairs in sorted(evidence.leakage.items())
        for name, one in sorted(pairs.items())
    ]
    if not found:
        return ""
    told = _merge_sources(_leakage_row(*one) for one in found if one[3] != 0 or one[4] != 0)
    if not told:
        return "Leakage: no image was found in two of source training data, target training data and target test data."
    note = "Exact: pixel for pixel. Near: shifted by a pixel, or saved again as JPEG. – : not counted, since too large."  # noqa: RUF001  # the dash of every page
    right = [False, False, False, True, True, True]
    return f"## Leakage\n\n{markdown_table(LEAKAGE_HEADERS, told, right=right)}\n\n{note}"


def _merge_sources(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One line for all sources of a target of which the same is found."""
    sources: dict[tuple[str, ...], set[str]] = {}
    for target, source, *found in rows:
        sources.setdefault((target, *found), set()).add(source)
    return sorted(
        (target, _sources_text(sorted(there)), *found)
        for (target, *found), there in sources.items()
    )


def _sources_text(sources: Sequence[str]) -> str:
    more = f"; and {len(sources) - MAX_SOURCES} more" if len(sources) > MAX_SOURCES else ""
    return "; ".join(sources[:MAX_SOURCES]) + more


def _leakage_row(target: str, source: str, name: str, *counts: object) -> tuple[str, ...]:
    """One line; what concerns the target alone is the same for every source."""
    source = source if "source" in name else ABSENT
    return (
        escape_markdown(target),
        escape_markdown(source),
        name,
        *(ABSENT if one is None else str(one) for one in counts),
    )


def drop_unanswerable(evidence: RunData) -> tuple[RunData, tuple[Problem, ...]]:
    """The evidence with the settings of its page that can be met, and why others cannot."""
    problems: list[Problem] = []
    settings = dict(evidence.plan.leaderboard)

    def fits(check: Callable[..., object], *asked: object) -> bool:
        try:
            check(*asked)
        except BadInput as error:
            problems.extend(error.problems)
            return False
        return True

    for name, check in (
        ("columns", _check_column),
        ("figures", parse_figure),
        ("questions", _check_question),
    ):
        settings[name] = [one for one in _as_list(settings.get(name)) if fits(check, one, evidence)]
    if not fits(requested_ranking, evidence):
        settings["rank_by"] = None
    return replace(evidence, plan=replace(evidence.plan, leaderboard=settings)), tuple(
        dict.fromkeys(problems)
    )


def unanswerable_section(problems: Iterable[Problem]) -> str:
    """The section that says what is left out; nothing where nothing is."""
    lines = [f"- {escape_markdown(str(problem))}" for problem in problems]
    return (
        "\n\n".join(["## What the suite asks for and no record has", "\n".join(lines)])
        if lines
        else ""
    )


def _check_column(name: Json, evidence: RunData) -> None:
    find_column(str(name), evidence)


def _check_question(asked: Json, evidence: RunData) -> None:
    for question in read_questions({"questions": [asked]}):
        for name in question.metrics:
            find_column(name, evidence)


def _as_list(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list | tuple) and not isinstance(value, Mapping) else []
