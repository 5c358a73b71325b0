"""Labels of the rows that an entry gives: its key with the swept options in brackets, or its ``label``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from advtransfer.errors import Location
from advtransfer.suite import validators
from advtransfer.suite.entry import SuiteEntry, SweepPoint, option_names
from advtransfer.suite.located import (
    Located,
    Problems,
    did_you_mean,
    quote_name,
)
from advtransfer.suite.sections import (
    CHOOSE,
    label_fault,
)
from advtransfer.types import Json

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_label(entry: SuiteEntry, problems: Problems) -> None:
    """Add a problem for each name in braces in the entry's ``label`` that stands for no option.

    Where the entry has ``seeds``, `seed` is no such option, since replicates share a row.
    """
    template = entry.words.get("label", Located(None, entry.location))
    if not isinstance(template.value, str):
        return
    names = _template_names(entry)
    for placeholder in _PLACEHOLDER.findall(template.value):
        if placeholder.partition(".")[0] not in names:
            _add_unknown_placeholder(placeholder, template, entry, problems)


def unresolved_labels(key: str, template: Located | None) -> re.Pattern[str]:
    """Return a pattern of the labels that an entry with mistakes would have had."""
    # A placeholder may stand for any text, and a sweep or `seeds` may add brackets.
    text = template.value if template and isinstance(template.value, str) else key
    label_pattern = ".*".join(map(re.escape, re.split(r"\{[^{}]*\}", text)))
    return re.compile(rf"({re.escape(key)}|{label_pattern})(\[.*\])?")


def row_label(
    entry: SuiteEntry, point: SweepPoint, *, options: Mapping[str, Json], problems: Problems
) -> str | None:
    """Return the label of a point of the entry's sweep, or add a problem and return None.

    `options` are the validated ones, for placeholders of options that the entry leaves out.
    """
    template = entry.words.get("label")
    if template is None:
        label = bracketed_label(entry.key, point.settings)
        return _checked_label(label, entry.location, "give the entry a `label`", problems)
    text = validators.require_text(template, expected="a text", problems=problems)
    if text is None:
        return None
    texts = {
        name: _option_text(name, point.options, options) for name in _PLACEHOLDER.findall(text)
    }
    unknown = [name for name, value in texts.items() if value is None]
    if unknown:
        _add_unknown_placeholder(unknown[0], template, entry, problems)
        return None
    label = _PLACEHOLDER.sub(lambda match: texts[match[1]] or "", text)
    next_step = "correct `label`, or what its braces stand for"
    reserved = entry.section.reserved
    return _checked_label(label, template.location, next_step, problems, reserved=reserved)


def _checked_label(
    label: str,
    mark: Location,
    next_step: str,
    problems: Problems,
    *,
    reserved: frozenset[str] = frozenset(),
) -> str | None:
    expected = label_fault(label, reserved=reserved)
    if expected is None:
        return label
    problems.add(
        mark, found=f"the label {quote_name(label)}", expected=expected, next_step=next_step
    )
    return None


def bracketed_label(name: str, settings: Mapping[str, Located]) -> str:
    """Return ``name[option=value,...]``, or the name alone where there are no settings.

    Settings are added inside the brackets that the name already ends with.
    """
    settings_text = ",".join(f"{option}={_value_text(value)}" for option, value in settings.items())
    if not settings_text:
        return name
    return f"{name[:-1]},{settings_text}]" if name.endswith("]") else f"{name}[{settings_text}]"


def _template_names(entry: SuiteEntry) -> list[str]:
    # Replicates share a row, so their seed cannot be a part of its label; nor can an option that
    # each fit chooses for itself.
    hidden = {"seed"} if "seeds" in entry.words else set()
    choice = entry.words.get(CHOOSE)
    among = choice.child("among") if choice else None
    if among and isinstance(among.value, Mapping):
        hidden |= {name.partition(".")[0] for name in among.value}
    return [name for name in option_names(entry.component) if name not in hidden]


def _add_unknown_placeholder(
    placeholder: str, template: Located, entry: SuiteEntry, problems: Problems
) -> None:
    show = f"`advtransfer show {entry.component.name}` lists them"
    problems.add(
        template.location,
        found=f"{{{placeholder}}} in a label",
        expected=f"options of {entry.component.name} in braces",
        next_step=did_you_mean(placeholder, _template_names(entry), otherwise=show),
    )


def _option_text(name: str, written: Located, options: Mapping[str, Json]) -> str | None:
    """Return a dotted option as the suite writes it, else its default, else None."""
    path = name.split(".")
    item: Located | None = written
    for step in path:
        item = item.child(step) if item else None
    if item is not None:
        return _value_text(item)
    value: Json = options
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, str) else json.dumps(value)


def _value_text(value: Located) -> str:
    if isinstance(value.value, tuple):
        return f"[{','.join(map(_value_text, value.value))}]"
    if isinstance(value.value, Mapping):
        pairs = (f"{name}:{_value_text(item)}" for name, item in value.value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value.value, str):
        return value.value
    return value.text or json.dumps(value.value)
