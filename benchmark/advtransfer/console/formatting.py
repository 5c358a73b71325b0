"""Texts of the console: numbers, durations, trials, and the first and last lines of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from advtransfer.console.event_fields import (
    Event,
    integer_field,
    mapping_field,
    mapping_list_field,
    number_field,
    number_mapping_field,
    text_field,
    text_list_field,
)
from advtransfer.text import ABSENT, pluralize

MAX_SHOWN = 5
"""Number of metrics that are shown where the suite names no columns, and of reasons and names."""


class StatusCounts(NamedTuple):
    """Numbers of trials by status."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    todo: int = 0


def format_number(value: float) -> str:
    """Return a metric in three decimals without the leading zero: ``.704``.

    A number too small for that has two significant digits, a number too large has four.
    """
    if not math.isfinite(value):
        return ABSENT
    # The bounds are those at which rounding to three decimals gives .000 and 1.001.
    if 0 < value < 0.0005:
        return f"{value:.2g}"
    if 0 <= value < 1.0005:
        return f"{value:.3f}".removeprefix("0")
    return f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Return seconds as people say them: ``0.4 s``, ``42 s``, ``3 min 12 s``, ``2 h 05 min``."""
    # From here on one decimal would be rounded to 10.0.
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def trial_name(trial: Event) -> str:
    """Return a trial's name in its plan, or its position in the grid, or the start of its id."""
    return (
        text_field(trial, "name") or _trial_position(trial) or text_field(trial, "id")[:12] or "?"
    )


def _trial_position(trial: Event) -> str:
    source = text_field(trial, "source")
    parts = [source, "->" if source else "", text_field(trial, "target")]
    for key in ("n", "seed"):
        value = text_field(trial, key)
        if value:
            parts.append(f"{key}={value}")
    parts.append(text_field(trial, "transfer"))
    return " ".join(filter(None, parts))


def metrics_text(event: Event, *, columns: Sequence[str] = ()) -> str:
    """Return the metrics of a finished trial: those of the suite's columns, else the first few."""
    metrics = number_mapping_field(event, "metrics")
    names, more = select_metrics(list(metrics), columns=columns)
    bounds = text_list_field(event, "upper_bounds")
    texts = [f"{name} {bounded_number(metrics[name], name in bounds)}" for name in names]
    if more:
        texts.append(f"and {more} more")
    return "  ".join(texts)


def bounded_number(value: float, is_upper_bound: bool) -> str:
    """Return a metric, marked where it is an upper bound: ``at most .704``."""
    return f"{'at most ' if is_upper_bound else ''}{format_number(value)}"


def select_metrics(names: Sequence[str], *, columns: Sequence[str]) -> tuple[list[str], int]:
    """Return the metrics of the suite's columns, or the first few and the number of the others."""
    named = [name for column in columns for name in _metrics_of_column(column, names)]
    if named:
        return list(dict.fromkeys(named)), 0
    return list(names[:MAX_SHOWN]), len(names[MAX_SHOWN:])


def _metrics_of_column(column: str, names: Sequence[str]) -> list[str]:
    """Return the metrics that a column names.

    It may leave out the eps and the epoch that records write, as in ``robust_accuracy@0.1``.
    """
    if column in names:
        return [column]
    return [name for name in names if name.startswith(f"{column}@")]


def opening_line(event: Event) -> str:
    """Return the line that announces a run, from the event ``run_started``."""
    jobs = pluralize(integer_field(event, "jobs"), "job")
    threads = pluralize(integer_field(event, "threads"), "thread")
    workers = f"{jobs} of {threads} on {text_field(event, 'device')}"
    counts = counts_text(status_counts(event))
    return f"{text_field(event, 'suite')}: {counts}; {workers}; {text_field(event, 'run')}"


def status_counts(event: Event) -> StatusCounts:
    """Return the trials of a run by status; failed ones that are tried again are to do."""
    return StatusCounts(*(integer_field(event, key) for key in StatusCounts._fields))


def source_line(event: Event) -> str:
    """Return a built source's architecture and probe, from the event ``source_finished``."""
    card = mapping_field(event, "card")
    probe = mapping_field(event, "probe")
    parts = [text_field(card, "architecture")]
    if probe:
        accuracy = format_number(number_field(probe, "clean_accuracy"))
        parts.append(f"clean accuracy {accuracy} on {text_field(probe, 'on')}")
    return f"source {text_field(event, 'name')}: " + ", ".join(filter(None, parts))


