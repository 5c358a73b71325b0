"""The columns of a leaderboard: ``evaluation.metric[@eps][@epoch]`` as a suite writes it, found in the records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from advtransfer.errors import BadInput, Problem
from advtransfer.leaderboard.evidence import Answer, Evidence, Metric
from advtransfer.plan import Trial


@dataclass(frozen=True, slots=True)
class Column:
    """A metric of an evaluation; `name` is as the suite wrote it, `metric` as the records do (None: none is there)."""

    name: str
    evaluation: str
    metric: str | None

    def of(self, trial: Trial, evidence: Evidence) -> Metric | None:
        """The metric in one trial, averaged over its references; None until all of its results are there."""
        metrics = [answer.metrics[self.metric or ""] for answer in self.answers(trial, evidence)]
        if len(metrics) < 2:
            return metrics[0] if metrics else None
        return Metric(_mean(one.low for one in metrics), _mean(one.high for one in metrics))

    def answers(self, trial: Trial, evidence: Evidence) -> list[Answer]:
        """The results that hold the metric in one trial, one a reference; none until all of them are there."""
        ids = trial.evaluations.get(self.evaluation, ())
        found = [evidence.answers[id] for id in ids if id in evidence.answers]
        holding = [answer for answer in found if self.metric in answer.metrics]
        return holding if len(holding) == len(ids) else []


def columns_of(evidence: Evidence) -> list[Column]:
    """The columns that the suite asks for; every metric there is when it asks for none.

    An evaluation without any metric then has one column, so that a reader sees it was asked for.
    """
    asked = evidence.plan.leaderboard.get("columns")
    if isinstance(asked, list | tuple) and asked:
        return [find(str(name), evidence) for name in asked]
    return [
        column
        for label, there in evidence.metrics.items()
        for column in [Column(f"{label}.{name}", label, name) for name in sorted(there)] or [Column(label, label, None)]
    ]


def find(name: str, evidence: Evidence) -> Column:
    """The column of this name.

    Raises:
        BadInput: No evaluation has this name, or its metrics hold none or several that fit.
    """
    fitting = [label for label in evidence.metrics if name.startswith(f"{label}.")]
    if not fitting:
        raise _wrong(name, f"evaluation.metric, with an evaluation of {', '.join(evidence.metrics) or 'none'}")
    evaluation = max(fitting, key=len)
    there = sorted(evidence.metrics[evaluation])
    asked = _parts(name.removeprefix(f"{evaluation}."))
    found = [metric for metric in there if _parts(metric) == asked]
    found = found or _shortest([metric for metric in there if _parts(metric)[: len(asked)] == asked])
    if len(found) == 1 or not there:
        return Column(name, evaluation, found[0] if found else None)
    raise _wrong(name, f"one of {', '.join(f'{evaluation}.{metric}' for metric in found or there)}")


def _shortest(metrics: list[str]) -> list[str]:
    """Those that say no more than they must: of a metric and its snapshots ``metric@epoch``, the metric."""
    least = min((len(_parts(metric)) for metric in metrics), default=0)
    return [metric for metric in metrics if len(_parts(metric)) == least]


def _parts(metric: str) -> list[str]:
    """``robust_accuracy@8/255`` as ``["robust_accuracy", "0.0313725"]``: numbers as the records write them."""
    name, *values = metric.split("@")
    return [name, *map(_number, values)]


def _number(text: str) -> str:
    try:
        return f"{float(Fraction(text)):g}"
    except (ValueError, ZeroDivisionError):
        return text


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _wrong(name: str, expected: str) -> BadInput:
    return BadInput([Problem(f"leaderboard column {name!r}", expected, "correct it in the suite and run it again")])
