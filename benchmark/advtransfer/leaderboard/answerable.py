"""What a suite asks its page to show, as far as its records can tell: the rest is left out, and said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.asked import questions
from advtransfer.leaderboard.columns import find
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.figures import check_figure
from advtransfer.leaderboard.markdown import escaped
from advtransfer.leaderboard.ranking import ranking_of
from advtransfer.types import Json


def answerable(evidence: Evidence) -> tuple[Evidence, tuple[Problem, ...]]:
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

    for name, check in (("columns", _column), ("figures", check_figure), ("questions", _question)):
        settings[name] = [one for one in _listed(settings.get(name)) if fits(check, one, evidence)]
    if not fits(ranking_of, evidence):
        settings["rank_by"] = None
    return replace(evidence, plan=replace(evidence.plan, leaderboard=settings)), tuple(dict.fromkeys(problems))


def left_out(problems: Iterable[Problem]) -> str:
    """The section that says what is left out; nothing where nothing is."""
    lines = [f"- {escaped(str(problem))}" for problem in problems]
    return "\n\n".join(["## What the suite asks for and no record has", "\n".join(lines)]) if lines else ""


def _column(name: Json, evidence: Evidence) -> None:
    find(str(name), evidence)


def _question(asked: Json, evidence: Evidence) -> None:
    for question in questions({"questions": [asked]}):
        for name in question.metrics:
            find(name, evidence)


def _listed(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list | tuple) and not isinstance(value, Mapping) else []
