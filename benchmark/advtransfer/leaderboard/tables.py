"""One table of the page: the rows of a target and n, and a caption about its intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from advtransfer.leaderboard.aggregates import Aggregate
from advtransfer.leaderboard.baselines import RowDifference, baseline_label
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    format_range,
    markdown_table,
)
from advtransfer.leaderboard.rank_notes import rank_notes
from advtransfer.leaderboard.ranking import Ranking, TableCell, TableLine
from advtransfer.leaderboard.table_rows import Column
from advtransfer.text import ABSENT
from advtransfer.types import Json

TextColumn: TypeAlias = "tuple[str, bool, list[str]]"
"""One column as text: its header, whether it is aligned to the right, and its cells."""

NO_INTERVAL = (
    "No number here has an interval: that takes several trials that differ, or shares of test "
    "images."
)
NO_NUMBER = "Nothing of this table is measured yet."
SKIPPED_TEXT = "skipped"
DETERMINISTIC_MARK = "†"
SINGLE_MARK = "‡"
MIXED_MARK = "§"
EN_DASH = "–"  # noqa: RUF001  # as between any two numbers
BASIS_MARKS = {"deterministic": DETERMINISTIC_MARK, "single": SINGLE_MARK}
UNIT_TEXTS = {
    "seeds": ("{} subset seeds", " of one training of each source"),
    "sources": ("{} source trainings", ", each the mean of its subset seeds"),
}
"""What an interval is over, and what is added where rows have a source, or trainings several seeds."""
ONE_TRIAL_TEXTS = {
    "deterministic": "the transfer draws no random number, so that all seeds are one trial",
    "single": "there is one trial",
}
CLEAR_MARK = r"\*"
ONE_SIDED_MARK = "◊"
UNLEARNED_MARK = "¶"
DOUBT_MARKS = {"suspicious": " suspicious", "invalid": " invalid"}
CHECKED_NOTE = (
    "✓ 1.5: checked; of the images that the host attacked itself, it broke 1.5 % that the "
    "evaluation's attack had not broken; they count as broken here."
)
AT_MOST_NOTE = (
    "At most: not every test image was attacked by the host (where there is no ✓, none), so the "
    "accuracy is an upper bound."
)

SEVERAL_ATTACKS_NOTE = (
    "Robust accuracies of several attacks in one ball may differ: each counts what its own attack and "
    "the host's broke; `worst_linf`, `worst_l2` and `worst_l1` join all attacks."
)


def render_table(
    lines: Sequence[TableLine],
    *,
    columns: Sequence[Column],
    ranking: Ranking | None,
    baselines: Sequence[Json],
    seconds: bool,
    captioned: bool = True,
) -> str:
    """Return the table and its caption in markdown.

    Args:
        lines: Rows, best first.
        columns: Metrics to show.
        ranking: Ranking of the rows; without one, ranks and differences are not shown.
        baselines: Sources or transfers that the rows are compared with, one column each.
        seconds: Show the mean seconds of a trial's fit and of its evaluations.
        captioned: Write the caption; a part of a table has none.
    """
    text_columns: list[TextColumn] = []
    if ranking:
        ranks = [rank_text(line, name=ranking.column.name) for line in lines]
        text_columns.append(("rank", True, ranks))
    text_columns += _name_columns(lines)
    for column in columns:
        cells = [cell_text(line, column.name) for line in lines]
        text_columns.append((escape_markdown(column.name), True, cells))
    if ranking:
        text_columns += _difference_columns(lines, baselines, name=ranking.column.name)
    text_columns.append(("seeds", True, [_seeds_text(line) for line in lines]))
    if seconds:
        fit = [None if line.seconds is None else line.seconds.fit for line in lines]
        measured = [None if line.seconds is None else line.seconds.evaluations for line in lines]
        text_columns.append(("s fit", True, list(map(_seconds_text, fit))))
        text_columns.append(("s evaluations", True, list(map(_seconds_text, measured))))
    headers, right, cells_by_column = zip(*text_columns, strict=True)
    rows = list(zip(*cells_by_column, strict=True))
    table = markdown_table(headers, rows, right=right)
    return f"{table}\n\n{table_caption(lines, ranking)}" if captioned else table


def table_caption(lines: Sequence[TableLine], ranking: Ranking | None) -> str:
    """Return the caption, which names the sample of every kind of interval in the table."""
    aggregates = [cell.aggregate for line in lines for cell in line.cells.values()]
    sampled = [aggregate for aggregate in aggregates if aggregate.interval]
    parts = list(_interval_texts(sampled, unit_texts=_unit_texts(lines)))
    no_interval = NO_INTERVAL if aggregates else NO_NUMBER
    sentence = f"95 % intervals: {'; '.join(parts)}." if parts else no_interval
    notes = [
        *rank_notes([line.group for line in lines]),
        *(_rank_mark_notes(lines, ranking.column.name) if ranking else ()),
        *_difference_notes(lines),
        *_caption_notes(lines),
    ]
    return " ".join([sentence, *notes])


def _rank_mark_notes(lines: Sequence[TableLine], name: str) -> Iterator[str]:
    """Yield what the mark of a range of ranks means, nothing where no row has one."""
    shown = {_rank_mark(line, name) for line in lines if line.rank_range is not None}
    marks = [mark for mark in BASIS_MARKS.values() if mark in shown]
    if marks:
        yield (
            f"{' or '.join(marks)} beside ranks: over images of one trial alone, so that another seed or "
            "training may rank otherwise."
        )


def _unit_texts(lines: Sequence[TableLine]) -> dict[str, str]:
    """Return what the intervals of each basis are over, as far as it holds for the rows."""
    of_basis: dict[str, list[TableLine]] = {basis: [] for basis in UNIT_TEXTS}
    for line in lines:
        for basis in {cell.aggregate.basis for cell in line.cells.values()} & UNIT_TEXTS.keys():
            of_basis[basis].append(line)
    is_added = {
        "seeds": any(line.row.source is not None for line in of_basis["seeds"]),
        "sources": any(_seeds_per_training(line) > 1 for line in of_basis["sources"]),
    }
    return {
        basis: text + (addition if is_added[basis] else "")
        for basis, (text, addition) in UNIT_TEXTS.items()
    }


def _seeds_per_training(line: TableLine) -> int:
    trials = line.row.trials
    return len(trials) // len({trial.replicate for trial in trials})


def _interval_texts(
    aggregates: Sequence[Aggregate], *, unit_texts: Mapping[str, str]
) -> Iterator[str]:
    """Yield the sample of each kind of interval: trials and images, images alone, trials alone."""
    images = [aggregate.image_count for aggregate in aggregates if aggregate.image_count]
    image_text = f"{format_range(images)} test images" if images else ""
    for basis, text in unit_texts.items():
        found = [aggregate for aggregate in aggregates if aggregate.basis == basis]
        both = [aggregate.unit_count for aggregate in found if aggregate.image_count]
        alone = [aggregate.unit_count for aggregate in found if not aggregate.image_count]
        if both:
            units = text.format(format_range(both))
            yield f"over {units}{',' if ',' in units else ''} and {image_text}"
        if alone:
            yield f"in columns without outcomes of images, t-intervals over {text.format(format_range(alone))}"
    for basis, reason in ONE_TRIAL_TEXTS.items():
        if any(aggregate.basis == basis for aggregate in aggregates):
            yield f"{BASIS_MARKS[basis]} over {image_text} alone, since {reason}"


def _difference_notes(lines: Sequence[TableLine]) -> Iterator[str]:
    """Yield explanations of the differences' intervals and marks."""
    row_differences = [each for line in lines for each in line.differences if each is not None]
    differences = [each.value for each in row_differences if isinstance(each.value, Aggregate)]
    tested = [each for each in differences if each.p_value is not None]
    if any(each.interval for each in differences):
        paired = (
            "training, seed and image"
            if any(each.image_count for each in differences)
            else "training and seed"
        )
        yield f"Δ: paired by {paired}; each interval has 95 % confidence for itself alone."
    if any(each.is_clear for each in row_differences):
        yield (
            f"{CLEAR_MARK}: p < .05 after Holm's correction for {count_noun(len(tested), 'difference')}."
        )
    elif tested:
        yield f"No p is below .05 after Holm's correction for {count_noun(len(tested), 'difference')}."
    if any(_shares_ranks(line, lines) for line in lines):
        yield (
            "A marked row may share ranks with the baseline: Δ is corrected for the differences of its "
            "column, the ranks for all pairs."
        )
    if any(each.is_one_sided for each in differences):
        yield (
            f"{ONE_SIDED_MARK}: one training on one side, which is taken to vary between trainings "
            "as the other side does."
        )


