"""The page: head, figures, a table for each target and n, and what is missing, as markdown and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.absent import absent, doubted, skipped
from advtransfer.leaderboard.answerable import answerable, left_out
from advtransfer.leaderboard.columns import columns_of
from advtransfer.leaderboard.evidence import Evidence, RunRecords, gather
from advtransfer.leaderboard.figures import figures
from advtransfer.leaderboard.head import evaluations, head, legend, sources
from advtransfer.leaderboard.leakage import leakage
from advtransfer.leaderboard.markdown import code, escaped, many
from advtransfer.leaderboard.pictures import gallery
from advtransfer.leaderboard.questions import questions
from advtransfer.leaderboard.ranking import ranking_of
from advtransfer.leaderboard.rows import Row, tables
from advtransfer.leaderboard.standing import lines
from advtransfer.leaderboard.tables import rendered


@dataclass(frozen=True, slots=True)
class Page:
    """A leaderboard: its text, and the bytes of the SVG files that it shows, by file name.

    `problems` are what the suite asks it to show and no record has.
    """

    markdown: str
    figures: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()


def page(run: RunRecords) -> Page:
    """The leaderboard of one run; a column, figure or question that is not in the records is left out, and said."""
    evidence, problems = answerable(gather(run))
    drawn = figures(evidence)
    answered, asked = questions(evidence)
    parts = [
        head(evidence),
        _damaged(run.damaged),
        sources(evidence),
        evaluations(evidence),
        legend(evidence, ranking=ranking_of(evidence), baseline=evidence.plan.leaderboard.get("baseline")),
        *(f"![{escaped(figure.text)}]({figure.name})\n\n{figure.caption}" for figure in drawn),
        "## Results",
        *(
            f"### {escaped(place[0])}, n = {place[1]}\n\n{_table(rows, evidence)}"
            for place, rows in tables(evidence).items()
        ),
        answered,
        doubted(evidence),
        leakage(evidence),
        skipped(evidence),
        absent(evidence),
        left_out(problems),
        gallery(evidence),
    ]
    shown = {figure.name: figure.svg for figure in (*drawn, *asked)}
    return Page("\n\n".join(filter(None, parts)) + "\n", shown, problems)


def _damaged(records: Mapping[str, str]) -> str:
    """The records that no number on the page rests on, since they do not agree with themselves."""
    if not records:
        return ""
    lines = [f"- {code(place)}: {escaped(reason)}" for place, reason in sorted(records.items())]
    told = f"**{many(len(records), 'damaged record')}**, left out of all that follows; run the suite again to measure"
    return "\n".join([f"{told} what they stood for:", "", *lines])


def table_of(run: RunRecords, *, target: str, n: int | str, seconds: bool = False) -> str:
    """One table of the page with its caption, to stand in a README; without `seconds` two runs give the same table.

    Raises:
        BadInput: The run has no table for this target and n.
    """
    evidence, _ = answerable(gather(run))
    there = tables(evidence)
    if (target, n) not in there:
        known = ", ".join(f"{target} n={n}" for target, n in there) or "none"
        raise BadInput([Problem(f"target {target!r}, n {n!r}", f"one of {known}", "choose one of these tables")])
    return _table(there[target, n], evidence, seconds=seconds)


def _table(rows: Sequence[Row], evidence: Evidence, *, seconds: bool = True) -> str:
    columns, ranking = columns_of(evidence), ranking_of(evidence)
    ordered = lines(rows, columns=columns, ranking=ranking, evidence=evidence)
    baseline = evidence.plan.leaderboard.get("baseline")
    return rendered(ordered, columns=columns, ranking=ranking, baseline=baseline, seconds=seconds)
