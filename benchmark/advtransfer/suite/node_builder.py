"""Construction of nodes from entries.

Options are validated, files digested, data-set views checked, and components given by name
resolved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from advtransfer.errors import BadInput
from advtransfer.node import Node
from advtransfer.options import ContentKind, Option, OptionFault
from advtransfer.precheck import CellOutline, Misfit
from advtransfer.suite import validators
from advtransfer.suite.data_views import check_view, read_view
from advtransfer.suite.entry import DIGEST_OPTION, SuiteEntry
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.placeholders import Placeholder, make_placeholder
from advtransfer.suite.sections import CHOICE_STEP, CHOOSE
from advtransfer.toolkit import file_digests
from advtransfer.types import Json


class DigestedContent(NamedTuple):
    """The digest of a file or folder, and its path on this machine."""

    sha256: str
    path: str


class ContentFinder:
    """Finder of files and folders in ADVTRANSFER_DATA and beside the suite; digests each once.

    Args:
        problems: Collects the mistakes.
        without_data: Whether a missing file or folder counts as a placeholder, and is no mistake.
    """

    def __init__(self, problems: Problems, *, without_data: bool = False) -> None:
        self._problems = problems
        self._without_data = without_data
        self._placeholders: dict[tuple[str, str], Placeholder] = {}
        # Several entries, and every point of a sweep, may use one file of gigabytes.
        self._digest = cache(file_digests.content_sha256)

    def find_content(
        self, value: Located, *, what: ContentKind, declared: Located | None
    ) -> DigestedContent | None:
        """Return the content at a path, or add a problem and return None.

        With a `declared` sha256 the content is not read here; the run verifies it.
        """
        name = validators.require_text(
            value, expected=f"the path of a {what}", problems=self._problems
        )
        path = self._find_path(name, value, what) if name else None
        if declared is not None and not _is_sha256(declared.value):
            next_step = f"`sha256sum {path or name}` computes it"
            validators.add_mismatch(
                declared,
                expected="64 hexadecimal digits",
                next_step=next_step,
                problems=self._problems,
            )
            return None
        digest = None if declared is None else str(declared.value)
        if path is None:
            return self._missing_content(name, value, what, digest) if name else None
        return DigestedContent(digest, str(path)) if digest else self._digest_content(path, value)

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The files and folders that were missing, sorted by kind and name."""
        return tuple(self._placeholders[key] for key in sorted(self._placeholders))

    def _digest_content(self, path: Path, value: Located) -> DigestedContent | None:
        try:
            return DigestedContent(self._digest(path), str(path))
        except BadInput as error:
            for problem in error.problems:
                self._problems.add(
                    value.location,
                    found=problem.found,
                    expected=problem.expected,
                    next_step=problem.next_step,
                )
            return None

    def _find_path(self, name: str, value: Located, what: ContentKind) -> Path | None:
        for folder in _searched_folders(value):
            path = folder / name
            if _is_present(path, what):
                return path.resolve()
        return None

    def _missing_content(
        self, name: str, value: Located, what: ContentKind, declared: str | None
    ) -> DigestedContent | None:
        """Return a placeholder's digest in a plan without data, else add a problem."""
        folders = _searched_folders(value)
        if self._without_data:
            placeholder = make_placeholder(what, name, declared)
            self._placeholders[what, name] = placeholder
            return DigestedContent(placeholder.sha256, str(folders[0] / name))
        searched = " or ".join(str(folder.resolve()) for folder in folders)
        next_step = "correct the path"
        if len(folders) == 1:
            next_step = f"set ADVTRANSFER_DATA to the folder that holds it, or {next_step}"
        self._problems.add_absent(value, expected=f"a {what} in {searched}", next_step=next_step)
        return None


def _searched_folders(value: Located) -> list[Path]:
    """Return ADVTRANSFER_DATA, where it is set, and the folder of the suite."""
    data = os.environ.get("ADVTRANSFER_DATA")
    return [*([Path(data)] if data else []), Path(value.location.file).parent]


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_present(path: Path, what: ContentKind) -> bool:
    try:
        return path.is_file() if what == "file" else path.is_dir()
    except OSError:  # The name is too long, or a folder above it may not be searched.
        return False


ResolvePart: TypeAlias = Callable[[Option, Located], Node | None]
"""Resolver of an option that takes a component: its name or an inline entry to a node, or to None
where that entry has mistakes, which are reported at that entry."""


