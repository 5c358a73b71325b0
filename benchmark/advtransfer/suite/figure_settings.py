"""Reader of ``leaderboard.figures``: which keys each kind of figure has, and what they may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.host import Host
from advtransfer.suite import validators
from advtransfer.suite.component_schema import (
    JsonSchema,
    closed_object,
    definition_ref,
    one_of,
    one_or_more,
    or_null,
    typed_value,
    with_description,
)
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names, quote_name
from advtransfer.types import FigureKeyType, FigureKind, Json
from advtransfer.types.metric_names import CLAIM_PREFIX

METRIC_KEY_TYPES = frozenset({"metric", "robust_metric", "plain_metric", "metric_at_all_eps"})
"""What keys hold that name one metric."""
MIN_RADII = 2
"""Radii of a curve over eps, the clean accuracy at eps = 0 included."""


def figure_keys(kind: FigureKind) -> tuple[str, ...]:
    """Return all keys that a kind of figure may have."""
    return ("kind", *kind.keys)


def figure_schema(name: str, kind: FigureKind, *, axes: Iterable[str]) -> JsonSchema:
    """Return the JSON schema of one kind of figure; `axes` are those of a question."""
    text = typed_value("string", pattern=r"\S")
    baseline: JsonSchema = {
        "anyOf": [text, closed_object({"transfer": text}, required=["transfer"])]
    }
    schemas: dict[FigureKeyType, JsonSchema] = {
        "metrics": one_or_more(definition_ref("metric")),
        "curve": with_description(
            text, "A column of the fits' training curves, in place of `metric`."
        ),
        "axis": one_of(axes),
        "selection": definition_ref("selection"),
        "baseline": baseline,
        "evaluation": text,
        "option": text,
        "file": text,
        "text": text,
    }
    properties: dict[str, JsonSchema] = {"kind": {"const": name}}
    for key, holds in kind.keys.items():
        schema = schemas.get(holds, definition_ref("metric"))
        is_free = key in kind.required or key in kind.either
        properties[key] = schema if is_free else or_null(schema)
    schema = closed_object(properties, required=["kind", *kind.required])
    if kind.either:
        schema["oneOf"] = [{"required": [key]} for key in kind.either]
    return with_description(schema, kind.help) if kind.help else schema


def requested_curves(settings: Mapping[str, Json]) -> frozenset[str]:
    """Return the columns of training curves that the figures of a plan's ``leaderboard`` show."""
    return _requested_texts(settings, "curve")


def requested_options(settings: Mapping[str, Json]) -> frozenset[str]:
    """Return the swept options that the figures of a plan's ``leaderboard`` show."""
    return _requested_texts(settings, "option")


