"""Checks across sections.

No required section is empty, references exist where they are needed, and options fit the targets
and sources they are used with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from advtransfer.precheck import CellOutline, Misfit
from advtransfer.suite.choice import choice_misfits
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.located import Located, Problems
from advtransfer.suite.suite import GridEntry, Target

MAX_CHECKED_SIZES = 50
"""Number of n of a target that are checked. A mistake shows at the smallest or the largest n."""


def check_compatibility(
    *,
    sources: Sequence[GridEntry],
    targets: Sequence[Target],
    transfers: Sequence[GridEntry],
    evaluations: Sequence[GridEntry],
    entries: GridEntries,
) -> None:
    """Add problems for options that cannot work with the targets and sources they are used with.

    A misfit that only skips a cell is a problem where it skips every cell of its entry.
    """
    for transfer in transfers:
        _add_misfits(
            transfer, list(_transfer_misfits(transfer, sources, targets, entries)), entries
        )
    for evaluation in evaluations:
        # A fitted model is measured on further data sets of its target too.
        outlines = dict.fromkeys(
            entries.outlines.outline_of(data.node)
            for target in targets
            if _applies_to_target(evaluation, target)
            for data in (target.data, *(target.also if "model" in evaluation.facts.needs else ()))
        )
        by_target = [
            _entry_misfits(evaluation, CellOutline(target=outline), entries) for outline in outlines
        ]
        _add_misfits(evaluation, by_target, entries)


def _transfer_misfits(
    transfer: GridEntry,
    sources: Sequence[GridEntry],
    targets: Sequence[Target],
    entries: GridEntries,
) -> Iterator[list[Misfit]]:
    """Yield the misfits of a transfer in each kind of cell that it is used in."""
    source_outlines = [CellOutline().source]
    if "source" in transfer.facts.needs:
        distinct_outlines = dict.fromkeys(
            entries.outlines.outline_of(source.node)
            for source in sources
            if _selects_label(transfer, "source", source.label)
        )
        source_outlines = list(distinct_outlines)
    # Many cells look alike to a check, so each distinct outline is checked once.
    outlines: dict[CellOutline, None] = {}
    for target in targets:
        if not _applies_to_target(transfer, target):
            continue
        data = entries.outlines.outline_of(target.data.node)
        for n, share in _checked_sizes(target):
            for source in source_outlines:
                outlines.setdefault(CellOutline(data, source, n, share))
    for outline in outlines:
        yield _entry_misfits(transfer, outline, entries)


def _checked_sizes(target: Target) -> list[tuple[int | Literal["all"], float]]:
    sizes = dict.fromkeys((subset.n, subset.validation) for subset in target.subsets)
    ordered = sorted(sizes, key=lambda size: (size[0] == "all", 0 if size[0] == "all" else size[0]))
    return [*ordered[: MAX_CHECKED_SIZES - 1], *ordered[-1:]]


def _entry_misfits(cell: GridEntry, outline: CellOutline, entries: GridEntries) -> list[Misfit]:
    return list(choice_misfits(cell.node, outline, entries.outlines))


def _add_misfits(
    cell: GridEntry, misfits_by_outline: Sequence[list[Misfit]], entries: GridEntries
) -> None:
    reported = dict.fromkeys(
        misfit for misfits in misfits_by_outline for misfit in misfits if not misfit.skips
    )
    skips = [[misfit for misfit in misfits if misfit.skips] for misfits in misfits_by_outline]
    # Skipped in every cell, the entry would silently do nothing; one of the reasons is enough.
    if skips and all(skips):
        reported.setdefault(skips[0][0])
    for misfit in reported:
        entries.add_misfit(misfit, cell)


def _applies_to_target(cell: GridEntry, target: Target) -> bool:
    return _selects_label(cell, "target", target.key)


def _selects_label(cell: GridEntry, axis: str, label: str) -> bool:
    """Return True where the cell's `only`, as far as this axis goes, selects a label."""
    selected = cell.only.axes.get(axis) if cell.only else None
    return selected is None or label in selected


def check_required_sections(
    top: Located,
    written: Mapping[str, Located],
    sections: Mapping[str, Mapping[str, Located]],
    transfers: Sequence[GridEntry],
    problems: Problems,
) -> None:
    """Add problems for empty sections without which a suite runs nothing.

    Args:
        top: The whole file.
        written: Its top-level values.
        sections: The entries of each section.
        transfers: The cells of all transfers.
        problems: Collects the problems.
    """
    for name in ("targets", "transfers", "evaluations"):
        if not sections[name]:
            problems.add(
                written[name].name_location if name in written else top.location,
                found=f"no {name}",
                expected="at least one",
                next_step=f"add an entry to `{name}`",
            )
    if sections["sources"]:
        return
    for key in dict.fromkeys(cell.key for cell in transfers if "source" in cell.facts.needs):
        problems.add(
            sections["transfers"][key].name_location,
            found=f"the transfer {key!r}, which needs a source",
            expected="a source",
            next_step="add an entry to `sources`",
        )


def check_references(
    targets: Iterable[Target],
    written: Mapping[str, Located],
    evaluations: Iterable[GridEntry],
    problems: Problems,
) -> None:
    """Add problems for targets without a reference that an evaluation of every target needs."""
    # An evaluation with `only` may be meant for the targets that have a reference.
    needing = [
        cell.label for cell in evaluations if "reference" in cell.facts.needs and cell.only is None
    ]
    for target in targets:
        if needing and not target.references:
            problems.add(
                written[target.key].name_location,
                found=f"no `reference` in target {target.key!r}",
                expected=f"one, since evaluation {needing[0]!r} needs it",
                next_step="add `reference: {use: ...}` to the target, or `only:` to the evaluation",
            )