def _shares_ranks(line: TableLine, lines: Sequence[TableLine]) -> bool:
    """Return whether a row with a clear difference shares ranks with that baseline of its group."""
    if line.rank_range is None:
        return False
    low, high = line.rank_range
    for column, difference in enumerate(line.differences):
        if difference is None or not difference.is_clear:
            continue
        baselines = [
            other.rank_range
            for other in lines
            if other.group is line.group and _is_baseline(other, column)
        ]
        if any(each and each.best <= high and low <= each.worst for each in baselines):
            return True
    return False


def _is_baseline(line: TableLine, column: int) -> bool:
    difference = line.differences[column] if line.differences else None
    return difference is not None and difference.value == "baseline"


def _caption_notes(lines: Sequence[TableLine]) -> Iterator[str]:
    """Yield explanations of the other cells and marks that occur in the table."""
    if any(line.skipped for line in lines):
        mark = SKIPPED_TEXT.capitalize()
        yield f"{mark}: the evaluation is not applicable; the page gives the reason."
    probes = [cell.probe for line in lines for cell in line.cells.values() if cell.probe]
    if any(probe.count for probe in probes):
        yield CHECKED_NOTE
    if any(not probe.is_complete for probe in probes):
        yield AT_MOST_NOTE
    if any(map(_has_attacks_that_differ, lines)):
        yield SEVERAL_ATTACKS_NOTE
    if any(line.unlearned_count for line in lines):
        yield f"{UNLEARNED_MARK} A fit did not learn its task, so the row is not ranked."
    if any(line.is_incomplete and line.cells for line in lines):
        yield "Rows without the ranking number of a planned trial are not ranked."
    if any(line.has_mixed_environments for line in lines):
        yield (
            f"{MIXED_MARK} Measured, in part, on another device, thread count or precision than "
            "most of this page."
        )


