"""One table of the page: the rows of a target and n, and the sentence that says what its intervals are over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from advtransfer.leaderboard.columns import Column
from advtransfer.leaderboard.markdown import ABSENT, bounds, escaped, listed, number, table
from advtransfer.leaderboard.ranges import Range
from advtransfer.leaderboard.ranking import Ranking
from advtransfer.leaderboard.standing import Line
from advtransfer.types import Json

Strip: TypeAlias = "tuple[str, bool, list[str]]"
"""One column as text: its header, whether it is aligned to the right, and its cells."""

NO_INTERVAL = "No number here has an interval: that takes several trials that differ, or shares of test images."
SKIPPED = "skipped"
DETERMINISTIC, SINGLE, MIXED = "†", "‡", "§"
MARKS = {"deterministic": DETERMINISTIC, "single": SINGLE}
DOUBTS = {"verified": " ✓", "suspicious": " suspicious", "invalid": " invalid", "unchecked": ""}


def rendered(
    lines: Sequence[Line], *, columns: Sequence[Column], ranking: Ranking | None, baseline: Json, seconds: bool
) -> str:
    """The table and its caption, in markdown; `seconds` adds what a trial took."""
    strips: list[Strip] = []
    if ranking:
        strips.append(("rank", True, [str(line.rank or ABSENT) for line in lines]))
    strips += _names(lines)
    for column in columns:
        cells = [_cell(line, column.name) for line in lines]
        strips.append((escaped(column.name), True, cells))
    if ranking and baseline is not None:
        by = ranking.column.name
        strips.append((f"Δ {escaped(by)}", True, [_delta(line, by=by) for line in lines]))
    strips.append(("seeds", True, [_seeds(line) for line in lines]))
    if seconds:
        strips.append(("s / trial", True, [_seconds(line) for line in lines]))
    headers, right, texts = zip(*strips, strict=True)
    return f"{table(headers, list(zip(*texts, strict=True)), right=right)}\n\n{caption(lines)}"


def caption(lines: Sequence[Line]) -> str:
    """What the intervals of a table are over; a page never shows one without its unit."""
    ranges = [cell.range for line in lines for cell in line.cells.values()]
    units = {basis: [one.units for one in ranges if one.basis == basis] for basis in ("seeds", "sources")}
    sentences = {
        "seeds": "t over {} subset seeds",
        "sources": "t over {} source trainings, each the mean of its subset seeds",
    }
    told = [sentences[basis].format(listed(found)) for basis, found in units.items() if found]
    bases = {one.basis for one in ranges}
    if "deterministic" in bases:
        told.append(f"{DETERMINISTIC} Wilson over test images, since all seeds agree (deterministic)")
    if "single" in bases:
        told.append(f"{SINGLE} Wilson over test images, since there is one trial")
    sentence = f"95 % intervals: {'; '.join(told)}." if told else NO_INTERVAL
    return " ".join([sentence, *_notes(lines)])


def _notes(lines: Sequence[Line]) -> Iterator[str]:
    """What else a table's cells and marks mean, as far as it has them."""
    if any(line.skipped for line in lines):
        yield f"{SKIPPED.capitalize()}: the evaluation makes no sense there, for the reason that the page tells."
    if any(line.mixed for line in lines):
        yield f"{MIXED} Measured, in part, on another device, thread count or precision than most of this page."


def label_of(baseline: Json) -> str:
    """The baseline in words."""
    return f"transfer {baseline['transfer']}" if isinstance(baseline, Mapping) else str(baseline)


def _names(lines: Sequence[Line]) -> list[Strip]:
    """What names a row; an axis that no row has is left out."""
    named: dict[str, list[str | None]] = {
        "source": [line.row.source for line in lines],
        "adapter": [line.row.adapter for line in lines],
        "transfer": [line.row.transfer + (f" {MIXED}" if line.mixed else "") for line in lines],
    }
    return [
        (name, False, [escaped(label or ABSENT) for label in labels]) for name, labels in named.items() if any(labels)
    ]


def _cell(line: Line, name: str) -> str:
    if name not in line.cells:
        return SKIPPED if name in line.skipped else ABSENT
    cell, planned = line.cells[name], len(line.row.trials)
    found, fine = cell.range, not cell.share
    ends = dict.fromkeys((found.low, found.high))
    value = "–".join(number(end, fine=fine) for end in ends)  # noqa: RUF001  # an en dash, as between any two numbers
    value = f"**{value}**" if cell.best else value
    few = f" ({found.trials}/{planned})" if found.trials < planned else ""
    return f"{value}{bounds(found.interval, fine=fine)}{MARKS.get(found.basis, '')}{few}{DOUBTS[cell.verdict.value]}"


def _delta(line: Line, *, by: str) -> str:
    match line.delta:
        case None:
            return ABSENT
        case "baseline":
            return "baseline"
        case Range(low, high, interval, _, _, trials):
            fine = not line.cells[by].share
            value = " to ".join(number(end, sign=True, fine=fine) for end in dict.fromkeys((low, high)))
            few = f" ({trials}/{len(line.row.trials)})" if trials < len(line.row.trials) else ""
            return f"{value}{bounds(interval, sign=True, fine=fine)}{few}"


def _seconds(line: Line) -> str:
    return ABSENT if line.seconds is None else f"{line.seconds:.2f}"


def _seeds(line: Line) -> str:
    trials = line.row.trials
    if line.done < len(trials):
        return f"{line.done}/{len(trials)}"
    replicates = len({trial.replicate for trial in trials})
    return f"{len(trials)}" if replicates == 1 else f"{replicates} × {len(trials) // replicates}"  # noqa: RUF001  # a product
