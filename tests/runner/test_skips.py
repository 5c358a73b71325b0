"""Evaluations and fits that turn out not to be applicable at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from advtransfer.errors import Inapplicable
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.result import Run
from advtransfer.runner import RunSettings, RunSummary, run_suite, trial_statuses
from advtransfer.suite import load
from advtransfer.types import (
    Context,
    Evaluation,
    EvaluationInputs,
    Factory,
    Json,
    Measurement,
    Transfer,
    component,
)

SUITE = """\
datasets:
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  random: {use: vision/random_init, data: high}
targets:
  digits: {data: high, n: [20], seeds: 2, test: 30}
transfers:
  probe: TRANSFER
evaluations:
  picky: {use: odd/picky, marker: MARKER}
  clean: {use: foolbox/clean_accuracy}
leaderboard: {rank_by: clean.accuracy, columns: [clean.accuracy, picky.number]}
"""
PROBE, PICKY_PROBE = "{use: finetune/linear_probe}", "{use: odd/picky_probe, marker: MARKER}"
REASON = "this model has no such number"


class Picky:
    """Measures a number if a file exists; otherwise it is not applicable."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        if not Path(self.marker).exists():
            raise Inapplicable(REASON)
        return Measurement(metrics={"number": float(len(given.test))})


@component(needs=["model"])
def picky(*, marker: str) -> Evaluation:
    """A number."""
    return Picky(marker)


@component(needs=["model"])
def broken() -> Evaluation:
    """Never works."""
    raise RuntimeError("no luck")


@component(needs=["source"])
def picky_probe(*, marker: str) -> Transfer:
    """A linear probe."""
    from advtransfer_finetune.components import linear_probe

    if not Path(marker).exists():
        raise Inapplicable("this source has no blocks")
    return linear_probe()


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [picky, broken]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    return [picky_probe]


class Bench:
    """A suite in a folder, run in this process."""

    def __init__(self, folder: Path, host: Host, transfer: str) -> None:
        self.folder, self.host = folder, host
        self.marker = folder / "marker"
        self.events: list[Mapping[str, Any]] = []  # Any: events are as varied as what happens
        text = SUITE.replace("TRANSFER", transfer).replace("MARKER", str(self.marker))
        (folder / "odd.yaml").write_text(text)
        self.run = Run(folder / "runs" / "odd")

    def __call__(self, *, retry_failed: bool = False, only: Sequence[str] = ()) -> RunSummary:
        self.events.clear()
        settings = RunSettings(
            runs=self.folder / "runs",
            cache=self.folder / "cache",
            executor="local/inline",
            retry_failed=retry_failed,
            only=tuple(only),
        )
        suite = load(str(self.folder / "odd.yaml"), self.host)
        return run_suite(suite, settings=settings, host=self.host, listeners=[self.events.append])

    def emitted(self, event: str) -> Mapping[str, Any]:  # Any: as above
        """Return the only event of this kind in the last call."""
        (message,) = (message for message in self.events if message["event"] == event)
        return message

    def attempts(self) -> int:
        """Return the number of steps that ended without a record."""
        return len(list(self.run.path.glob("attempts/*/*.json")))

    def page(self) -> str:
        return (self.run.path / "leaderboard.md").read_text()


@pytest.fixture
def bench(tmp_path: Path, host: Host) -> Callable[[str], Bench]:
    return lambda transfer: Bench(tmp_path, host, transfer)


def counts(of: RunSummary | Mapping[str, Any]) -> tuple[int, ...]:  # Any: an event
    """Trials done, failed, skipped and to do."""
    found = (
        of
        if isinstance(of, Mapping)
        else {name: getattr(of, name) for name in RunSummary.__slots__}
    )
    return tuple(found[name] for name in ("done", "failed", "skipped", "todo"))


SKIPPED: list[dict[str, Json]] = [{"evaluation": "picky", "reason": REASON, "trials": 2}]