def _name_columns(lines: Sequence[TableLine]) -> list[TextColumn]:
    """Return the columns that name a row, without axes that no row has."""
    transfers = []
    for line in lines:
        mark = f" {MIXED_MARK}" if line.has_mixed_environments else ""
        if line.unlearned_count:
            mark += f" {UNLEARNED_MARK}{_trial_counts_text(line.unlearned_count, line)}"
        transfers.append(f"{line.row.transfer}{mark}")
    labels_by_axis: dict[str, Sequence[str | None]] = {
        "source": [line.row.source for line in lines],
        "adapter": [line.row.adapter for line in lines],
        "transfer": transfers,
        "submission": [line.row.submission for line in lines],
    }
    return [
        (axis, False, [escape_markdown(label or ABSENT) for label in labels])
        for axis, labels in labels_by_axis.items()
        if any(labels)
    ]


def rank_text(line: TableLine, *, name: str) -> str:
    """Return the range of ranks, ``2-4``, or one rank where the range has no other.

    It has the mark of the row's number in the column `name`, by which rows are ranked, where it is over
    images of one trial alone.
    """
    if line.rank_range is None:
        return ABSENT
    ranks = "-".join(map(str, dict.fromkeys(line.rank_range)))
    return f"{ranks}{_rank_mark(line, name)}"


def _rank_mark(line: TableLine, name: str) -> str:
    if line.group is None or "trial" not in line.group.units or name not in line.cells:
        return ""
    return BASIS_MARKS.get(line.cells[name].aggregate.basis, "")


