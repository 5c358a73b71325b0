"""Names of metrics in ``leaderboard``: checked against the grid, and written as records write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from advtransfer.statistics import accuracy_weights
from advtransfer.suite import validators
from advtransfer.suite.located import Located, did_you_mean, join_names
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.row_settings import RowReader
from advtransfer.suite.suite import GridEntry
from advtransfer.suite.yaml_core import parse_fraction
from advtransfer.types.metric_names import (
    CLAIM_PREFIX,
    COST_LABEL,
    COST_METRICS,
    EXPECTED_ROBUSTNESS,
    FIT_LABEL,
    VALIDATION_LABEL,
    VALIDATION_METRICS,
    attack_name,
    worst_norm,
)

COST_COLUMNS = tuple(f"{COST_LABEL}.{metric}" for metric in COST_METRICS)
"""What a row cost: configurations tried, gradient passes spent, seconds an epoch."""
VALIDATION_COLUMNS = tuple(f"{VALIDATION_LABEL}.{metric}" for metric in VALIDATION_METRICS)
"""Metrics of what fits measured on held-out training images."""
# The look-ahead after the slash refuses a denominator of 0.
_METRIC_PATTERN = re.compile(
    r"(?P<name>[A-Za-z]\w*)(?P<at>(@\d+(\.\d+)?(e-?\d+|/(?=[0.]*[1-9])\d+(\.\d+)?)?){0,2})"
)

_FACT_PATTERN = re.compile(r"[A-Za-z]\w*")


@dataclass(frozen=True, slots=True)
class MetricReader(RowReader):
    """Reader of the names of metrics and rows, with the suite's evaluations.

    `holds_out` says whether any fit of the suite measures held-out images.
    """

    evaluations: tuple[GridEntry, ...]
    outlines: Outlines
    holds_out: bool = True

    def _read_metric(self, value: Located, is_family: bool = False) -> str | None:
        """Return ``evaluation.metric[@eps][@epoch]``, or add a problem and return None.

        The evaluation is replaced by its label, and numbers are written as records write them.
        `is_family` says that a name may stand for several metrics, such as those of all eps.
        """
        axis = self.grid.axes["evaluation"]
        text = value.value if isinstance(value.value, str) else ""
        if norm := worst_norm(text.partition(".")[0]):
            return self._read_worst(norm, value)
        if text.startswith(f"{VALIDATION_LABEL}."):
            return self._read_validation(value)
        if text.startswith(f"{COST_LABEL}."):
            return self._read_cost(value)
        if text.startswith(f"{FIT_LABEL}."):
            return self._read_fact(value)
        owners = [
            name for name in axis.names if isinstance(name, str) and text.startswith(f"{name}.")
        ]
        # Names may have dots in them, so the longest name that fits is meant.
        owner = max(owners, key=len, default=text.partition(".")[0])
        match = _METRIC_PATTERN.fullmatch(text[len(owner) + 1 :])
        if match is None or not (owners or axis.may_be_unresolved(owner)):
            self._add_unknown_metric(owner, value)
            return None
        label = self._single_label("evaluation", Located(owner, value.location)) if owners else None
        if label is None:
            return None
        metric = _as_recorded(match)
        self._check_metric(metric, label, value, is_family=is_family)
        return f"{label}.{metric}"

    def _read_validation(self, value: Located) -> str | None:
        """Return ``validation.accuracy`` or its robust twin, or add a problem and return None."""
        if value.value in VALIDATION_COLUMNS and not self.holds_out:
            validators.add_mismatch(
                value,
                expected="no metric of held-out images, since no fit has any",
                next_step="give a target a `validation` share, or `choose` in a transfer",
                problems=self.problems,
            )
            return None
        if value.value in VALIDATION_COLUMNS:
            return str(value.value)
        validators.add_mismatch(
            value,
            expected=f"one of {join_names(VALIDATION_COLUMNS)}",
            next_step="name one of them",
            problems=self.problems,
        )
        return None

    def _read_cost(self, value: Located) -> str | None:
        """Return a column of `COST_COLUMNS`, or add a problem and return None."""
        if value.value in COST_COLUMNS:
            return str(value.value)
        validators.add_mismatch(
            value,
            expected=f"one of {join_names(COST_COLUMNS)}",
            next_step="name one of them",
            problems=self.problems,
        )
        return None

    def _read_fact(self, value: Located) -> str | None:
        """Return ``fit.fact`` under any name of a fact, or add a problem and return None."""
        # Transfers do not declare their facts: only records tell which there are.
        if _FACT_PATTERN.fullmatch(str(value.value).removeprefix(f"{FIT_LABEL}.")):
            return str(value.value)
        validators.add_mismatch(
            value,
            expected=f"{FIT_LABEL}.NAME, where NAME is a fact that a transfer states",
            next_step="`advtransfer show` of the transfer names its facts",
            problems=self.problems,
        )
        return None

    def _read_worst(self, norm: str, value: Located) -> str | None:
        """Return ``worst_linf.robust_accuracy[@eps]``, or add a problem and return None."""
        label, _, name = str(value.value).partition(".")
        match = _METRIC_PATTERN.fullmatch(name)
        metric = None if match is None else _as_recorded(match)
        names: set[str] = set()
        for attack in self.evaluations:
            given = self.outlines.metric_names(attack.node)
            if attack.node.options.get("norm", norm) == norm:
                # An attack that declares no metrics may give any.
                names |= {metric or CLAIM_PREFIX} if given is None else given
        claims = sorted(name for name in names if name.startswith(CLAIM_PREFIX))
        if accuracy_weights(claims):
            claims.append(EXPECTED_ROBUSTNESS)
        if metric is None or not matching_metrics(metric, claims):
            choices = join_names([f"{label}.{claim}" for claim in claims])
            validators.add_mismatch(
                value,
                expected=f"one of {choices}"
                if claims
                else f"an attack in {norm} to be the worst of",
                next_step="name one of them" if claims else "add one, or correct the name",
                problems=self.problems,
            )
            return None
        return f"{label}.{metric}"

    def _add_unknown_metric(self, owner: str, value: Located) -> None:
        names = self.grid.axes["evaluation"].names
        others = [str(name) for name in names if name != owner]
        validators.add_mismatch(
            value,
            expected=f"evaluation.metric[@eps][@epoch], where evaluation is {join_names(names)}",
            next_step=did_you_mean(owner, others, otherwise="write for example clean.accuracy"),
            problems=self.problems,
        )

    def _check_metric(self, metric: str, label: str, value: Located, *, is_family: bool) -> None:
        """Add a problem for a metric that is unknown to its evaluation or ambiguous."""
        _, given = self._column_metrics(f"{label}.{metric}")
        if given is None:
            return
        matching = matching_metrics(metric, given)
        if len(matching) == 1 or (matching and is_family):
            return
        names = [f"{label}.{name}" for name in sorted(matching or given)]
        next_step = "name one of them"
        if not matching:
            next_step = did_you_mean(value.value, names, otherwise=next_step)
        validators.add_mismatch(
            value,
            expected=f"one of {join_names(names)}",
            next_step=next_step,
            problems=self.problems,
        )

    def _column_metrics(self, column: str) -> tuple[str, frozenset[str] | None]:
        """Return the metric of a column, and all of its evaluation; None where they are unknown."""
        cells = {cell.label: cell for cell in self.evaluations}
        owners = [label for label in cells if column.startswith(f"{label}.")]
        if not owners:
            return column, None
        owner = max(owners, key=len)
        metric = column.removeprefix(f"{owner}.")
        names = self.outlines.metric_names(cells[owner].node)
        if names is None:
            return metric, None
        derived = {attack_name(name) for name in names if name.startswith(CLAIM_PREFIX)}
        if accuracy_weights(names):
            derived.add(EXPECTED_ROBUSTNESS)
        return metric, frozenset(names | derived)


def _as_recorded(metric: re.Match[str]) -> str:
    """Return a metric with its numbers as records write them."""
    numbers = [f"{parse_fraction(number):g}" for number in metric["at"].split("@")[1:]]
    return "@".join([metric["name"], *numbers])


def matching_metrics(asked: str, given: Iterable[str]) -> list[str]:
    """Return the metrics among `given` that a name stands for.

    The name itself wins. Else it stands for the shortest metrics that it begins, as
    ``robust_accuracy`` does for ``robust_accuracy@0.1``; else for the metric of which it is the
    value after some epoch, as ``accuracy@30`` is of ``accuracy``.
    """
    parts = asked.split("@")
    split_names = {name: name.split("@") for name in given}
    if asked in split_names:
        return [asked]
    longer = {
        name: name_parts
        for name, name_parts in split_names.items()
        if name_parts[: len(parts)] == parts
    }
    if longer:
        shortest = min(map(len, longer.values()))
        return [name for name, name_parts in longer.items() if len(name_parts) == shortest]
    if len(parts) > 1 and parts[-1].isdigit():
        return [name for name, name_parts in split_names.items() if name_parts == parts[:-1]]
    return []
