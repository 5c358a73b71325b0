"""How the console writes numbers, durations, trials and the end of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from advtransfer.console.events import Event, count, number, numbers, table, tables, text

FEW = 5  # metrics that are shown where the suite names no columns, reasons that are shown where there are many
ABSENT = "–"  # noqa: RUF001  # the en dash is what every page shows for what is absent


class Standing(NamedTuple):
    """Trials by state."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    todo: int = 0


def figure(value: float) -> str:
    """A metric in three decimals without the leading zero (``.704``); one too small or too large in 2 or 4 digits."""
    if not math.isfinite(value):
        return ABSENT
    if 0 < value < 0.0005:
        return f"{value:.2g}"
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1.0005 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds as people say them: ``0.4 s``, ``42 s``, ``3 min 12 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def many(number: int, noun: str) -> str:
    """A count with its noun: ``1 trial``, ``2 trials``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def trial_name(trial: Event) -> str:
    """A trial as its plan names it, or its place in the grid, or the start of its id."""
    return text(trial, "name") or _place(trial) or text(trial, "id")[:12] or "?"


def _place(trial: Event) -> str:
    axes = [text(trial, "source"), "->" if text(trial, "source") else "", text(trial, "target")]
    axes += [f"{key}={text(trial, key)}" for key in ("n", "seed") if text(trial, key)]
    return " ".join(filter(None, [*axes, text(trial, "transfer")]))


def metrics(event: Event, *, columns: Sequence[str] = ()) -> str:
    """The metrics of a finished trial on one line: those of the suite's columns, else the first few."""
    found = numbers(event, "metrics")
    shown, more = worth_showing(list(found), columns=columns)
    told = [f"{name} {figure(found[name])}" for name in shown]
    return "  ".join([*told, f"and {more} more"] if more else told)


def worth_showing(names: Sequence[str], *, columns: Sequence[str]) -> tuple[list[str], int]:
    """The metrics that the suite's columns name, or the first few with the count of the others."""
    named = [name for column in columns for name in _meant(column, names)]
    if named:
        return list(dict.fromkeys(named)), 0
    return list(names[:FEW]), len(names[FEW:])


def _meant(column: str, names: Sequence[str]) -> list[str]:
    """What a column names: it may leave out the eps and the epoch that records write, ``robust_accuracy@0.1``."""
    return [column] if column in names else [name for name in names if name.startswith(f"{column}@")]


def opening(event: Event) -> str:
    """One line that says what starts, from the event ``run_started``."""
    workers = f"{many(count(event, 'jobs'), 'job')} of {many(count(event, 'threads'), 'thread')}"
    where = f"{workers} on {text(event, 'device')}; {text(event, 'run')}"
    return f"{text(event, 'suite')}: {counts(standing(event))}; {where}"


def standing(event: Event) -> Standing:
    """The trials of a run by state; those that failed before and are tried again are to do."""
    return Standing(*(count(event, key) for key in Standing._fields))


def source_line(event: Event) -> str:
    """What a built source is and what its probe measured, from the event ``source_finished``."""
    card, probe = table(event, "card"), table(event, "probe")
    measured = f"clean accuracy {figure(number(probe, 'clean_accuracy'))} on {text(probe, 'on')}" if probe else ""
    return f"source {text(event, 'name')}: " + ", ".join(filter(None, [text(card, "architecture"), measured]))


def disagreement(event: Event) -> str:
    """What to do about a source whose probe is off its card; empty when it is not."""
    card, probe = table(event, "card"), table(event, "probe")
    if probe.get("agrees") is not False:
        return ""
    claimed, tolerance = figure(number(card, "clean_accuracy")), figure(number(card, "tolerance"))
    return (
        f"warning: source {text(event, 'name')} is off its card, which claims {claimed} with a tolerance of "
        f"{tolerance}; check its normalisation, input size and class order"
    )


def superseded(event: Event) -> str:
    """What is measured again since code has changed, from the event ``records_superseded``."""
    names = list(dict.fromkeys(str(name) for name in table(event, "records").values()))
    more = f", and {len(names) - FEW} more" if names[FEW:] else ""
    plugins = event.get("plugins")
    changed = ", ".join(map(str, plugins)) if isinstance(plugins, list | tuple) else ""
    return (
        f"stale: the code of {changed} has changed under the same version; measured again: "
        f"{', '.join(names[:FEW])}{more}; the old records are in {text(event, 'run')}/superseded "
        "(to take them as they are: --trust-versions)"
    )


def warned(event: Event) -> str:
    """A warning of the run, its data, or a library during a job, from the event ``warning``."""
    name = text(event, "name")
    return f"warning: {name}: {text(event, 'text')}" if name else f"warning: {text(event, 'text')}"


def counts(standing: Standing) -> str:
    """The trials by state on one line: ``160 trials: 158 done, 2 failed, 0 skipped, 0 to do``."""
    done, failed, skipped, todo = standing
    return f"{many(sum(standing), 'trial')}: {done} done, {failed} failed, {skipped} skipped, {todo} to do"


def ending(event: Event) -> list[str]:
    """The last lines of a run, from the event ``run_finished``: the counts, the page, and what to do next."""
    lines = [f"{counts(standing(event))} in {duration(number(event, 'seconds'))}"]
    if count(event, "failed") and text(event, "run"):
        lines.append(f"failures: advtransfer status {text(event, 'run')}")
    skipped = tables(event, "evaluations_skipped")
    lines += map(skip, skipped[:FEW])
    if skipped[FEW:]:
        lines.append(f"and {len(skipped) - FEW} more reasons: advtransfer status {text(event, 'run')}")
    if text(event, "page"):
        lines.append(f"page: {text(event, 'page')}")
    if text(event, "stopped"):
        again = "; run the same command again to continue" if number(event, "todo") else ""
        lines.append(f"stopped: {text(event, 'stopped')}{again}")
    if event.get("interrupted"):
        lines.append("interrupted: run the same command again to continue")
    return lines


def skip(event: Event) -> str:
    """One evaluation that made no sense in some trials, from `evaluations_skipped`."""
    return f"{text(event, 'evaluation')} skipped in {many(count(event, 'trials'), 'trial')}: {text(event, 'reason')}"


def news(event: Event) -> str:
    """Where a job is: ``3/30 loss .412``."""
    figures: Mapping[str, float] = numbers(event, "news")
    steps = f"{count(event, 'done')}/{count(event, 'total')}" if count(event, "total") else ""
    return " ".join(filter(None, [steps, *(f"{name} {figure(value)}" for name, value in figures.items())]))


def of_trial(event: Event) -> Event:
    """The trial that an event is about."""
    return table(event, "trial")
