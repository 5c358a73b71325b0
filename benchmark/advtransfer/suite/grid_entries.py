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
from advtransfer.suite.entry import (
    EntryReader,
    SuiteEntry,
    SweepPoint,
    bracketed_label,
    check_label,
    replicate_seeds,
    row_label,
    sweep_points,
    unresolved_labels,
    with_seed,
)
from advtransfer.suite.located import Located, Problems, did_you_mean, join_names, quote_name
from advtransfer.suite.node_builder import ContentFinder, NodeBuilder
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.sections import (
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
    """The cells of a reference in place, each with the start that it says; by default weights of their own.

    The node of one with a start of its own says so among its options: it is another than that of a source. A component
    without the option `seed` draws nothing, so it has no start.
    """
    said = value.value.get("start") if isinstance(value.value, Mapping) else None
    start = said.value if said and said.value is not None else "own"
    if said and start not in TRAINING_STARTS:
        next_step = did_you_mean(
            start, TRAINING_STARTS, otherwise="correct the word, or leave `start` out"
        )
        validators.add_mismatch(
            said, expected=" or ".join(TRAINING_STARTS), next_step=next_step, problems=problems
        )
    elif said and said.value is not None and any("seed" not in cell.node.options for cell in cells):
        expected = f"no `start`, since {cells[0].node.use} has no `seed`: nothing of it is drawn"
        problems.add(
            said.name_location, found="`start`", expected=expected, next_step="remove the line"
        )
    return (
        tuple(replace(cell, node=_with_own_start(cell.node)) for cell in cells)
        if start == "own"
        else cells
    )


def training_start(node: Node) -> str | None:
    """Where a source or reference starts, one of `TRAINING_STARTS`; None where nothing of it is drawn."""
    return str(node.options.get("start", "source")) if "seed" in node.options else None


def _with_own_start(node: Node) -> Node:
    return (
        replace(node, options={**node.options, "start": "own"}) if "seed" in node.options else node
    )


MAX_CHAIN_LENGTH = 50


class GridEntries:
    """The component entries of one suite and the cells they stand for."""

    def __init__(
        self, sections: Mapping[str, Mapping[str, Located]], *, host: Host, problems: Problems
    ) -> None:
        self._sections = sections
        self._problems = problems
        self._reader = EntryReader(host, sections["defaults"], problems)
        self._reader.check_defaults()
        self.outlines = Outlines(host)
        self._builder = NodeBuilder(
            ContentFinder(problems), self._part_node, self.outlines, problems
        )
        self._origins: dict[str, tuple[SuiteEntry, Located]] = {}
        self._expanded_entries: dict[tuple[str, str], tuple[GridEntry, ...]] = {}
        self._only_values: dict[tuple[str, str], Located] = {}
        self._unresolved: dict[str, list[re.Pattern[str]]] = {name: [] for name in sections}
        self._in_progress: list[tuple[str, str]] = []
        self._entry_count = 0

    def section_entries(self, section: Section) -> tuple[GridEntry, ...]:
        """Every cell of a section, in the order of the file."""
        return tuple(
            cell for key in self._sections[section.name] for cell in self.expand_entry(section, key)
        )

    def expand_entry(self, section: Section, key: str) -> tuple[GridEntry, ...]:
        """The cells of one entry; none where it has mistakes."""
        place = (section.name, key)
        if place not in self._expanded_entries:
            self._in_progress.append(place)
            value = self._sections[section.name][key]
            self._expanded_entries[place] = self._expand_value(
                value, key=key, section=section, words=section.words
            )
            self._in_progress.pop()
        return self._expanded_entries[place]

    def section_axis(self, section: Section) -> Axis:
        """The names on a section's axis; two cells of one name are a problem."""
        written = self._sections[section.name]
        cells = self.section_entries(section)
        return build_axis(
            written, cells, hidden=self._unresolved[section.name], problems=self._problems
        )

    def restricted_entries(self, section: Section, grid: Grid) -> tuple[GridEntry, ...]:
        """The cells of a section with their `only`, which may name what any section holds."""
        only = {
            key: grid.compile_selection(value, allowed=section.only, problems=self._problems)
            for (name, key), value in self._only_values.items()
            if name == section.name
        }
        return tuple(
            replace(cell, only=only.get(cell.key)) for cell in self.section_entries(section)
        )

    def single_entry(self, kind: ComponentKind, value: Located, *, key: str) -> GridEntry | None:
        """The one cell that a value names, or holds in place and `key` then names; None where it has mistakes."""
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
        """An option of a cell that cannot work, at its value."""
        self._builder.add_misfit(misfit, *self._origins[cell.node.id])

    def reference_entries(self, value: Located, *, key: str) -> tuple[GridEntry, ...]:
        """The sources that a target's ``reference`` names or holds in place, replicates one by one.

        One that is named is that very source; one in place has weights of its own unless it says ``start: source``.
        """
        if isinstance(value.value, tuple):
            return tuple(
                cell
                for number, one in enumerate(value.value)
                for cell in self.reference_entries(one, key=f"{key}.{number}")
            )
        if isinstance(value.value, Mapping):
            cells = self._expand_value(value, key=key, section=SOURCES, words=REFERENCE_WORDS)
            return apply_start(cells, value, problems=self._problems)
        return self._entries_named(value, SOURCES)

    def _part_node(self, option: Option, value: Located) -> Node | None:
        cell = self.single_entry(option.kind, value, key=option.name) if option.kind else None
        return cell.node if cell else None

    def _entries_named(self, value: Located, section: Section) -> tuple[GridEntry, ...]:
        expected = f"the name of an entry of {section.name}, or an entry in place"
        name = validators.require_text(value, expected=expected, problems=self._problems)
        if name is None:
            return ()
        written = self._sections[section.name]
        if (section.name, name) in self._in_progress or len(self._in_progress) > MAX_CHAIN_LENGTH:
            chain = " -> ".join([key for _, key in self._in_progress] + [name])
            found = f"{name!r}, which is made from itself or too long a chain ({chain})"
            self._problems.add(
                value.location, found=found, expected="another entry", next_step="name another one"
            )
            return ()
        return (
            self.expand_entry(section, name)
            if name in written
            else self._entries_labelled(name, value, section)
        )

    def _entries_labelled(
        self, name: str, value: Located, section: Section
    ) -> tuple[GridEntry, ...]:
        """The cells of a label or row; of the entries that have such names, those that are not being built."""
        written = self._sections[section.name]
        others = (
            key
            for key in written
            if (section.name, key) not in self._in_progress and _has_labels(written[key])
        )
        cells = [cell for key in others for cell in self.expand_entry(section, key)]
        found = tuple(cell for cell in cells if name in (cell.label, cell.row))
        if not found and not any(
            hidden.fullmatch(name) for hidden in self._unresolved[section.name]
        ):
            names = [*written, *(cell.label for cell in cells)]
            self._problems.add(
                value.location,
                found=f"the unknown name {quote_name(name)}",
                expected=f"an entry of {section.name} ({join_names(names)})"
                if names
                else f"an entry of {section.name}",
                next_step=did_you_mean(name, names, otherwise=f"add it to {section.name}"),
            )
        return found

    def _expand_value(
        self, value: Located, *, key: str, section: Section, words: tuple[str, ...]
    ) -> tuple[GridEntry, ...]:
        entry = self._reader.read_entry(value, key=key, section=section, words=words)
        cells = list(self._expand_points(entry)) if entry else [None]
        if entry and "only" in entry.words:
            self._only_values[section.name, key] = entry.words["only"]
        if None in cells and words == section.words:
            self._unresolved[section.name].append(unresolved_labels(key, value.child("label")))
        return tuple(cell for cell in cells if cell)

    def _expand_points(self, entry: SuiteEntry) -> Iterator[GridEntry | None]:
        check_label(entry, self._problems)
        seeds = replicate_seeds(entry, self._problems)
        swept = list(sweep_points(entry, self._problems))
        count = len(swept) * len(seeds)
        self._entry_count += count
        if self._entry_count > MAX_GRID_ENTRIES:
            found = f"{count:,} cells of {quote_name(entry.key)}, with those before it {self._entry_count:,}"
            expected, next_step = (
                f"at most {MAX_GRID_ENTRIES:,} in all",
                "shorten the lists of `sweep`, or ask for fewer seeds",
            )
            self._problems.add(entry.location, found=found, expected=expected, next_step=next_step)
            self._entry_count -= count
            yield None
            return
        for point in swept:
            for seed in seeds:
                yield self._grid_entry(entry, point, seed)

    def _grid_entry(
        self, entry: SuiteEntry, point: SweepPoint, seed: Located | None
    ) -> GridEntry | None:
        node = self._builder.build_node(entry, with_seed(point.options, seed))
        if node is None:
            return None
        self._origins.setdefault(node.id, (entry, point.options))
        options = {
            name: value for name, value in node.options.items() if seed is None or name != "seed"
        }
        name = row_label(entry, point, options=options, problems=self._problems)
        if name is None:
            return None
        label = name if seed is None else bracketed_label(name, {"seed": seed})
        replicate = seed.value if seed and isinstance(seed.value, int) else None
        return GridEntry(entry.key, label, name, replicate, node, None, entry.component.metadata)


def _has_labels(value: Located) -> bool:
    """Whether an entry's cells are called otherwise than the entry."""
    return isinstance(value.value, Mapping) and not {"sweep", "label", "seeds"}.isdisjoint(
        value.value
    )