def _requested_texts(settings: Mapping[str, Json], key: str) -> frozenset[str]:
    figures = settings.get("figures")
    entries = figures if isinstance(figures, list | tuple) else ()
    texts = [entry.get(key) for entry in entries if isinstance(entry, Mapping)]
    return frozenset(text for text in texts if isinstance(text, str))


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
        host: The plugins, which bring the kinds.
        read_metric: Reads a metric; the second argument says whether the name may stand for several.
        readers: Read what a key holds that is neither a metric nor a text.
        column_metrics: Gives the metric of a column and all of its evaluation, None where they are unknown.
        evaluation_files: Gives the files that an evaluation can write, None where they are unknown.
        problems: Collects the problems.
    """

    host: Host
    read_metric: Callable[[Located, bool], str | None]
    readers: Mapping[FigureKeyType, Callable[[Located], Json]]
    column_metrics: Callable[[str], tuple[str, frozenset[str] | None]]
    evaluation_files: Callable[[str], frozenset[str] | None]
    problems: Problems

    def read(self, value: Located) -> dict[str, Json]:
        """Return the settings as a plan stores them; every mistake is a problem."""
        named = self._read_kind(value)
        if named is None:
            return {"kind": None, "metric": None}
        name, kind = named
        items = validators.require_closed_mapping(
            value, figure_keys(kind), of=f"a figure {name}", problems=self.problems
        )
        self._require_keys(kind, value, items)
        settings: dict[str, Json] = {"kind": name}
        for key, item in items.items():
            if key != "kind":
                settings[key] = self._read_key(kind.keys[key], item)
        self._check_file(kind, items, settings)
        return settings

    def _read_kind(self, value: Located) -> tuple[str, FigureKind] | None:
        own_kinds = self.host.own_figure_kinds
        if not isinstance(value.value, Mapping):
            keys = dict.fromkeys(key for kind in own_kinds.values() for key in figure_keys(kind))
            validators.require_closed_mapping(
                value, tuple(keys), of="a figure", problems=self.problems
            )
            return None
        kind = value.value.get("kind")
        choices = ", ".join(own_kinds)
        if kind is None or kind.value is None:
            self._add_missing("kind", value, expected=f"kind: {choices}")
            return None
        if not isinstance(kind.value, str):
            validators.add_mismatch(
                kind,
                expected=f"a kind of figure: {choices}",
                next_step="correct it",
                problems=self.problems,
            )
            return None
        try:
            return kind.value, self.host.figure_kind(kind.value)
        except UnknownName as error:
            near = did_you_mean(kind.value, error.near, otherwise="correct it")
            validators.add_mismatch(
                kind, expected=error.expected, next_step=near, problems=self.problems
            )
        except (PluginError, MissingLibrary) as error:
            validators.add_mismatch(
                kind,
                expected=f"a kind of figure of a plugin that works ({error})",
                next_step="correct or install the plugin",
                problems=self.problems,
            )
        return None

    def _require_keys(self, kind: FigureKind, value: Located, items: Mapping[str, Located]) -> None:
        present = [key for key in kind.either if key in items]
        if kind.either and len(present) != 1:
            names = list(map(quote_name, present))
            first, *others = kind.either
            alternatives = ", or ".join([first, *(_alternative(key, kind) for key in others)])
            self.problems.add(
                value.location,
                found=" and ".join(names) if names else f"no {first!r}",
                expected=alternatives,
                next_step="write one of them",
            )
        for name in kind.required:
            if name not in items:
                self._add_missing(name, value, expected=", ".join(("kind", *kind.required)))

    def _add_missing(self, name: str, value: Located, *, expected: str) -> None:
        self.problems.add(
            value.location, found=f"no {name!r}", expected=expected, next_step="add it"
        )

    def _read_key(self, holds: FigureKeyType, item: Located) -> Json:
        """Return what a key holds, with labels in place of names."""
        if holds in METRIC_KEY_TYPES:
            column = self.read_metric(item, holds == "metric_at_all_eps")
            if column is not None:
                self._check_metric(holds, column, item)
            return column
        if holds == "metrics":
            return self._read_metrics(item)
        if holds in self.readers:
            return self.readers[holds](item)
        texts: dict[FigureKeyType, str] = {
            "curve": "a column of the fits' curves",
            "file": "a file",
        }
        expected = texts.get(holds, "a text")
        return validators.require_text(item, expected=expected, problems=self.problems)

    def _read_metrics(self, item: Located) -> Json:
        """Return one metric or several as a list."""
        if not isinstance(item.value, tuple):
            return [self.read_metric(item, False)]
        metrics = validators.require_list(
            item, expected="a list of metrics", problems=self.problems
        )
        return [self.read_metric(metric, False) for metric in metrics]

    def _check_metric(self, holds: FigureKeyType, column: str, item: Located) -> None:
        """Add a problem for a metric that its kind of figure cannot show."""
        is_claim = {"robust_metric": True, "plain_metric": False}.get(holds)
        if is_claim is not None and names_claim(column) is not is_claim:
            validators.add_mismatch(
                item,
                expected=f"a {CLAIM_PREFIX}" if is_claim else f"no {CLAIM_PREFIX}",
                next_step="name another metric",
                problems=self.problems,
            )
        if holds != "metric_at_all_eps":
            return
        metric, names = self.column_metrics(column)
        # An unknown metric is reported by its own reader.
        is_known = any(name == metric or name.startswith(f"{metric}@") for name in names or ())
        if names is not None and is_known and len(metrics_by_eps(metric, names)) < MIN_RADII:
            validators.add_mismatch(
                item,
                expected=f"a metric at {MIN_RADII} radii or more, without its eps",
                next_step="give the evaluation more values of eps, or name another metric",
                problems=self.problems,
            )

    def _check_file(
        self, kind: FigureKind, items: Mapping[str, Located], settings: Mapping[str, Json]
    ) -> None:
        """Add a problem for a figure of files that its evaluation does not write."""
        keys = {holds: key for key, holds in kind.keys.items()}
        if not {"evaluation", "file"} <= keys.keys():
            return
        evaluation, file = settings.get(keys["evaluation"]), settings.get(keys["file"])
        names = self.evaluation_files(evaluation) if isinstance(evaluation, str) else None
        if names is None:
            return  # `plan_warnings` tells of an evaluation that does not say which files it writes.
        if not names:
            validators.add_mismatch(
                items[keys["evaluation"]],
                expected="an evaluation that writes files; this one writes none",
                next_step="name another evaluation, or remove the figure",
                problems=self.problems,
            )
        # The files of snapshots have the epoch behind their name.
        elif isinstance(file, str) and file.partition("@")[0] not in names:
            validators.add_mismatch(
                items[keys["file"]],
                expected=f"a file that {evaluation} writes: {join_names(sorted(names))}",
                next_step=did_you_mean(file, sorted(names), otherwise="name one of them"),
                problems=self.problems,
            )


def option_names(options: Mapping[str, Json]) -> Iterator[str]:
    """Yield the names of options as a figure writes them, with dots inside: ``adversary.eps``."""
    for name, value in options.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in option_names(value))


def _alternative(key: str, kind: FigureKind) -> str:
    return "curve: a column of the fits' curves" if kind.keys[key] == "curve" else key


def names_claim(column: str) -> bool:
    """Return whether a column such as ``pgd.robust_accuracy@0.1`` is a robust accuracy."""
    return f".{CLAIM_PREFIX}" in column
