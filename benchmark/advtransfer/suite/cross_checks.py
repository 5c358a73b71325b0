"""Checks across sections.

No required section is empty, references exist where they are needed, and options fit the targets
and sources they are used with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from advtransfer.precheck import CellOutline, Misfit
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.located import Located, Problems
from advtransfer.suite.suite import GridEntry, Target

MAX_CHECKED_SIZES = 50
"""So many n of a target are looked at; a mistake shows at the smallest or the largest of them."""


def check_compatibility(
    *,
    sources: Sequence[GridEntry],
    targets: Sequence[Target],
    transfers: Sequence[GridEntry],
    evaluations: Sequence[GridEntry],
    entries: GridEntries,
) -> None:
    """Note options that cannot work where they are used; those that make cells senseless only if they do so to all."""
    for cell in transfers:
        several = list(_transfer_misfits(cell, sources, targets, entries))
        _add_misfits(cell, several, entries)
    for cell in evaluations:
        data = dict.fromkeys(
            entries.outlines.outline_of(one.data.node)
            for one in targets
            if _applies_to_target(cell, one)
        )
        _add_misfits(
            cell, [_entry_misfits(cell, CellOutline(target=one), entries) for one in data], entries
        )


def _transfer_misfits(
    cell: GridEntry, sources: Sequence[GridEntry], targets: Sequence[Target], entries: GridEntries
) -> Iterator[list[Misfit]]:
    """What is wrong with a transfer, in each of the surroundings that it has."""
    known = [
        entries.outlines.outline_of(one.node)
        for one in sources
        if _selects_label(cell, "source", one.label)
    ]
    outlines = dict.fromkeys(known) if "source" in cell.facts.needs else [CellOutline().source]
    seen: dict[CellOutline, None] = {}
    for target in targets:
        if _applies_to_target(cell, target):
            data = entries.outlines.outline_of(target.data.node)
            draws = dict.fromkeys((subset.n, subset.validation) for subset in target.subsets)
            ordered = sorted(
                draws, key=lambda draw: (draw[0] == "all", 0 if draw[0] == "all" else draw[0])
            )
            for n, share in (*ordered[: MAX_CHECKED_SIZES - 1], *ordered[-1:]):
                seen |= {CellOutline(data, source, n, share): None for source in outlines}
    for around in seen:
        yield _entry_misfits(cell, around, entries)


def _entry_misfits(cell: GridEntry, around: CellOutline, entries: GridEntries) -> list[Misfit]:
    return list(entries.outlines.node_misfits(cell.node, around))


def _add_misfits(cell: GridEntry, several: Sequence[list[Misfit]], entries: GridEntries) -> None:
    found = dict.fromkeys(misfit for misfits in several for misfit in misfits if not misfit.skips)
    if several and all(any(misfit.skips for misfit in misfits) for misfits in several):
        found |= dict.fromkeys(
            next(misfit for misfit in misfits if misfit.skips) for misfits in several[:1]
        )
    for misfit in found:
        entries.add_misfit(misfit, cell)


def _applies_to_target(cell: GridEntry, target: Target) -> bool:
    return _selects_label(cell, "target", target.key)


def _selects_label(cell: GridEntry, axis: str, label: str) -> bool:
    """Whether a cell's `only`, as far as this axis goes, means a label."""
    meant = cell.only.axes.get(axis) if cell.only else None
    return meant is None or label in meant


def check_required_sections(
    top: Located,
    said: Mapping[str, Located],
    sections: Mapping[str, Mapping[str, Located]],
    transfers: Sequence[GridEntry],
    problems: Problems,
) -> None:
    """Note what keeps a suite from running anything at all."""
    for name in ("targets", "transfers", "evaluations"):
        if not sections[name]:
            mark = said[name].name_location if name in said else top.location
            problems.add(
                mark,
                found=f"no {name}",
                expected="at least one",
                next_step=f"add an entry to `{name}`",
            )
    for key in dict.fromkeys(cell.key for cell in transfers if "source" in cell.facts.needs):
        if not sections["sources"]:
            found, mark = (
                f"the transfer {key!r}, which needs a source",
                sections["transfers"][key].name_location,
            )
            problems.add(
                mark, found=found, expected="a source", next_step="add an entry to `sources`"
            )


def check_references(
    targets: Iterable[Target],
    written: Mapping[str, Located],
    evaluations: Iterable[GridEntry],
    problems: Problems,
) -> None:
    """Note targets without a reference that an evaluation of every target needs."""
    needing = [
        cell.label for cell in evaluations if "reference" in cell.facts.needs and cell.only is None
    ]
    for one in targets:
        if needing and not one.references:
            problems.add(
                written[one.key].name_location,
                found=f"no `reference` in target {one.key!r}",
                expected=f"one, since evaluation {needing[0]!r} needs it",
                next_step="add `reference: {use: ...}` to the target, or `only:` to the evaluation",
            )
