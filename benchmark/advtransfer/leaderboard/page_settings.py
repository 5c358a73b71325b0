"""Settings of a page that its records cannot meet: left out, and listed on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.claims_config import read_claims
from advtransfer.leaderboard.contrasts import requested_contrast
from advtransfer.leaderboard.figure_requests import parse_figure
from advtransfer.leaderboard.markdown import escape_markdown
from advtransfer.leaderboard.questions_config import read_questions
from advtransfer.leaderboard.ranking import requested_ranking
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.types import Json


def drop_unanswerable(data: RunData) -> tuple[RunData, tuple[Problem, ...]]:
    """Return the run without the page settings that its records cannot meet.

    The second value is a problem for each setting that is left out.
    """
    settings = dict(data.plan.leaderboard)
    checks: dict[str, Callable[[Json, RunData], object]] = {
        "columns": _check_column,
        "figures": parse_figure,
        "questions": _check_question,
        "claims": lambda entry, _: read_claims({"claims": [entry]}),
    }
    problems: list[Problem] = []
    for name, check in checks.items():
        answerable: list[Json] = []
        for entry in as_list(settings.get(name)):
            entry_problems = _problems_of(check, entry, data)
            problems += entry_problems
            if not entry_problems:
                answerable.append(entry)
        settings[name] = answerable
    ranking_problems = _problems_of(requested_ranking, data)
    if ranking_problems:
        settings["rank_by"] = None
    data = replace(data, plan=replace(data.plan, leaderboard=settings))
    answer_problems = _problems_of(requested_contrast, data)
    if answer_problems:
        settings = {**settings, "answer": None}
        data = replace(data, plan=replace(data.plan, leaderboard=settings))
    # A dictionary keeps the order and drops equal problems: several questions may miss one metric.
    return data, tuple(dict.fromkeys([*problems, *ranking_problems, *answer_problems]))


def _problems_of(check: Callable[..., object], *inputs: object) -> list[Problem]:
    try:
        check(*inputs)
    except BadInput as error:
        return list(error.problems)
    return []


def unanswerable_section(problems: Iterable[Problem]) -> str:
    """Return the section that lists the settings that cannot be met, empty without any."""
    lines = [f"- {escape_markdown(str(problem))}" for problem in problems]
    if not lines:
        return ""
    return "\n\n".join(["## Requested by the suite, but in no record", "\n".join(lines)])


def _check_column(name: Json, data: RunData) -> None:
    find_column(str(name), data)


def _check_question(entry: Json, data: RunData) -> None:
    for question in read_questions({"questions": [entry]}):
        for name in question.metrics:
            find_column(name, data)


def as_list(value: Json) -> list[Json]:
    """Return a list of a suite, empty where it has another value."""
    return list(value) if isinstance(value, list | tuple) else []
