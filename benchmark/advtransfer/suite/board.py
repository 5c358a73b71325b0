"""Reads ``leaderboard``: names in it are checked, and brought to the labels that results are shown under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from advtransfer.suite import expect
from advtransfer.suite.marked import Marked
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.problems import Problems, did_you_mean, listing
from advtransfer.suite.selection import AXES, Grid
from advtransfer.suite.suite import Cell, Leaderboard
from advtransfer.types import Json

KEYS = ("baseline", "rank_by", "columns", "figures", "questions")
RANKING = ("lowest",)
FIGURES = ("accuracy_vs_n",)
FIGURE = ("kind", "metric")
ACROSS = tuple(axis for axis in AXES if axis != "evaluation")  # which evaluation, a question's metrics say
QUESTION = ("predictor", "outcome", "across", "given")
_METRIC = re.compile(r"(?P<name>[A-Za-z]\w*)(?P<at>(@\d+(\.\d+)?(e-?\d+|/(?=[0.]*[1-9])\d+(\.\d+)?)?){0,2})")


@dataclass(frozen=True, slots=True)
class BoardReader:
    """Reads one suite's ``leaderboard`` against its grid and its sources."""

    grid: Grid
    sources: tuple[Cell, ...]
    evaluations: tuple[Cell, ...]
    outlines: Outlines
    problems: Problems

    def read(self, value: Marked) -> Leaderboard:
        """The settings; a name that no part of the suite has is a problem."""
        said = expect.closed(value, KEYS, of="`leaderboard`", problems=self.problems)
        columns = [self._metric(one) for one in self._listed(said, "columns")]
        return Leaderboard(
            baseline=self._baseline(said["baseline"]) if "baseline" in said else None,
            rank_by=self._ranking(said["rank_by"]) if "rank_by" in said else None,
            columns=tuple(one for one in columns if one is not None),
            figures=tuple(self._figure(one) for one in self._listed(said, "figures")),
            questions=tuple(self._question(one) for one in self._listed(said, "questions")),
        )

    def _listed(self, said: Mapping[str, Marked], name: str) -> tuple[Marked, ...]:
        if name not in said or said[name].value == ():
            return ()
        return expect.listed(said[name], expected=f"a list of {name}", problems=self.problems)

    def _baseline(self, value: Marked) -> str | Mapping[Literal["transfer"], str] | None:
        if isinstance(value.value, Mapping):
            said = expect.closed(value, ("transfer",), of="`baseline`", problems=self.problems)
            label = self._label("transfer", said["transfer"]) if "transfer" in said else None
            return None if label is None else {"transfer": label}
        labels = self._labels("source", value)
        rows = {cell.row for cell in self.sources if cell.label in labels}
        return self._only_one(rows, value, "row of sources")

    def _ranking(self, value: Marked) -> str | Mapping[str, str] | None:
        """A metric of which more is better, or ``{lowest: metric}``."""
        if not isinstance(value.value, Mapping):
            return self._metric(value)
        said = expect.closed(value, RANKING, of="`rank_by`", problems=self.problems)
        self._require(value, said, RANKING)
        metric = self._metric(said["lowest"]) if "lowest" in said else None
        return None if metric is None else {"lowest": metric}

    def _label(self, axis: str, value: Marked) -> str | None:
        return self._only_one(self._labels(axis, value), value, axis)

    def _labels(self, axis: str, value: Marked) -> set[str]:
        """What a name, which is no glob here, stands for."""
        names = self.grid.axes[axis].names
        labels = names.get(value.value, frozenset()) if isinstance(value.value, str) else frozenset()
        if not (isinstance(value.value, str) and (value.value in names or self.grid.axes[axis].hides(value.value))):
            next_step = did_you_mean(value.value, map(str, names), otherwise="correct the name")
            expected = f"a {axis}: {listing(names)}"
            expect.wrong(value, expected=expected, next_step=next_step, problems=self.problems)
        return {str(label) for label in labels}

    def _only_one(self, found: set[str], value: Marked, what: str) -> str | None:
        if len(found) > 1:
            next_step = f"name one of {listing(sorted(found))}"
            expect.wrong(value, expected=f"the name of one {what}", next_step=next_step, problems=self.problems)
        return next(iter(found)) if len(found) == 1 else None

    def _metric(self, value: Marked) -> str | None:
        """``evaluation.metric[@eps][@epoch]`` under the evaluation's label, numbers as records write them."""
        axis = self.grid.axes["evaluation"]
        text = value.value if isinstance(value.value, str) else ""
        owners = [name for name in axis.names if isinstance(name, str) and text.startswith(f"{name}.")]
        owner = max(owners, key=len, default=text.partition(".")[0])
        shape = _METRIC.fullmatch(text[len(owner) + 1 :])
        if shape is None or not (owners or axis.hides(owner)):
            others = [str(name) for name in axis.names if name != owner]
            near = did_you_mean(owner, others, otherwise="write for example clean.accuracy")
            expected = f"evaluation.metric[@eps][@epoch], where the evaluation is {listing(axis.names)}"
            expect.wrong(value, expected=expected, next_step=near, problems=self.problems)
            return None
        label = self._label("evaluation", Marked(owner, value.mark)) if owners else None
        if label is None:
            return None
        numbers = [f"{_number(one):g}" for one in shape["at"].split("@")[1:]]
        asked = "@".join([shape["name"], *numbers])
        self._check_metric(asked, label, value)
        return f"{label}.{asked}"

    def _check_metric(self, asked: str, label: str, value: Marked) -> None:
        """Note a metric that its evaluation cannot give, or that may be one of several."""
        cell = next((one for one in self.evaluations if one.label == label), None)
        given = self.outlines.metrics(cell.node) if cell is not None else None
        if given is None:
            return
        meant = fitting(asked, given)
        if len(meant) != 1:
            names = [f"{label}.{one}" for one in sorted(meant or given)]
            next_step = "name one of them" if meant else did_you_mean(value.value, names, otherwise="name one of them")
            expected = f"one of {listing(names)}"
            expect.wrong(value, expected=expected, next_step=next_step, problems=self.problems)

    def _figure(self, value: Marked) -> Mapping[str, Json]:
        said = expect.closed(value, FIGURE, of="a figure", problems=self.problems)
        self._require(value, said, FIGURE)
        if "kind" in said:
            self._choice(said["kind"], FIGURES, "a kind of figure")
        return {
            "kind": said["kind"].plain() if "kind" in said else None,
            "metric": self._metric(said["metric"]) if "metric" in said else None,
        }

    def _question(self, value: Marked) -> Mapping[str, Json]:
        said = expect.closed(value, QUESTION, of="a question", problems=self.problems)
        self._require(value, said, QUESTION[:3])
        if "across" in said:
            self._choice(said["across"], ACROSS, "an axis")
        read: dict[str, Json] = {name: one.plain() for name, one in said.items()}
        if "predictor" in said:
            read["predictor"] = self._predictors(said["predictor"])
        if "outcome" in said:
            read["outcome"] = self._metric(said["outcome"])
        if "given" in said:
            read["given"] = self._given(said["given"])
        return read

    def _predictors(self, value: Marked) -> Json:
        """One metric or several; those of one question are corrected for together."""
        if not isinstance(value.value, tuple):
            return self._metric(value)
        return [self._metric(one) for one in expect.listed(value, expected="a list of metrics", problems=self.problems)]

    def _given(self, value: Marked) -> dict[str, Json]:
        """The labels that a selection means on each axis, since the records of a run know no globs."""
        selected = self.grid.selection(value, allowed=ACROSS, problems=self.problems)
        return {
            axis: sorted(meant, key=lambda one: (isinstance(one, str), one)) for axis, meant in selected.axes.items()
        }

    def _require(self, value: Marked, said: Mapping[str, Marked], names: tuple[str, ...]) -> None:
        for name in names:
            if name not in said and isinstance(value.value, Mapping):
                self.problems.add(value.mark, found=f"no {name!r}", expected=", ".join(names), next_step="add it")

    def _choice(self, value: Marked, known: tuple[str, ...], what: str) -> None:
        if value.value not in known:
            next_step = did_you_mean(value.value, known, otherwise="correct it")
            expect.wrong(value, expected=f"{what}: {', '.join(known)}", next_step=next_step, problems=self.problems)


def fitting(asked: str, given: Iterable[str]) -> list[str]:
    """The metrics that a name stands for: itself; or those that it begins, of which the shortest; or that it snapshots.

    ``robust_accuracy`` may stand for ``robust_accuracy@0.1``, and ``accuracy@30`` for ``accuracy`` after epoch 30.
    """
    parts = asked.split("@")
    split = {one: one.split("@") for one in given}
    if asked in split:
        return [asked]
    longer = {one: its for one, its in split.items() if its[: len(parts)] == parts}
    least = min(map(len, longer.values()), default=0)
    epoch = len(parts) > 1 and parts[-1].isdigit()
    return [one for one, its in longer.items() if len(its) == least] or [
        one for one, its in split.items() if epoch and its == parts[:-1]
    ]


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)
