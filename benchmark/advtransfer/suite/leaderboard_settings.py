"""Reader of ``leaderboard``.

Names are checked against the grid and replaced by the labels that results are shown under.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from advtransfer.host import Host
from advtransfer.suite import validators
from advtransfer.suite.claim_settings import ClaimKeyType, ClaimReader, read_commit
from advtransfer.suite.figure_settings import FigureReader, option_names
from advtransfer.suite.located import Located, did_you_mean, join_names
from advtransfer.suite.metric_settings import MetricReader
from advtransfer.suite.reported_tables import reported_names
from advtransfer.suite.row_settings import sorted_labels
from advtransfer.suite.selection import AXES
from advtransfer.suite.suite import Baseline, GridEntry, Leaderboard
from advtransfer.types import FigureKeyType, Json

LEADERBOARD_KEYS = (
    "note",
    "answer",
    "baseline",
    "baselines",
    "rank_by",
    "columns",
    "all_n",
    "figures",
    "questions",
    "claims",
    "registered",
    "open",
    "reported",
)
ANSWER_KEYS = ("metric", "of", "against", "at")
OPEN_AXES = ("sources", "adapters", "transfers")
"""Axes that submissions to the suite's board may add to."""
RANK_BY_KEYS = ("lowest",)
# The evaluation is not an axis of a question, since its metrics name their evaluations.
QUESTION_AXES = tuple(axis for axis in AXES if axis != "evaluation")
IMAGE_AXIS = "image"
"""Axis of questions whose points are test images; it is none of the grid."""
REQUIRED_QUESTION_KEYS = ("predictor", "outcome", "across")
QUESTION_KEYS = (*REQUIRED_QUESTION_KEYS, "given", "exploratory", "note")