def cell_text(line: TableLine, name: str) -> str:
    """Return the number of a row in the column `name` with its interval and marks."""
    if name not in line.cells:
        return SKIPPED_TEXT if name in line.skipped else ABSENT
    cell = line.cells[name]
    aggregate = cell.aggregate
    fine = not cell.is_share
    ends = dict.fromkeys((aggregate.low, aggregate.high))  # one number without unknown outcomes
    value = EN_DASH.join(format_number(end, fine=fine) for end in ends)
    if cell.best:
        value = f"**{value}**"
    interval = format_interval(aggregate.interval, fine=fine)
    basis = BASIS_MARKS.get(aggregate.basis, "")
    trials = _trial_counts_text(aggregate.trial_count, line)
    at_most = "at most " if cell.probe is not None and not cell.probe.is_complete else ""
    return f"{at_most}{value}{interval}{basis}{trials}{_verdict_mark(cell)}"


def _verdict_mark(cell: TableCell) -> str:
    """Return the doubt about a number, or the check mark of a checked robust accuracy.

    Beside the check mark is the share, in points of the attacked images, that the attack missed.
    """
    if cell.verdict.value in DOUBT_MARKS:
        return DOUBT_MARKS[cell.verdict.value]
    missed = None if cell.probe is None else cell.probe.missed_share
    if missed is None or cell.verdict.value == "unchecked":
        return ""
    return f" ✓ {100 * missed:.1f}"


def _has_attacks_that_differ(line: TableLine) -> bool:
    """Return whether a row has different robust accuracies by several attacks of one radius."""
    values_by_radius: defaultdict[tuple[str | None, str], set[float]] = defaultdict(set)
    for name, cell in line.cells.items():
        if cell.probe is not None:
            radius = name.partition("@")[2]
            values_by_radius[cell.further_data, radius].add(cell.aggregate.low)
    return any(len(values) > 1 for values in values_by_radius.values())


def _difference_columns(
    lines: Sequence[TableLine], baselines: Sequence[Json], *, name: str
) -> list[TextColumn]:
    """Return a column of differences for each baseline; `name` is the column that is compared."""
    columns: list[TextColumn] = []
    for column, baseline in enumerate(baselines):
        header = f"Δ {escape_markdown(name)}"
        if len(baselines) > 1:
            header += f" to {escape_markdown(baseline_label(baseline))}"
        differences = [line.differences[column] if line.differences else None for line in lines]
        texts = [
            _difference_text(difference, line, name=name)
            for difference, line in zip(differences, lines, strict=True)
        ]
        columns.append((header, True, texts))
    return columns


def _difference_text(row_difference: RowDifference | None, line: TableLine, *, name: str) -> str:
    """Return a row's difference to a baseline."""
    if row_difference is None:
        return ABSENT
    difference = row_difference.value
    if not isinstance(difference, Aggregate):
        return difference
    fine = not line.cells[name].is_share
    ends = dict.fromkeys((difference.low, difference.high))
    value = " to ".join(format_number(end, sign=True, fine=fine) for end in ends)
    interval = format_interval(difference.interval, sign=True, fine=fine)
    marks = CLEAR_MARK if row_difference.is_clear else ""
    marks += ONE_SIDED_MARK if difference.is_one_sided else ""
    return f"{value}{interval}{marks}{_trial_counts_text(difference.trial_count, line)}"


def _trial_counts_text(count: int, line: TableLine) -> str:
    """Return ``" (4/5)"`` if a number has fewer trials than planned, else an empty string."""
    planned = len(line.row.trials)
    return f" ({count}/{planned})" if count < planned else ""


def _seconds_text(seconds: float | None) -> str:
    return ABSENT if seconds is None else f"{seconds:.2f}"


def _seeds_text(line: TableLine) -> str:
    trials = line.row.trials
    if line.done_count < len(trials):
        return f"{line.done_count}/{len(trials)}"
    per_training = _seeds_per_training(line)
    if per_training == len(trials):
        return f"{len(trials)}"
    return f"{len(trials) // per_training} × {per_training}"  # noqa: RUF001  # a product
