"""How the cells of an entry are called: ``key``, ``key[option=value,...]``, or what its ``label`` template gives."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from advtransfer.errors import Mark
from advtransfer.suite import expect
from advtransfer.suite.entry import Entry, option_names
from advtransfer.suite.marked import Marked
from advtransfer.suite.names import untidy
from advtransfer.suite.problems import Problems, did_you_mean, quoted
from advtransfer.suite.sweep import Point
from advtransfer.types import Json

_PLACE = re.compile(r"\{([^{}]*)\}")


def check_label(entry: Entry, problems: Problems) -> None:
    """Note what stands in braces in the entry's ``label`` and is no option, or is one that replicates differ in."""
    template = entry.words.get("label", Marked(None, entry.where))
    names = _names(entry)
    for place in _PLACE.findall(template.value) if isinstance(template.value, str) else ():
        if place.partition(".")[0] not in names:
            _note(place, template, entry, problems)


def hidden_labels(key: str, template: Marked | None) -> re.Pattern[str]:
    """What the names of an entry with mistakes can look like, as far as its key and its label tell."""
    text = template.value if template and isinstance(template.value, str) else key
    stem = ".*".join(map(re.escape, re.split(r"\{[^{}]*\}", text)))
    return re.compile(rf"({re.escape(key)}|{stem})(\[.*\])?")


def row(entry: Entry, point: Point, *, options: Mapping[str, Json], problems: Problems) -> str | None:
    """The label of a point of the entry's sweep; `options` are its validated ones, for what the entry leaves out."""
    template = entry.words.get("label")
    if template is None:
        return _tidy(bracketed(entry.key, point.settings), entry.where, "give the entry a `label`", problems)
    text = expect.text(template, expected="a text", problems=problems)
    if text is None:
        return None
    unknown = [name for name in _PLACE.findall(text) if _lookup(name, point.options, options) is None]
    if unknown:
        _note(unknown[0], template, entry, problems)
        return None
    name = _PLACE.sub(lambda match: _lookup(match[1], point.options, options) or "", text)
    return _tidy(name, template.mark, "correct `label`, or what its braces stand for", problems)


def _tidy(name: str, mark: Mark, next_step: str, problems: Problems) -> str | None:
    fault = untidy(name)
    if fault is not None:
        problems.add(mark, found=f"the label {quoted(name)}", expected=fault, next_step=next_step)
    return None if fault else name


def bracketed(name: str, settings: Mapping[str, Marked]) -> str:
    """``name[option=value,...]``, or the name alone; further settings join the brackets already there."""
    inside = ",".join(f"{option}={_shown(value)}" for option, value in settings.items())
    if not inside:
        return name
    return f"{name[:-1]},{inside}]" if name.endswith("]") else f"{name}[{inside}]"


def _names(entry: Entry) -> list[str]:
    return [name for name in option_names(entry.component) if name != "seed" or "seeds" not in entry.words]


def _note(place: str, template: Marked, entry: Entry, problems: Problems) -> None:
    show = f"`advtransfer show {entry.component.name}` lists them"
    problems.add(
        template.mark,
        found=f"{{{place}}} in a label",
        expected=f"options of {entry.component.name} in braces",
        next_step=did_you_mean(place, _names(entry), otherwise=show),
    )


def _lookup(name: str, written: Marked, options: Mapping[str, Json]) -> str | None:
    """A dotted option as the suite writes it, or else its default."""
    path = name.split(".")
    found: Marked | None = written
    for step in path:
        found = found.child(step) if found else None
    if found is not None:
        return _shown(found)
    value: Json = options
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, str) else json.dumps(value)


def _shown(value: Marked) -> str:
    if isinstance(value.value, tuple):
        return f"[{','.join(map(_shown, value.value))}]"
    if isinstance(value.value, Mapping):
        return "{" + ",".join(f"{name}:{_shown(one)}" for name, one in value.value.items()) + "}"
    if isinstance(value.value, str):
        return value.value
    return value.text or json.dumps(value.value)
