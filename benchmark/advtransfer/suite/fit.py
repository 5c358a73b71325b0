"""Whether transfers and evaluations fit the targets and sources that they meet, as far as they tell beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advtransfer.precheck import Misfit, Surroundings
from advtransfer.suite.entries import Entries
from advtransfer.suite.suite import Cell, Target

MOST_N = 50
"""So many n of a target are looked at; a mistake shows at the smallest or the largest of them."""


def check_fit(
    *,
    sources: Sequence[Cell],
    targets: Sequence[Target],
    transfers: Sequence[Cell],
    evaluations: Sequence[Cell],
    entries: Entries,
) -> None:
    """Note options that cannot work where they are used; those that make cells senseless only if they do so to all."""
    for cell in transfers:
        several = list(_of_transfer(cell, sources, targets, entries))
        _note(cell, several, entries)
    for cell in evaluations:
        data = dict.fromkeys(entries.outlines.of(one.data.node) for one in targets if _meets(cell, one))
        _note(cell, [_misfits(cell, Surroundings(target=one), entries) for one in data], entries)


def _of_transfer(
    cell: Cell, sources: Sequence[Cell], targets: Sequence[Target], entries: Entries
) -> Iterator[list[Misfit]]:
    """What is wrong with a transfer, in each of the surroundings that it has."""
    known = [entries.outlines.of(one.node) for one in sources if _named(cell, "source", one.label)]
    outlines = dict.fromkeys(known) if "source" in cell.facts.needs else [Surroundings().source]
    seen: dict[Surroundings, None] = {}
    for target in targets:
        if _meets(cell, target):
            data = entries.outlines.of(target.data.node)
            draws = dict.fromkeys((subset.n, subset.validation) for subset in target.subsets)
            ordered = sorted(draws, key=lambda draw: (draw[0] == "all", 0 if draw[0] == "all" else draw[0]))
            for n, share in (*ordered[: MOST_N - 1], *ordered[-1:]):
                seen |= {Surroundings(data, source, n, share): None for source in outlines}
    for around in seen:
        yield _misfits(cell, around, entries)


def _misfits(cell: Cell, around: Surroundings, entries: Entries) -> list[Misfit]:
    return list(entries.outlines.misfits(cell.node, around))


def _note(cell: Cell, several: Sequence[list[Misfit]], entries: Entries) -> None:
    found = dict.fromkeys(misfit for misfits in several for misfit in misfits if not misfit.skips)
    if several and all(any(misfit.skips for misfit in misfits) for misfits in several):
        found |= dict.fromkeys(next(misfit for misfit in misfits if misfit.skips) for misfits in several[:1])
    for misfit in found:
        entries.note(misfit, cell)


def _meets(cell: Cell, target: Target) -> bool:
    return _named(cell, "target", target.key)


def _named(cell: Cell, axis: str, label: str) -> bool:
    """Whether a cell's `only`, as far as this axis goes, means a label."""
    meant = cell.only.axes.get(axis) if cell.only else None
    return meant is None or label in meant
