"""Evaluations that fail, have side effects or show less than they claim, in whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from torch import nn

from advtransfer import runner, suite
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.result import Run
from advtransfer.result.verdict import verdict_from_record
from advtransfer.runner import RunSettings
from advtransfer.types import (
    Context,
    Evaluation,
    EvaluationInputs,
    Examples,
    Factory,
    Measurement,
    component,
)

SUITE = """\
version: 1
title: One fit
datasets:
  low: {{use: vision/digits, classes: [0, 1, 2]}}
  high: {{use: vision/digits, classes: [5, 6, 7]}}
sources:
  random: {{use: vision/random_init, data: low}}
targets:
  digits: {{data: high, n: [60], seeds: 1, test: 60}}
transfers:
  tuned: {transfer}
evaluations:
  a_first: {first}
  b_clean: {{use: foolbox/clean_accuracy}}
leaderboard:
  rank_by: b_clean.accuracy
  columns: [b_clean.accuracy]
"""
PROBE = "{use: finetune/linear_probe}"
Claiming = Literal[
    "nothing shown", "a smaller ball", "the norm l0", "a bare number", "no such metric"
]
Read = dict[str, Any]  # Any: records as they lie on disk


@dataclass(frozen=True)
class Vandal:
    """Spoils the model, then raises; at the call that is asked for."""

    call: int
    calls: list[int]

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        self.calls.append(1)
        if len(self.calls) == self.call:
            model = cast(nn.Module, given.model)
            model.train()
            for parameter in model.parameters():
                parameter.data.zero_()
            raise RuntimeError("no luck")
        return Measurement(metrics={"number": 1.0})


@dataclass(frozen=True)
class Boast:
    """Says that every sample is robust at 0.3, and shows no more for it than it must."""

    shows: Claiming

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        name, nobody = "robust_accuracy@0.3", torch.arange(0)
        robust = {name: torch.zeros(len(given.test), dtype=torch.uint8)}
        empty = given.test.inputs(nobody)
        match self.shows:
            case "nothing shown":
                return Measurement(outcomes=robust)
            case "a smaller ball":
                return Measurement(
                    outcomes=robust, examples=[Examples(name, "linf", 0.001, nobody, empty)]
                )
            case "the norm l0":
                return Measurement(
                    outcomes=robust, examples=[Examples(name, "l0", 0.3, nobody, empty)]
                )
            case "a bare number":
                return Measurement(metrics={name: 1.0})
            case "no such metric":
                return Measurement(
                    outcomes=robust, examples=[Examples("robust", "linf", 0.3, nobody, empty)]
                )


@component(needs=("model",))
def vandal(*, call: int = 1) -> Evaluation:
    """Spoils the model, then raises.

    Args:
        call: At which call.
    """
    return Vandal(call, [])


@component(needs=("model",))
def boast(*, shows: Claiming) -> Evaluation:
    """Claims what it does not show.

    Args:
        shows: What it shows.
    """
    return Boast(shows)


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """What this file brings."""
    return [vandal, boast]


@pytest.fixture
def run(host: Host, tmp_path: Path) -> Callable[..., tuple[list[Read], list[str]]]:
    """The results of a run of the suite, clean accuracy last, and the reasons of what failed."""
    settings = RunSettings(executor="local/inline")

    def go(
        first: str, *, transfer: str = PROBE, folder: str = "runs"
    ) -> tuple[list[Read], list[str]]:
        (tmp_path / "one.yaml").write_text(SUITE.format(first=first, transfer=transfer))
        loaded = suite.load(str(tmp_path / "one.yaml"), host)
        # Separate caches, since records are copied between the runs of one cache.
        asked = replace(settings, runs=tmp_path / folder, cache=tmp_path / f"cache of {folder}")
        done = Run(runner.run_suite(loaded, settings=asked, host=host).run)
        results = [
            cast(Read, record) for record in done.read_records() if record["kind"] == "result"
        ]
        results.sort(key=lambda record: str(record["asked"]["use"]), reverse=True)
        return results, [str(attempt["reason"]) for attempt in done.latest_attempts().values()]

    return go


def accuracies(results: list[Read]) -> Read:
    (clean,) = (record for record in results if record["asked"]["use"] == "foolbox/clean_accuracy")
    return {name: clean["outcomes"][name] for name in clean["metrics"]}


@pytest.mark.parametrize(
    ("transfer", "call"),
    [(PROBE, 1), ("{use: finetune/blocks, blocks: 1, epochs: 4, snapshots: [1, 4]}", 2)],
    ids=["the fitted model", "a snapshot of it"],
)
def test_model_is_restored_after_an_evaluation_raises(
    run: Callable[..., tuple[list[Read], list[str]]], transfer: str, call: int
) -> None:
    before, _ = run("{use: odd/vandal, call: 9}", transfer=transfer)
    after, reasons = run(f"{{use: odd/vandal, call: {call}}}", transfer=transfer, folder="others")

    assert ["RuntimeError: no luck"] == reasons
    assert 2 == len(before)
    assert 1 == len(after)
    assert accuracies(before) == accuracies(after)


@pytest.mark.parametrize(
    ("shows", "verdict", "words"),
    [
        ("nothing shown", "suspicious", "robust_accuracy@0.3 has no examples"),
        ("a smaller ball", "invalid", "robust_accuracy@0.3 has examples within 0.001"),
        ("the norm l0", "suspicious", "robust_accuracy@0.3 is of norm l0"),
        ("a bare number", "suspicious", "robust_accuracy@0.3 is a bare number"),
    ],
)
def test_unverifiable_robust_accuracy_is_not_ranked(
    run: Callable[..., tuple[list[Read], list[str]]], shows: str, verdict: str, words: str
) -> None:
    results, _ = run(f"{{use: odd/boast, shows: {shows}}}")
    judged = verdict_from_record(results[0])

    assert verdict == judged.value
    assert words in judged.reason
    assert not judged.is_ranked


def test_examples_of_no_metric_are_an_error_of_the_plugin(
    run: Callable[..., tuple[list[Read], list[str]]],
) -> None:
    results, (reason,) = run("{use: odd/boast, shows: no such metric}")

    assert 1 == len(results)
    assert reason.startswith(
        "plugin 'odd': odd/boast: examples of 'robust' belong to no outcome metric"
    )
