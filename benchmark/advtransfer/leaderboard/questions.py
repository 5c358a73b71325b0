"""The section of the page that answers the suite's questions: tables, figures, and what they rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from advtransfer.leaderboard.asked import Question
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.figures import Figure
from advtransfer.leaderboard.findings import Finding, Told, findings
from advtransfer.leaderboard.markdown import ABSENT, bounds, code, escaped, number, table
from advtransfer.leaderboard.notes import note
from advtransfer.leaderboard.points import Place
from advtransfer.leaderboard.scatter import Scatter, scatter
from advtransfer.statistics import COEFFICIENTS
from advtransfer.statistics.association import ORDERS, RESAMPLES

WORDS = {"source": "from {}", "adapter": "via {}", "target": "{}", "n": "n = {}", "transfer": "{}"}
ABREAST = 4  # panels beside each other
NAMED = 6  # labels written out of those that a question is given
HEADED = 3  # predictors written out in a heading


def questions(evidence: Evidence) -> tuple[str, list[Figure]]:
    """The section, and its figures; nothing where the suite asks nothing.

    Raises:
        BadInput: A question is none, or a metric of it is not in the records.
    """
    found = findings(evidence)
    if not found:
        return "", []
    drawn = [_figure(finding, name=f"question_{place}.svg") for place, finding in enumerate(found, start=1)]
    marks = [f"{place}. " if len(found) > 1 else "" for place in range(1, len(found) + 1)]
    told = [_answer(*one) for one in zip(found, drawn, marks, strict=True)]
    return "\n\n".join(["## Questions", *told, _method()]), [figure for figure in drawn if figure]


def _answer(finding: Finding, figure: Figure | None, mark: str) -> str:
    verb = "does" if len(finding.predictors) == 1 else "do"
    names = _predictors(finding.question, written=code)
    outcome, across = code(finding.outcome.name), finding.question.across
    asked = f"### {mark}How well {verb} {names} predict {outcome} across {across}s?"
    given = [f"{axis} {_named(meant)}" for axis, meant in finding.question.given.items()]
    shown = f"![{escaped(figure.text)}]({figure.name})\n\n{figure.caption}" if figure else ""
    answers = [
        f"#### {_title(place)}\n\n{_table(told)}\n\n{note(told, across=across)}" for place, told in finding.told.items()
    ]
    parts = [asked, f"Given: {'; '.join(given)}." if given else "", shown, *(answers or ["No trial is selected."])]
    return "\n\n".join(filter(None, parts))


def _named(labels: Sequence[str | int]) -> str:
    more = f", and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    # labels as code, since one may hold a comma
    return ", ".join(code(one) if isinstance(one, str) else str(one) for one in labels[:NAMED]) + more


def _predictors(question: Question, *, written: Callable[[str], str] = str) -> str:
    """The predictors, or how many, where naming all would make a heading of several lines."""
    several = question.predictors
    return ", ".join(map(written, several)) if len(several) <= HEADED else f"{len(several)} metrics"


def _title(place: Place) -> str:
    return escaped(", ".join(WORDS[axis].format(label) for axis, label in _ordered(place).items()))


def _ordered(place: Place) -> dict[str, str | int]:
    """The labels of a place, target first."""
    known = {axis: label for axis, label in place if label is not None}
    return {axis: known[axis] for axis in ("target", "n", "source", "adapter", "transfer") if axis in known}


def _table(told: Sequence[Told]) -> str:
    header = ["predictor", "points", *(head for name in COEFFICIENTS for head in (name, "p", "p corrected"))]
    rows = [[escaped(one.points.predictor.name), str(len(one.points.points)), *_cells(one)] for one in told]
    return table(header, rows, right=[False] + [True] * (len(header) - 1))


def _cells(told: Told) -> Iterator[str]:
    for name in COEFFICIENTS:
        found, corrected = told.coefficients[name], told.corrected[name]
        yield ABSENT if found.value is None else f"{number(found.value)}{bounds(found.interval)}"
        yield _p(found.p)
        yield _p(corrected)


def _p(p: float | None) -> str:
    if p is None:
        return ABSENT
    return "<.001" if p < 0.0005 else number(p)


def _figure(finding: Finding, *, name: str) -> Figure | None:
    panels = [[_panel(one, place) for one in told] for place, told in finding.told.items()]
    if not any(panel.points for row in panels for panel in row):
        return None
    wrapped = [row[start : start + ABREAST] for row in panels for start in range(0, len(row), ABREAST)]
    across = finding.question.across
    text = f"{finding.outcome.name} against {_predictors(finding.question)}"
    return Figure(
        name=name,
        svg=scatter(wrapped, y=finding.outcome.name, title=text),
        text=text,
        caption=f"One point is one {across}: the mean over its trials"
        + (" (one a reference model, where there are several)." if _several(finding.told) else "."),
    )


def _several(told: Mapping[Place, Sequence[Told]]) -> bool:
    return any(one.points.references > 1 for place in told.values() for one in place)


def _panel(told: Told, place: Place) -> Scatter:
    points = told.points
    title = ", ".join(WORDS[axis].format(label) for axis, label in _ordered(place).items())
    if not points.points:
        return Scatter(title, points.predictor.name, ())
    predictor, outcome = points.values
    drawn = tuple(
        (point.label, tuple(zip(predictor[:, place].tolist(), outcome[:, place].tolist(), strict=True)))
        for place, point in enumerate(points.points)
    )
    return Scatter(title, points.predictor.name, drawn)


def _method() -> str:
    told = [
        f"Brackets: 95 % percentile bootstrap interval, {RESAMPLES:,} resamples of the points and, for shares of and "
        "means over test images, of the images (one draw for all points of a test part). Points in perfect order stay "
        "so in every resample of points: an interval of their ranks has no width unless images reorder them. What is "
        "no mean over images, or whose values by image are not here, is as measured in every resample.",
        f"p: two-sided permutation test, over all orders or {ORDERS:,} random ones; p corrected: by Holm (1979) for "
        "the number of predictors of the question.",
        "Both take the points for independent. Sources that were made from one another, or share a training, are not: "
        "they say less than their number.",
        "A point is the mean over subset seeds and, across sources, over a source's replicates. Unknown outcomes count "
        "as broken; suspicious and invalid results make no point.",
    ]
    return "\n".join(f"- {line}" for line in told)
