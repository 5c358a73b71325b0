"""What a table of coefficients rests on, in sentences: its points, what has none, and how far it can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advtransfer.leaderboard.findings import Told
from advtransfer.leaderboard.markdown import code, escaped, listed, many, number
from advtransfer.leaderboard.points import Points
from advtransfer.statistics.association import POINTS, exact, orders

FEW = 10  # below, a 95 % bootstrap interval of a correlation covers less: 85 to 92 % of normal samples with r = .7
MOVED = 0.2  # a coefficient that one point moves by more is told to rest on it
LEVEL = 0.05  # a question whose p cannot come below can suggest, but not show


def note(told: Sequence[Told], *, across: str) -> str:
    """What holds for all predictors of a table, then what is said of each."""
    said = [list(filter(None, _said(one, across=across, asked=len(told)))) for one in told]
    common = [line for line in said[0] if all(line in lines for lines in said)]
    own = [[line for line in lines if line not in common] for lines in said]
    listed_own = [
        f"- {code(one.points.predictor.name)}: {' '.join(lines)}" for one, lines in zip(told, own, strict=True) if lines
    ]
    return "\n\n".join(filter(None, [" ".join(common), "\n".join(listed_own)]))


def _said(told: Told, *, across: str, asked: int) -> Iterator[str]:
    points = told.points.points
    partly = [
        f"{escaped(one.label)} {one.trials} of {one.planned} trials" for one in points if one.trials < one.planned
    ]
    absent = [f"{escaped(label)} ({reason})" for label, reason in told.points.missing.items()]
    few = exact(len(points))
    tried = f"; p from {'all ' if few else ''}{orders(len(points)):,}{'' if few else ' random'} orders"
    yield f"{many(len(points), 'point')}{tried if told.coefficients['Pearson'].p is not None else ''}."
    yield f"Missing: {', '.join(absent)}." if absent else ""
    yield f"In part: {', '.join(partly)}." if partly else ""
    yield _least(told, asked=asked)
    if len(points) < POINTS:
        yield f"At least {POINTS} are needed."
    elif told.coefficients["Pearson"].value is None:
        yield "No coefficient, since one side has no spread."
    elif len(points) < FEW:
        yield "A correlation over so few points is driven by each of them, and its interval covers less than 95 %."
    yield _driven(told)
    yield from _measured(told, across=across)


def _measured(told: Told, *, across: str) -> Iterator[str]:
    """What values and intervals are over."""
    if told.coefficients["Pearson"].interval is not None:
        yield from (f"Interval over {across}s only for {code(name)}." for name in told.fixed)
    yield _kept(told.points)
    if told.points.references > 1:
        yield f"Computed within each of {told.points.references} reference models, then averaged."
    if told.points.pooled:
        yield "Values of different reference models are pooled: what sets these apart is in the coefficients, too."


def _least(told: Told, *, asked: int) -> str:
    """The smallest p corrected that can come out: a question that asks much of few points can show nothing."""
    pearson, ranks = (told.coefficients[name].least for name in ("Pearson", "Spearman"))
    if pearson is None or ranks is None:
        return ""
    ends = [number(min(1.0, asked * least), fine=True) for least in (ranks, pearson)]
    told_ends = ends[0] if ends[0] == ends[1] else f"{ends[0]} for ranks, {ends[1]} for Pearson's coefficient"
    hint = "; exploratory, since no rank coefficient can reach .05" if asked * ranks > LEVEL else ""
    return f"With {many(asked, 'predictor')} the least p corrected that can come out is {told_ends}{hint}."


def _kept(points: Points) -> str:
    """Over how many samples the predictor was taken, where its results say so: ``kept_tau_1`` beside ``tau_1``."""
    name = f"kept_{points.predictor.metric}"
    answers = [answer for point in points.points for sampled in point.predictor for answer in sampled]
    found = [int(answer.metrics[name].low) for answer in answers if name in answer.metrics]
    return f"Taken over {listed(found)} samples." if found else ""


def _driven(told: Told) -> str:
    """The point that moves Pearson's coefficient most, if it moves it much or changes its sign."""
    value = told.coefficients["Pearson"].value
    labels = [point.label for point in told.points.points]
    left = [(one, label) for one, label in zip(told.without, labels, strict=False) if one is not None]
    if value is None or not left:
        return ""
    without, label = max(left, key=lambda one: (abs(one[0] - value), one[1]))
    if abs(without - value) <= MOVED and without * value > 0:
        return ""
    return f"Without {escaped(label)}, Pearson's coefficient is {number(without)}."
