"""Construction of nodes from entries.

Options are validated, files digested, data-set views checked, and components given by name
resolved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from advtransfer.errors import BadInput
from advtransfer.node import Node
from advtransfer.options import ContentKind, Option, OptionFault
from advtransfer.precheck import CellOutline, Misfit, Outline
from advtransfer.suite import validators
from advtransfer.suite.entry import DIGEST_OPTION, SuiteEntry, distinct_values
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.sections import MAX_IMAGE_SIDE, VIEW_OPTIONS
from advtransfer.suite.validators import boolean_step, number_step
from advtransfer.toolkit import file_digests
from advtransfer.types import Json


class DigestedContent(NamedTuple):
    """What is in a file or folder, and where that was found."""

    sha256: str
    path: str


class ContentFinder:
    """Finds content under ADVTRANSFER_DATA, then beside the suite, and digests each once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._digest = cache(file_digests.content_sha256)

    def find_content(
        self, value: Located, *, what: ContentKind, declared: Located | None
    ) -> DigestedContent | None:
        """The content that a path means; `declared` is a sha256 that spares the reading, and is checked by the run."""
        name = validators.require_text(
            value, expected=f"the path of a {what}", problems=self._problems
        )
        path = self._find_path(name, value, what) if name else None
        if path is None:
            return None
        if declared is None:
            return self._digest_content(path, value)
        if isinstance(declared.value, str) and re.fullmatch(r"[0-9a-f]{64}", declared.value):
            return DigestedContent(declared.value, str(path))
        next_step = f"`sha256sum {path}` computes it"
        validators.add_mismatch(
            declared, expected="64 hexadecimal digits", next_step=next_step, problems=self._problems
        )
        return None

    def _digest_content(self, path: Path, value: Located) -> DigestedContent | None:
        try:
            return DigestedContent(self._digest(path), str(path))
        except BadInput as error:
            for one in error.problems:
                self._problems.add(
                    value.location, found=one.found, expected=one.expected, next_step=one.next_step
                )
            return None

    def _find_path(self, name: str, value: Located, what: ContentKind) -> Path | None:
        data = os.environ.get("ADVTRANSFER_DATA")
        folders = [*([Path(data)] if data else []), Path(value.location.file).parent]
        for path in (folder / name for folder in folders):
            if _is_present(path, what):
                return path.resolve()
        searched = " or ".join(str(folder.resolve()) for folder in folders)
        next_step = (
            "correct the path"
            if data
            else "set ADVTRANSFER_DATA to the folder that holds it, or correct the path"
        )
        validators.add_mismatch(
            value, expected=f"a {what} in {searched}", next_step=next_step, problems=self._problems
        )
        return None


def _is_present(path: Path, what: ContentKind) -> bool:
    try:
        return path.is_file() if what == "file" else path.is_dir()
    except OSError:  # a name that is too long, or a folder above it that may not be searched
        return False


def read_view(options: Mapping[str, Located], *, problems: Problems) -> dict[str, Json]:
    """The view's part of a data set's options; nothing for what is not written."""
    readers = {"classes": _read_classes, "channels": _read_channels, "size": _read_size}
    said = {
        name: options[name]
        for name in VIEW_OPTIONS
        if name in options and options[name].value is not None
    }
    return {name: readers[name](value, problems) for name, value in said.items()}


def check_view(data: Outline, said: Mapping[str, Located], problems: Problems) -> None:
    """Note what of a view the data set below cannot give, as far as that is known."""
    classes, channels, shape = said.get("classes"), said.get("channels"), data.shape
    if classes is not None and data.task not in (None, "classes"):
        expected = f"no `classes`, since the labels are {data.task}"
        problems.add(
            classes.name_location, found="`classes`", expected=expected, next_step="leave them out"
        )
    elif classes is not None and data.outputs is not None and isinstance(classes.value, tuple):
        for one in classes.value:
            if isinstance(one.value, int) and one.value >= data.outputs:
                expected = f"a class from 0 to {data.outputs - 1}"
                validators.add_mismatch(
                    one, expected=expected, next_step="correct it", problems=problems
                )
    for name in ("channels", "size"):
        if name in said and shape is not None and len(shape) != 3:
            expected = f"none over inputs of shape {shape}, which are no images"
            problems.add(
                said[name].name_location,
                found=f"`{name}`",
                expected=expected,
                next_step="leave it out",
            )
    if (
        channels is not None
        and shape is not None
        and channels.value == 3
        and len(shape) == 3
        and shape[0] not in (1, 3)
    ):
        expected = f"1, or no `channels`, over images of {shape[0]} channels"
        validators.add_mismatch(
            channels, expected=expected, next_step="correct it", problems=problems
        )


