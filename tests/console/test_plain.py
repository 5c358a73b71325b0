"""The plain console against scripted runs: the exact text."""

from __future__ import annotations

import io

from advtransfer.console import Event, console_for

TRIAL: Event = {
    "id": "a" * 64,
    "name": "linf 0.1 -> digits_5_9 n=20 seed=0 probe",
    "source": "linf 0.1",
    "target": "digits_5_9",
    "n": 20,
    "seed": 0,
    "transfer": "probe",
}
STARTED: Event = {
    "event": "run_started",
    "time": 100.0,
    "suite": "quickstart",
    "title": "Do robust sources transfer better?",
    "run": "runs/quickstart",
    "trials": 12,
    "done": 9,
    "failed": 0,
    "skipped": 1,
    "todo": 2,
    "jobs": 2,
    "threads": 1,
    "device": "cpu",
}
FIT: Event = {
    "event": "job_started",
    "time": 101.0,
    "id": "a" * 64,
    "kind": "fit",
    "name": "probe",
    "worker": 1,
}
FINISHED: Event = {
    "event": "trial_finished",
    "time": 101.4,
    "trial": TRIAL,
    "metrics": {"clean.accuracy": 0.7043, "fgsm.accuracy": 0.3, "alignment.cosine": -0.0512},
}
ENDED: Event = {
    "event": "run_finished",
    "time": 292.0,
    "done": 10,
    "failed": 1,
    "skipped": 1,
    "todo": 0,
    "seconds": 192.0,
    "interrupted": False,
    "page": "runs/quickstart/leaderboard.md",
    "run": "runs/quickstart",
}


def shown(*events: Event, quiet: bool = False) -> list[str]:
    stream = io.StringIO()
    with console_for(stream, quiet=quiet) as console:
        for event in events:
            console(event)
    return stream.getvalue().splitlines()


def test_run_is_printed_line_by_line() -> None:
    failed: Event = {
        "event": "trial_failed",
        "time": 103.0,
        "trial": TRIAL,
        "reason": "diverged in epoch 3: loss nan",
    }

    lines = shown(STARTED, FIT, FINISHED, failed, ENDED)

    assert lines == [
        "quickstart: 12 trials: 9 done, 0 failed, 1 skipped, 2 to do; 2 jobs of 1 thread on cpu; runs/quickstart",
        "[11/12] linf 0.1 -> digits_5_9 n=20 seed=0 probe  "
        "clean.accuracy .704  fgsm.accuracy .300  alignment.cosine -0.0512  0.4 s",
        "[12/12] linf 0.1 -> digits_5_9 n=20 seed=0 probe  failed: diverged in epoch 3: loss nan",
        "12 trials: 10 done, 1 failed, 1 skipped, 0 to do in 3 min 12 s",
        "failures: advtransfer status runs/quickstart",
        "page: runs/quickstart/leaderboard.md",
    ]


def test_end_names_skipped_evaluations_and_where_to_find_the_rest() -> None:
    skipped: list[Event] = [
        {"evaluation": "leep", "reason": f"no\nclasses in {k}", "trials": 7 - k} for k in range(7)
    ]

    lines = shown(STARTED, {**ENDED, "failed": 0, "evaluations_skipped": skipped})

    assert lines[2:] == [
        "leep skipped in 7 trials: no classes in 0",
        "leep skipped in 6 trials: no classes in 1",
        "leep skipped in 5 trials: no classes in 2",
        "leep skipped in 4 trials: no classes in 3",
        "leep skipped in 3 trials: no classes in 4",
        "and 2 more reasons: advtransfer status runs/quickstart",
        "page: runs/quickstart/leaderboard.md",
    ]


MANY: Event = {
    **FINISHED,
    "metrics": {f"alignment.number_{k}": 0.5 for k in range(40)} | {"pgd.robust@0.1": 0.25},
}


def test_metrics_of_the_suites_columns_are_shown() -> None:
    columns: Event = {
        **STARTED,
        "columns": ["pgd.robust", "alignment.number_7", "alignment.number", "clean.accuracy"],
    }

    line = shown(columns, FIT, MANY)[-1]

    assert line.endswith(" seed=0 probe  pgd.robust@0.1 .250  alignment.number_7 .500  0.4 s")


def test_first_metrics_are_shown_without_columns() -> None:
    line = shown(STARTED, FIT, MANY)[-1]

    assert 5 == line.count("alignment.")
    assert line.endswith("alignment.number_4 .500  and 36 more  0.4 s")
    assert shown({**STARTED, "columns": ["clean.accuracy"]}, FIT, MANY)[-1] == line


def test_training_of_a_source_is_announced() -> None:
    job: Event = {"id": "s", "kind": "source", "name": "linf 0.1"}

    lines = shown(
        {"event": "job_started", "time": 1.0, "worker": 1, **job},
        {"event": "job_finished", "time": 43.0, "status": "done", **job},
    )

    assert lines == ["building source linf 0.1", "source linf 0.1 done  42 s"]


