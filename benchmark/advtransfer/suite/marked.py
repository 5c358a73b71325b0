"""A value of a suite together with the place in the file that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from advtransfer.errors import Mark
from advtransfer.types import Json

Value: TypeAlias = "bool | int | float | str | tuple[Marked, ...] | Mapping[str, Marked] | None"


@dataclass(frozen=True, slots=True)
class Marked:
    """A value, where it stands, where its name stands, and, of a number, how the file writes it (``8/255``)."""

    value: Value
    mark: Mark
    key: Mark | None = None
    text: str | None = None

    @property
    def name_mark(self) -> Mark:
        """Where the value's name stands, or the value itself where it has none."""
        return self.key or self.mark

    def plain(self) -> Json:
        """The value without places."""
        if isinstance(self.value, Mapping):
            return {name: one.plain() for name, one in self.value.items()}
        if isinstance(self.value, tuple):
            return [one.plain() for one in self.value]
        return self.value

    def child(self, step: str | int) -> Marked | None:
        """The value under a name or at a position, if there is one."""
        if isinstance(self.value, Mapping) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, tuple) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None

    def find(self, path: tuple[str | int, ...]) -> Marked:
        """The value at a path, or the innermost one on the way to it."""
        child = self.child(path[0]) if path else None
        return child.find(path[1:]) if child else self

    def shown(self) -> str:
        """The value for a message."""
        text = self.text if self.text is not None else repr(self.plain())
        return text if len(text) <= 60 else f"{text[:57]}..."


def marked(value: Json, mark: Mark) -> Marked:
    """A plain value, all of it at one place: a preset stands where it is named."""
    if isinstance(value, Mapping):
        return Marked({name: marked(one, mark) for name, one in value.items()}, mark)
    if isinstance(value, str | bool | int | float) or value is None:
        return Marked(value, mark)
    return Marked(tuple(marked(one, mark) for one in value), mark)


def merged(lower: Marked, upper: Marked) -> Marked:
    """`upper` over `lower`: mappings merge by name, all else is replaced; so is an entry of another component."""
    if not (isinstance(lower.value, Mapping) and isinstance(upper.value, Mapping)) or _another(lower, upper):
        return upper
    together = dict(lower.value)
    for name, one in upper.value.items():
        together[name] = merged(together[name], one) if name in together else one
    return replace(upper, value=together)


def _another(lower: Marked, upper: Marked) -> bool:
    below, above = lower.child("use"), upper.child("use")
    return below is not None and above is not None and below.value != above.value
