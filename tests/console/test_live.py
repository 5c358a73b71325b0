"""The live console drawn on a recording terminal of fixed width."""

from __future__ import annotations

import io
import random

import pytest
from rich.console import Console as Terminal

from advtransfer.console import Event
from advtransfer.console.live import LiveConsole, render_progress
from advtransfer.console.progress import RunProgress

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(autouse=True)
def _capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def terminal(width: int = 100) -> Terminal:
    return Terminal(
        file=io.StringIO(), width=width, force_terminal=True, record=True, color_system=None
    )


def trial(n: int | str, seed: int, source: str = "linf 0.1") -> Event:
    place: Event = {"source": source, "target": "digits", "n": n, "seed": seed, "transfer": "probe"}
    return {
        "id": f"{source}{n}{seed}",
        "name": f"{source} -> digits n={n} seed={seed} probe",
        **place,
    }


START: Event = {
    "event": "run_started",
    "time": 0.0,
    "suite": "quickstart",
    "run": "runs/quickstart",
    "done": 0,
    "failed": 0,
    "skipped": 0,
    "todo": 4,
    "jobs": 2,
    "threads": 1,
    "device": "cpu",
}
JOBS: list[Event] = [
    {
        "event": "job_started",
        "time": 1.0,
        "id": "s",
        "kind": "source",
        "name": "linf[eps=0.1]",
        "worker": 1,
    },
    {"event": "progress", "time": 2.0, "id": "s", "done": 15, "total": 30, "news": {"loss": 0.25}},
    {"event": "job_started", "time": 2.0, "id": "f", "kind": "fit", "name": "probe", "worker": 2},
]
ENDS: list[Event] = [
    {
        "event": "trial_finished",
        "time": 4.0,
        "trial": trial(100, 0),
        "metrics": {"clean.accuracy": 0.5},
    },
    {
        "event": "trial_finished",
        "time": 5.0,
        "trial": trial(100, 1),
        "metrics": {"clean.accuracy": 0.75},
    },
    {
        "event": "trial_finished",
        "time": 6.0,
        "trial": trial("all", 0),
        "metrics": {"pgd.robust": 0.25},
    },
    {"event": "trial_failed", "time": 7.0, "trial": trial(20, 0), "reason": "diverged [epoch 3]"},
    {"event": "trial_skipped", "time": 7.0, "trial": trial(20, 1), "reason": "shapes differ"},
]
FINISH: Event = {
    "event": "run_finished",
    "time": 8.0,
    "done": 3,
    "failed": 1,
    "seconds": 8.0,
    "page": "page.md",
}


def drawn(*events: Event) -> str:
    tally = RunProgress()
    for event in events:
        tally.add_event(event)
    screen = terminal()
    screen.print(render_progress(tally))
    return screen.export_text()


def test_display_shows_the_bar_the_counts_and_each_running_job() -> None:
    bar, source, fit = drawn(START, *JOBS, *ENDS[:1]).splitlines()

    assert bar.split() == ["━" * 7 + "╸", "1/4", "trials,", "6.0", "s", "left"]
    assert source.split() == ["linf[eps=0.1]", "━" * 7 + "╸", "15/30", "loss", ".250"]
    assert fit.split() == ["probe"]


def test_failed_and_skipped_trials_are_counted_in_sight() -> None:
    assert "2/4 trials, 1 failed, 1 skipped" in drawn(START, *ENDS[3:])


def test_end_is_a_table_of_means_with_n_in_order_then_the_counts_and_the_page() -> None:
    screen, product = terminal(), io.StringIO()
    with LiveConsole(screen, product=product) as console:
        for event in [START, *JOBS, *ENDS, FINISH]:
            console(event)

    rows = [
        line.strip("│").split("│")
        for line in screen.export_text().splitlines()
        if line.startswith("│")
    ]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["digits", "100", "probe", "linf 0.1", "2", ".625", "–"],  # noqa: RUF001  # the en dash for what is absent
        ["digits", "all", "probe", "linf 0.1", "1", "–", ".250"],  # noqa: RUF001
    ]
    assert product.getvalue().splitlines() == [
        "4 trials: 3 done, 1 failed, 0 skipped, 0 to do in 8.0 s",
        "page: page.md",
    ]


