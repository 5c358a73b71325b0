"""The figures that a plan requests, with their kinds, and the check that its records can give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.host import Host
from advtransfer.leaderboard.figure_inputs import RunFigureInputs, figure_error
from advtransfer.leaderboard.questions_config import read_selection
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.suite.figure_settings import METRIC_KEY_TYPES
from advtransfer.suite.leaderboard_settings import QUESTION_AXES
from advtransfer.types import FigureKeyType, FigureKind, Json

KEY_TEXTS: Mapping[FigureKeyType, str] = {
    "metric": "a metric as in `columns`",
    "metrics": "metrics as in `columns`",
    "robust_metric": "a robust accuracy as in `columns`",
    "plain_metric": "a metric as in `columns`",
    "metric_at_all_eps": "a metric as in `columns`, without its eps",
    "curve": "a column of the fits' training curves",
    "axis": f"one of {', '.join(QUESTION_AXES)}",
    "selection": f"a mapping of {', '.join(QUESTION_AXES)}",
    "baseline": "a source, or {transfer: NAME}",
    "evaluation": "an evaluation",
    "option": "an option of a transfer or source",
    "file": "a file of the evaluation",
    "text": "a text",
}
"""What a key holds in a plan, for messages."""


class FigureRequest(NamedTuple):
    """A figure of a plan: the name of its kind in the suite, the kind, and its settings with the run."""

    name: str
    kind: FigureKind
    inputs: RunFigureInputs


def figure_requests(data: RunData) -> list[FigureRequest]:
    """Return the figures that the plan requests.

    Raises:
        BadInput: A figure's kind is unknown, or its settings cannot be met.
    """
    entries = data.plan.leaderboard.get("figures")
    if not isinstance(entries, list | tuple):
        return []
    return [parse_figure(entry, data) for entry in entries]


def parse_figure(entry: object, data: RunData) -> FigureRequest:
    """Return a figure as a plan stores it, with its kind.

    Raises:
        BadInput: Its kind is unknown, or its settings cannot be met by the records.
    """
    settings = entry if isinstance(entry, Mapping) else {}
    name = settings.get("kind")
    kind = find_kind(name, entry)
    _require_settings(kind, settings, entry)
    inputs = RunFigureInputs(settings, data)
    for key, holds in kind.keys.items():
        value = settings.get(key)
        if holds == "metrics" and value:
            for metric in [value] if isinstance(value, str) else value:
                find_column(str(metric), data)
        elif holds in METRIC_KEY_TYPES - {"metric_at_all_eps"} and value:
            find_column(str(value), data)
    if kind.check is not None:
        kind.check(inputs)
    return FigureRequest(str(name), kind, inputs)


def find_kind(name: object, entry: object) -> FigureKind:
    """Return a kind by its name in suites.

    Raises:
        BadInput: There is none, or its plugin is not installed or does not work.
    """
    text = name if isinstance(name, str) else ""
    # Only kinds of plugins need the installed ones to be looked for.
    host = Host.discover() if "/" in text else Host([])
    try:
        return host.figure_kind(text)
    except UnknownName:
        expected = f"a kind of figure: {', '.join(host.own_figure_kinds)}, or one of a plugin"
        raise figure_error(entry, expected) from None
    except (PluginError, MissingLibrary) as error:
        raise figure_error(entry, f"a kind of a plugin that works ({error})") from error


def _require_settings(kind: FigureKind, settings: Mapping[str, Json], entry: object) -> None:
    """Raise where a key is missing, or holds what no suite could have said."""
    present = {key for key, value in settings.items() if value is not None}
    one_of_either = not kind.either or len(present & set(kind.either)) == 1
    if not (kind.required.keys() <= present <= {"kind", *kind.keys} and one_of_either):
        raise figure_error(entry, _keys_text(kind))
    for key in sorted(present - {"kind"}):
        holds = kind.keys[key]
        if not _fits(holds, settings[key]):
            raise figure_error(entry, f"{key}: {KEY_TEXTS[holds]}")


def _keys_text(kind: FigureKind) -> str:
    """Return the keys of a kind: ``kind, metric, perhaps against``."""
    texts = [", ".join(["kind", *kind.required])]
    if kind.either:
        texts.append(f"one of {', '.join(kind.either)}")
    others = [key for key in kind.optional if key not in kind.either]
    if others:
        texts.append(f"perhaps {', '.join(others)}")
    return "; ".join(texts)


def _fits(holds: FigureKeyType, value: Json) -> bool:
    is_text = isinstance(value, str) and bool(value)
    checks: dict[FigureKeyType, Callable[[], bool]] = {
        "metrics": lambda: (
            is_text
            or (
                isinstance(value, list | tuple)
                and bool(value)
                and all(isinstance(name, str) and bool(name) for name in value)
            )
        ),
        "axis": lambda: value in QUESTION_AXES,
        "selection": lambda: read_selection(value) is not None,
        "baseline": lambda: (
            is_text or (isinstance(value, Mapping) and isinstance(value.get("transfer"), str))
        ),
    }
    return checks.get(holds, lambda: is_text)()
