"""Plugins with side effects on the process spoil their own trials alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from torch import nn
from torch.nn import functional

from advtransfer import suite
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.jobs import Report
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.result.verdict import verdict_from_record
from advtransfer.runner.schedule import JobTemplate, pending_jobs
from advtransfer.runner.settings import RunSettings
from advtransfer.types import (
    Context,
    DataCard,
    Evaluation,
    EvaluationInputs,
    Factory,
    Fitted,
    Measurement,
    Network,
    Samples,
    Transfer,
    component,
)
from advtransfer.worker import perform_job
from advtransfer.worker.environment import describe_environment

SUITE = """\
version: 1
title: One fit
datasets:
  low: {{use: vision/digits, classes: [0, 1, 2]}}
  high: {{use: vision/digits, classes: [5, 6, 7]}}
targets:
  digits: {{data: high, n: [60], seeds: 1, test: 60}}
transfers:
  means: {{use: odd/means, leaves: {fit}}}
evaluations:
  a_first: {{use: odd/measures, leaves: {evaluation}}}
  b_clean: {{use: foolbox/clean_accuracy}}
{more}"""
ATTACKS = """\
  c_steps: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.1}
"""
Leaves = Literal["nothing", "a hook", "a patch", "a dtype", "a thread", "an error and a thread"]
InForward = Literal["a patch in forward", "a dtype in forward", "a dtype in float64"]
Read = dict[str, Any]  # Any: records as they lie on disk


def leave(what: Leaves, model: nn.Module) -> None:
    """Leave something behind."""
    match what:
        case "a hook":
            model.register_forward_hook(lambda module, inputs, outputs: -outputs)
        case "a patch":
            setattr(functional, "linear", lambda *some: torch.zeros(len(some[0]), 3))  # noqa: B010  # not for mypy
        case "a dtype":
            torch.set_default_dtype(torch.float64)
        case "a thread" | "an error and a thread":
            threading.Thread(target=time.sleep, args=(1.0,), daemon=True, name="ghost").start()
    if what == "an error and a thread":
        raise RuntimeError("no luck")


class Leaving(nn.Module):
    """Logits as they are, with a side effect on the process."""

    def __init__(self, leaves: InForward) -> None:
        super().__init__()
        self.leaves = leaves

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        if self.leaves == "a patch in forward":
            leave("a patch", self)
        elif self.leaves == "a dtype in forward" or logits.dtype == torch.float64:
            torch.set_default_dtype(torch.float64)
        return logits


@dataclass(frozen=True)
class Means:
    """The nearest class mean on pixels."""

    leaves: Leaves | InForward

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64, target.outputs)]
        return nn.Sequential(*layers, *self._last_layers())

    def _last_layers(self) -> list[nn.Module]:
        match self.leaves:
            case "a patch in forward" | "a dtype in forward" | "a dtype in float64":
                return [Leaving(self.leaves)]
        return []

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        positions = torch.arange(len(train))
        inputs, labels = train.inputs(positions).flatten(1), train.labels(positions)
        means = torch.stack([inputs[labels == k].mean(0) for k in range(train.card.outputs)])
        model.load_state_dict({"1.weight": means, "1.bias": -means.square().sum(1) / 2})
        match self.leaves:
            case "a patch in forward" | "a dtype in forward" | "a dtype in float64":
                pass
            case leaves:
                leave(leaves, model)
        return Fitted()


@dataclass(frozen=True)
class Measures:
    """One number."""

    leaves: Leaves

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        assert given.model is not None
        leave(self.leaves, given.model)
        return Measurement(metrics={"number": 1.0})


@component()
def means(*, leaves: Leaves | InForward) -> Transfer:
    """Leaves something behind.

    Args:
        leaves: What.
    """
    return Means(leaves)


@component(needs=("model",))
def measures(*, leaves: Leaves) -> Evaluation:
    """Leaves something behind.

    Args:
        leaves: What.
    """
    return Measures(leaves)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """What this file brings."""
    return [means]


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """The same."""
    return [measures]


Go = Callable[..., tuple[list[Report], dict[str, Read]]]


@pytest.fixture
def go(host: Host, tmp_path: Path) -> Go:
    def perform_jobs(
        *,
        fit: str = "nothing",
        evaluation: str = "nothing",
        times: int = 1,
        folder: str = "run",
        battery: Literal["none", "small"] = "none",
    ) -> tuple[list[Report], dict[str, Read]]:
        """Return the report of each attempt at the job, and the records by component."""
        (tmp_path / "one.yaml").write_text(
            SUITE.format(fit=fit, evaluation=evaluation, more="" if battery == "none" else ATTACKS)
        )
        loaded = suite.load(str(tmp_path / "one.yaml"), host)
        plan, run = make_plan(loaded, host), Run(tmp_path / folder)
        settings = RunSettings(cache=tmp_path / f"cache {folder}", battery=battery)
        template = JobTemplate(
            run.write_environment(describe_environment(device="cpu", threads=1)),
            {"suite": "one"},
            settings,
            settings.cache,
        )
        (job,) = pending_jobs(plan.trials, SuiteIndex(loaded), set(), plan.sources)
        news: list[Mapping[str, Any]] = []
        reports = [perform_job(template.job_for(job, run), news.append) for _ in range(times)]
        found = [cast(Read, record) for record in run.read_records()]
        return reports, {record["asked"]["use"]: record for record in found}

    return perform_jobs


def same(one: Read, other: Read) -> bool:
    return {**one, "observed": None} == {**other, "observed": None}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a hook", "hooks of the model were changed"),
        ("a patch", "torch.nn.functional.linear was replaced"),
        ("a dtype", "the default dtype was changed (torch.float32 to torch.float64)"),
    ],
)
def test_side_effects_of_an_evaluation_spoil_its_result_alone(
    go: Go, what: str, words: str
) -> None:
    _, honest = go(folder="honest")
    (report,), records = go(evaluation=what)
    judged = verdict_from_record(records["odd/measures"])

    assert ("done", f"odd/measures: {words}") == (report.status, report.retire_worker)
    assert "invalid" == judged.value
    assert words in judged.reason
    assert same(honest["foolbox/clean_accuracy"], records["foolbox/clean_accuracy"])
    assert not records["foolbox/clean_accuracy"]["checks"]


@pytest.mark.parametrize("what", ["a hook", "a patch", "a dtype", "a thread"])
def test_side_effects_of_a_fit_mark_all_its_results(go: Go, what: str) -> None:
    (report,), records = go(fit=what)
    (check,) = records["odd/means"]["checks"]

    assert "done" == report.status
    assert report.retire_worker is not None
    assert report.retire_worker.startswith("odd/means: ")
    assert ("untouched", "fail") == (check["name"], check["grade"])
    assert {"invalid"} == {
        verdict_from_record(records[use]).value
        for use in ("odd/measures", "foolbox/clean_accuracy")
    }


@pytest.mark.parametrize("what", ["a patch in forward", "a dtype in forward"])
def test_side_effects_of_a_model_mark_the_fit_and_its_results_and_change_nothing_else(
    go: Go, what: str
) -> None:
    _, honest = go(folder="honest")
    (report,), records = go(fit=what)
    checks = [check for use in records for check in records[use]["checks"]]
    _, later = go(folder="later")

    assert "odd/means: " in str(report.retire_worker)
    assert [("untouched", "fail")] * 3 == [(check["name"], check["grade"]) for check in checks]
    assert all(same(honest[use], later[use]) for use in honest)
    assert torch.get_default_dtype() == torch.float32


def test_side_effects_of_a_model_in_the_battery_mark_what_is_compared_with_it(go: Go) -> None:
    (report,), records = go(fit="a dtype in float64", battery="small")
    battery = records["host/battery"]
    failed = {check["name"] for check in battery["checks"] if check["grade"] == "fail"}

    assert "checks" not in records["odd/means"]
    assert {"untouched"} == failed
    assert "odd/means: the default dtype was changed" in str(report.retire_worker)
    assert "the default dtype was changed" in verdict_from_record(records["foolbox/pgd"]).reason
    assert torch.get_default_dtype() == torch.float32


def test_side_effects_of_a_fit_mark_results_of_another_process(go: Go, tmp_path: Path) -> None:
    _, records = go(fit="a patch")
    clean = records["foolbox/clean_accuracy"]
    Run(tmp_path / "run").path.joinpath("records", clean["id"][:2], f"{clean['id']}.json").unlink()
    (report,), again = go(fit="a patch", times=1)

    assert same(clean, again["foolbox/clean_accuracy"])
    assert "done" == report.status


def test_another_process_continues_after_a_running_thread(go: Go) -> None:
    _, honest = go(folder="honest")
    (first, second), records = go(evaluation="a thread", times=2)

    assert "busy" == first.status
    assert "odd/measures: the thread 'ghost' was left running" in str(first.retire_worker)
    assert "done" == second.status
    assert "invalid" == verdict_from_record(records["odd/measures"]).value
    assert same(honest["foolbox/clean_accuracy"], records["foolbox/clean_accuracy"])


def test_failing_evaluation_with_a_running_thread_ends(go: Go) -> None:
    (report,), records = go(evaluation="an error and a thread")

    assert "failed" == report.status
    assert report.retire_worker is not None
    assert "foolbox/clean_accuracy" in records


def test_job_without_side_effects_has_no_check(go: Go) -> None:
    (report,), records = go()

    assert Report(report.id, "done", report.records, None, None) == report
    assert "checks" not in records["odd/means"]
    assert [] == records["odd/measures"]["checks"]
