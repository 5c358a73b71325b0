"""Turns an entry's options into a node: plain options checked, named parts put in, files digested."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from advtransfer.node import Node
from advtransfer.options import Fault, Option
from advtransfer.precheck import Misfit, Surroundings
from advtransfer.suite import expect
from advtransfer.suite.content import Content, Contents
from advtransfer.suite.entry import DIGEST, Entry
from advtransfer.suite.marked import Marked
from advtransfer.suite.number_texts import boolean_step, number_step
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.problems import Problems, did_you_mean, listing
from advtransfer.suite.views import check_view, views
from advtransfer.types import Json

_WORDS = {
    r"a valid array": "a list",
    r"a valid dictionary|an object": "a mapping",
    r"Tuple should have (at (?:least|most) \d+ items?) after validation, not \d+": r"a list of \1",
}
Resolve: TypeAlias = Callable[[Option, Marked], Node | None]
"""What an option of a kind names, or holds inline; None where that has mistakes of its own."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the nodes of one suite."""

    contents: Contents
    resolve: Resolve
    outlines: Outlines
    problems: Problems

    def node(self, entry: Entry, options: Marked) -> Node | None:
        """The node that an entry asks for with these options, or None and problems."""
        before = self.problems.noted
        said = {name: one for name, one in _entries(options).items() if one.value is not None}
        fields = entry.component.options.fields.values()
        values = self._plain(entry, options)
        how = {one.name: values.pop(one.name) for one in fields if not one.asked and one.name in values}
        parts = {one.name: self._parts(one, said.get(one.name), entry) for one in fields if one.kind}
        contents = {one.name: self._contents(one, said, entry) for one in fields if one.file}
        view = views(said, problems=self.problems) if entry.section.views else {}
        inputs = {name: tuple(node for node in nodes if node) for name, nodes in parts.items() if nodes}
        if self.problems.noted > before or any(None in nodes for nodes in parts.values()):
            return None
        many = {one.name for one in fields if one.many}
        digests = {name: [{DIGEST: one.sha256} for one in found] for name, found in contents.items() if found}
        node = Node(
            entry.section.node,
            entry.component.name,
            entry.component.facts.version,
            {**values, **{name: found if name in many else found[0] for name, found in digests.items()}, **view},
            {name: nodes if name in many else nodes[0] for name, nodes in inputs.items()},
            {one.sha256: one.path for found in contents.values() for one in found},
            how,
        )
        if node.kind == "data":
            check_view(self.outlines.base(node), said, self.problems)
        for misfit in self.outlines.misfits(node, Surroundings()):
            if not misfit.skips:
                self.note(misfit, entry, options)
        return None if self.problems.noted > before else node

    def note(self, misfit: Misfit, entry: Entry, options: Marked) -> None:
        """An option that cannot work, at its value."""
        at = options.find(misfit.path)
        mark = at.mark if misfit.path and options.child(misfit.path[0]) else entry.where
        found = at.shown() if misfit.found is None else misfit.found
        self.problems.add(mark, found=found, expected=misfit.expected, next_step=misfit.next_step)

    def _plain(self, entry: Entry, options: Marked) -> dict[str, Json]:
        fields = entry.component.options.fields
        plain = {name: one.plain() for name, one in _entries(options).items() if name in fields and fields[name].plain}
        values, faults = entry.component.options.validate(plain)
        for fault in faults:
            self._note(fault, entry, options)
        return values

    def _note(self, fault: Fault, entry: Entry, options: Marked) -> None:
        """A fault of an option, at the value that has it; a missing one at what it is missing from."""
        at = options.find(fault.path)
        found, expected = fault.found, fault.expected
        show = f"`advtransfer show {entry.component.name}` explains the options"
        if not fault.path:
            mark, next_step = entry.where, f"add it; {show}"
        elif fault.found.startswith("unknown option"):
            known = _known(entry.component.options.schema(), fault.path[:-1])
            mark, next_step = at.name_mark, did_you_mean(fault.path[-1], known, otherwise=show)
            expected = f"one of {listing(known)}" if known else expected
        elif fault.found.startswith("no option"):
            mark, next_step = at.mark, f"add it; {show}"
        else:
            mark, next_step, found = at.mark, _step(at, expected) or show, at.shown()
            expected = _worded(expected)
        self.problems.add(mark, found=found, expected=expected, next_step=next_step)

    def _parts(self, option: Option, value: Marked | None, entry: Entry) -> list[Node | None]:
        if value is None:
            self._missing(option, entry, f"a {option.kind}: the name of an entry, or an entry in place")
            return []
        return [self.resolve(option, one) for one in self._values(option, value)]

    def _contents(self, option: Option, said: Mapping[str, Marked], entry: Entry) -> list[Content]:
        value = said.get(option.name)
        if value is None or option.file is None:
            self._missing(option, entry, f"the path of a {option.file}")
            return []
        declared = None if DIGEST in entry.component.options.fields else said.get(DIGEST)
        found = [self.contents.find(one, what=option.file, declared=declared) for one in self._values(option, value)]
        return [one for one in found if one]

    def _values(self, option: Option, value: Marked) -> tuple[Marked, ...]:
        if not option.many:
            return (value,)
        return expect.listed(value, expected=f"a list for {option.name!r}", problems=self.problems)

    def _missing(self, option: Option, entry: Entry, expected: str) -> None:
        if option.required:
            next_step = f"add it; `advtransfer show {entry.component.name}` explains the options"
            self.problems.add(entry.where, found=f"no option {option.name!r}", expected=expected, next_step=next_step)


def _worded(expected: str) -> str:
    """What pydantic expects in the words of a suite."""
    for theirs, ours in _WORDS.items():
        expected = re.sub(theirs, ours, expected)
    return expected


def _step(value: Marked, expected: str) -> str | None:
    """The next step where a value was meant as another one: a number in quotes, a text that looks like a number."""
    written = value.value
    if isinstance(written, float) and written.is_integer() and "integer" in expected:
        return f"write {int(written)}"
    if isinstance(written, str) and re.search(r"boolean", expected):
        return boolean_step(written)
    if isinstance(written, str) and re.search(r"number|integer|array|greater|less|multiple", expected):
        return number_step(written)
    if written is not None and not isinstance(written, str | tuple | Mapping) and expected == "a valid string":
        return f"put it in quotes: '{value.shown()}'"
    return None


def _entries(options: Marked) -> Mapping[str, Marked]:
    return options.value if isinstance(options.value, Mapping) else {}


def _known(schema: Json, path: tuple[str | int, ...]) -> list[str]:
    """The names that a JSON Schema allows at a path, in any branch of a union."""
    if not isinstance(schema, Mapping):
        return []
    branches = schema.get("anyOf")
    inner = [name for branch in branches for name in _known(branch, path)] if isinstance(branches, list) else []
    below = schema.get("properties", {})
    if not isinstance(below, Mapping) or not path:
        return list(dict.fromkeys([*inner, *(below if isinstance(below, Mapping) else ())]))
    step = schema.get("items") if isinstance(path[0], int) else below.get(path[0])
    return list(dict.fromkeys([*inner, *_known(step, path[1:])]))
