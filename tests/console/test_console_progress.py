"""Counts and rates from scripted events."""

from __future__ import annotations

from advtransfer.console.event_fields import Event
from advtransfer.console.progress import RunProgress


def after(*events: Event) -> RunProgress:
    tally = RunProgress()
    for event in events:
        tally.add_event(event)
    return tally


START: Event = {
    "event": "run_started",
    "time": 0.0,
    "done": 4,
    "failed": 1,
    "skipped": 1,
    "todo": 4,
}


def fit(id: str, time: float) -> Event:
    return {"event": "job_started", "time": time, "id": id, "kind": "fit", "name": id}


def end(id: str, time: float) -> Event:
    return {"event": "trial_finished", "time": time, "trial": {"id": id}}


def test_trials_move_from_to_do_to_done_failed_or_skipped() -> None:
    tally = after(
        START,
        end("a", 1.0),
        {"event": "trial_failed", "time": 2.0, "trial": {"id": "b"}},
        {"event": "trial_skipped", "time": 3.0, "trial": {"id": "c"}},
    )

    assert (tally.done, tally.failed, tally.skipped, tally.todo) == (5, 2, 1, 2)
    assert (tally.trial_count, tally.settled_count) == (10, 8)


def test_trials_skipped_before_are_announced_and_not_counted_twice() -> None:
    skip: Event = {"event": "trial_skipped", "time": 1.0, "trial": {"id": "c"}}

    assert after(START, skip).skipped == 1
    assert after(START, skip, skip).skipped == 2


def test_counts_at_the_start_are_the_runners() -> None:
    tally = after(
        {"event": "run_started", "trials": 10, "done": 4, "failed": 1, "skipped": 1, "todo": 4}
    )

    assert (tally.done, tally.failed, tally.skipped, tally.todo) == (4, 1, 1, 4)


def test_end_of_a_run_corrects_the_counts() -> None:
    tally = after(
        START,
        {"event": "run_finished", "time": 9.0, "done": 9, "failed": 1, "skipped": 0, "todo": 0},
    )

    assert (tally.done, tally.failed, tally.skipped, tally.todo) == (9, 1, 0, 0)


def test_time_left_is_not_shown_before_a_trial_has_finished() -> None:
    assert after(START, fit("a", 50.0)).seconds_left is None


def test_time_left_is_the_rate_since_the_first_fit_so_that_training_sources_does_not_count() -> (
    None
):
    tally = after(START, fit("a", 50.0), end("a", 52.0), fit("b", 52.0), end("b", 54.0))

    assert tally.seconds_left == 4.0


def test_progress_is_a_share_and_figures() -> None:
    tally = after(
        fit("a", 1.0),
        {
            "event": "progress",
            "time": 2.0,
            "id": "a",
            "done": 3,
            "total": 12,
            "news": {"loss": 0.5},
        },
    )

    assert (tally.running["a"].share, tally.running["a"].news) == (0.25, "3/12 loss .500")


def test_finished_job_runs_no_more() -> None:
    tally = after(
        fit("a", 1.0),
        {"event": "job_finished", "time": 2.0, "id": "a", "kind": "fit", "seconds": 1.0},
    )

    assert tally.running == {}


def test_progress_of_a_node_below_a_job_shows_no_job_that_would_never_end() -> None:
    tally = after(
        fit("a", 1.0), {"event": "progress", "time": 2.0, "id": "below", "done": 1, "total": 2}
    )

    assert list(tally.running) == ["a"]
