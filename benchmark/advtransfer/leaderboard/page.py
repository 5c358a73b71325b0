"""The page: head, figures, a table for each target and n, and what is missing, as markdown and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.absent import absent, doubted
from advtransfer.leaderboard.columns import Column, columns_of, find
from advtransfer.leaderboard.evidence import Evidence, RunRecords, gather
from advtransfer.leaderboard.figures import figures
from advtransfer.leaderboard.head import evaluations, head, legend, sources
from advtransfer.leaderboard.leakage import leakage
from advtransfer.leaderboard.markdown import escaped
from advtransfer.leaderboard.rows import Row, tables
from advtransfer.leaderboard.standing import lines
from advtransfer.leaderboard.tables import rendered


@dataclass(frozen=True, slots=True)
class Page:
    """A leaderboard: its text, and the bytes of the SVG files that it shows, by file name."""

    markdown: str
    figures: Mapping[str, bytes]


def page(run: RunRecords) -> Page:
    """The leaderboard of one run.

    Raises:
        BadInput: A column or figure of the suite is not in the records, or fits several metrics.
    """
    evidence = gather(run)
    drawn = figures(evidence)
    parts = [
        head(evidence),
        sources(evidence),
        evaluations(evidence),
        legend(evidence, rank_by=_rank_by(evidence), baseline=evidence.plan.leaderboard.get("baseline")),
        *(f"![{escaped(figure.text)}]({figure.name})\n\n{figure.caption}" for figure in drawn),
        "## Results",
        *(
            f"### {escaped(place[0])}, n = {place[1]}\n\n{_table(rows, evidence)}"
            for place, rows in tables(evidence).items()
        ),
        doubted(evidence),
        leakage(evidence),
        absent(evidence),
        _questions(evidence),
    ]
    return Page("\n\n".join(filter(None, parts)) + "\n", {figure.name: figure.svg for figure in drawn})


def table_of(run: RunRecords, *, target: str, n: int | str, seconds: bool = False) -> str:
    """One table of the page with its caption, to stand in a README; without `seconds` two runs give the same table.

    Raises:
        BadInput: The run has no table for this target and n.
    """
    evidence = gather(run)
    there = tables(evidence)
    if (target, n) not in there:
        known = ", ".join(f"{target} n={n}" for target, n in there) or "none"
        raise BadInput([Problem(f"target {target!r}, n {n!r}", f"one of {known}", "choose one of these tables")])
    return _table(there[target, n], evidence, seconds=seconds)


def _table(rows: Sequence[Row], evidence: Evidence, *, seconds: bool = True) -> str:
    columns, rank_by = columns_of(evidence), _rank_by(evidence)
    ordered = lines(rows, columns=columns, rank_by=rank_by, evidence=evidence)
    baseline = evidence.plan.leaderboard.get("baseline")
    return rendered(ordered, columns=columns, rank_by=rank_by, baseline=baseline, seconds=seconds)


def _rank_by(evidence: Evidence) -> Column | None:
    name = evidence.plan.leaderboard.get("rank_by")
    return find(str(name), evidence) if name else None


def _questions(evidence: Evidence) -> str:
    questions = evidence.plan.leaderboard.get("questions")
    if not isinstance(questions, list | tuple) or not questions:
        return ""
    return f"The suite asks {len(questions)} of the leaderboard's questions; this version answers none of them."
