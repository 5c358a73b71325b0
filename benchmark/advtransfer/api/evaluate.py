"""``advtransfer.evaluate``: one model without a transfer, by the evaluations and the battery of a suite."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.in_memory import SourceInMemory, source
from advtransfer.api.report import Report
from advtransfer.api.run import run
from advtransfer.errors import BadInput, Problem
from advtransfer.node import content_id
from advtransfer.result import Run
from advtransfer.text import printable_text, type_text
from advtransfer.types import BatterySize, Json

if TYPE_CHECKING:
    from torch import nn

MODEL, DATA, UNCHANGED = "model", "data", "unchanged"
"""The names of the entries of the suite that is run."""


@dataclass(frozen=True, slots=True)
class EvaluatedMetrics:
    """One evaluation of a model.

    Attributes:
        metrics: Value by metric, with the battery's breaks counted: ``robust_accuracy@0.1`` is the
            share of test images that neither the evaluation's attack nor the battery broke.
        verdict: ``checked``, ``suspicious``, ``invalid`` or ``unchecked``.
        reason: Reason of the verdict; where there are no metrics, why not.
        checks: The checks of the result: name, grade, value, limit, samples and text.
    """

    metrics: Mapping[str, float]
    verdict: str | None
    reason: str | None
    checks: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """The evaluations of a model, by the names that they were given.

    Attributes:
        results: The evaluations by name; ``worst_linf`` and so on are the worst over all attacks.
        report: The report of the run behind them, with a row, the page and the outcomes.
    """

    results: Mapping[str, EvaluatedMetrics]
    report: Report = field(repr=False)

    def __getitem__(self, name: str) -> EvaluatedMetrics:
        """Return one evaluation."""
        return self.results[name]

    def __str__(self) -> str:
        """Return a line for each metric."""
        lines = []
        for name, result in self.results.items():
            verdict = f"  {result.verdict}" if result.verdict else ""
            if not result.metrics:
                lines.append(f"{name}: {result.reason}")
            for metric, value in result.metrics.items():
                lines.append(f"{name}.{metric} {value:.4f}{verdict}")
        return printable_text("\n".join(lines))

    def _repr_html_(self) -> str:
        """Return the tables of the run's page, for notebooks."""
        return self.report._repr_html_()


def evaluate(
    module: nn.Module | SourceInMemory,
    data: str | Mapping[str, Json] | DatasetInMemory,
    evaluations: Mapping[str, str | Mapping[str, Json]],
    *,
    runs: str | os.PathLike[str] = "runs",
    battery: BatterySize = "small",
    threads: int = 1,
    device: str = "cpu",
    test: int | None = None,
    quiet: bool = True,
) -> ModelEvaluation:
    """Measure one model on a data set, without a transfer; the host verifies each robust accuracy.

    The model is run as the unchanged source of a suite of one trial (``finetune/unchanged``), in a run
    folder of its own, so its numbers are those that a suite would give.

    Args:
        module: A module from images to logits, one for each class of the data in their order; or what
            `source` returned, with its normalisation.
        data: The name of a component (``"vision/digits"``), an entry (``{"use": ..., ...}``), or what
            `dataset` returned. Its test part is measured.
        evaluations: Entries by name: ``{"attack": {"use": "foolbox/apgd", "norm": "linf", "eps": 0.1}}``; a text is a
            component with its default options.
        runs: The folder of all runs.
        battery: How thoroughly each robust accuracy is verified.
        threads: CPU threads.
        device: ``"cpu"`` or ``"cuda"``.
        test: Number of test images, drawn once and for all; None for all.
        quiet: Show only failures.

    Raises:
        BadInput: Names everything that is wrong with the arguments, or the model failed.
    """
    given = _checked_source(module, data, evaluations)
    target: dict[str, object] = {"data": DATA, "n": ["all"], "seeds": 1, "leakage": "off"}
    suite: dict[str, object] = {
        "title": "Evaluation of one model",
        "sources": {},
        "targets": {DATA: target if test is None else target | {"test": test}},
        "transfers": {UNCHANGED: {"use": "finetune/unchanged"}},
        "evaluations": {name: _entry(value) for name, value in evaluations.items()},
    }
    datasets: dict[str, DatasetInMemory] = {}
    if isinstance(data, DatasetInMemory):
        datasets[DATA] = data
    else:
        suite["datasets"] = {DATA: _entry(data)}
    report = run(
        suite,
        name=_run_name(suite, given, data, {"battery": battery, "threads": threads}),
        sources={MODEL: given},
        datasets=datasets,
        runs=runs,
        battery=battery,
        threads=threads,
        device=device,
        quiet=quiet,
    )
    return ModelEvaluation(_results(report), report)


def _checked_source(
    module: nn.Module | SourceInMemory, data: object, evaluations: object
) -> SourceInMemory:
    """Return the source of a call.

    Raises:
        BadInput: Names everything that is wrong with the arguments.
    """
    problems: list[Problem] = []
    if not isinstance(data, str | Mapping | DatasetInMemory):
        expected = "the name of a component, an entry, or advtransfer.dataset(...)"
        next_step = "pass arrays as advtransfer.dataset(train=(x, y), test=(x, y))"
        problems.append(Problem(f"data={type_text(data)}", expected, next_step))
    if not isinstance(evaluations, Mapping) or not evaluations:
        found = f"evaluations={type_text(evaluations)}"
        next_step = 'write {"attack": {"use": "foolbox/apgd", "norm": "linf", "eps": 0.1}}'
        problems.append(Problem(found, "a mapping of names to entries", next_step))
    try:
        given = module if isinstance(module, SourceInMemory) else source(module)
    except BadInput as error:
        raise BadInput([*error.problems, *problems]) from error
    if problems:
        raise BadInput(problems)
    return given


def _entry(value: str | Mapping[str, Json]) -> Mapping[str, Json]:
    return {"use": value} if isinstance(value, str) else value


def _run_name(suite: object, given: SourceInMemory, data: object, settings: object) -> str:
    """Return the name of the run folder: one for each question, so that reports do not mix."""
    content = data.digest if isinstance(data, DatasetInMemory) else ""
    options = repr((given.rebuild, given.shape, given.bounds, given.mean, given.std, settings))
    key = content_id([given.state, type(given.module).__qualname__, options, repr(suite), content])
    # A module that cannot be rebuilt is another one in each call.
    return f"evaluate-{key[:12] if given.is_rebuilt else secrets.token_hex(6)}"


def _results(report: Report) -> dict[str, EvaluatedMetrics]:
    """Return the results of a report with one trial.

    Raises:
        BadInput: The model could not be measured at all.
    """
    run_folder = Run(report.path)
    results: dict[str, EvaluatedMetrics] = {}
    for row in report.rows():
        name, metric = str(row["evaluation"]), row["metric"]
        before = results.get(name)
        metrics = dict(before.metrics) if before else {}
        if isinstance(row["value"], int | float):
            metrics[str(metric)] = float(row["value"])
        checks = before.checks if before else ()
        if not checks and row["result"]:
            record = run_folder.read_record(str(row["result"]))
            checks = tuple(cast("list[Mapping[str, Json]]", record["checks"]))
        verdict, reason = (
            None if row[key] is None else str(row[key]) for key in ("verdict", "reason")
        )
        results[name] = EvaluatedMetrics(metrics, verdict, reason, checks)
    if not any(result.metrics for result in results.values()):
        reasons = [str(row["reason"]) for row in report.problems()]
        found = f"a model that could not be measured ({'; '.join(dict.fromkeys(reasons))})"
        raise BadInput([Problem(found, "logits of every class of the data", "correct the model")])
    return results
