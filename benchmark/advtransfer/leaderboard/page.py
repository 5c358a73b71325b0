"""The page of a run as markdown and SVG.

Header, figures, one table for each target and n, questions and caveats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.all_n_table import all_n_section
from advtransfer.leaderboard.answer import Answer, suite_answer
from advtransfer.leaderboard.baselines import requested_baselines
from advtransfer.leaderboard.best_rows import best_row_text, best_rows_section, find_best_rows
from advtransfer.leaderboard.caveats import (
    in_memory_section,
    incomplete_section,
    leakage_section,
    skipped_section,
    unchecked_section,
    unranked_section,
)
from advtransfer.leaderboard.challenges import challenges_section
from advtransfer.leaderboard.claims import ClaimAnswer, answer_claims, verdicts_text
from advtransfer.leaderboard.claims_config import registered_commit
from advtransfer.leaderboard.claims_section import claims_section
from advtransfer.leaderboard.curve_area import area_section
from advtransfer.leaderboard.figures import PageFigure, requested_figures
from advtransfer.leaderboard.image_questions import image_questions_section
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    inline_code,
    join_parts,
    link_text,
)
from advtransfer.leaderboard.page_settings import drop_unanswerable, unanswerable_section
from advtransfer.leaderboard.pareto_section import pareto_section
from advtransfer.leaderboard.plugin_figures import plugin_figures_section
from advtransfer.leaderboard.questions_coefficients import answer_questions
from advtransfer.leaderboard.questions_section import questions_section
from advtransfer.leaderboard.ranking import rank_rows, requested_ranking
from advtransfer.leaderboard.reported import reported_section
from advtransfer.leaderboard.row_comparison import RankedTables, rank_tables
from advtransfer.leaderboard.run_data import RunData, gather_run_data, paused_collection
from advtransfer.leaderboard.run_records import RunRecords
from advtransfer.leaderboard.run_sections import (
    datasets_section,
    evaluations_section,
    legend_section,
    origin_section,
    sources_section,
)
from advtransfer.leaderboard.second_process import compute_beside, pays_beside
from advtransfer.leaderboard.table_rows import (
    columns_of,
    group_rows,
)
from advtransfer.leaderboard.tables import render_table
from advtransfer.planning.status import STATUS_WORDS
from advtransfer.types import Json

FOLDED_SUMMARY = (
    "Sources, data sets, evaluations, how to read the tables, and how this page was made"
)


def header_parts(data: RunData) -> tuple[str, str, str]:
    """Return title, note and counts of a page."""
    plan = data.plan
    states = Counter(data.trial_state(trial).value for trial in plan.trials)
    counts = ", ".join(f"{states[value]:,} {word}" for value, word in STATUS_WORDS.items())
    title = f"# {escape_markdown(plan.title or plan.suite)}"
    planned = count_noun(len(plan.trials), "trial")
    summary = f"Suite {inline_code(plan.suite)}: {planned} planned, {counts}."
    if data.date:
        summary += f" Newest record: {data.date}."
    note = escape_markdown(str(plan.leaderboard.get("note", "")))
    return title, note, summary


def _figure_text(figure: PageFigure) -> str:
    return f"![{link_text(figure.text)}]({figure.name})\n\n{figure.caption}"


def folded_section(summary: str, parts: Sequence[str]) -> str:
    """Return sections that a reader opens, empty without any."""
    text = join_parts(parts)
    # The blank lines make what is inside markdown again.
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>" if text else ""


@dataclass(frozen=True, slots=True)
class Page:
    """A leaderboard.

    Attributes:
        markdown: Text of the page.
        figures: Content of the SVG files that the page shows, by file name.
        problems: Settings of the suite's page that the records cannot meet.
        answer: The answer to the suite's question, None where nothing is ranked and nothing asked.
        best_row: The best row in a sentence of markdown, empty without a ranked one.
        date: Day of the newest record, empty where no record tells.
        drawings: Functions that draw the figures again in a format of matplotlib, by file name.
        claims: The answers to the suite's claims.
    """

    markdown: str
    figures: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()
    answer: Answer | None = None
    best_row: str = ""
    date: str = ""
    drawings: Mapping[str, Callable[..., bytes]] = field(default_factory=dict)
    claims: tuple[ClaimAnswer, ...] = field(default=(), compare=False, repr=False)


@paused_collection()
def make_page(run: RunRecords) -> Page:
    """Return the leaderboard of a run.

    Columns, figures and questions that the records cannot meet are left out, and listed on the
    page.
    """
    page = _undrawn_page(run)
    # Here, since frames that matplotlib keeps would hold the data of the run.
    figures = {
        name: page.figures[name] if name in page.figures else draw()
        for name, draw in page.drawings.items()
    }
    return replace(page, figures=figures)


def _undrawn_page(run: RunRecords) -> Page:
    """Return the leaderboard of a run with functions that draw its figures, and those that are drawn already."""
    data, problems = drop_unanswerable(gather_run_data(run))
    figures = requested_figures(data)
    trial_count = len(data.plan.trials)
    drawn_beside = figures if pays_beside(trial_count) else ()
    compute_side_parts = compute_beside(
        partial(_side_parts, data, drawn_beside), trials=trial_count
    )
    tables = rank_tables(data)
    baselines = requested_baselines(data.plan.leaderboard)
    question_answers = answer_questions(data)
    answers, question_figures = questions_section(question_answers)
    claims = answer_claims(data, tables)
    claimed = verdicts_text(claims) if claims else ""
    answer = suite_answer(data, tables, question_answers, claims=claimed)
    best = find_best_rows(answer, data, tables)
    title, note, summary = header_parts(data)
    folded = _folded_parts(data, tables)
    curves, caveats, drawn = compute_side_parts()
    parts = [
        title,
        "" if answer is None else answer.text,
        note,
        best_rows_section(best, data, tables),
        "" if answer is None else answer.agreement_note,
        *map(_figure_text, figures[:1]),
        summary,
        _damaged_section(run.damaged),
        claims_section(claims, commit=registered_commit(data.plan.leaderboard)),
        *map(_figure_text, figures[1:]),
        *_results_parts(tables, baselines),
        all_n_section(data.plan.leaderboard, tables),
        *curves,
        answers,
        image_questions_section(data),
        challenges_section(data),
        reported_section(data),
        *caveats,
        unanswerable_section(problems),
        plugin_figures_section(data),
        folded_section(FOLDED_SUMMARY, folded),
    ]
    drawings = {figure.name: figure.draw for figure in (*figures, *question_figures)}
    return Page(
        f"{join_parts(parts)}\n",
        drawn,
        problems,
        answer=answer,
        best_row=best_row_text(best, tables),
        date=data.date,
        drawings=drawings,
        claims=tuple(claims),
    )


class _SideParts(NamedTuple):
    """Parts of a page that need no table: sections of curves and of caveats, and figures by file name."""

    curves: list[str]
    caveats: list[str]
    figures: dict[str, bytes]


def _side_parts(data: RunData, figures: Sequence[PageFigure]) -> _SideParts:
    """Return the parts that need no table, which for a large run take as long as the tables."""
    return _SideParts(
        [area_section(data), pareto_section(data)],
        [
            in_memory_section(data),
            unranked_section(data),
            unchecked_section(data),
            leakage_section(data),
            skipped_section(data),
            incomplete_section(data),
        ],
        {figure.name: figure.draw() for figure in figures},
    )


def _folded_parts(data: RunData, tables: RankedTables) -> list[str]:
    """Return the sections that a reader opens."""
    baselines = requested_baselines(data.plan.leaderboard)
    return [
        sources_section(data),
        datasets_section(data),
        evaluations_section(data),
        legend_section(data, ranking=tables.ranking, baselines=baselines),
        origin_section(data),
    ]


def _damaged_section(damaged: Mapping[str, str]) -> str:
    """Return the list of damaged records, which no number on the page uses."""
    if not damaged:
        return ""
    lines = [
        f"**{count_noun(len(damaged), 'damaged record')}**, not used on this page. Run the suite "
        "again to measure the missing numbers:",
        "",
    ]
    for path, reason in sorted(damaged.items()):
        lines.append(f"- {inline_code(path)}: {escape_markdown(reason)}")
    return "\n".join(lines)


def _results_parts(tables: RankedTables, baselines: Sequence[Json]) -> list[str]:
    parts = ["## Results", "" if tables.lines else "There is no trial to show."]
    for (target, n), lines in tables.lines.items():
        table = render_table(
            lines, columns=tables.columns, ranking=tables.ranking, baselines=baselines, seconds=True
        )
        parts.append(f"### {escape_markdown(target)}, n = {n}\n\n{table}")
    return parts


def make_table(run: RunRecords, *, target: str, n: int | str, seconds: bool = False) -> str:
    """Return one table of the page with its caption, for a README.

    Args:
        run: The run.
        target: Target of the table.
        n: Number of labelled images of the table, or ``all``.
        seconds: Show seconds per trial, which differ between two runs of one suite.

    Raises:
        BadInput: The run has no table for this target and n.
    """
    data, _ = drop_unanswerable(gather_run_data(run))
    tables = group_rows(data)
    if (target, n) not in tables:
        choices = ", ".join(f"{target} n={n}" for target, n in tables) or "none"
        found = f"target {target!r}, n {n!r}"
        raise BadInput([Problem(found, f"one of {choices}", "choose one of these tables")])
    columns, ranking = columns_of(data), requested_ranking(data)
    return render_table(
        rank_rows(tables[target, n], columns=columns, ranking=ranking, data=data),
        columns=columns,
        ranking=ranking,
        baselines=requested_baselines(data.plan.leaderboard),
        seconds=seconds,
    )