@dataclass(frozen=True, slots=True)
class LeaderboardReader(MetricReader):
    """Reader of one suite's ``leaderboard``, with the suite's grid, entries and plugins."""

    transfers: tuple[GridEntry, ...] = field(kw_only=True)
    host: Host = field(kw_only=True)

    def read(self, value: Located) -> Leaderboard:
        """Return the settings; a name that no part of the suite has is a problem."""
        items = validators.require_closed_mapping(
            value, LEADERBOARD_KEYS, of="`leaderboard`", problems=self.problems
        )
        columns = [self._read_metric(column) for column in self._list_items(items, "columns")]
        figures = self._list_items(items, "figures")
        questions = self._list_items(items, "questions")
        baselines = self._read_baselines(items)
        baseline = self._read_baseline(items["baseline"]) if "baseline" in items else None
        return Leaderboard(
            baseline=baselines[0] if baselines else baseline,
            baselines=baselines,
            rank_by=self._read_ranking(items["rank_by"]) if "rank_by" in items else None,
            columns=tuple(column for column in columns if column is not None),
            figures=tuple(self._read_figure(figure) for figure in figures),
            questions=tuple(self._read_question(question) for question in questions),
            note=self._read_note(items["note"]) if "note" in items else "",
            answer=self._read_answer(items["answer"], items) if "answer" in items else None,
            open=self._read_open(items),
            reported=self._read_reported(items),
            all_n=self._read_all_n(items, columns),
            claims=self._read_claims(items),
            registered=read_commit(items["registered"], self.problems)
            if "registered" in items
            else "",
        )

    def _read_claims(self, items: Mapping[str, Located]) -> tuple[Mapping[str, Json], ...]:
        """Return the claims, each of which has a name of its own."""
        readers: dict[ClaimKeyType, Callable[[Located], Json]] = {
            "metric": self._read_metric,
            "row": lambda item: _as_json(self._read_row("row", item)),
            "place": self._read_place,
            "axis": lambda item: self._read_across(item, QUESTION_AXES),
            "selection": self._read_given,
        }
        reader = ClaimReader(readers, self.problems)
        claims: dict[Json, Mapping[str, Json]] = {}
        for value in self._list_items(items, "claims"):
            claim = reader.read(value)
            if claim and claim.get("name") in claims:
                validators.add_mismatch(
                    value.value["name"] if isinstance(value.value, Mapping) else value,
                    expected="a name that no other claim has",
                    next_step="rename or remove one of them",
                    problems=self.problems,
                )
            claims[claim.get("name")] = claim
        return tuple(claims.values())

    def _read_answer(
        self, value: Located, settings: Mapping[str, Located]
    ) -> Mapping[str, Json] | None:
        """Return the contrast that answers the suite's question, with labels in place of names."""
        items = validators.require_closed_mapping(
            value, ANSWER_KEYS, of="`answer`", problems=self.problems
        )
        if value.value == {}:
            validators.add_mismatch(
                value,
                expected=f"at least one of {', '.join(ANSWER_KEYS)}",
                next_step="write for example {of: NAME, against: NAME}, or remove it",
                problems=self.problems,
            )
        if items and not ("metric" in items or "rank_by" in settings):
            self.problems.add(
                value.location,
                found="no 'metric', and no `rank_by` in its place",
                expected="a metric as in `columns`",
                next_step="add it",
            )
        answer: dict[str, Json] = {}
        if "metric" in items:
            answer["metric"] = _as_json(self._read_ranking(items["metric"]))
        for side in ("of", "against"):
            if side in items:
                answer[side] = _as_json(self._read_row(side, items[side]))
        if "of" in answer and answer["of"] == answer.get("against") and answer["of"]:
            validators.add_mismatch(
                items["against"],
                expected="another row than `of`",
                next_step="name what it is compared with",
                problems=self.problems,
            )
        if "at" in items:
            answer["at"] = self._read_place(items["at"])
        return answer

    def _read_open(self, items: Mapping[str, Located]) -> tuple[str, ...]:
        """Return the axes that submissions may add to, in the order of `OPEN_AXES`."""
        axes = self._list_items(items, "open")
        for axis in axes:
            self._require_choice(axis, OPEN_AXES, "an axis that submissions may add to")
        return tuple(axis for axis in OPEN_AXES if any(each.value == axis for each in axes))

    def _read_reported(self, items: Mapping[str, Located]) -> tuple[str, ...]:
        """Return the publications whose tables the page shows."""
        names = self._list_items(items, "reported")
        for name in names:
            self._require_choice(name, reported_names(), "a publication of suites/reported")
        return tuple(dict.fromkeys(str(name.value) for name in names))

    def _read_all_n(
        self, items: Mapping[str, Located], columns: Sequence[str | None]
    ) -> tuple[str, ...]:
        """Return the metrics with a table over all n: columns of the page."""
        metrics: list[str] = []
        for value in self._list_items(items, "all_n"):
            metric = self._read_metric(value)
            if metric is not None and columns and metric not in columns:
                validators.add_mismatch(
                    value,
                    expected="a metric of `columns`",
                    next_step="add it to `columns`",
                    problems=self.problems,
                )
            if metric is not None:
                metrics.append(metric)
        return tuple(dict.fromkeys(metrics))

    def _read_note(self, value: Located) -> str:
        """Return a text for the page, on one line."""
        note = validators.require_text(
            value, expected="a text for the page", problems=self.problems
        )
        return " ".join((note or "").split())

    def _list_items(self, items: Mapping[str, Located], name: str) -> tuple[Located, ...]:
        if name not in items or items[name].value == ():
            return ()
        return validators.require_list(
            items[name], expected=f"a list of {name}", problems=self.problems
        )

    def _read_baselines(self, items: Mapping[str, Located]) -> tuple[Baseline, ...]:
        """Return the baselines of `baselines`; beside `baseline`, or one twice, they are a problem."""
        values = self._list_items(items, "baselines")
        if values and "baseline" in items:
            self.problems.add(
                items["baselines"].location,
                found="both `baseline` and `baselines`",
                expected="one of them",
                next_step="write the baseline first in `baselines`, and remove `baseline`",
            )
        baselines: list[Baseline] = []
        for value in values:
            baseline = self._read_baseline(value)
            if baseline in baselines:
                validators.add_mismatch(
                    value,
                    expected="each baseline once",
                    next_step="remove it",
                    problems=self.problems,
                )
            elif baseline is not None:
                baselines.append(baseline)
        return tuple(baselines)

    def _read_baseline(self, value: Located) -> Baseline | None:
        if isinstance(value.value, Mapping):
            items = validators.require_closed_mapping(
                value, ("transfer",), of="`baseline`", problems=self.problems
            )
            label = (
                self._single_label("transfer", items["transfer"]) if "transfer" in items else None
            )
            return None if label is None else {"transfer": label}
        return self._row_label("source", value)

    def _read_ranking(self, value: Located) -> str | Mapping[str, str] | None:
        """Return a metric of which more is better, or ``{lowest: metric}``."""
        if not isinstance(value.value, Mapping):
            return self._read_metric(value)
        items = validators.require_closed_mapping(
            value, RANK_BY_KEYS, of="`rank_by`", problems=self.problems
        )
        self._require_keys(value, items, RANK_BY_KEYS)
        metric = self._read_metric(items["lowest"]) if "lowest" in items else None
        return None if metric is None else {"lowest": metric}

    def _read_figure(self, value: Located) -> Mapping[str, Json]:
        readers: dict[FigureKeyType, Callable[[Located], Json]] = {
            "axis": lambda item: self._read_across(item, QUESTION_AXES),
            "selection": self._read_given,
            "baseline": lambda item: _as_json(self._read_baseline(item)),
            "evaluation": lambda item: self._single_label("evaluation", item),
            "option": self._read_option,
        }
        reader = FigureReader(
            self.host,
            self._read_metric,
            readers,
            self._column_metrics,
            self._evaluation_files,
            self.problems,
        )
        return reader.read(value)

    def _read_option(self, value: Located) -> str | None:
        """Return the name of an option that a transfer or source has, with dots inside."""
        text = value.value if isinstance(value.value, str) else None
        names: set[str] = set()
        for cell in (*self.transfers, *self.sources):
            names.update(option_names(cell.node.options))
        # An entry with mistakes, which are reported at their place, may have had the option.
        is_complete = not any(self.grid.axes[axis].unresolved for axis in ("source", "transfer"))
        if text is None or (is_complete and text not in names):
            validators.add_mismatch(
                value,
                expected=f"an option of a transfer or source: {join_names(sorted(names))}",
                next_step=did_you_mean(
                    value.value, sorted(names), otherwise="name one that is swept"
                ),
                problems=self.problems,
            )
        return text

    def _evaluation_files(self, label: str) -> frozenset[str] | None:
        nodes = [cell.node for cell in self.evaluations if cell.label == label]
        return self.outlines.file_names(nodes[0]) if nodes else None

    def _read_across(self, value: Located, axes: Sequence[str]) -> str | None:
        self._require_choice(value, axes, "an axis")
        return value.value if isinstance(value.value, str) else None

    def _read_question(self, value: Located) -> Mapping[str, Json]:
        items = validators.require_closed_mapping(
            value, QUESTION_KEYS, of="a question", problems=self.problems
        )
        self._require_keys(value, items, REQUIRED_QUESTION_KEYS)
        if "across" in items:
            self._read_across(items["across"], (*QUESTION_AXES, IMAGE_AXIS))
        question: dict[str, Json] = {name: item.to_plain() for name, item in items.items()}
        if "predictor" in items:
            question["predictor"] = self._read_predictors(items["predictor"])
        if "outcome" in items:
            question["outcome"] = self._read_metric(items["outcome"])
        if "given" in items:
            question["given"] = self._read_given(items["given"])
        if "exploratory" in items:
            question["exploratory"] = validators.require_boolean(
                items["exploratory"],
                expected="true (no p is printed) or false",
                problems=self.problems,
            )
        if "note" in items:
            question["note"] = self._read_note(items["note"])
        return question

    def _read_predictors(self, value: Located) -> Json:
        """Return one metric or several; the p-values of one question are corrected together."""
        if not isinstance(value.value, tuple):
            return self._read_metric(value)
        metrics = validators.require_list(
            value, expected="a list of metrics", problems=self.problems
        )
        return [self._read_metric(metric) for metric in metrics]

    def _read_given(self, value: Located) -> dict[str, Json]:
        """Return the labels that a selection means on each axis.

        Globs are resolved here, since a page is made from a run's records and has no suite to match
        in.
        """
        selection = self.grid.compile_selection(
            value, allowed=QUESTION_AXES, problems=self.problems
        )
        return {axis: sorted_labels(labels) for axis, labels in selection.axes.items()}

    def _require_keys(
        self, value: Located, items: Mapping[str, Located], names: tuple[str, ...]
    ) -> None:
        for name in names:
            if name not in items and isinstance(value.value, Mapping):
                self.problems.add(
                    value.location,
                    found=f"no {name!r}",
                    expected=", ".join(names),
                    next_step="add it",
                )

    def _require_choice(self, value: Located, choices: Sequence[str], noun: str) -> None:
        if value.value not in choices:
            validators.add_mismatch(
                value,
                expected=f"{noun}: {', '.join(choices)}",
                next_step=did_you_mean(value.value, choices, otherwise="correct it"),
                problems=self.problems,
            )


def _as_json(value: Baseline | Mapping[str, str] | None) -> Json:
    return {str(key): text for key, text in value.items()} if isinstance(value, Mapping) else value