def test_trials_through_different_adapters_are_not_averaged_together() -> None:
    screen = terminal()
    with LiveConsole(screen, product=io.StringIO()) as console:
        for adapter, value in (("resize", 0.25), ("pad", 0.75)):
            place: Event = {**trial(20, 0), "adapter": adapter}
            console(
                {
                    "event": "trial_finished",
                    "time": 1.0,
                    "trial": place,
                    "metrics": {"clean.accuracy": value},
                }
            )
        console(FINISH)

    rows = [
        line.strip("│").split("│")
        for line in screen.export_text().splitlines()
        if line.startswith("│")
    ]
    assert [[cell.strip() for cell in row[4:]] for row in rows] == [
        ["pad", "1", ".750"],
        ["resize", "1", ".250"],
    ]


def test_mean_over_an_upper_bound_is_one() -> None:
    screen = terminal()
    with LiveConsole(screen, product=io.StringIO()) as console:
        for seed, bounds in enumerate([[], ["pgd.robust_accuracy@0.1"]]):
            metrics: Event = {"pgd.robust_accuracy@0.1": 0.25, "clean.accuracy": 0.5}
            ended: Event = {"event": "trial_finished", "time": 1.0, "trial": trial(20, seed)}
            console({**ended, "metrics": metrics, "upper_bounds": bounds})
        console(FINISH)

    row = next(line for line in screen.export_text().splitlines() if line.startswith("│"))
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert ["2", "at most .250", ".500"] == cells[4:]


def test_table_has_the_suites_columns_or_the_first_metrics() -> None:
    many: Event = {f"alignment.number_{k}": 0.5 for k in range(40)}
    tables = []
    columns: Event = {**START, "columns": ["alignment.number_7"]}
    finished: Event = {"event": "trial_finished", "trial": trial(20, 0), "metrics": many}
    for start in (START, columns):
        screen = terminal(width=200)
        with LiveConsole(screen, product=io.StringIO()) as console:
            for event in (start, finished, FINISH):
                console(event)
        tables.append(screen.export_text())

    assert [5, 1] == [table.count("alignment.number_") for table in tables]
    assert ["and 35 more, on the page" in table for table in tables] == [True, False]
    assert "alignment.number_7" in tables[1]


def test_failures_stay_on_the_screen_and_brackets_are_text() -> None:
    screen = terminal()
    with LiveConsole(screen, product=io.StringIO()) as console:
        for event in [START, *ENDS]:
            console(event)

    assert (
        "failed: linf 0.1 -> digits n=20 seed=0 probe: diverged [epoch 3]" in screen.export_text()
    )


def test_long_table_of_means_is_left_to_the_page() -> None:
    screen = terminal()
    with LiveConsole(screen, product=io.StringIO()) as console:
        for n in range(41):
            console(
                {
                    "event": "trial_finished",
                    "time": 1.0,
                    "trial": trial(n, 0),
                    "metrics": {"clean.accuracy": 0.5},
                }
            )
        console(FINISH)

    assert "Means" not in screen.export_text()


def test_error_in_the_run_restores_the_terminal_and_propagates() -> None:
    stream, product = io.StringIO(), io.StringIO()

    def broken() -> None:
        with LiveConsole(Terminal(file=stream, force_terminal=True), product=product) as console:
            console(START)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        broken()

    assert product.getvalue() == ""
    assert SHOW_CURSOR in stream.getvalue().rpartition(HIDE_CURSOR)[2]


@pytest.mark.parametrize("seed", range(20))
def test_progress_survives_any_order_of_events_and_missing_fields(seed: int) -> None:
    ended: Event = {"event": "job_finished", "id": "f", "kind": "fit"}
    events = [START, *JOBS, *ENDS, FINISH, ended, {"event": "unheard of"}, {}]
    chance = random.Random(seed)
    chance.shuffle(events)
    poorer: list[Event] = [
        {key: value for key, value in one.items() if chance.random() < 0.8} for one in events
    ]

    with LiveConsole(terminal(), product=io.StringIO()) as console:
        for event in [*events, *poorer]:
            console(event)