def _read_classes(value: Located, problems: Problems) -> Json:
    expected = "a list of at least two class numbers; they become 0, 1, ... in this order"
    numbers = validators.require_list(value, expected=expected, problems=problems)
    kept = distinct_values(numbers, of="`classes`", problems=problems)
    if len(numbers) == 1:
        validators.add_mismatch(
            value, expected=expected, next_step="add a class", problems=problems
        )
    return [
        validators.require_integer(
            one, at_least=0, expected="a class number from 0", problems=problems
        )
        for one in kept
    ]


def _read_channels(value: Located, problems: Problems) -> Json:
    channels = validators.require_integer(
        value, at_least=1, expected="1 (their mean) or 3 (repeated)", problems=problems
    )
    if channels not in (None, 1, 3):
        validators.add_mismatch(
            value,
            expected="1 (their mean) or 3 (repeated)",
            next_step="correct it",
            problems=problems,
        )
    return channels


def _read_size(value: Located, problems: Problems) -> Json:
    expected = f"the side of a square in pixels, from 1 to {MAX_IMAGE_SIDE:,}"
    return validators.require_integer(
        value, at_least=1, at_most=MAX_IMAGE_SIDE, expected=expected, problems=problems
    )


_PYDANTIC_WORDS = {
    r"a valid array": "a list",
    r"a valid dictionary|an object": "a mapping",
    r"Tuple should have (at (?:least|most) \d+ items?) after validation, not \d+": r"a list of \1",
}
ResolvePart: TypeAlias = Callable[[Option, Located], Node | None]
"""What an option of a kind names, or holds inline; None where that has mistakes of its own."""