def test_seconds_of_a_trial_end_with_its_job() -> None:
    ended: Event = {"event": "job_finished", "time": 109.0, "id": "a" * 64, "kind": "fit"}

    lines = shown(STARTED, FIT, ended, {**FINISHED, "time": 110.0})

    assert lines[-1].endswith("  8.0 s")


def test_skipped_trial_says_why() -> None:
    lines = shown(
        STARTED, {"event": "trial_skipped", "time": 1.0, "trial": TRIAL, "reason": "shapes differ"}
    )

    assert lines[-1] == "skipped: linf 0.1 -> digits_5_9 n=20 seed=0 probe: shapes differ"


def test_reason_of_several_lines_is_printed_on_one() -> None:
    lines = shown(
        STARTED, {"event": "trial_failed", "time": 1.0, "trial": TRIAL, "reason": "first\n  second"}
    )

    assert lines[-1] == "[11/12] linf 0.1 -> digits_5_9 n=20 seed=0 probe  failed: first second"


def test_interrupted_run_says_how_to_continue() -> None:
    lines = shown({**ENDED, "failed": 0, "todo": 5, "interrupted": True, "page": None})

    assert lines == [
        "16 trials: 10 done, 0 failed, 1 skipped, 5 to do in 3 min 12 s",
        "interrupted: run the same command again to continue",
    ]


def test_quiet_console_shows_failures_and_the_end_only() -> None:
    failed: Event = {"event": "trial_failed", "time": 103.0, "trial": TRIAL, "reason": "no memory"}

    lines = shown(STARTED, FIT, FINISHED, failed, {**ENDED, "page": None, "run": ""}, quiet=True)

    assert lines == [
        "[12/12] linf 0.1 -> digits_5_9 n=20 seed=0 probe  failed: no memory",
        "12 trials: 10 done, 1 failed, 1 skipped, 0 to do in 3 min 12 s",
    ]


def test_last_lines_go_to_the_product_and_progress_does_not() -> None:
    progress, product = io.StringIO(), io.StringIO()
    with console_for(progress, product=product) as console:
        for event in (STARTED, FIT, FINISHED, ENDED):
            console(event)

    assert len(progress.getvalue().splitlines()) == 2
    assert (
        product.getvalue().splitlines()[0]
        == "12 trials: 10 done, 1 failed, 1 skipped, 0 to do in 3 min 12 s"
    )


def test_lines_are_written_when_they_happen() -> None:
    stream = io.StringIO()
    console = console_for(stream)

    console(STARTED)

    assert stream.getvalue().startswith("quickstart: 12 trials")


def test_built_source_is_shown_with_its_probe_and_a_warning_when_off_its_card() -> None:
    card: Event = {"architecture": "resnet18", "clean_accuracy": 0.95, "tolerance": 0.01}
    probe: Event = {"clean_accuracy": 0.702, "on": "the test part of its data", "agrees": False}
    event: Event = {
        "event": "source_finished",
        "time": 1.0,
        "id": "s",
        "name": "natural",
        "card": card,
    }

    assert [
        "source natural: resnet18, clean accuracy .702 on the test part of its data",
        "warning: source natural is off its card, which claims .950 with a tolerance of .010; "
        "check its normalisation, input size and class order",
    ] == shown({**event, "probe": probe})
    assert ["source natural: resnet18"] == shown({**event, "probe": None})
    assert 1 == len(shown({**event, "probe": probe}, quiet=True))


def test_warnings_from_jobs_are_lines_also_in_a_quiet_run() -> None:
    library: Event = {
        "event": "warning",
        "id": "a",
        "name": "probe",
        "text": "RuntimeWarning: overflow",
    }
    data: Event = {"event": "warning", "id": "a", "name": "", "text": "3 files are left out"}

    assert ["warning: probe: RuntimeWarning: overflow", "warning: 3 files are left out"] == shown(
        library, data, quiet=True
    )


def test_number_that_is_an_upper_bound_says_so() -> None:
    bounded: Event = {**FINISHED, "upper_bounds": ["fgsm.accuracy"]}

    line = next(line for line in shown(STARTED, FIT, bounded) if "clean.accuracy" in line)

    assert "clean.accuracy .704  fgsm.accuracy at most .300" in line


def test_with_seconds_between_only_trials_that_follow_slowly_have_lines() -> None:
    stream = io.StringIO()
    with console_for(stream, seconds_between=2) as console:
        for event in (STARTED, *({**FINISHED, "time": 101.0 + second} for second in range(2))):
            console(event)
    with console_for(stream, seconds_between=2) as console:
        for event in (
            {**STARTED, "todo": 9},
            *({**FINISHED, "time": 101.0 + second} for second in range(4)),
        ):
            console(event)
    times = [line for line in stream.getvalue().splitlines() if line.startswith("[")]

    # Of two the first and, as the last of the run, the second; of four the first and the third.
    assert 4 == len(times)