def card_warning(event: Event) -> str:
    """Return a warning for a source whose probe disagrees with its card, else ``""``."""
    card = mapping_field(event, "card")
    # A source without a claim has no `agrees`, which is no disagreement.
    if mapping_field(event, "probe").get("agrees") is not False:
        return ""
    claimed = format_number(number_field(card, "clean_accuracy"))
    tolerance = format_number(number_field(card, "tolerance"))
    return (
        f"warning: source {text_field(event, 'name')} is off its card, which claims {claimed} "
        f"with a tolerance of {tolerance}; check its normalisation, input size and class order"
    )


def superseded_line(event: Event) -> str:
    """Return what a change of code makes stale, from the event ``records_superseded``."""
    # A trial has several records under one name.
    names = list(dict.fromkeys(str(name) for name in mapping_field(event, "records").values()))
    more = f", and {len(names) - MAX_SHOWN} more" if names[MAX_SHOWN:] else ""
    plugins = event.get("plugins")
    changed = ", ".join(map(str, plugins)) if isinstance(plugins, list | tuple) else ""
    return (
        f"stale: the code of {changed} has changed under the same version; measured again: "
        f"{', '.join(names[:MAX_SHOWN])}{more}; the old records are in "
        f"{text_field(event, 'run')}/superseded (to take them as they are: --trust-versions)"
    )


def warning_line(event: Event) -> str:
    """Return a warning of the run, its data, or a library, from the event ``warning``."""
    name = text_field(event, "name")
    subject = f"{name}: " if name else ""
    return f"warning: {subject}{text_field(event, 'text')}"


LOCK_WORDS = {"waiting_for_locks": "waiting", "claim_lost": "claim lost", "jobs_left": "left"}


def lock_line(event: Event) -> str:
    """Return what is said of claims and locks of other processes, from one of `LOCK_WORDS`' events."""
    word = LOCK_WORDS.get(text_field(event, "event"), "locks")
    return f"{word}: {text_field(event, 'text')}"


def counts_text(counts: StatusCounts) -> str:
    """Return the trials by status: ``160 trials: 158 done, 2 failed, 0 skipped, 0 to do``."""
    trials = pluralize(sum(counts), "trial")
    return (
        f"{trials}: {counts.done} done, {counts.failed} failed, "
        f"{counts.skipped} skipped, {counts.todo} to do"
    )


def ending_lines(event: Event) -> list[str]:
    """Return the last lines of a run: the counts, the page, and the next step.

    `event` is ``run_finished``; its ``seconds`` are None for a run that was only opened.
    """
    run = text_field(event, "run")
    counts = counts_text(status_counts(event))
    if event.get("seconds", 0.0) is not None:
        counts = f"{counts} in {format_duration(number_field(event, 'seconds'))}"
    lines = [counts]
    if integer_field(event, "failed") and run:
        lines.append(f"failures: advtransfer status {run}")
    skipped = mapping_list_field(event, "evaluations_skipped")
    lines += map(skipped_line, skipped[:MAX_SHOWN])
    if skipped[MAX_SHOWN:]:
        more = len(skipped) - MAX_SHOWN
        lines.append(f"and {more} more reasons: advtransfer status {run}")
    if text_field(event, "page"):
        lines.append(f"page: {text_field(event, 'page')}")
    if text_field(event, "profile"):
        lines.append(f"profile: {text_field(event, 'profile')}")
    if text_field(event, "stopped"):
        next_step = "; run the same command again to continue"
        has_more = number_field(event, "todo")
        lines.append(f"stopped: {text_field(event, 'stopped')}{next_step if has_more else ''}")
    if text_field(event, "left"):
        lines.append(f"left: {text_field(event, 'left')}; the same command continues")
    if event.get("interrupted"):
        lines.append("interrupted: run the same command again to continue")
    return lines


def skipped_line(event: Event) -> str:
    """Return an evaluation that is not applicable in some trials, from `evaluations_skipped`."""
    trials = pluralize(integer_field(event, "trials"), "trial")
    return f"{text_field(event, 'evaluation')} skipped in {trials}: {text_field(event, 'reason')}"


def job_progress_text(event: Event) -> str:
    """Return the progress of a job: ``3/30 loss .412``."""
    parts: list[str] = []
    if integer_field(event, "total"):
        parts.append(f"{integer_field(event, 'done')}/{integer_field(event, 'total')}")
    for name, value in number_mapping_field(event, "news").items():
        parts.append(f"{name} {format_number(value)}")
    return " ".join(parts)


def event_trial(event: Event) -> Event:
    """Return the trial that an event is about."""
    return mapping_field(event, "trial")
