"""The page of a run as markdown and SVG.

Header, figures, one table for each target and n, questions and caveats.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.caveats import (
    drop_unanswerable,
    incomplete_section,
    leakage_section,
    skipped_section,
    unanswerable_section,
    unranked_section,
)
from advtransfer.leaderboard.figures import requested_figures
from advtransfer.leaderboard.markdown import (
    ABSENT,
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    markdown_table,
)
from advtransfer.leaderboard.plugin_figures import plugin_figures_section
from advtransfer.leaderboard.questions_section import questions_section
from advtransfer.leaderboard.ranking import Ranking, rank_rows, requested_ranking
from advtransfer.leaderboard.run_data import (
    JsonObject,
    RunData,
    RunRecords,
    SourceData,
    gather_run_data,
)
from advtransfer.leaderboard.table_rows import LeaderboardRow, columns_of, group_rows
from advtransfer.leaderboard.tables import baseline_label, render_table
from advtransfer.planning.status import STATUS_WORDS
from advtransfer.result.verdict import WORST_FIRST
from advtransfer.types import Json

SHOWN_VERSIONS = (
    "python",
    "advtransfer",
    "torch",
    "torchvision",
    "foolbox",
    "scikit-learn",
    "numpy",
    "scipy",
)


TRAINING_STARTS = {
    "named": "References that are sources of this suite themselves: {}.",
    "own": "References that started from weights of their own: {}.",
    "source": "References that started from the very weights that sources of the same seed and architecture start "
    "from, which makes their gradients and adversarial examples more alike: {}.",
}


def header_section(evidence: RunData) -> str:
    """Title, counts, the command that makes the page again, environment."""
    plan = evidence.plan
    found = Counter(evidence.trial_state(trial).value for trial in plan.trials)
    counts = ", ".join(f"{found[value]:,} {word}" for value, word in STATUS_WORDS.items())
    return "\n\n".join(
        [
            f"# {escape_markdown(plan.title or plan.suite)}",
            f"Suite {inline_code(plan.suite)}: {count_noun(len(plan.trials), 'trial')} planned, {counts}.",
            f"Made from the run's records by {inline_code(f'advtransfer leaderboard runs/{plan.suite}')}; "
            "the same records give the same page.",
            _environments_text(evidence),
        ]
    )


def sources_section(evidence: RunData) -> str:
    """A table of the sources and references: what their cards claim, and what was measured."""
    labels = sorted(evidence.plan.sources.items(), key=lambda item: (item[1], item[0]))
    if not labels:
        return ""
    header = ["source", "architecture", "trained on", "constraint", "clean accuracy", "claimed"]
    rows = [
        [escape_markdown(label), *_source_cells(evidence.source_data.get(id))]
        for id, label in labels
    ]
    right = [False] * 4 + [True] * 2
    if all(row[4:] == [ABSENT, ABSENT] for row in rows):  # sources of values have no accuracy
        shown = markdown_table(header[:4], [row[:4] for row in rows], right=right[:4])
        return "\n\n".join(filter(None, ["## Sources", shown, _training_starts_text(evidence)]))
    note = "Clean accuracy is measured on the test part of a source's own data when it is built, with its 95 % Wilson "
    note += "interval; claimed is what its card says."
    return "\n\n".join(
        filter(
            None,
            [
                "## Sources",
                markdown_table(header, rows, right=right),
                note,
                _training_starts_text(evidence),
            ],
        )
    )


def evaluations_section(evidence: RunData) -> str:
    """A table of the evaluations behind the columns: component and options, as recorded."""
    if not evidence.metrics:
        return ""
    rows = [
        [escape_markdown(label), *_evaluation_cells(evidence.evaluation_uses.get(label))]
        for label in evidence.metrics
    ]
    return f"## Evaluations\n\n{markdown_table(['evaluation', 'component', 'options'], rows, right=[False] * 3)}"


def legend_section(evidence: RunData, *, ranking: Ranking | None, baseline: Json) -> str:
    """How to read the tables."""
    told = [
        "A number is a mean over trials, with its 95 % interval in brackets; under each table stands what its "
        "intervals are over. One over subset seeds says nothing about other trainings of a source. Intervals of shares "
        "are cut at 0 and 1."
    ]
    if ranking:
        told.append(_ranking_text(ranking))
    if ranking and baseline is not None:
        told.append(
            f"Δ: mean difference in {inline_code(ranking.column.name)} to {escape_markdown(baseline_label(baseline))}, paired by target, n, "
            f"seed and {'source' if isinstance(baseline, Mapping) else 'transfer'}, with the 95 % t-interval over the "
            "pairs (over source trainings where the source has replicates); without brackets it has one pair or no "
            "spread."
        )
    told += [
        "a–b: some outcomes are unknown (an attack that did not finish, an illegal example); a counts them as broken, "  # noqa: RUF001  # as in the tables
        "b as robust. (4/5): four of five planned trials have this number.",
        _verdict_counts_text(evidence),
        "s / trial: mean seconds of a trial's fit and results together.",
    ]
    return "## How to read the tables\n\n" + "\n".join(f"- {line}" for line in told)


def _ranking_text(ranking: Ranking) -> str:
    name = inline_code(ranking.column.name)
    if ranking.lowest_is_best:
        return (
            f"Rows are ranked by the mean of {name}, lower better. Bold: the lowest {name}, if its interval lies below "
            "all others, and of other columns the highest share, if its interval lies above all others."
        )
    return (
        f"Rows are ranked by the mean of {name}, higher better. Bold: the highest share, if its interval lies above "
        "all others in its column."
    )


def _environments_text(evidence: RunData) -> str:
    told = []
    for (digest, device, threads, precision), records in sorted(
        evidence.environment_counts.items()
    ):
        versions = _flatten_environment(evidence.environments.get(digest, {}))
        parts = [f"{name} {versions[name]}" for name in SHOWN_VERSIONS if name in versions]
        machine = [device, count_noun(threads, "thread") + " a trial" if threads else "", precision]
        line = "; ".join(
            filter(
                None,
                [
                    ", ".join(map(escape_markdown, parts)),
                    ", ".join(filter(None, map(escape_markdown, machine))),
                ],
            )
        )
        told.append((line or "not recorded", records))
    if not told:
        return "Environment: no record yet."
    if len(told) == 1:
        return f"Environment: {told[0][0]}."
    lines = "\n".join(f"- {line} ({count_noun(records, 'record')})" for line, records in told)
    return f"Environments, which are mixed on this page:\n\n{lines}"


def _flatten_environment(environment: JsonObject) -> dict[str, str]:
    """Names and values of an environment, however it is nested."""
    flat: dict[str, str] = {}
    for name, value in environment.items():
        if value is not None:
            flat |= (
                _flatten_environment(value) if isinstance(value, Mapping) else {name: str(value)}
            )
    return flat


def _training_starts_text(evidence: RunData) -> str:
    """Where the training of each reference started, as recorded."""
    ids = {
        answer.reference_id for answer in evidence.results.values()
    } & evidence.source_data.keys()
    carried = {trial.source for trial in evidence.plan.trials}
    labels: dict[str | None, list[str]] = {}
    for id in sorted(ids, key=lambda id: (evidence.plan.sources.get(id, ""), id)):
        label = evidence.plan.sources.get(id, id[:12])
        labels.setdefault(
            "named" if label in carried else evidence.source_data[id].start, []
        ).append(inline_code(label))
    return " ".join(
        text.format(", ".join(labels[start]))
        for start, text in TRAINING_STARTS.items()
        if start in labels
    )


def _source_cells(built: SourceData | None) -> list[str]:
    if built is None:
        return ["not built yet", *[ABSENT] * 4]
    card, probe = built.card, built.probe or {}
    measured = ABSENT
    if probe:
        differs = " differs from its card" if probe.get("agrees") is False else ""
        measured = f"{format_number(probe['clean_accuracy'])}{format_interval(probe.get('interval'))}{differs}"
    claimed = card.get("clean_accuracy")
    words = [
        escape_markdown(str(card.get(name) or ABSENT))
        for name in ("architecture", "data", "constraint")
    ]
    return [*words, measured, ABSENT if claimed is None else format_number(claimed)]


def _evaluation_cells(use: tuple[str, JsonObject] | None) -> list[str]:
    if use is None:
        return ["no result", ABSENT]
    component, options = use
    told = [
        f"{name} {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in sorted(options.items())
    ]
    return [inline_code(component), inline_code(", ".join(told)) if told else ABSENT]


def _verdict_counts_text(evidence: RunData) -> str:
    counts = Counter(answer.verdict.value for answer in evidence.results.values())
    told = ", ".join(
        f"{counts[value]:,} {value}" for value in reversed(WORST_FIRST) if counts[value]
    )
    return (
        f"Verdicts of the results: {told or 'none yet'}. ✓ verified: every check of the "
        "battery passed. Unchecked: no battery of checks has been run on the attack, "
        "so an accuracy under attack is an upper bound. Suspicious and invalid results are shown, never ranked."
    )


@dataclass(frozen=True, slots=True)
class Page:
    """A leaderboard: its text, and the bytes of the SVG files that it shows, by file name.

    `problems` are what the suite asks it to show and no record has.
    """

    markdown: str
    figures: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()


def make_page(run: RunRecords) -> Page:
    """The leaderboard of one run; a column, figure or question that is not in the records is left out, and said."""
    evidence, problems = drop_unanswerable(gather_run_data(run))
    drawn = requested_figures(evidence)
    answered, asked = questions_section(evidence)
    parts = [
        header_section(evidence),
        _damaged_section(run.damaged),
        sources_section(evidence),
        evaluations_section(evidence),
        legend_section(
            evidence,
            ranking=requested_ranking(evidence),
            baseline=evidence.plan.leaderboard.get("baseline"),
        ),
        *(
            f"![{escape_markdown(figure.text)}]({figure.name})\n\n{figure.caption}"
            for figure in drawn
        ),
        "## Results",
        *(
            f"### {escape_markdown(place[0])}, n = {place[1]}\n\n{_ranked_table(rows, evidence)}"
            for place, rows in group_rows(evidence).items()
        ),
        answered,
        unranked_section(evidence),
        leakage_section(evidence),
        skipped_section(evidence),
        incomplete_section(evidence),
        unanswerable_section(problems),
        plugin_figures_section(evidence),
    ]
    shown = {figure.name: figure.svg for figure in (*drawn, *asked)}
    return Page("\n\n".join(filter(None, parts)) + "\n", shown, problems)


def _damaged_section(records: Mapping[str, str]) -> str:
    """The records that no number on the page rests on, since they do not agree with themselves."""
    if not records:
        return ""
    lines = [
        f"- {inline_code(place)}: {escape_markdown(reason)}"
        for place, reason in sorted(records.items())
    ]
    told = f"**{count_noun(len(records), 'damaged record')}**, left out of all that follows; run the suite again to measure"
    return "\n".join([f"{told} what they stood for:", "", *lines])


def make_table(run: RunRecords, *, target: str, n: int | str, seconds: bool = False) -> str:
    """One table of the page with its caption, to stand in a README; without `seconds` two runs give the same table.

    Raises:
        BadInput: The run has no table for this target and n.
    """
    evidence, _ = drop_unanswerable(gather_run_data(run))
    there = group_rows(evidence)
    if (target, n) not in there:
        known = ", ".join(f"{target} n={n}" for target, n in there) or "none"
        raise BadInput(
            [
                Problem(
                    f"target {target!r}, n {n!r}", f"one of {known}", "choose one of these tables"
                )
            ]
        )
    return _ranked_table(there[target, n], evidence, seconds=seconds)


def _ranked_table(
    rows: Sequence[LeaderboardRow], evidence: RunData, *, seconds: bool = True
) -> str:
    columns, ranking = columns_of(evidence), requested_ranking(evidence)
    ordered = rank_rows(rows, columns=columns, ranking=ranking, evidence=evidence)
    baseline = evidence.plan.leaderboard.get("baseline")
    return render_table(
        ordered, columns=columns, ranking=ranking, baseline=baseline, seconds=seconds
    )
