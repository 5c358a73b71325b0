"""The value of one option in the records of a sweep, and the other options that these share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from advtransfer.node import canonical_json
from advtransfer.types import Json


class SweptOption(NamedTuple):
    """An option of a fit or a source.

    Attributes:
        value: Its value.
        others: The component and its other options, equal for all points of a sweep of the option alone.
    """

    value: Json
    others: str


def swept_option(record: Mapping[str, Any], option: str) -> SweptOption | None:  # Any: JSON
    """Return a dotted option of a fit or source record, None where it has no such option."""
    asked = record.get("asked")
    if not isinstance(asked, Mapping) or not isinstance(asked.get("options"), Mapping):
        return None
    options = asked["options"]
    value, others = _without_option(options, option.split("."))
    if others is None:
        return None
    # A source's seed tells trainings apart, which are one row.
    others.pop("seed", None)
    return SweptOption(value, canonical_json([asked.get("use"), others]))


def _without_option(
    options: Mapping[str, Json], path: Sequence[str]
) -> tuple[Json, dict[str, Json] | None]:
    """Return an option and the other options; None in their place where there is no such option."""
    name, *inner = path
    if name not in options:
        return None, None
    others = {key: value for key, value in options.items() if key != name}
    if not inner:
        return options[name], others
    below = options[name]
    if not isinstance(below, Mapping):
        return None, None
    value, rest = _without_option(below, inner)
    return (None, None) if rest is None else (value, {**others, name: rest})


def label_without_option(labels: Sequence[str], option: str) -> str:
    """Return what the labels of a sweep have in common: ``probe`` for ``probe[C=0.1]`` and ``probe[C=1]``."""
    bracket = re.compile(rf"(?<=[\[,]){re.escape(option)}=[^,\]]*,?")
    stripped = {bracket.sub("", label).replace("[]", "").replace(",]", "]") for label in labels}
    if len(stripped) == 1:
        return stripped.pop()
    return _common_start(labels).rstrip(" [=,(") or min(labels)


def _common_start(labels: Sequence[str]) -> str:
    first, last = min(labels), max(labels)
    pairs = enumerate(zip(first, last, strict=False))
    length = next((place for place, (ours, theirs) in pairs if ours != theirs), len(first))
    return first[:length]
