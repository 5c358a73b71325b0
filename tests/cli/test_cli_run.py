"""``advtransfer run``: how the command line's words become settings, and how a run's end becomes an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.runner import RunSettings, RunSummary
from advtransfer.runner.events import Listener
from advtransfer.suite import Suite

ENDED = RunSummary(
    suite="quickstart",
    run=Path("runs/quickstart"),
    done=160,
    failed=0,
    skipped=0,
    todo=0,
    seconds=1.5,
    interrupted=False,
    page=Path("runs/quickstart/leaderboard.md"),
)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[RunSettings]:
    """The settings of each run asked for; none is done."""
    asked: list[RunSettings] = []
    _stand_in(monkeypatch, ENDED, asked.append)
    return asked


def _stand_in(
    monkeypatch: pytest.MonkeyPatch, ended: RunSummary, note: Callable[[RunSettings], object]
) -> None:
    def run(
        suite: Suite, *, settings: RunSettings, host: Host, listeners: Iterable[Listener]
    ) -> RunSummary:
        note(settings)
        for listener in listeners:
            listener(
                {
                    "event": "trial_failed",
                    "time": 1.0,
                    "trial": {"name": "natural"},
                    "reason": "no luck",
                }
            )
            listener(
                {"event": "run_finished", "time": 2.0, "done": ended.done, "page": str(ended.page)}
            )
        return ended

    monkeypatch.setattr("advtransfer.runner.run_suite", run)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", "quickstart", *arguments])


def test_run_without_options_uses_all_processors_and_the_folder_runs(
    runs: list[RunSettings],
) -> None:
    call()

    assert runs == [
        RunSettings(runs=Path("runs"), jobs=None, threads=1, executor="local/pool", device="cpu")
    ]


def test_every_option_reaches_the_runner(runs: list[RunSettings]) -> None:
    flags = "--runs there --jobs 3 --threads 2 --limit 5 --only a* --only n=20 --device cuda:1 --executor local/inline"
    flags += " --engine address=auto,retries=2 --engine retries=3"
    flags += " --timeout 1h30m --memory 8GiB --kernel-batch 128 --compile"
    call(*flags.split(), "--retry-failed", "--mixed", "--keep", "models")

    assert runs == [
        RunSettings(
            runs=Path("there"),
            jobs=3,
            threads=2,
            limit=5,
            only=("a*", "n=20"),
            device="cuda:1",
            executor="local/inline",
            engine={"address": "auto", "retries": "3"},
            retry_failed=True,
            mixed=True,
            keep_models=True,
            kernel_batch=128,
            compile=True,
            timeout=5400.0,
            memory=8 * 2**30,
        )
    ]


@pytest.mark.usefixtures("runs")
def test_progress_is_on_stderr_and_the_last_lines_are_on_stdout() -> None:
    result = call()

    assert result.stderr.splitlines() == ["[1/1] natural  failed: no luck"]
    assert result.stdout.splitlines() == [
        "160 trials: 160 done, 0 failed, 0 skipped, 0 to do in 0.0 s",
        "page: runs/quickstart/leaderboard.md",
    ]


@pytest.mark.usefixtures("runs")
def test_json_leaves_one_object_on_stdout_and_nothing_else() -> None:
    result = call("--json")

    assert "page: runs/quickstart/leaderboard.md" in result.stderr
    assert json.loads(result.stdout) == {
        "suite": "quickstart",
        "run": "runs/quickstart",
        "done": 160,
        "failed": 0,
        "skipped": 0,
        "todo": 0,
        "seconds": 1.5,
        "interrupted": False,
        "page": "runs/quickstart/leaderboard.md",
        "stopped": None,
        "left": None,
        "profile": None,
    }


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (ENDED, 0),
        (replace(ENDED, skipped=3), 0),
        (replace(ENDED, failed=1), 1),
        (replace(ENDED, stopped="a hook was left"), 1),
        (replace(ENDED, interrupted=True), 130),
        (replace(ENDED, failed=1, interrupted=True), 130),
    ],
)
def test_exit_code_tells_how_a_run_ended(
    monkeypatch: pytest.MonkeyPatch, ended: RunSummary, code: int
) -> None:
    _stand_in(monkeypatch, ended, lambda settings: None)

    assert call().exit_code == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--jobs", "0"],
            "'0' is not a number of jobs; expected a whole number from 1 on, or auto",
        ),
        (["--jobs", "many"], "'many' is not a number of jobs"),
        (["--threads", "0"], "0 is not in the range x>=1"),
        (["--keep", "all"], "'all' is not 'models'"),
        (["--plugin", "nothing"], "found 'nothing'; expected an installed plugin"),
    ],
)
def test_mistake_on_the_command_line_runs_nothing(
    runs: list[RunSettings], arguments: list[str], message: str
) -> None:
    result = call(*arguments)

    assert (result.exit_code, runs) == (2, [])
    assert message in result.stderr
