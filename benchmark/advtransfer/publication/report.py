"""The report of a verification in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from advtransfer.publication.verify import Verification
from advtransfer.text import one_line

UNSEEN = (
    "not seen here: outcomes that were changed together with all that follows from them; "
    "`--replay K` measures K trials again"
)


def verification_lines(
    verification: Verification, *, replayed: bool = False, examples: Sequence[str] = ()
) -> list[str]:
    """Return what was recomputed, is as recorded, or cannot be seen; last the verdict, unless a replay follows.

    Args:
        verification: What was found, with the faults of examples.
        replayed: Whether trials are measured again.
        examples: The lines about the examples of the bundle.
    """
    found = verification
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.records.items()))
    lines = [
        f"{found.bundle}: {found.records.total():,} records ({kinds or 'none'})",
    ]
    if found.records:
        lines.append(
            f"recomputed: {found.shares:,} shares with intervals, {found.means:,} means of arrays, "
            f"{found.checks:,} comparisons with batteries, {found.folds:,} folds, every id and verdict"
        )
    if as_recorded := sum(found.as_recorded.values()):
        uses = ", ".join(use for use, count in sorted(found.as_recorded.items()) if count)
        lines.append(f"as recorded: {as_recorded:,} metrics without outcomes ({uses})")
    lines.append(
        "as recorded: cards and probes of sources, curves and facts of fits, times; class shares, digests of "
        "weights and data and machines where no second place holds them"
    )
    lines += [f"note: {note}" for note in found.notes]
    lines += examples
    if not replayed:
        lines.append(UNSEEN)
    # A replay may still find faults, so the verdict comes after it.
    if found.faults or not replayed:
        lines.append(verdict_line(len(found.faults), unchecked=found.unchecked))
    return list(map(one_line, lines))


def verdict_line(count: int, *, unchecked: str) -> str:
    """Return the last line of a report: the number of faults, or that there are none.

    Args:
        count: The number of faults.
        unchecked: `Verification.unchecked`.
    """
    if count:
        return f"{count:,} fault{'s' * (count != 1)}"
    return f"verified {unchecked}" if unchecked else "verified: nothing is wrong"
