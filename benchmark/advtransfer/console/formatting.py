"""Texts of the console: numbers, durations, trials, and the first and last lines of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from advtransfer.console.event_fields import (
    Event,
    integer_field,
    mapping_field,
    mapping_list_field,
    number_field,
    number_mapping_field,
    text_field,
)

MAX_SHOWN = 5  # metrics that are shown where the suite names no columns, reasons that are shown where there are many
ABSENT = "–"  # noqa: RUF001  # the en dash is what every page shows for what is absent


class StatusCounts(NamedTuple):
    """Trials by state."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    todo: int = 0


def format_number(value: float) -> str:
    """A metric in three decimals without the leading zero (``.704``); one too small or too large in 2 or 4 digits."""
    if not math.isfinite(value):
        return ABSENT
    if 0 < value < 0.0005:
        return f"{value:.2g}"
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1.0005 else f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Seconds as people say them: ``0.4 s``, ``42 s``, ``3 min 12 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def pluralize(number: int, noun: str) -> str:
    """A count with its noun: ``1 trial``, ``2 trials``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def trial_name(trial: Event) -> str:
    """A trial as its plan names it, or its place in the grid, or the start of its id."""
    return (
        text_field(trial, "name") or _trial_position(trial) or text_field(trial, "id")[:12] or "?"
    )


def _trial_position(trial: Event) -> str:
    axes = [
        text_field(trial, "source"),
        "->" if text_field(trial, "source") else "",
        text_field(trial, "target"),
    ]
    axes += [f"{key}={text_field(trial, key)}" for key in ("n", "seed") if text_field(trial, key)]
    return " ".join(filter(None, [*axes, text_field(trial, "transfer")]))


def metrics_text(event: Event, *, columns: Sequence[str] = ()) -> str:
    """The metrics of a finished trial on one line: those of the suite's columns, else the first few."""
    found = number_mapping_field(event, "metrics")
    shown, more = select_metrics(list(found), columns=columns)
    told = [f"{name} {format_number(found[name])}" for name in shown]
    return "  ".join([*told, f"and {more} more"] if more else told)


def select_metrics(names: Sequence[str], *, columns: Sequence[str]) -> tuple[list[str], int]:
    """The metrics that the suite's columns name, or the first few with the count of the others."""
    named = [name for column in columns for name in _metrics_of_column(column, names)]
    if named:
        return list(dict.fromkeys(named)), 0
    return list(names[:MAX_SHOWN]), len(names[MAX_SHOWN:])


def _metrics_of_column(column: str, names: Sequence[str]) -> list[str]:
    """What a column names: it may leave out the eps and the epoch that records write, ``robust_accuracy@0.1``."""
    return (
        [column] if column in names else [name for name in names if name.startswith(f"{column}@")]
    )


def opening_line(event: Event) -> str:
    """One line that says what starts, from the event ``run_started``."""
    workers = f"{pluralize(integer_field(event, 'jobs'), 'job')} of {pluralize(integer_field(event, 'threads'), 'thread')}"
    where = f"{workers} on {text_field(event, 'device')}; {text_field(event, 'run')}"
    return f"{text_field(event, 'suite')}: {counts_text(status_counts(event))}; {where}"


def status_counts(event: Event) -> StatusCounts:
    """The trials of a run by state; those that failed before and are tried again are to do."""
    return StatusCounts(*(integer_field(event, key) for key in StatusCounts._fields))


def source_line(event: Event) -> str:
    """What a built source is and what its probe measured, from the event ``source_finished``."""
    card, probe = mapping_field(event, "card"), mapping_field(event, "probe")
    measured = (
        f"clean accuracy {format_number(number_field(probe, 'clean_accuracy'))} on {text_field(probe, 'on')}"
        if probe
        else ""
    )
    return f"source {text_field(event, 'name')}: " + ", ".join(
        filter(None, [text_field(card, "architecture"), measured])
    )