@dataclass(frozen=True, slots=True)
class NodeBuilder:
    """Builder of the nodes of one suite."""

    contents: ContentFinder
    resolve_part: ResolvePart
    outlines: Outlines
    problems: Problems

    def build_node(self, entry: SuiteEntry, options: Located) -> Node | None:
        """Return the node of an entry with these options, or add problems and return None."""
        noted_before = self.problems.noted_count
        items = _option_items(options)
        written = {name: item for name, item in items.items() if item.value is not None}
        fields = entry.component.options.fields.values()
        values = self._plain_options(entry, options)
        not_in_id = {
            field.name: values.pop(field.name)
            for field in fields
            if not field.in_id and field.name in values
        }
        parts = {
            field.name: self._part_nodes(field, written.get(field.name), entry)
            for field in fields
            if field.kind
        }
        contents = {
            field.name: self._file_contents(field, written, entry) for field in fields if field.file
        }
        view = read_view(written, problems=self.problems) if entry.section.views else {}
        # A part with mistakes is None and has been reported at its own entry.
        has_broken_part = any(None in nodes for nodes in parts.values())
        if self.problems.noted_count > noted_before or has_broken_part:
            return None
        many = {field.name for field in fields if field.many}
        node = Node(
            entry.section.node_kind,
            entry.component.name,
            entry.component.metadata.version,
            {**values, **_digest_options(contents, many), **view},
            _input_nodes(parts, many),
            {content.sha256: content.path for found in contents.values() for content in found},
            not_in_id,
        )
        self._check_node(node, entry, options, written)
        return None if self.problems.noted_count > noted_before else node

    def _check_node(
        self, node: Node, entry: SuiteEntry, options: Located, written: Mapping[str, Located]
    ) -> None:
        if node.kind == "data":
            check_view(self.outlines.outline_below_view(node), written, self.problems)
        # Without a cell around it, only what cannot work in any cell is a mistake of the entry. A
        # misfit that skips depends on the cell; `cross_checks` and the plan look at those.
        for misfit in self.outlines.node_misfits(node, CellOutline()):
            if not misfit.skips:
                self.add_misfit(misfit, entry, options)

    def add_misfit(self, misfit: Misfit, entry: SuiteEntry, options: Located) -> None:
        """Add a problem for an option that cannot work, at its value or else at its entry."""
        # `choose` is a word of the entry, beside its options.
        written = Located({**_option_items(options), **entry.words}, entry.location)
        value = written.find_innermost(misfit.path)
        is_written = misfit.path and written.child(misfit.path[0])
        mark = value.location if is_written else entry.location
        found = value.shown_text() if misfit.found is None else misfit.found
        self.problems.add(mark, found=found, expected=misfit.expected, next_step=misfit.next_step)

    def _plain_options(self, entry: SuiteEntry, options: Located) -> dict[str, Json]:
        fields = entry.component.options.fields
        plain = {
            name: item.to_plain()
            for name, item in _option_items(options).items()
            if name in fields and fields[name].is_plain
        }
        # Only plain values go to pydantic; parts, files and views are read by this module.
        values, faults = entry.component.options.validate(plain)
        for fault in faults:
            self._add_fault(fault, entry, options)
        return values

    def _add_fault(self, fault: OptionFault, entry: SuiteEntry, options: Located) -> None:
        """Add a fault of an option at its value, or at the mapping that lacks it."""
        value = options.find_innermost(fault.path)
        found = fault.found
        expected = fault.expected
        show_step = f"`advtransfer show {entry.component.name}` explains the options"
        if not fault.path:
            mark = entry.location
            next_step = f"add it; {show_step}"
        elif fault.found.startswith("unknown option"):
            names = _schema_names(entry.component.options.json_schema(), fault.path[:-1])
            mark = value.name_location
            next_step = did_you_mean(fault.path[-1], names, otherwise=show_step)
            expected = f"one of {join_names(names)}" if names else expected
        elif fault.found.startswith("no option"):
            mark = value.location
            next_step = f"add it; {show_step}"
        else:
            mark = value.location
            next_step = validators.type_correction_step(value, expected) or show_step
            if CHOOSE in entry.section.words and isinstance(value.value, tuple):
                next_step = f"to choose one of them, {CHOICE_STEP}; to compare them, `sweep`"
            found = value.shown_text()
            expected = validators.in_suite_words(expected)
        self.problems.add(mark, found=found, expected=expected, next_step=next_step)

    def _part_nodes(
        self, option: Option, value: Located | None, entry: SuiteEntry
    ) -> list[Node | None]:
        if value is None:
            expected = f"a {option.kind}: the name of an entry, or an inline entry"
            self._check_required(option, entry, expected)
            return []
        return [self.resolve_part(option, item) for item in self._option_values(option, value)]

    def _file_contents(
        self, option: Option, written: Mapping[str, Located], entry: SuiteEntry
    ) -> list[DigestedContent]:
        value = written.get(option.name)
        if value is None or option.file is None:
            self._check_required(option, entry, f"the path of a {option.file}")
            return []
        # A factory may have an option of its own with the name `sha256`.
        has_own_digest = DIGEST_OPTION in entry.component.options.fields
        declared = None if has_own_digest else written.get(DIGEST_OPTION)
        contents = [
            self.contents.find_content(path, what=option.file, declared=declared)
            for path in self._option_values(option, value)
        ]
        return [content for content in contents if content]

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


def _digest_options(
    contents: Mapping[str, list[DigestedContent]], many: Collection[str]
) -> dict[str, Json]:
    """Return the file options as a node holds them: by digest, since paths differ by machine."""
    options: dict[str, Json] = {}
    for name, found in contents.items():
        digests: list[Json] = [{DIGEST_OPTION: content.sha256} for content in found]
        if digests:
            options[name] = digests if name in many else digests[0]
    return options


def _input_nodes(
    parts: Mapping[str, list[Node | None]], many: Collection[str]
) -> dict[str, Node | tuple[Node, ...]]:
    inputs: dict[str, Node | tuple[Node, ...]] = {}
    for name, found in parts.items():
        nodes = tuple(node for node in found if node)
        if nodes:
            inputs[name] = nodes if name in many else nodes[0]
    return inputs


def _option_items(options: Located) -> Mapping[str, Located]:
    return options.value if isinstance(options.value, Mapping) else {}


def _schema_names(schema: Json, path: tuple[str | int, ...]) -> list[str]:
    """Return the names that a JSON Schema allows at a path, in any branch of a union."""
    if not isinstance(schema, Mapping):
        return []
    names: list[str] = []
    branches = schema.get("anyOf")
    for branch in branches if isinstance(branches, list) else ():
        names += _schema_names(branch, path)
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        properties = None
    if not path:
        names += properties or ()
    elif isinstance(path[0], int):
        names += _schema_names(schema.get("items"), path[1:])
    elif properties is not None:
        names += _schema_names(properties.get(path[0]), path[1:])
    return list(dict.fromkeys(names))
