"""The claims of a suite as its plan stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.contrasts import Contrast, is_answer, read_place, row_labels
from advtransfer.leaderboard.questions_config import (
    Question,
    TrialSelection,
    read_questions,
    read_selection,
)
from advtransfer.statistics import COEFFICIENTS, Coefficient
from advtransfer.suite.claim_settings import (
    CLAIM_KINDS,
    COMMIT_PATTERN,
    REQUIRED_KIND_KEYS,
    SIGNS,
    TEXT_KEYS,
)
from advtransfer.types import Json
from advtransfer.types.metric_names import COST_LABEL, COST_METRICS

GRADIENT_PASSES = f"{COST_LABEL}.{COST_METRICS[1]}"


@dataclass(frozen=True, slots=True)
class Inequality:
    """That one side is at most the other: each is a number, or the sum of some metrics."""

    lower: tuple[str | float, ...]
    upper: tuple[str | float, ...]
    trials: TrialSelection


@dataclass(frozen=True, slots=True)
class Claim:
    """What a paper claims, and the rule by which it is answered.

    Attributes:
        name: Name, such as B1.
        text: The claim in a sentence.
        paper: Authors and year.
        place: Table, figure or section.
        reported: What the paper reports.
        kind: Kind of its rule, empty where it is not asked.
        not_asked: Why it is not asked, empty where it is.
        is_positive: Whether the claimed effect is above its null value.
        margin: The least effect that would count, without its sign.
        detects: The smallest effect that the design was to find, None where it states none.
        note: A text for the page, empty without one.
        contrast: The rows of a contrast or of a cost.
        minus: A second contrast, whose difference is taken from that of the first.
        question: The correlation.
        coefficient: Its coefficient.
        per_training: Whether each training has a coefficient of its own, and trainings are the units.
        inequality: The inequality.
    """

    name: str
    text: str
    paper: str
    place: str
    reported: str
    kind: str = ""
    not_asked: str = ""
    is_positive: bool = True
    margin: float = 0.0
    detects: float | None = None
    note: str = ""
    contrast: Contrast | None = None
    minus: Contrast | None = None
    question: Question | None = None
    coefficient: Coefficient = COEFFICIENTS[1]
    per_training: bool = False
    inequality: Inequality | None = field(default=None)


def read_claims(settings: Mapping[str, Json]) -> list[Claim]:
    """Return the claims in a plan's ``leaderboard``.

    Raises:
        BadInput: A claim lacks a key, or has one of another kind.
    """
    entries = settings.get("claims")
    if not isinstance(entries, list | tuple):
        return []
    return [_read_claim(entry) for entry in entries]


def registered_commit(settings: Mapping[str, Json]) -> str:
    """Return the commit that held the claims before the run, empty where the plan names none."""
    commit = settings.get("registered")
    return commit if isinstance(commit, str) and COMMIT_PATTERN.fullmatch(commit) else ""


def _read_claim(entry: Json) -> Claim:
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key), str) and entry[key] for key in TEXT_KEYS
    ):
        raise _claim_error(entry)
    name, text, paper, place, reported = (str(entry[key]) for key in TEXT_KEYS)
    if "not_asked" in entry:
        return Claim(name, text, paper, place, reported, not_asked=str(entry["not_asked"]))
    kind = entry.get("kind")
    if kind not in CLAIM_KINDS or not _has_rule(str(kind), entry):
        raise _claim_error(entry)
    is_contrast = kind in ("contrast", "cost")
    coefficient = entry.get("coefficient") or COEFFICIENTS[1]
    return Claim(
        name,
        text,
        paper,
        place,
        reported,
        kind=str(kind),
        is_positive=entry.get("sign") != "negative",
        margin=_size(entry.get("margin")) or 0.0,
        detects=_size(entry.get("detects")),
        note=str(entry.get("note") or ""),
        contrast=_read_contrast(entry) if is_contrast else None,
        minus=_read_minus(entry) if is_contrast else None,
        question=_read_question(entry) if kind == "correlation" else None,
        coefficient=next(each for each in COEFFICIENTS if each == coefficient),
        per_training=entry.get("per_training") is True,
        inequality=_read_inequality(entry) if kind == "inequality" else None,
    )


def _has_rule(kind: str, entry: Mapping[str, Json]) -> bool:
    """Return whether a claim of a plan has the keys of its kind: plans come from elsewhere too."""
    if any(entry.get(key) is None for key in REQUIRED_KIND_KEYS[kind]):
        return False
    coefficient = entry.get("coefficient")
    return (
        _size(entry["margin"]) is not None
        and entry.get("sign") in (None, *SIGNS)
        and (coefficient is None or coefficient in COEFFICIENTS)
        and isinstance(entry.get("minus"), Mapping | None)
    )


def _read_contrast(entry: Mapping[str, Json]) -> Contrast:
    metric = entry.get("metric", GRADIENT_PASSES)
    keys = {key: entry[key] for key in ("of", "against", "at") if key in entry}
    if not isinstance(metric, str) or not is_answer({**keys, "metric": metric}):
        raise _claim_error(entry)
    return Contrast(
        metric,
        of=row_labels(entry["of"]),
        against=row_labels(entry["against"]),
        at=read_place(entry.get("at")),
        is_stated=True,
    )


def _read_minus(entry: Mapping[str, Json]) -> Contrast | None:
    """Return the contrast that is subtracted: the claim's own, with what `minus` has in its place."""
    minus = entry.get("minus")
    return _read_contrast({**entry, **minus}) if isinstance(minus, Mapping) else None


def _read_question(entry: Mapping[str, Json]) -> Question:
    keys = ("predictor", "outcome", "across", "given")
    asked = {key: entry[key] for key in keys if key in entry}
    (question,) = read_questions({"questions": [asked]})
    if len(question.predictors) != 1:
        raise _claim_error(entry)
    return question


def _read_inequality(entry: Mapping[str, Json]) -> Inequality:
    sides = [_read_side(entry.get(side)) for side in ("lower", "upper")]
    trials = read_selection(entry.get("given"))
    if not all(sides):
        raise _claim_error(entry)
    return Inequality(sides[0], sides[1], trials)


def _read_side(value: Json) -> tuple[str | float, ...]:
    parts = value if isinstance(value, list | tuple) else [value]
    return tuple(
        part for part in parts if isinstance(part, str | int | float) and not isinstance(part, bool)
    )


def _size(value: Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isinstance(value, int | float) and value >= 0 else None


def _claim_error(entry: object) -> BadInput:
    found = f"leaderboard claim {str(entry)[:200]}"
    expected = f"{', '.join(TEXT_KEYS)}, and a rule of its kind or `not_asked`"
    return BadInput([Problem(found, expected, "correct it in the suite and run it again")])