def test_inapplicable_evaluation_hides_no_other_result_and_is_final(
    bench: Callable[[str], Bench],
) -> None:
    odd = bench(PROBE)
    first = odd()
    page, skipped = odd.page(), odd.emitted("run_finished")["evaluations_skipped"]
    finished = [event["metrics"] for event in odd.events if event["event"] == "trial_finished"]
    second = odd()

    assert (2, 0, 0, 0) == counts(first) == counts(second)
    assert [["clean.accuracy"], ["clean.accuracy"]] == [list(metrics) for metrics in finished]
    assert SKIPPED == skipped == odd.emitted("run_finished")["evaluations_skipped"]
    assert 2 == odd.attempts()
    assert first.page == second.page == odd.run.path / "leaderboard.md"
    assert "### digits, n = 20" in page
    assert "      skipped |     2 |" in page
    assert f"| picky      |      2 | {REASON} |" in page


def test_inapplicable_evaluation_is_retried_on_request(
    bench: Callable[[str], Bench],
) -> None:
    odd = bench(PROBE)
    odd()
    odd.marker.touch()
    kept, again = odd(), odd(retry_failed=True)

    assert (2, 0, 0, 0) == counts(kept) == counts(again)
    assert (0, 0, 0, 2) == counts(odd.emitted("run_started"))
    assert [] == odd.emitted("run_finished")["evaluations_skipped"]
    assert 2 == odd.attempts()
    assert " 30 |" in odd.page()
    assert "skipped |" not in odd.page()


def test_inapplicable_fit_is_retried_on_request(bench: Callable[[str], Bench]) -> None:
    odd = bench(PICKY_PROBE)
    first = odd()
    odd.marker.touch()
    second, third = odd(), odd(retry_failed=True)

    assert (0, 0, 2, 0) == counts(first) == counts(second)
    assert first.page is None
    assert (0, 0, 0, 2) == counts(odd.emitted("run_started"))
    assert (2, 0, 0, 0) == counts(third)


def test_trials_skipped_by_the_plan_are_never_retried(
    bench: Callable[[str], Bench],
) -> None:
    odd = bench(PROBE)
    odd.marker.touch()
    suite = odd.folder / "odd.yaml"
    suite.write_text(
        suite.read_text().replace("data: high, n:", "data: {use: vision/digits, size: 9}, n:")
    )

    assert (0, 0, 2, 0) == counts(odd(retry_failed=True))
    assert 2 == sum(event["event"] == "trial_skipped" for event in odd.events)
    assert 0 == odd.attempts()


def test_failure_is_reported_before_a_skip_and_retried_alone(
    bench: Callable[[str], Bench],
) -> None:
    odd = bench(PROBE)
    suite = odd.folder / "odd.yaml"
    text = suite.read_text().replace("seeds: 2", "seeds: 1")
    suite.write_text(text.replace("leader", "  wrong: {use: odd/broken}\nleader"))
    first = odd()

    assert (0, 1, 0, 0) == counts(first)
    assert "wrong: RuntimeError: no luck" == odd.emitted("trial_failed")["reason"]
    assert first.page is not None
    assert (0, 1, 0, 0) == counts(odd())
    assert 3 == odd.attempts()


def test_run_interrupted_after_a_skip_measures_the_rest(bench: Callable[[str], Bench]) -> None:
    odd = bench(PROBE)
    odd()
    plan = Plan.from_json(odd.run.read_plan())
    for trial in plan.trials:
        for id in (trial.id, *trial.evaluations["clean"]):
            (odd.run.path / "records" / id[:2] / f"{id}.json").unlink()

    assert {"todo"} == {state.value for state in trial_statuses(plan, odd.run).values()}
    assert (2, 0, 0, 0) == counts(odd())
    assert 2 == odd.attempts()
    assert 2 == sum(event["event"] == "trial_finished" for event in odd.events)


def test_trial_without_applicable_evaluation_is_skipped(
    bench: Callable[[str], Bench],
) -> None:
    odd = bench(PROBE)
    suite = odd.folder / "odd.yaml"
    text = suite.read_text().replace("  clean: {use: foolbox/clean_accuracy}\n", "")
    suite.write_text(text.partition("leaderboard")[0])
    ended = odd()

    assert (0, 0, 2, 0) == counts(ended)
    assert ended.page is None
    assert 2 == sum(event["event"] == "trial_skipped" for event in odd.events)
