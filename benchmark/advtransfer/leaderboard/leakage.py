"""What the page says of training images that are also measured on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.markdown import ABSENT, escaped, table

NAMED = 3  # sources written out of those of which the same is found
HEADERS = ("target", "source", "images", "exact", "near", "of")


def leakage(evidence: Evidence) -> str:
    """A table of what was found, a sentence where nothing was, nothing where nobody looked."""
    found = [
        (target, source, name, one["exact"], one["near"], one["of"])
        for (target, source), pairs in sorted(evidence.leaks.items())
        for name, one in sorted(pairs.items())
    ]
    if not found:
        return ""
    told = _grouped(_row(*one) for one in found if one[3] != 0 or one[4] != 0)
    if not told:
        return "Leakage: no image was found in two of source training data, target training data and target test data."
    note = "Exact: pixel for pixel. Near: shifted by a pixel, or saved again as JPEG. – : not counted, since too large."  # noqa: RUF001  # the dash of every page
    right = [False, False, False, True, True, True]
    return f"## Leakage\n\n{table(HEADERS, told, right=right)}\n\n{note}"


def _grouped(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One line for all sources of a target of which the same is found."""
    sources: dict[tuple[str, ...], set[str]] = {}
    for target, source, *found in rows:
        sources.setdefault((target, *found), set()).add(source)
    return sorted((target, _several(sorted(there)), *found) for (target, *found), there in sources.items())


def _several(sources: Sequence[str]) -> str:
    more = f"; and {len(sources) - NAMED} more" if len(sources) > NAMED else ""
    return "; ".join(sources[:NAMED]) + more


def _row(target: str, source: str, name: str, *counts: object) -> tuple[str, ...]:
    """One line; what concerns the target alone is the same for every source."""
    source = source if "source" in name else ABSENT
    return (escaped(target), escaped(source), name, *(ABSENT if one is None else str(one) for one in counts))
