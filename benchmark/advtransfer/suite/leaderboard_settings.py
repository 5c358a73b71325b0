"""Reader of ``leaderboard``.

Names are checked against the grid and replaced by the labels that results are shown under.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from advtransfer.suite import validators
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.selection import AXES, Grid
from advtransfer.suite.suite import GridEntry, Leaderboard
from advtransfer.types import Json

LEADERBOARD_KEYS = ("baseline", "rank_by", "columns", "figures", "questions")
RANK_BY_KEYS = ("lowest",)
FIGURE_KINDS = ("accuracy_vs_n",)
FIGURE_KEYS = ("kind", "metric")
QUESTION_AXES = tuple(
    axis for axis in AXES if axis != "evaluation"
)  # which evaluation, a question's metrics say
QUESTION_KEYS = ("predictor", "outcome", "across", "given")
_METRIC_PATTERN = re.compile(
    r"(?P<name>[A-Za-z]\w*)(?P<at>(@\d+(\.\d+)?(e-?\d+|/(?=[0.]*[1-9])\d+(\.\d+)?)?){0,2})"
)


@dataclass(frozen=True, slots=True)
class LeaderboardReader:
    """Reads one suite's ``leaderboard`` against its grid and its sources."""

    grid: Grid
    sources: tuple[GridEntry, ...]
    evaluations: tuple[GridEntry, ...]
    outlines: Outlines
    problems: Problems

    def read(self, value: Located) -> Leaderboard:
        """The settings; a name that no part of the suite has is a problem."""
        said = validators.require_closed_mapping(
            value, LEADERBOARD_KEYS, of="`leaderboard`", problems=self.problems
        )
        columns = [self._read_metric(one) for one in self._list_items(said, "columns")]
        return Leaderboard(
            baseline=self._read_baseline(said["baseline"]) if "baseline" in said else None,
            rank_by=self._read_ranking(said["rank_by"]) if "rank_by" in said else None,
            columns=tuple(one for one in columns if one is not None),
            figures=tuple(self._read_figure(one) for one in self._list_items(said, "figures")),
            questions=tuple(
                self._read_question(one) for one in self._list_items(said, "questions")
            ),
        )

    def _list_items(self, said: Mapping[str, Located], name: str) -> tuple[Located, ...]:
        if name not in said or said[name].value == ():
            return ()
        return validators.require_list(
            said[name], expected=f"a list of {name}", problems=self.problems
        )

    def _read_baseline(self, value: Located) -> str | Mapping[Literal["transfer"], str] | None:
        if isinstance(value.value, Mapping):
            said = validators.require_closed_mapping(
                value, ("transfer",), of="`baseline`", problems=self.problems
            )
            label = self._single_label("transfer", said["transfer"]) if "transfer" in said else None
            return None if label is None else {"transfer": label}
        labels = self._labels_named("source", value)
        rows = {cell.row for cell in self.sources if cell.label in labels}
        return self._only_one(rows, value, "row of sources")

    def _read_ranking(self, value: Located) -> str | Mapping[str, str] | None:
        """A metric of which more is better, or ``{lowest: metric}``."""
        if not isinstance(value.value, Mapping):
            return self._read_metric(value)
        said = validators.require_closed_mapping(
            value, RANK_BY_KEYS, of="`rank_by`", problems=self.problems
        )
        self._require_keys(value, said, RANK_BY_KEYS)
        metric = self._read_metric(said["lowest"]) if "lowest" in said else None
        return None if metric is None else {"lowest": metric}

    def _single_label(self, axis: str, value: Located) -> str | None:
        return self._only_one(self._labels_named(axis, value), value, axis)

    def _labels_named(self, axis: str, value: Located) -> set[str]:
        """What a name, which is no glob here, stands for."""
        names = self.grid.axes[axis].names
        labels = (
            names.get(value.value, frozenset()) if isinstance(value.value, str) else frozenset()
        )
        if not (
            isinstance(value.value, str)
            and (value.value in names or self.grid.axes[axis].may_be_unresolved(value.value))
        ):
            next_step = did_you_mean(value.value, map(str, names), otherwise="correct the name")
            expected = f"a {axis}: {join_names(names)}"
            validators.add_mismatch(
                value, expected=expected, next_step=next_step, problems=self.problems
            )
        return {str(label) for label in labels}

    def _only_one(self, found: set[str], value: Located, what: str) -> str | None:
        if len(found) > 1:
            next_step = f"name one of {join_names(sorted(found))}"
            validators.add_mismatch(
                value,
                expected=f"the name of one {what}",
                next_step=next_step,
                problems=self.problems,
            )
        return next(iter(found)) if len(found) == 1 else None

    def _read_metric(self, value: Located) -> str | None:
        """``evaluation.metric[@eps][@epoch]`` under the evaluation's label, numbers as records write them."""
        axis = self.grid.axes["evaluation"]
        text = value.value if isinstance(value.value, str) else ""
        owners = [
            name for name in axis.names if isinstance(name, str) and text.startswith(f"{name}.")
        ]
        owner = max(owners, key=len, default=text.partition(".")[0])
        shape = _METRIC_PATTERN.fullmatch(text[len(owner) + 1 :])
        if shape is None or not (owners or axis.may_be_unresolved(owner)):
            others = [str(name) for name in axis.names if name != owner]
            near = did_you_mean(owner, others, otherwise="write for example clean.accuracy")
            expected = (
                f"evaluation.metric[@eps][@epoch], where the evaluation is {join_names(axis.names)}"
            )
            validators.add_mismatch(
                value, expected=expected, next_step=near, problems=self.problems
            )
            return None
        label = self._single_label("evaluation", Located(owner, value.location)) if owners else None
        if label is None:
            return None
        numbers = [f"{_parse_fraction(one):g}" for one in shape["at"].split("@")[1:]]
        asked = "@".join([shape["name"], *numbers])
        self._check_metric(asked, label, value)
        return f"{label}.{asked}"

    def _check_metric(self, asked: str, label: str, value: Located) -> None:
        """Note a metric that its evaluation cannot give, or that may be one of several."""
        cell = next((one for one in self.evaluations if one.label == label), None)
        given = self.outlines.metric_names(cell.node) if cell is not None else None
        if given is None:
            return
        meant = matching_metrics(asked, given)
        if len(meant) != 1:
            names = [f"{label}.{one}" for one in sorted(meant or given)]
            next_step = (
                "name one of them"
                if meant
                else did_you_mean(value.value, names, otherwise="name one of them")
            )
            expected = f"one of {join_names(names)}"
            validators.add_mismatch(
                value, expected=expected, next_step=next_step, problems=self.problems
            )

    def _read_figure(self, value: Located) -> Mapping[str, Json]:
        said = validators.require_closed_mapping(
            value, FIGURE_KEYS, of="a figure", problems=self.problems
        )
        self._require_keys(value, said, FIGURE_KEYS)
        if "kind" in said:
            self._require_choice(said["kind"], FIGURE_KINDS, "a kind of figure")
        return {
            "kind": said["kind"].to_plain() if "kind" in said else None,
            "metric": self._read_metric(said["metric"]) if "metric" in said else None,
        }

    def _read_question(self, value: Located) -> Mapping[str, Json]:
        said = validators.require_closed_mapping(
            value, QUESTION_KEYS, of="a question", problems=self.problems
        )
        self._require_keys(value, said, QUESTION_KEYS[:3])
        if "across" in said:
            self._require_choice(said["across"], QUESTION_AXES, "an axis")
        read: dict[str, Json] = {name: one.to_plain() for name, one in said.items()}
        if "predictor" in said:
            read["predictor"] = self._read_predictors(said["predictor"])
        if "outcome" in said:
            read["outcome"] = self._read_metric(said["outcome"])
        if "given" in said:
            read["given"] = self._read_given(said["given"])
        return read

    def _read_predictors(self, value: Located) -> Json:
        """One metric or several; those of one question are corrected for together."""
        if not isinstance(value.value, tuple):
            return self._read_metric(value)
        return [
            self._read_metric(one)
            for one in validators.require_list(
                value, expected="a list of metrics", problems=self.problems
            )
        ]

    def _read_given(self, value: Located) -> dict[str, Json]:
        """The labels that a selection means on each axis, since the records of a run know no globs."""
        selected = self.grid.compile_selection(value, allowed=QUESTION_AXES, problems=self.problems)
        return {
            axis: sorted(meant, key=lambda one: (isinstance(one, str), one))
            for axis, meant in selected.axes.items()
        }

    def _require_keys(
        self, value: Located, said: Mapping[str, Located], names: tuple[str, ...]
    ) -> None:
        for name in names:
            if name not in said and isinstance(value.value, Mapping):
                self.problems.add(
                    value.location,
                    found=f"no {name!r}",
                    expected=", ".join(names),
                    next_step="add it",
                )

    def _require_choice(self, value: Located, known: tuple[str, ...], what: str) -> None:
        if value.value not in known:
            next_step = did_you_mean(value.value, known, otherwise="correct it")
            validators.add_mismatch(
                value,
                expected=f"{what}: {', '.join(known)}",
                next_step=next_step,
                problems=self.problems,
            )


def matching_metrics(asked: str, given: Iterable[str]) -> list[str]:
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


def _parse_fraction(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)
