"""Typed access to the fields of events; a field that is absent or of another type reads as empty.

Cards, metrics and reasons in events come from plugins, so nothing is assumed of their types: a
display must not end a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from advtransfer.text import printable_text
from advtransfer.types import Json

Event: TypeAlias = Mapping[str, Json]


def text_field(event: Event, key: str) -> str:
    """Return a field as one line of text, or ``""``."""
    value = event.get(key)
    return "" if value is None else " ".join(printable_text(str(value)).split())


def number_field(event: Event, key: str) -> float:
    """Return a field as a number, or 0."""
    value = event.get(key)
    return value if isinstance(value, int | float) else 0


def integer_field(event: Event, key: str) -> int:
    """Return a field as a whole number, or 0."""
    return int(number_field(event, key))


def mapping_field(event: Event, key: str) -> Event:
    """Return a field as a mapping, or an empty one."""
    value = event.get(key)
    return value if isinstance(value, Mapping) else {}


def mapping_list_field(event: Event, key: str) -> list[Event]:
    """Return the mappings in a field that is a list."""
    value = event.get(key)
    items = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]


def text_list_field(event: Event, key: str) -> tuple[str, ...]:
    """Return the texts in a field that is a list."""
    value = event.get(key)
    items = value if isinstance(value, list | tuple) else ()
    return tuple(item for item in items if isinstance(item, str))


def number_mapping_field(event: Event, key: str) -> dict[str, float]:
    """Return the numbers in a field that is a mapping."""
    return {
        printable_text(name): value
        for name, value in mapping_field(event, key).items()
        if isinstance(value, int | float)
    }