def card_warning(event: Event) -> str:
    """What to do about a source whose probe is off its card; empty when it is not."""
    card, probe = mapping_field(event, "card"), mapping_field(event, "probe")
    if probe.get("agrees") is not False:
        return ""
    claimed, tolerance = (
        format_number(number_field(card, "clean_accuracy")),
        format_number(number_field(card, "tolerance")),
    )
    return (
        f"warning: source {text_field(event, 'name')} is off its card, which claims {claimed} with a tolerance of "
        f"{tolerance}; check its normalisation, input size and class order"
    )


def superseded_line(event: Event) -> str:
    """What is measured again since code has changed, from the event ``records_superseded``."""
    names = list(dict.fromkeys(str(name) for name in mapping_field(event, "records").values()))
    more = f", and {len(names) - MAX_SHOWN} more" if names[MAX_SHOWN:] else ""
    plugins = event.get("plugins")
    changed = ", ".join(map(str, plugins)) if isinstance(plugins, list | tuple) else ""
    return (
        f"stale: the code of {changed} has changed under the same version; measured again: "
        f"{', '.join(names[:MAX_SHOWN])}{more}; the old records are in {text_field(event, 'run')}/superseded "
        "(to take them as they are: --trust-versions)"
    )


def warning_line(event: Event) -> str:
    """A warning of the run, its data, or a library during a job, from the event ``warning``."""
    name = text_field(event, "name")
    return (
        f"warning: {name}: {text_field(event, 'text')}"
        if name
        else f"warning: {text_field(event, 'text')}"
    )


def counts_text(standing: StatusCounts) -> str:
    """The trials by state on one line: ``160 trials: 158 done, 2 failed, 0 skipped, 0 to do``."""
    done, failed, skipped, todo = standing
    return f"{pluralize(sum(standing), 'trial')}: {done} done, {failed} failed, {skipped} skipped, {todo} to do"


def ending_lines(event: Event) -> list[str]:
    """The last lines of a run, from the event ``run_finished``: the counts, the page, and what to do next."""
    lines = [
        f"{counts_text(status_counts(event))} in {format_duration(number_field(event, 'seconds'))}"
    ]
    if integer_field(event, "failed") and text_field(event, "run"):
        lines.append(f"failures: advtransfer status {text_field(event, 'run')}")
    skipped = mapping_list_field(event, "evaluations_skipped")
    lines += map(skipped_line, skipped[:MAX_SHOWN])
    if skipped[MAX_SHOWN:]:
        lines.append(
            f"and {len(skipped) - MAX_SHOWN} more reasons: advtransfer status {text_field(event, 'run')}"
        )
    if text_field(event, "page"):
        lines.append(f"page: {text_field(event, 'page')}")
    if text_field(event, "stopped"):
        again = "; run the same command again to continue" if number_field(event, "todo") else ""
        lines.append(f"stopped: {text_field(event, 'stopped')}{again}")
    if event.get("interrupted"):
        lines.append("interrupted: run the same command again to continue")
    return lines


def skipped_line(event: Event) -> str:
    """One evaluation that made no sense in some trials, from `evaluations_skipped`."""
    return f"{text_field(event, 'evaluation')} skipped in {pluralize(integer_field(event, 'trials'), 'trial')}: {text_field(event, 'reason')}"


def job_progress_text(event: Event) -> str:
    """Where a job is: ``3/30 loss .412``."""
    figures: Mapping[str, float] = number_mapping_field(event, "news")
    steps = (
        f"{integer_field(event, 'done')}/{integer_field(event, 'total')}"
        if integer_field(event, "total")
        else ""
    )
    return " ".join(
        filter(
            None, [steps, *(f"{name} {format_number(value)}" for name, value in figures.items())]
        )
    )


def event_trial(event: Event) -> Event:
    """The trial that an event is about."""
    return mapping_field(event, "trial")
