"""The cells of every section, built when first asked for, since entries name each other in any order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from advtransfer.hookspecs import Kind
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.options import Option
from advtransfer.precheck import Misfit
from advtransfer.suite import expect
from advtransfer.suite.built import Builder
from advtransfer.suite.content import Contents
from advtransfer.suite.entry import Entry, EntryReader
from advtransfer.suite.label import bracketed, check_label, hidden_labels, row
from advtransfer.suite.limits import MOST_CELLS
from advtransfer.suite.marked import Marked
from advtransfer.suite.names import axis
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.problems import Problems, did_you_mean, listing, quoted
from advtransfer.suite.references import started
from advtransfer.suite.sections import BY_KIND, INLINE, REFERENCE, SOURCES, Section
from advtransfer.suite.selection import Axis, Grid
from advtransfer.suite.suite import Cell
from advtransfer.suite.sweep import Point, points, replicates, with_seed

DEEPEST = 50


class Entries:
    """The component entries of one suite and the cells they stand for."""

    def __init__(self, sections: Mapping[str, Mapping[str, Marked]], *, host: Host, problems: Problems) -> None:
        self._written = sections
        self._problems = problems
        self._reader = EntryReader(host, sections["defaults"], problems)
        self._reader.check_defaults()
        self.outlines = Outlines(host)
        self._builder = Builder(Contents(problems), self._part, self.outlines, problems)
        self._origins: dict[str, tuple[Entry, Marked]] = {}
        self._cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
        self._only: dict[tuple[str, str], Marked] = {}
        self._hidden: dict[str, list[re.Pattern[str]]] = {name: [] for name in sections}
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def cells(self, section: Section) -> tuple[Cell, ...]:
        """Every cell of a section, in the order of the file."""
        return tuple(cell for key in self._written[section.name] for cell in self.entry(section, key))

    def entry(self, section: Section, key: str) -> tuple[Cell, ...]:
        """The cells of one entry; none where it has mistakes."""
        place = (section.name, key)
        if place not in self._cells:
            self._open.append(place)
            value = self._written[section.name][key]
            self._cells[place] = self._expanded(value, key=key, section=section, words=section.words)
            self._open.pop()
        return self._cells[place]

    def axis(self, section: Section) -> Axis:
        """The names on a section's axis; two cells of one name are a problem."""
        written = self._written[section.name]
        cells = self.cells(section)
        return axis(written, cells, hidden=self._hidden[section.name], problems=self._problems)

    def finished(self, section: Section, grid: Grid) -> tuple[Cell, ...]:
        """The cells of a section with their `only`, which may name what any section holds."""
        only = {
            key: grid.selection(value, allowed=section.only, problems=self._problems)
            for (name, key), value in self._only.items()
            if name == section.name
        }
        return tuple(replace(cell, only=only.get(cell.key)) for cell in self.cells(section))

    def one(self, kind: Kind, value: Marked, *, key: str) -> Cell | None:
        """The one cell that a value names, or holds in place and `key` then names; None where it has mistakes."""
        section = BY_KIND[kind]
        if isinstance(value.value, Mapping):
            cells = self._expanded(value, key=key, section=section, words=INLINE)
        else:
            cells = self._named(value, section)
        if len(cells) > 1:
            labels = listing(repr(cell.label) for cell in cells)
            expected = f"the name of one {kind}, not of {len(cells)}"
            expect.wrong(value, expected=expected, next_step=f"name one of {labels}", problems=self._problems)
        return cells[0] if len(cells) == 1 else None

    def note(self, misfit: Misfit, cell: Cell) -> None:
        """An option of a cell that cannot work, at its value."""
        self._builder.note(misfit, *self._origins[cell.node.id])

    def references(self, value: Marked, *, key: str) -> tuple[Cell, ...]:
        """The sources that a target's ``reference`` names or holds in place, replicates one by one.

        One that is named is that very source; one in place has weights of its own unless it says ``start: source``.
        """
        if isinstance(value.value, tuple):
            return tuple(
                cell for number, one in enumerate(value.value) for cell in self.references(one, key=f"{key}.{number}")
            )
        if isinstance(value.value, Mapping):
            cells = self._expanded(value, key=key, section=SOURCES, words=REFERENCE)
            return started(cells, value, problems=self._problems)
        return self._named(value, SOURCES)

    def _part(self, option: Option, value: Marked) -> Node | None:
        cell = self.one(option.kind, value, key=option.name) if option.kind else None
        return cell.node if cell else None

    def _named(self, value: Marked, section: Section) -> tuple[Cell, ...]:
        expected = f"the name of an entry of {section.name}, or an entry in place"
        name = expect.text(value, expected=expected, problems=self._problems)
        if name is None:
            return ()
        written = self._written[section.name]
        if (section.name, name) in self._open or len(self._open) > DEEPEST:
            chain = " -> ".join([key for _, key in self._open] + [name])
            found = f"{name!r}, which is made from itself or too long a chain ({chain})"
            self._problems.add(value.mark, found=found, expected="another entry", next_step="name another one")
            return ()
        return self.entry(section, name) if name in written else self._labelled(name, value, section)

    def _labelled(self, name: str, value: Marked, section: Section) -> tuple[Cell, ...]:
        """The cells of a label or row; of the entries that have such names, those that are not being built."""
        written = self._written[section.name]
        others = (key for key in written if (section.name, key) not in self._open and _has_labels(written[key]))
        cells = [cell for key in others for cell in self.entry(section, key)]
        found = tuple(cell for cell in cells if name in (cell.label, cell.row))
        if not found and not any(hidden.fullmatch(name) for hidden in self._hidden[section.name]):
            names = [*written, *(cell.label for cell in cells)]
            self._problems.add(
                value.mark,
                found=f"the unknown name {quoted(name)}",
                expected=f"an entry of {section.name} ({listing(names)})" if names else f"an entry of {section.name}",
                next_step=did_you_mean(name, names, otherwise=f"add it to {section.name}"),
            )
        return found

    def _expanded(self, value: Marked, *, key: str, section: Section, words: tuple[str, ...]) -> tuple[Cell, ...]:
        entry = self._reader.read(value, key=key, section=section, words=words)
        cells = list(self._points(entry)) if entry else [None]
        if entry and "only" in entry.words:
            self._only[section.name, key] = entry.words["only"]
        if None in cells and words == section.words:
            self._hidden[section.name].append(hidden_labels(key, value.child("label")))
        return tuple(cell for cell in cells if cell)

    def _points(self, entry: Entry) -> Iterator[Cell | None]:
        check_label(entry, self._problems)
        seeds = replicates(entry, self._problems)
        swept = list(points(entry, self._problems))
        count = len(swept) * len(seeds)
        self._made += count
        if self._made > MOST_CELLS:
            found = f"{count:,} cells of {quoted(entry.key)}, with those before it {self._made:,}"
            expected, next_step = (
                f"at most {MOST_CELLS:,} in all",
                "shorten the lists of `sweep`, or ask for fewer seeds",
            )
            self._problems.add(entry.where, found=found, expected=expected, next_step=next_step)
            self._made -= count
            yield None
            return
        for point in swept:
            for seed in seeds:
                yield self._cell(entry, point, seed)

    def _cell(self, entry: Entry, point: Point, seed: Marked | None) -> Cell | None:
        node = self._builder.node(entry, with_seed(point.options, seed))
        if node is None:
            return None
        self._origins.setdefault(node.id, (entry, point.options))
        options = {name: value for name, value in node.options.items() if seed is None or name != "seed"}
        name = row(entry, point, options=options, problems=self._problems)
        if name is None:
            return None
        label = name if seed is None else bracketed(name, {"seed": seed})
        replicate = seed.value if seed and isinstance(seed.value, int) else None
        return Cell(entry.key, label, name, replicate, node, None, entry.component.facts)


def _has_labels(value: Marked) -> bool:
    """Whether an entry's cells are called otherwise than the entry."""
    return isinstance(value.value, Mapping) and not {"sweep", "label", "seeds"}.isdisjoint(value.value)