@dataclass(frozen=True, slots=True)
class NodeBuilder:
    """Builds the nodes of one suite."""

    contents: ContentFinder
    resolve_part: ResolvePart
    outlines: Outlines
    problems: Problems

    def build_node(self, entry: SuiteEntry, options: Located) -> Node | None:
        """The node that an entry asks for with these options, or None and problems."""
        before = self.problems.noted_count
        said = {name: one for name, one in _option_items(options).items() if one.value is not None}
        fields = entry.component.options.fields.values()
        values = self._plain_options(entry, options)
        how = {
            one.name: values.pop(one.name) for one in fields if not one.in_id and one.name in values
        }
        parts = {
            one.name: self._part_nodes(one, said.get(one.name), entry) for one in fields if one.kind
        }
        contents = {one.name: self._file_contents(one, said, entry) for one in fields if one.file}
        view = read_view(said, problems=self.problems) if entry.section.views else {}
        inputs = {
            name: tuple(node for node in nodes if node) for name, nodes in parts.items() if nodes
        }
        if self.problems.noted_count > before or any(None in nodes for nodes in parts.values()):
            return None
        many = {one.name for one in fields if one.many}
        digests = {
            name: [{DIGEST_OPTION: one.sha256} for one in found]
            for name, found in contents.items()
            if found
        }
        node = Node(
            entry.section.node_kind,
            entry.component.name,
            entry.component.metadata.version,
            {
                **values,
                **{name: found if name in many else found[0] for name, found in digests.items()},
                **view,
            },
            {name: nodes if name in many else nodes[0] for name, nodes in inputs.items()},
            {one.sha256: one.path for found in contents.values() for one in found},
            how,
        )
        if node.kind == "data":
            check_view(self.outlines.outline_below_view(node), said, self.problems)
        for misfit in self.outlines.node_misfits(node, CellOutline()):
            if not misfit.skips:
                self.add_misfit(misfit, entry, options)
        return None if self.problems.noted_count > before else node

    def add_misfit(self, misfit: Misfit, entry: SuiteEntry, options: Located) -> None:
        """An option that cannot work, at its value."""
        at = options.find_innermost(misfit.path)
        mark = at.location if misfit.path and options.child(misfit.path[0]) else entry.location
        found = at.shown_text() if misfit.found is None else misfit.found
        self.problems.add(mark, found=found, expected=misfit.expected, next_step=misfit.next_step)

    def _plain_options(self, entry: SuiteEntry, options: Located) -> dict[str, Json]:
        fields = entry.component.options.fields
        plain = {
            name: one.to_plain()
            for name, one in _option_items(options).items()
            if name in fields and fields[name].is_plain
        }
        values, faults = entry.component.options.validate(plain)
        for fault in faults:
            self._add_fault(fault, entry, options)
        return values

    def _add_fault(self, fault: OptionFault, entry: SuiteEntry, options: Located) -> None:
        """A fault of an option, at the value that has it; a missing one at what it is missing from."""
        at = options.find_innermost(fault.path)
        found, expected = fault.found, fault.expected
        show = f"`advtransfer show {entry.component.name}` explains the options"
        if not fault.path:
            mark, next_step = entry.location, f"add it; {show}"
        elif fault.found.startswith("unknown option"):
            known = _schema_names(entry.component.options.json_schema(), fault.path[:-1])
            mark, next_step = at.name_location, did_you_mean(fault.path[-1], known, otherwise=show)
            expected = f"one of {join_names(known)}" if known else expected
        elif fault.found.startswith("no option"):
            mark, next_step = at.location, f"add it; {show}"
        else:
            mark, next_step, found = (
                at.location,
                _type_correction(at, expected) or show,
                at.shown_text(),
            )
            expected = _in_suite_words(expected)
        self.problems.add(mark, found=found, expected=expected, next_step=next_step)

    def _part_nodes(
        self, option: Option, value: Located | None, entry: SuiteEntry
    ) -> list[Node | None]:
        if value is None:
            self._check_required(
                option, entry, f"a {option.kind}: the name of an entry, or an entry in place"
            )
            return []
        return [self.resolve_part(option, one) for one in self._option_values(option, value)]

    def _file_contents(
        self, option: Option, said: Mapping[str, Located], entry: SuiteEntry
    ) -> list[DigestedContent]:
        value = said.get(option.name)
        if value is None or option.file is None:
            self._check_required(option, entry, f"the path of a {option.file}")
            return []
        declared = (
            None if DIGEST_OPTION in entry.component.options.fields else said.get(DIGEST_OPTION)
        )
        found = [
            self.contents.find_content(one, what=option.file, declared=declared)
            for one in self._option_values(option, value)
        ]
        return [one for one in found if one]

    def _option_values(self, option: Option, value: Located) -> tuple[Located, ...]:
        if not option.many:
            return (value,)
        return validators.require_list(
            value, expected=f"a list for {option.name!r}", problems=self.problems
        )

    def _check_required(self, option: Option, entry: SuiteEntry, expected: str) -> None:
        if option.required:
            next_step = f"add it; `advtransfer show {entry.component.name}` explains the options"
            self.problems.add(
                entry.location,
                found=f"no option {option.name!r}",
                expected=expected,
                next_step=next_step,
            )


def _in_suite_words(expected: str) -> str:
    """What pydantic expects in the words of a suite."""
    for theirs, ours in _PYDANTIC_WORDS.items():
        expected = re.sub(theirs, ours, expected)
    return expected


def _type_correction(value: Located, expected: str) -> str | None:
    """The next step where a value was meant as another one: a number in quotes, a text that looks like a number."""
    written = value.value
    if isinstance(written, float) and written.is_integer() and "integer" in expected:
        return f"write {int(written)}"
    if isinstance(written, str) and re.search(r"boolean", expected):
        return boolean_step(written)
    if isinstance(written, str) and re.search(
        r"number|integer|array|greater|less|multiple", expected
    ):
        return number_step(written)
    if (
        written is not None
        and not isinstance(written, str | tuple | Mapping)
        and expected == "a valid string"
    ):
        return f"put it in quotes: '{value.shown_text()}'"
    return None


def _option_items(options: Located) -> Mapping[str, Located]:
    return options.value if isinstance(options.value, Mapping) else {}


def _schema_names(schema: Json, path: tuple[str | int, ...]) -> list[str]:
    """The names that a JSON Schema allows at a path, in any branch of a union."""
    if not isinstance(schema, Mapping):
        return []
    branches = schema.get("anyOf")
    inner = (
        [name for branch in branches for name in _schema_names(branch, path)]
        if isinstance(branches, list)
        else []
    )
    below = schema.get("properties", {})
    if not isinstance(below, Mapping) or not path:
        return list(dict.fromkeys([*inner, *(below if isinstance(below, Mapping) else ())]))
    step = schema.get("items") if isinstance(path[0], int) else below.get(path[0])
    return list(dict.fromkeys([*inner, *_schema_names(step, path[1:])]))
