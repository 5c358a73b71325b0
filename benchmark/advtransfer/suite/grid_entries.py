"""The grid entries of every section and of references.

One for each sweep point and replicate, built on first use because entries name each other in any
order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.options import Option
from advtransfer.precheck import Misfit
from advtransfer.suite import validators
from advtransfer.suite.choice import ChoiceReader
from advtransfer.suite.entry import (
    EntryReader,
    SuiteEntry,
    SweepPoint,
    entry_timeout,
    replicate_seeds,
    sweep_points,
    with_seed,
)
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names, quote_name
from advtransfer.suite.node_builder import ContentFinder, NodeBuilder
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.placeholders import Placeholder
from advtransfer.suite.resources import RESOURCES, read_resources
from advtransfer.suite.row_labels import (
    bracketed_label,
    check_label,
    row_label,
    unresolved_labels,
)
from advtransfer.suite.sections import (
    CHOOSE,
    INLINE_WORDS,
    MAX_GRID_ENTRIES,
    REFERENCE_WORDS,
    SECTIONS_BY_KIND,
    SOURCES,
    TRAINING_STARTS,
    Section,
    build_axis,
)
from advtransfer.suite.selection import Axis, Grid
from advtransfer.suite.suite import GridEntry


def apply_start(
    cells: tuple[GridEntry, ...], value: Located, *, problems: Problems
) -> tuple[GridEntry, ...]:
    """Return the cells of an inline reference with its ``start``, which is ``own`` by default.

    A node that starts from its own weights says so among its options, so its id differs from that
    of a source with the same options. A component without the option `seed` draws nothing, and so
    has no start.
    """
    written = value.value.get("start") if isinstance(value.value, Mapping) else None
    if written is None or written.value is None:
        return _with_own_starts(cells)
    start = written.value
    if start not in TRAINING_STARTS:
        validators.add_mismatch(
            written,
            expected=" or ".join(TRAINING_STARTS),
            next_step=did_you_mean(
                start, TRAINING_STARTS, otherwise="correct the word, or leave `start` out"
            ),
            problems=problems,
        )
    elif any("seed" not in cell.node.options for cell in cells):
        problems.add(
            written.name_location,
            found="`start`",
            expected=f"no `start`, since {cells[0].node.use} has no `seed`: nothing of it is drawn",
            next_step="remove the line",
        )
    return _with_own_starts(cells) if start == "own" else cells


def training_start(node: Node) -> str | None:
    """Return one of `TRAINING_STARTS` for a source or reference, or None where nothing is drawn."""
    return str(node.options.get("start", "source")) if "seed" in node.options else None


def _with_own_starts(cells: tuple[GridEntry, ...]) -> tuple[GridEntry, ...]:
    return tuple(replace(cell, node=_with_own_start(cell.node)) for cell in cells)


def _with_own_start(node: Node) -> Node:
    if "seed" not in node.options:
        return node
    return replace(node, options={**node.options, "start": "own"})


MAX_CHAIN_LENGTH = 50
"""Limit on entries that are made from each other in a chain; each level is several Python calls."""


class GridEntries:
    """The component entries of one suite and the cells that they stand for."""

    def __init__(
        self,
        sections: Mapping[str, Mapping[str, Located]],
        *,
        host: Host,
        problems: Problems,
        without_data: bool = False,
    ) -> None:
        self._sections = sections
        self._problems = problems
        self._reader = EntryReader(host, sections["defaults"], problems)
        self._reader.check_defaults()
        self.host = host
        self.outlines = Outlines(host)
        self._contents = ContentFinder(problems, without_data=without_data)
        self._builder = NodeBuilder(self._contents, self._part_node, self.outlines, problems)
        # The entry and options behind a node id, for problems that show only once the grid is
        # known.
        self._origins: dict[str, tuple[SuiteEntry, Located]] = {}
        self._expanded_entries: dict[tuple[str, str], tuple[GridEntry, ...]] = {}
        # Compiled when all axes are known, since `only` may name cells of any section.
        self._only_values: dict[tuple[str, str], Located] = {}
        # Patterns of labels that entries with mistakes would have had, by section.
        self._unresolved: dict[str, list[re.Pattern[str]]] = {name: [] for name in sections}
        # The chain of entries that are being built, to find circles.
        self._in_progress: list[tuple[str, str]] = []
        self._entry_count = 0

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The missing files and folders, in a plan without data."""
        return self._contents.placeholders

    def section_entries(self, section: Section) -> tuple[GridEntry, ...]:
        """Return every cell of a section, in the order of the file."""
        return tuple(
            cell for key in self._sections[section.name] for cell in self.expand_entry(section, key)
        )

    def expand_entry(self, section: Section, key: str) -> tuple[GridEntry, ...]:
        """Return the cells of one entry; none where it has mistakes."""
        entry_id = (section.name, key)
        if entry_id not in self._expanded_entries:
            self._in_progress.append(entry_id)
            value = self._sections[section.name][key]
            self._expanded_entries[entry_id] = self._expand_value(
                value, key=key, section=section, words=section.words
            )
            self._in_progress.pop()
        return self._expanded_entries[entry_id]

    def section_axis(self, section: Section) -> Axis:
        """Return the names on a section's axis; two cells with one name are a problem."""
        entries = self._sections[section.name]
        cells = self.section_entries(section)
        return build_axis(
            entries, cells, hidden=self._unresolved[section.name], problems=self._problems
        )

    def restricted_entries(self, section: Section, grid: Grid) -> tuple[GridEntry, ...]:
        """Return the cells of a section with their compiled `only`.

        This is a later step than `section_entries`, since `only` may name cells of any section.
        """
        only = {
            key: grid.compile_selection(value, allowed=section.only, problems=self._problems)
            for (name, key), value in self._only_values.items()
            if name == section.name
        }
        return tuple(
            replace(cell, only=only.get(cell.key)) for cell in self.section_entries(section)
        )

    def single_entry(self, kind: ComponentKind, value: Located, *, key: str) -> GridEntry | None:
        """Return the one cell that a value names or holds inline, or add a problem and return None.

        `key` becomes the key of an inline entry.
        """
        section = SECTIONS_BY_KIND[kind]
        if isinstance(value.value, Mapping):
            cells = self._expand_value(value, key=key, section=section, words=INLINE_WORDS)
        else:
            cells = self._entries_named(value, section)
        if len(cells) > 1:
            labels = join_names(repr(cell.label) for cell in cells)
            expected = f"the name of one {kind}, not of {len(cells)}"
            validators.add_mismatch(
                value, expected=expected, next_step=f"name one of {labels}", problems=self._problems
            )
        return cells[0] if len(cells) == 1 else None

    def add_misfit(self, misfit: Misfit, cell: GridEntry) -> None:
        """Add a problem for an option of a cell that cannot work, at its value."""
        self._builder.add_misfit(misfit, *self._origins[cell.node.id])

    def reference_entries(self, value: Located, *, key: str) -> tuple[GridEntry, ...]:
        """Return the sources that a target's ``reference`` names or holds inline, with replicates.

        A reference given by name is that source itself. An inline one trains from its own weights
        unless it says ``start: source``.
        """
        if isinstance(value.value, tuple):
            return tuple(
                cell
                for number, item in enumerate(value.value)
                for cell in self.reference_entries(item, key=f"{key}.{number}")
            )
        if isinstance(value.value, Mapping):
            cells = self._expand_value(value, key=key, section=SOURCES, words=REFERENCE_WORDS)
            return apply_start(cells, value, problems=self._problems)
        return self._entries_named(value, SOURCES)

    def _part_node(self, option: Option, value: Located) -> Node | None:
        cell = self.single_entry(option.kind, value, key=option.name) if option.kind else None
        return cell.node if cell else None

    def _entries_named(self, value: Located, section: Section) -> tuple[GridEntry, ...]:
        expected = f"the name of an entry of {section.name}, or an inline entry"
        name = validators.require_text(value, expected=expected, problems=self._problems)
        if name is None:
            return ()
        is_circular = (section.name, name) in self._in_progress
        if is_circular or len(self._in_progress) > MAX_CHAIN_LENGTH:
            chain = " -> ".join([*(key for _, key in self._in_progress), name])
            self._problems.add(
                value.location,
                found=f"{name!r}, which is made from itself or too long a chain ({chain})",
                expected="another entry",
                next_step="name another one",
            )
            return ()
        if name in self._sections[section.name]:
            return self.expand_entry(section, name)
        return self._entries_labelled(name, value, section)

    def _entries_labelled(
        self, name: str, value: Located, section: Section
    ) -> tuple[GridEntry, ...]:
        """Return the cells with a label or row, or add a problem and return none."""
        entries = self._sections[section.name]
        # Labels are known only after expansion. An entry that is being built is left out, or naming
        # any label from inside it would be a circle.
        keys = [
            key
            for key, entry in entries.items()
            if (section.name, key) not in self._in_progress and _has_labels(entry)
        ]
        cells = [cell for key in keys for cell in self.expand_entry(section, key)]
        named = tuple(cell for cell in cells if name in (cell.label, cell.row))
        # A name that an entry with mistakes may have had is no further mistake.
        unresolved = self._unresolved[section.name]
        if not named and not any(pattern.fullmatch(name) for pattern in unresolved):
            names = [*entries, *(cell.label for cell in cells)]
            choices = f" ({join_names(names)})" if names else ""
            self._problems.add(
                value.location,
                found=f"the unknown name {quote_name(name)}",
                expected=f"an entry of {section.name}{choices}",
                next_step=did_you_mean(name, names, otherwise=f"add it to {section.name}"),
            )
        return named

    def _expand_value(
        self, value: Located, *, key: str, section: Section, words: tuple[str, ...]
    ) -> tuple[GridEntry, ...]:
        entry = self._reader.read_entry(value, key=key, section=section, words=words)
        cells = list(self._expand_points(entry)) if entry else [None]
        if entry and "only" in entry.words:
            self._only_values[section.name, key] = entry.words["only"]
        # Inline entries have no label that could be named elsewhere.
        if None in cells and words == section.words:
            self._unresolved[section.name].append(unresolved_labels(key, value.child("label")))
        return tuple(cell for cell in cells if cell)

    def _expand_points(self, entry: SuiteEntry) -> Iterator[GridEntry | None]:
        check_label(entry, self._problems)
        seeds = replicate_seeds(entry, self._problems)
        points = list(sweep_points(entry, self._problems))
        count = len(points) * len(seeds)
        total = self._entry_count + count
        if total > MAX_GRID_ENTRIES:
            self._problems.add(
                entry.location,
                found=f"{count:,} cells of {quote_name(entry.key)}, with those before it {total:,}",
                expected=f"at most {MAX_GRID_ENTRIES:,} in all",
                next_step="shorten the lists of `sweep`, or ask for fewer seeds",
            )
            yield None
            return
        self._entry_count = total
        timeout = entry_timeout(entry, self._problems)
        for point in points:
            for seed in seeds:
                cell = self._grid_entry(entry, point, seed)
                yield _with_timeout(cell, timeout) if cell else None

    def _point_node(self, entry: SuiteEntry, point: SweepPoint, options: Located) -> Node | None:
        """Return the node of a point, or of the choice that it asks for; None after a problem."""
        if CHOOSE not in entry.words:
            return self._builder.build_node(entry, options)
        reader = ChoiceReader(entry, tuple(point.settings), self._problems)
        candidates = reader.candidate_options(options)
        nodes = [self._builder.build_node(entry, candidate) for candidate in candidates]
        built = [node for node in nodes if node]
        if not nodes or len(built) < len(nodes):
            return None
        return reader.choose_node(built, self.outlines)

    def _grid_entry(
        self, entry: SuiteEntry, point: SweepPoint, seed: Located | None
    ) -> GridEntry | None:
        node = self._point_node(entry, point, with_seed(point.options, seed))
        if node is None:
            return None
        self._origins.setdefault(node.id, (entry, point.options))
        # The replicates of a row share its label, so their seed must not be in it.
        options = {
            name: value for name, value in node.options.items() if seed is None or name != "seed"
        }
        row = row_label(entry, point, options=options, problems=self._problems)
        if row is None:
            return None
        label = row if seed is None else bracketed_label(row, {"seed": seed})
        replicate = seed.value if seed and isinstance(seed.value, int) else None
        resources = read_resources(entry.words.get(RESOURCES), problems=self._problems)
        return GridEntry(
            entry.key, label, row, replicate, node, None, entry.component.metadata, resources
        )


def _with_timeout(cell: GridEntry, timeout: float | None) -> GridEntry:
    return cell if timeout is None else replace(cell, node=replace(cell.node, timeout=timeout))


def _has_labels(value: Located) -> bool:
    """Return True where an entry's cells can have other names than the entry itself."""
    labelling_words = {"sweep", "label", "seeds"}
    return isinstance(value.value, Mapping) and not labelling_words.isdisjoint(value.value)
