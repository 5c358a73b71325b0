"""One table of the page.

The rows of a target and n, and the sentence that says what its intervals are over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from advtransfer.leaderboard.markdown import (
    ABSENT,
    escape_markdown,
    format_interval,
    format_number,
    format_range,
    markdown_table,
)
from advtransfer.leaderboard.ranking import Aggregate, Ranking, TableLine
from advtransfer.leaderboard.table_rows import Column
from advtransfer.types import Json

TextColumn: TypeAlias = "tuple[str, bool, list[str]]"
"""One column as text: its header, whether it is aligned to the right, and its cells."""

NO_INTERVAL = "No number here has an interval: that takes several trials that differ, or shares of test images."
SKIPPED_TEXT = "skipped"
DETERMINISTIC_MARK, SINGLE_MARK, MIXED_MARK = "†", "‡", "§"
BASIS_MARKS = {"deterministic": DETERMINISTIC_MARK, "single": SINGLE_MARK}
VERDICT_MARKS = {
    "verified": " ✓",
    "suspicious": " suspicious",
    "invalid": " invalid",
    "unchecked": "",
}


def render_table(
    lines: Sequence[TableLine],
    *,
    columns: Sequence[Column],
    ranking: Ranking | None,
    baseline: Json,
    seconds: bool,
) -> str:
    """The table and its caption, in markdown; `seconds` adds what a trial took."""
    strips: list[TextColumn] = []
    if ranking:
        strips.append(("rank", True, [str(line.rank or ABSENT) for line in lines]))
    strips += _name_columns(lines)
    for column in columns:
        cells = [_cell_text(line, column.name) for line in lines]
        strips.append((escape_markdown(column.name), True, cells))
    if ranking and baseline is not None:
        by = ranking.column.name
        strips.append(
            (f"Δ {escape_markdown(by)}", True, [_difference_text(line, by=by) for line in lines])
        )
    strips.append(("seeds", True, [_seeds_text(line) for line in lines]))
    if seconds:
        strips.append(("s / trial", True, [_seconds_text(line) for line in lines]))
    headers, right, texts = zip(*strips, strict=True)
    return f"{markdown_table(headers, list(zip(*texts, strict=True)), right=right)}\n\n{table_caption(lines)}"


def table_caption(lines: Sequence[TableLine]) -> str:
    """What the intervals of a table are over; a page never shows one without its unit."""
    ranges = [cell.aggregate for line in lines for cell in line.cells.values()]
    units = {
        basis: [one.unit_count for one in ranges if one.basis == basis]
        for basis in ("seeds", "sources")
    }
    sentences = {
        "seeds": "t over {} subset seeds",
        "sources": "t over {} source trainings, each the mean of its subset seeds",
    }
    told = [sentences[basis].format(format_range(found)) for basis, found in units.items() if found]
    bases = {one.basis for one in ranges}
    if "deterministic" in bases:
        told.append(
            f"{DETERMINISTIC_MARK} Wilson over test images, since all seeds agree (deterministic)"
        )
    if "single" in bases:
        told.append(f"{SINGLE_MARK} Wilson over test images, since there is one trial")
    sentence = f"95 % intervals: {'; '.join(told)}." if told else NO_INTERVAL
    return " ".join([sentence, *_caption_notes(lines)])


def _caption_notes(lines: Sequence[TableLine]) -> Iterator[str]:
    """What else a table's cells and marks mean, as far as it has them."""
    if any(line.skipped for line in lines):
        yield f"{SKIPPED_TEXT.capitalize()}: the evaluation makes no sense there, for the reason that the page tells."
    if any(line.has_mixed_environments for line in lines):
        yield f"{MIXED_MARK} Measured, in part, on another device, thread count or precision than most of this page."


def baseline_label(baseline: Json) -> str:
    """The baseline in words."""
    return f"transfer {baseline['transfer']}" if isinstance(baseline, Mapping) else str(baseline)


def _name_columns(lines: Sequence[TableLine]) -> list[TextColumn]:
    """What names a row; an axis that no row has is left out."""
    named: dict[str, list[str | None]] = {
        "source": [line.row.source for line in lines],
        "adapter": [line.row.adapter for line in lines],
        "transfer": [
            line.row.transfer + (f" {MIXED_MARK}" if line.has_mixed_environments else "")
            for line in lines
        ],
    }
    return [
        (name, False, [escape_markdown(label or ABSENT) for label in labels])
        for name, labels in named.items()
        if any(labels)
    ]


def _cell_text(line: TableLine, name: str) -> str:
    if name not in line.cells:
        return SKIPPED_TEXT if name in line.skipped else ABSENT
    cell, planned = line.cells[name], len(line.row.trials)
    found, fine = cell.aggregate, not cell.is_share
    ends = dict.fromkeys((found.low, found.high))
    value = "–".join(format_number(end, fine=fine) for end in ends)  # noqa: RUF001  # an en dash, as between any two numbers
    value = f"**{value}**" if cell.best else value
    few = f" ({found.trial_count}/{planned})" if found.trial_count < planned else ""
    return f"{value}{format_interval(found.interval, fine=fine)}{BASIS_MARKS.get(found.basis, '')}{few}{VERDICT_MARKS[cell.verdict.value]}"


def _difference_text(line: TableLine, *, by: str) -> str:
    match line.difference:
        case None:
            return ABSENT
        case "baseline":
            return "baseline"
        case Aggregate(low, high, interval, _, _, trials):
            fine = not line.cells[by].is_share
            value = " to ".join(
                format_number(end, sign=True, fine=fine) for end in dict.fromkeys((low, high))
            )
            few = f" ({trials}/{len(line.row.trials)})" if trials < len(line.row.trials) else ""
            return f"{value}{format_interval(interval, sign=True, fine=fine)}{few}"


def _seconds_text(line: TableLine) -> str:
    return ABSENT if line.seconds is None else f"{line.seconds:.2f}"


def _seeds_text(line: TableLine) -> str:
    trials = line.row.trials
    if line.done_count < len(trials):
        return f"{line.done_count}/{len(trials)}"
    replicates = len({trial.replicate for trial in trials})
    return f"{len(trials)}" if replicates == 1 else f"{replicates} × {len(trials) // replicates}"  # noqa: RUF001  # a product
