"""Reads a target: its data, the subsets drawn from it, the test images, and what it is compared with."""

from __future__ import annotations

from advtransfer.precheck import Outline
from advtransfer.suite import expect
from advtransfer.suite.entries import Entries
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems
from advtransfer.suite.subsets import DRAWN, subsets
from advtransfer.suite.suite import Cell, Policy, Subset, Target

KEYS = ("data", *DRAWN, "subsets", "test", "reference", "leakage")
LEAKAGE: tuple[Policy, ...] = ("count", "error", "off")


def target(
    key: str, value: Marked, *, entries: Entries, problems: Problems
) -> tuple[Target | None, tuple[Subset, ...]]:
    """The target that an entry of ``targets`` says, or None and problems; and its subsets, as far as they are known."""
    before = problems.noted
    said = expect.closed(value, KEYS, of="a target", problems=problems)
    if "data" not in said and value.value is not None:
        expected, next_step = "a data set: the name of an entry, or an entry in place", "add `data: NAME`"
        problems.add(value.name_mark, found="no `data`", expected=expected, next_step=next_step)
    data = entries.one("dataset", said["data"], key=f"{key}.data") if "data" in said else None
    outline = entries.outlines.of(data.node if data else None)
    draws = subsets(value, said, outline, problems)
    test = expect.count_or_all(said["test"], of="test images", problems=problems) if "test" in said else "all"
    if "test" in said and isinstance(test, int) and outline.test is not None and test > outline.test:
        expected = f"at most the {outline.test:,} images of the test part, or all"
        expect.wrong(said["test"], expected=expected, next_step="lower it, or write all", problems=problems)
    references = entries.references(said["reference"], key=f"{key}.reference") if "reference" in said else ()
    for one in references:
        _check_reference(one, outline, said["reference"], entries, problems)
    leakage = _leakage(said["leakage"], problems) if "leakage" in said else "count"
    if data is None or leakage is None or problems.noted > before:
        return None, draws
    return Target(key, data, draws, None if test == "all" else test, references, leakage), draws


def _check_reference(reference: Cell, data: Outline, written: Marked, entries: Entries, problems: Problems) -> None:
    """Note a reference for other inputs or other classes than the target's."""
    own = entries.outlines.of(reference.node)
    for what, there, wanted in (("inputs", own.shape, data.shape), ("outputs", own.outputs, data.outputs)):
        if None not in (there, wanted) and there != wanted:
            found = (
                f"the reference {reference.label!r} for {there} {what}"
                if what == "outputs"
                else (f"the reference {reference.label!r} for inputs {there}")
            )
            next_step = "build it for the target's own data entry"
            problems.add(written.mark, found=found, expected=f"{wanted}, as the target has", next_step=next_step)


def _leakage(value: Marked, problems: Problems) -> Policy | None:
    """What a target says of leaked images."""
    for policy in LEAKAGE:
        if value.value == policy:
            return policy
    expected = f"one of {', '.join(LEAKAGE)}"
    expect.wrong(value, expected=expected, next_step="correct the word, or leave `leakage` out", problems=problems)
    return None
