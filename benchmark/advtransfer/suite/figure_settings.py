"""Reader of ``leaderboard.figures``: which keys each kind of figure has, and what they may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from advtransfer.suite import validators
from advtransfer.suite.component_schema import (
    JsonSchema,
    closed_object,
    definition_ref,
    one_of,
    or_null,
    typed_value,
    with_description,
)
from advtransfer.suite.located import Located, Problems, did_you_mean
from advtransfer.types import Json
from advtransfer.types.metric_names import CLAIM_PREFIX

FIGURE_KINDS: Mapping[str, tuple[str, ...]] = {
    "accuracy_vs_n": ("metric",),
    "robust_vs_clean": ("robust", "clean"),
    "metric_vs_eps": ("metric",),
    "metric_vs_epoch": ("metric",),
    "scatter": ("predictor", "outcome"),
}
"""The kinds of figures, and the keys that each must have beside `kind`."""
OPTIONAL_FIGURE_KEYS: Mapping[str, tuple[str, ...]] = {
    "metric_vs_epoch": ("curve",),
    "scatter": ("across", "given"),
}
"""The keys that a kind may have. `curve`, a column of the fits' training curves, stands in place of `metric`."""
METRIC_KEYS = ("metric", "robust", "clean", "predictor", "outcome")
"""The keys that name a metric."""
MIN_RADII = 2
"""Radii of a curve over eps, the clean accuracy at eps = 0 included."""


def figure_keys(kind: str) -> tuple[str, ...]:
    """Return all keys that a kind of figure may have."""
    return ("kind", *FIGURE_KINDS[kind], *OPTIONAL_FIGURE_KEYS.get(kind, ()))


def figure_schema(kind: str, *, axes: Iterable[str]) -> JsonSchema:
    """Return the JSON schema of one kind of figure; `axes` are those of a question."""
    curve = with_description(
        typed_value("string", pattern=r"\S"),
        "A column of the fits' training curves, in place of `metric`.",
    )
    described: dict[str, JsonSchema] = {
        "kind": {"const": kind},
        "curve": curve,
        "across": or_null(one_of(axes)),
        "given": or_null(definition_ref("selection")),
    }
    keys = figure_keys(kind)
    schema = closed_object(
        {key: described.get(key, definition_ref("metric")) for key in keys},
        required=["kind", *FIGURE_KINDS[kind]],
    )
    if "curve" in keys:
        schema["required"] = ["kind"]
        schema["oneOf"] = [{"required": ["metric"]}, {"required": ["curve"]}]
    return schema


def requested_curves(settings: Mapping[str, Json]) -> frozenset[str]:
    """Return the columns of training curves that the figures of a plan's ``leaderboard`` show."""
    figures = settings.get("figures")
    entries = figures if isinstance(figures, list | tuple) else ()
    curves = [entry.get("curve") for entry in entries if isinstance(entry, Mapping)]
    return frozenset(curve for curve in curves if isinstance(curve, str))


