"""What a page says of its evidence.

Legends of checks, missed samples and seconds; sections about incomplete, skipped, unranked and
unchecked results, and leakage.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import fsum

from advtransfer.leaderboard.markdown import escape_markdown, inline_code, markdown_table
from advtransfer.leaderboard.page_settings import as_list
from advtransfer.leaderboard.probes import combine_probes, rank_groups
from advtransfer.leaderboard.ranking import requested_ranking
from advtransfer.leaderboard.result_data import ResultData
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, group_rows
from advtransfer.planning import Trial
from advtransfer.planning.status import STATUS_NAMES, STATUS_WORDS, TrialStatus
from advtransfer.result.evidence import Probe
from advtransfer.result.verdict import WORST_FIRST
from advtransfer.text import ABSENT
from advtransfer.types import Json
from advtransfer.types.in_memory import CANNOT_BE_REBUILT
from advtransfer.types.metric_names import VALIDATION_LABEL

PHASE_NAMES = {
    "build": "training or reading of sources",
    "load": "loading",
    "choose": "choices of options",
    "fit": "fits",
    "measure": "evaluations",
    "checks": "other checks",
    "battery": "batteries",
}
"""What the phases of a record are called on the page."""
SECONDS_LEGEND = (
    "s fit, s evaluations: mean seconds of a trial's fit, and of all its evaluations together. "
    "Neither includes the training of its source, the choice of its options, the loading of data "
    "and models, or the host's checks. A value that trials share (a teacher, features of a source) "
    "is in the seconds of the trial that came first."
)
MISSED_NOTE = (
    "Missed: the share of the images attacked by the host, in points, that its own attacks broke "
    "and the evaluation did not: the mean over results, and the largest. It tells how weak the "
    "evaluation's attack is."
)
FOLD_LEGEND = (
    "A robust accuracy counts a test image as robust only if neither the evaluation's attack nor "
    "the host's own attacks (the battery, in the same ball or a smaller one) broke it; "
    "`attack_accuracy` is what the evaluation's attack alone left, and `worst_linf`, `worst_l2` "
    "and `worst_l1` are the worst over all attacks of a trial."
)
MARK_LEGEND = (
    "✓: checked. The checks of the model found no sign of masked gradients; the number beside the "
    "mark is the share of the images attacked by the host, in points, that only the host broke. At "
    "most: the host attacked a part of the test images, or none, so the number is an upper bound. "
    "Suspicious: signs of masked gradients, or an attack that missed surely more than 5 points (a strong "
    "one 2), which makes its number doubtful and not the model; `worst_linf`, `worst_l2` and `worst_l1` "
    "are judged by what all attacks together missed. "
    "Rows without a battery are ranked after the checked ones. Never ranked: rows whose batteries "
    "attacked other images than those of most rows, suspicious and invalid results, and fits that "
    "did not learn."
)

OTHER_IMAGES_REASON = "its battery attacked other images than those of most rows of its table"
MAX_PLACES = 3  # places written out for one reason; `advtransfer status` lists all


def incomplete_section(data: RunData) -> str:
    """Return the section that counts and locates the trials that are not done, by reason."""
    grouped: dict[tuple[int, str], list[Trial]] = defaultdict(list)
    for trial in data.plan.trials:
        state = data.trial_state(trial)
        if state.value != "done":
            for reason in _incomplete_reasons(state):
                grouped[STATUS_NAMES.index(state.value), reason].append(trial)
    rows: list[list[str]] = []
    for status, reason in sorted(grouped):
        word = STATUS_WORDS[STATUS_NAMES[status]]
        rows.append(_reason_row(word, reason, grouped[status, reason]))
    return _reason_section("Trials that are not done", ("status", "trials"), rows)


def _incomplete_reasons(state: TrialStatus) -> Iterator[str]:
    """Yield the reason of every failed evaluation, or the one of the trial."""
    reasons: list[tuple[str | None, str | None]] = [(state.evaluation, state.reason)]
    if state.evaluation in state.failures:
        reasons = list(state.failures.items())
    for evaluation, reason in reasons:
        text = reason or "no record yet"
        yield f"{evaluation}: {text}" if evaluation else text


def in_memory_section(data: RunData) -> str:
    """Return the section about the rows of modules that nobody can build again."""
    rows = dict.fromkeys(
        trial.row or trial.source or ABSENT
        for trial in data.plan.trials
        if data.in_memory_note(trial) is not None
    )
    if not rows:
        return ""
    lines = [f"- {escape_markdown(row)}: {CANNOT_BE_REBUILT}" for row in rows]
    text = "They were measured on a module of one Python process, and are never published."
    return "\n".join(["## Rows in memory", "", *lines, "", text])


def skipped_section(data: RunData) -> str:
    """Return the section about evaluations that are not applicable in trials with other results."""
    grouped: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in data.plan.trials:
        for evaluation, reason in data.trial_state(trial).skipped.items():
            grouped[evaluation, reason].append(trial)
    rows: list[list[str]] = []
    for evaluation, reason in sorted(grouped):
        trials = grouped[evaluation, reason]
        rows.append(_reason_row(escape_markdown(evaluation), reason, trials))
    return _reason_section("Evaluations that were skipped", ("evaluation", "trials"), rows)


def unranked_section(data: RunData) -> str:
    """Return the section about results that are shown but never ranked."""
    grouped: dict[tuple[int, str, str], list[Trial]] = defaultdict(list)
    for trial in data.plan.trials:
        for label, ids in trial.evaluations.items():
            for result in (data.results[id] for id in ids if id in data.results):
                verdict = result.verdict
                if not verdict.is_ranked:
                    severity = WORST_FIRST.index(verdict.value)
                    grouped[severity, label, _doubt_reason(result)].append(trial)
    rows: list[list[str]] = []
    for severity, label, reason in sorted(grouped):
        trials = grouped[severity, label, reason]
        rows.append(_reason_row(WORST_FIRST[severity], f"{label}: {reason}", trials))
    unlearned: dict[str, list[Trial]] = defaultdict(list)
    for trial in data.plan.trials:
        if unlearned_reason := data.unlearned_reason(trial):
            unlearned[unlearned_reason].append(trial)
    rows += [
        _reason_row("did not learn", reason, unlearned[reason]) for reason in sorted(unlearned)
    ]
    if others := _trials_with_other_images(data):
        rows.append(_reason_row("other images", OTHER_IMAGES_REASON, others))
    return _reason_section("Results that are not ranked", ("verdict", "results"), rows)


def _doubt_reason(result: ResultData) -> str:
    """Return why a result is not ranked; of missed samples first how many its attack missed."""
    reason = result.verdict.reason
    shares = [metric.probe.missed_share for metric in result.metrics.values() if metric.probe]
    missed = max((share for share in shares if share is not None), default=0.0)
    if result.verdict.value != "suspicious" or "missed" not in reason or not missed:
        return reason
    return f"its attack missed {100 * missed:.1f} points, which the host broke ({reason})"


def _trials_with_other_images(data: RunData) -> list[Trial]:
    """Return the trials of rows whose batteries attacked other images than those of most rows."""
    ranking = requested_ranking(data)
    trials: list[Trial] = []
    if ranking is None:
        return trials
    for rows in group_rows(data).values():
        probes: dict[LeaderboardRow, Probe | None] = {}
        for row in rows:
            metrics = [ranking.column.metric_of(trial, data) for trial in row.trials]
            probes[row] = combine_probes(metric.probe for metric in metrics if metric is not None)
        groups = rank_groups(probes)
        trials += [trial for row in rows if row not in groups for trial in row.trials]
    return trials


def unchecked_section(data: RunData) -> str:
    """Return the section about robust accuracies that no battery of the run checked."""
    grouped: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in data.plan.trials:
        for label, ids in trial.evaluations.items():
            for result in (data.results[id] for id in ids if id in data.results):
                verdict = result.claims_verdict
                if result.claims and verdict.value == "unchecked":
                    grouped[label, verdict.reason].append(trial)
    rows = [_reason_row(escape_markdown(key[0]), key[1], grouped[key]) for key in sorted(grouped)]
    return _reason_section("Results without a battery", ("evaluation", "results"), rows)


def _reason_row(subject: str, reason: str, trials: Sequence[Trial]) -> list[str]:
    return [subject, str(len(trials)), escape_markdown(reason), _places_text(trials)]


def _reason_section(
    heading: str, subject_and_count: tuple[str, str], rows: Sequence[Sequence[str]]
) -> str:
    """Return a section with a table of reasons, an empty string without rows."""
    if not rows:
        return ""
    header = [*subject_and_count, "reason", "where"]
    table = markdown_table(header, rows, right=[False, True, False, False])
    return f"## {heading}\n\n{table}"


def _places_text(trials: Iterable[Trial]) -> str:
    """Return the first places of trials in the grid, with their seeds, and count the others."""
    seeds_by_place: dict[str, list[int]] = defaultdict(list)
    for trial in trials:
        source = trial.source or "no source"
        if trial.adapter:
            source = f"{source} via {trial.adapter}"
        place = f"{source} -> {trial.target} n={trial.n} {trial.transfer}"
        seeds_by_place[place].append(trial.seed)
    places = sorted(seeds_by_place)

    def place_text(place: str) -> str:
        seeds = sorted(seeds_by_place[place])
        noun = "seeds" if len(seeds) > 1 else "seed"
        return f"{escape_markdown(place)} ({noun} {', '.join(map(str, seeds))})"

    return _shorten_list(places, MAX_PLACES, write=place_text)


def _shorten_list(texts: Sequence[str], limit: int, *, write: Callable[[str], str] = str) -> str:
    """Join texts as `write` gives them, of which those beyond a limit are counted only."""
    shown = [write(text) for text in texts[:limit]]
    if len(texts) > limit:
        shown.append(f"and {len(texts) - limit} more")
    return "; ".join(shown)


MAX_SOURCES = 3  # sources written out in one row of the leakage table
SOURCE_TRAIN = "in source train"  # end of the names of pairs with a source
LEAKAGE_HEADERS = ("target", "source", "images", "exact", "near", "of")


def leakage_section(data: RunData) -> str:
    """Return the table of images shared between data sets, or a sentence if none is shared.

    The section is empty if leakage was never checked.
    """
    if not any(data.leakage.values()):
        return ""
    rows: set[tuple[tuple[str, ...], str]] = set()
    for (target, source), pairs in data.leakage.items():
        for name, counts in pairs.items():
            # Counts of None (too large to compare) are listed too: leakage is not excluded there.
            if counts["exact"] != 0 or counts["near"] != 0:
                texts = [_count_text(counts[key]) for key in ("exact", "near", "of")]
                # Images of the target alone are the same for every source.
                own_source = source if name.endswith(SOURCE_TRAIN) else ABSENT
                subject = (escape_markdown(target), escape_markdown(name))
                rows.add(((*subject, *texts), escape_markdown(own_source)))
    if not rows:
        tests = "the target test data and further test data" if data.plan.also else ""
        return (
            "Leakage: no image was found in more than one of the source training data, the target training "
            f"data and {tests or 'the target test data'}."
        )
    table = markdown_table(
        LEAKAGE_HEADERS, _merge_sources(rows), right=[False, False, False, True, True, True]
    )
    note = (
        "Exact: equal pixel by pixel. Near: shifted by a pixel, or saved again as JPEG. "
        f"{ABSENT}: not counted, since the data are too large."
    )
    return f"## Leakage\n\n{table}\n\n{note}"


def _count_text(count: object) -> str:
    return ABSENT if count is None else str(count)


def _merge_sources(rows: Iterable[tuple[tuple[str, ...], str]]) -> list[tuple[str, ...]]:
    """Return one table row for all sources of a target with the same counts."""
    sources_by_counts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for counts, source in rows:
        sources_by_counts[counts].add(source)
    merged: list[tuple[str, ...]] = []
    for (target, *counts_texts), sources in sources_by_counts.items():
        merged.append((target, _shorten_list(sorted(sources), MAX_SOURCES), *counts_texts))
    return sorted(merged)


def _as_lists(value: Json) -> list[list[str]]:
    return [list(map(str, as_list(item))) for item in as_list(value)]


def evidence_legend(data: RunData) -> list[str]:
    """Return how to read robust accuracies and their check marks, empty without any."""
    if not any(result.claims for result in data.results.values()):
        return []
    return [FOLD_LEGEND, f"{_verdict_counts_text(data)} {MARK_LEGEND}"]


def selection_warning(data: RunData) -> str:
    """Return a warning where a ranking by a test metric would choose a swept option, else nothing."""
    ranking = requested_ranking(data)
    groups = [set(group) for group in _as_lists(data.plan.leaderboard.get("swept"))]
    if ranking is None or ranking.column.evaluation == VALIDATION_LABEL or not groups:
        return ""
    ranked: set[str] = set()
    for rows in group_rows(data).values():
        for group in groups:
            peers: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
            for row in rows:
                if row.transfer in group:
                    peers[row.source, row.adapter].add(row.transfer)
            ranked |= {label for labels in peers.values() if len(labels) > 1 for label in labels}
    if not ranked:
        return ""
    names = _shorten_list([inline_code(label) for label in sorted(ranked)], MAX_PLACES)
    return (
        f"Warning: rows that differ only in swept options ({names}) are ranked by a test metric. "
        "To take the best of them is to choose options on the test part, and its number is then "
        "too high: let validation choose (`choose` in the suite), or rank by `validation.accuracy`."
    )


def missed_text(label: str, data: RunData) -> str:
    """Return the mean missed share of an evaluation's robust accuracies in points, and the largest."""
    shares: list[float] = []
    for trial in data.plan.trials:
        for result in data.trial_results(trial, label):
            probes = [metric.probe for metric in result.metrics.values()] if result else []
            missed = [probe.missed_share for probe in probes if probe]
            shares += [100 * share for share in missed if share is not None]
    if not shares:
        return ABSENT
    return f"{fsum(shares) / len(shares):.1f} (max {max(shares):.1f})"


def _verdict_counts_text(data: RunData) -> str:
    """Return the verdicts of the results with a robust accuracy, counted."""
    claiming = [result for result in data.results.values() if result.claims]
    counts = Counter(result.claims_verdict.value for result in claiming)
    present = [verdict for verdict in reversed(WORST_FIRST) if counts[verdict]]
    texts = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in present)
    return f"Results with a robust accuracy: {texts}."


def phase_seconds_text(data: RunData) -> str:
    """Return the seconds of the whole run by what they were spent on."""
    totals: dict[str, list[float]] = {name: [] for name in PHASE_NAMES.values()}
    for phases in data.seconds.values():
        for phase, seconds in phases.items():
            totals[PHASE_NAMES.get(phase, "other checks")].append(seconds)
    # The batteries' own records: a result's phase of this name is the wait for them.
    totals["batteries"] = data.battery_seconds
    texts = [f"{name} {fsum(values):.0f}" for name, values in totals.items() if fsum(values) >= 0.5]
    return f"Seconds of the whole run: {', '.join(texts) or 'less than one'}."