def metrics_by_eps(stem: str, names: Iterable[str]) -> dict[float, str]:
    """Return the metrics ``stem@eps`` by radius; a robust accuracy at 0 is the clean accuracy.

    Args:
        stem: Metric without eps: ``robust_accuracy``.
        names: All metrics of the evaluation, as records write them.
    """
    names = set(names)
    found: dict[float, str] = {}
    for name in names:
        parts = name.split("@")
        # A number after a metric that is itself recorded is the epoch of a snapshot.
        if len(parts) == 2 and parts[0] == stem and stem not in names:
            with suppress(ValueError):
                found[float(Fraction(parts[1]))] = name
    if found and "clean_accuracy" in names and stem.endswith("accuracy"):
        found.setdefault(0.0, "clean_accuracy")
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class FigureReader:
    """Reader of one figure's settings.

    Attributes:
        read_metric: Reads a metric; the second argument says whether the name may stand for several.
        read_question: Reads the keys ``across`` and ``given`` of a question.
        column_metrics: Gives the metric of a column and all of its evaluation, None where they are unknown.
        problems: Collects the problems.
    """

    read_metric: Callable[[Located, bool], str | None]
    read_question: Callable[[str, Located], Json]
    column_metrics: Callable[[str], tuple[str, frozenset[str] | None]]
    problems: Problems

    def read(self, value: Located) -> dict[str, Json]:
        """Return the settings as a plan stores them; every mistake is a problem."""
        kind = self._read_kind(value)
        if kind is None:
            return {"kind": None, "metric": None}
        items = validators.require_closed_mapping(
            value, figure_keys(kind), of=f"a figure {kind}", problems=self.problems
        )
        self._require_keys(kind, value, items)
        settings: dict[str, Json] = {"kind": kind}
        for name, item in items.items():
            if name in METRIC_KEYS:
                settings[name] = self.read_metric(item, kind == "metric_vs_eps")
            elif name == "curve":
                settings[name] = validators.require_text(
                    item, expected="a column of the fits' curves", problems=self.problems
                )
            elif name != "kind":
                settings[name] = self.read_question(name, item)
        self._check_metrics(kind, settings, items)
        return settings

    def _read_kind(self, value: Located) -> str | None:
        known = tuple(dict.fromkeys(key for kind in FIGURE_KINDS for key in figure_keys(kind)))
        if not isinstance(value.value, Mapping):
            validators.require_closed_mapping(value, known, of="a figure", problems=self.problems)
            return None
        kind = value.value.get("kind")
        choices = ", ".join(FIGURE_KINDS)
        if kind is None or kind.value is None:
            self._add_missing("kind", value, expected=f"kind: {choices}")
            return None
        if not isinstance(kind.value, str) or kind.value not in FIGURE_KINDS:
            validators.add_mismatch(
                kind,
                expected=f"a kind of figure: {choices}",
                next_step=did_you_mean(kind.value, FIGURE_KINDS, otherwise="correct it"),
                problems=self.problems,
            )
            return None
        return kind.value

    def _require_keys(self, kind: str, value: Located, items: Mapping[str, Located]) -> None:
        needed = FIGURE_KINDS[kind]
        if kind == "metric_vs_epoch":
            if len({"metric", "curve"} & items.keys()) != 1:
                found = "no 'metric'" if "metric" not in items else "'metric' and 'curve'"
                self.problems.add(
                    value.location,
                    found=found,
                    expected="metric, or curve: a column of the fits' curves",
                    next_step="write one of them",
                )
            return
        for name in needed:
            if name not in items:
                self._add_missing(name, value, expected=", ".join(("kind", *needed)))

    def _add_missing(self, name: str, value: Located, *, expected: str) -> None:
        self.problems.add(
            value.location, found=f"no {name!r}", expected=expected, next_step="add it"
        )

    def _check_metrics(
        self, kind: str, settings: Mapping[str, Json], items: Mapping[str, Located]
    ) -> None:
        """Add a problem for a metric that its kind of figure cannot show."""
        if kind == "robust_vs_clean":
            for name, is_claim in (("robust", True), ("clean", False)):
                column = settings.get(name)
                if column is not None and names_claim(str(column)) is not is_claim:
                    validators.add_mismatch(
                        items[name],
                        expected=f"a {CLAIM_PREFIX}" if is_claim else f"no {CLAIM_PREFIX}",
                        next_step="name another metric",
                        problems=self.problems,
                    )
        column = settings.get("metric")
        if kind != "metric_vs_eps" or column is None:
            return
        metric, names = self.column_metrics(str(column))
        # An unknown metric is reported by its own reader.
        is_known = any(name == metric or name.startswith(f"{metric}@") for name in names or ())
        if names is not None and is_known and len(metrics_by_eps(metric, names)) < MIN_RADII:
            validators.add_mismatch(
                items["metric"],
                expected=f"a metric at {MIN_RADII} radii or more, without its eps",
                next_step="give the evaluation more values of eps, or name another metric",
                problems=self.problems,
            )


def names_claim(column: str) -> bool:
    """Return whether a column such as ``pgd.robust_accuracy@0.1`` is a robust accuracy."""
    return f".{CLAIM_PREFIX}" in column
