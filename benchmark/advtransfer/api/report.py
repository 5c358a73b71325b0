"""The report of a run: its tables, failures and page, read from the run's folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advtransfer.api.fitted_models import load_fitted_model
from advtransfer.api.suite_objects import PlacedObjects
from advtransfer.api.tables import Table, table_element
from advtransfer.api.trial_images import TrialImages, load_test_images
from advtransfer.console.formatting import ending_lines
from advtransfer.errors import BadInput, Problem
from advtransfer.export import EXPORT_TABLES
from advtransfer.export.frame import table_frame
from advtransfer.export.html_page import escape_html, text_html
from advtransfer.export.page_blocks import Folded, Heading, PageTable, parse_page
from advtransfer.export.rows import ExportRow, table_rows
from advtransfer.leaderboard import load_run_records, make_page
from advtransfer.leaderboard.run_data import RunData, gather_run_data
from advtransfer.leaderboard.run_records import RunRecords
from advtransfer.planning import Plan
from advtransfer.planning.status import TrialStatus, count_skipped_evaluations
from advtransfer.result import Run
from advtransfer.runner import RunSummary
from advtransfer.text import printable_text
from advtransfer.types import Json

if TYPE_CHECKING:
    import pandas
    from torch import nn


class Report:
    """The results of a run, from its folder or a published bundle.

    A notebook shows it as the tables of the page, a shell as the last lines of the command. The
    records are read once, when they are first needed: after more trials, open the run again.

    Attributes:
        path: The run folder or bundle.
    """

    def __init__(
        self,
        path: Path,
        summary: RunSummary | None = None,
        *,
        placed: PlacedObjects | None = None,
    ) -> None:
        self.path = path
        self._run = Run(path)
        self._summary = summary
        # The suite of this call, and modules in memory, which no folder holds.
        self._placed = placed

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return self._plan.suite

    @property
    def ok(self) -> bool:
        """True where no trial failed and nothing stopped the run: exit code 0 of the command."""
        if self._summary is not None:
            return not self._summary.failed and self._summary.stopped is None
        return all(status.value != "failed" for status in self._statuses.values())

    @property
    def page(self) -> Path | None:
        """Path of the leaderboard page; None before the first result."""
        page = self.path / "leaderboard.md"
        return page if page.is_file() else None

    def rows(self, table: Literal["metrics", "outcomes"] = "metrics") -> list[ExportRow]:
        """Return the lines of ``advtransfer export``, each a mapping of column to value.

        Args:
            table: ``"metrics"``: a line for each trial and metric, and one for each result that is
                missing; ``"outcomes"``: a line for each test image.
        """
        _require_table(table)
        return list(table_rows(table, self._data))

    def frame(self, table: Literal["metrics", "outcomes"] = "metrics") -> pandas.DataFrame:
        """Return the lines of `rows` as a pandas data frame.

        Raises:
            MissingLibrary: pandas is not installed; names the command that installs it.
        """
        _require_table(table)
        return table_frame(table_rows(table, self._data), EXPORT_TABLES[table])

    def outcomes(self, metric: str) -> list[ExportRow]:
        """Return the outcome of every test image under one metric, in every trial.

        Args:
            metric: The metric as suites name it, evaluation.metric: ``"auto.robust_accuracy"``. Its
                radius, as in ``"fgsm.accuracy@0.1"``, is needed only where there are several.

        Raises:
            BadInput: No trial has outcomes under this name; lists those that there are.
        """
        names = sorted(self._outcomes_by_metric)
        matches = [name for name in names if name.partition("@")[0] == metric]
        rows = self._outcomes_by_metric.get(matches[0] if len(matches) == 1 else metric)
        if rows is None:
            near = difflib.get_close_matches(str(metric), names, n=1)
            problem = Problem(
                f"no outcomes of the metric {metric!r} in {str(self.path)!r}",
                f"one of {', '.join(names)}" if names else "a run with measured outcomes",
                f"did you mean {near[0]!r}?" if near else "correct it",
            )
            raise BadInput([problem])
        return list(rows)

    def model(self, trial: str) -> nn.Module:
        """Return the fitted model of a trial, in eval mode and frozen, on the CPU.

        Kept weights are loaded (``keep="models"``); otherwise the trial is fitted again with the settings
        of its record, which takes as long as in the run.

        Args:
            trial: The name of the trial, as in the column ``name`` of the plan, or the first digits
                of its id, as in `rows`.

        Raises:
            BadInput: There is no such trial, or more than one; or its suite, its data or a module in
                memory are no longer there.
        """
        return load_fitted_model(self._run, self._plan, trial, self._placed)

    def test_images(self, trial: str) -> TrialImages:
        """Return the test images of a trial: their keys, inputs and labels.

        In the order of `outcomes`, whose `image` counts them. A challenge names images by their keys.

        Args:
            trial: As for `model`.

        Raises:
            BadInput: There is no such trial, or more than one; or its suite or data are no longer
                there.
        """
        return load_test_images(self._run, self._plan, trial, self._placed)

    def problems(self) -> Table:
        """Return what a reader of the results must know, a line each; it has no lines if all is well.

        The columns are `kind`, `trial` (its name), `evaluation` and `reason`. Kinds: ``failed`` and
        ``skipped`` trials and evaluations, results that are ``suspicious`` or ``invalid``,
        ``unlearned`` fits, ``damaged`` records, and ``stopped`` where a run ended early.
        """
        lines = [*self._status_problems(), *self._result_problems()]
        if self._summary is not None and self._summary.stopped is not None:
            lines.append(_problem("stopped", None, None, self._summary.stopped))
        for location, reason in self._run.damaged_records().items():
            lines.append(_problem("damaged", None, None, f"{location}: {reason}"))
        return Table(lines, columns=("kind", "trial", "evaluation", "reason"))

    def __str__(self) -> str:
        """Return the last lines of the command."""
        return printable_text(
            "\n".join([f"{self.suite}: {self.path}", *ending_lines(self._ending())])
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the tables of the page, for notebooks."""
        return _page_tables_html(str(self), make_page(self._records).markdown)

    @cached_property
    def _plan(self) -> Plan:
        return Plan.from_json(self._run.read_plan())

    @cached_property
    def _records(self) -> RunRecords:
        records = load_run_records(self._run)
        # A list, since a page and the tables each go through them.
        return replace(records, records=list(records.records))

    @cached_property
    def _data(self) -> RunData:
        return gather_run_data(self._records)

    @cached_property
    def _statuses(self) -> Mapping[str, TrialStatus]:
        return {trial.id: self._data.trial_state(trial) for trial in self._data.plan.trials}

    @cached_property
    def _outcomes_by_metric(self) -> Mapping[str, list[ExportRow]]:
        rows: dict[str, list[ExportRow]] = {}
        for row in table_rows("outcomes", self._data):
            rows.setdefault(f"{row['evaluation']}.{row['metric']}", []).append(row)
        return rows

    def _ending(self) -> dict[str, Json]:
        """Return the fields of the event ``run_finished`` that this run has."""
        values = [status.value for status in self._statuses.values()]
        fields: dict[str, Json] = {
            **{name: values.count(name) for name in ("done", "failed", "skipped", "todo")},
            "evaluations_skipped": count_skipped_evaluations(self._statuses.values()),
            "page": str(self.page) if self.page else None,
            "seconds": None,
        }
        if self._summary is not None:
            # As the run ended, whoever has continued it since.
            ended = asdict(self._summary)
            fields |= ended | {"page": str(ended["page"]) if ended["page"] else None}
        return fields | {"run": str(self.path)}

    def _status_problems(self) -> list[dict[str, Json]]:
        lines = []
        for trial in self._plan.trials:
            status = self._statuses[trial.id]
            if status.value in ("failed", "skipped") and not status.failures:
                reason = status.reason
                lines.append(_problem(status.value, trial.name, status.evaluation, reason))
            for evaluation, reason in status.failures.items():
                lines.append(_problem("failed", trial.name, evaluation, reason))
            if status.value != "skipped":
                for evaluation, reason in status.skipped.items():
                    lines.append(_problem("skipped", trial.name, evaluation, reason))
        return lines

    def _result_problems(self) -> list[dict[str, Json]]:
        """Return the results that are not believed, once for each trial and evaluation."""
        names = {trial.id: trial.name for trial in self._plan.trials}
        lines: dict[tuple[Json, ...], dict[str, Json]] = {}
        for row in table_rows("metrics", self._data):
            trial = names[str(row["trial"])]
            if row["verdict"] in ("suspicious", "invalid"):
                line = _problem(str(row["verdict"]), trial, row["evaluation"], row["reason"])
                lines.setdefault(tuple(line.values()), line)
            if row["unlearned"]:
                line = _problem("unlearned", trial, None, row["unlearned"])
                lines.setdefault(tuple(line.values()), line)
        return list(lines.values())


def open_run(path: str | os.PathLike[str]) -> Report:
    """Return the report of a run folder, such as ``"runs/quickstart"``, or of a published bundle.

    Raises:
        BadInput: There is no run.
    """
    if not isinstance(path, str | os.PathLike):
        problem = Problem(repr(path), "the folder of a run", 'for example "runs/quickstart"')
        raise BadInput([problem])
    return Report(Run.open(Path(path)).path)


def _page_tables_html(lines: str, markdown: str) -> str:
    """Return the tables of a page under their headings, after the last lines of its run.

    What the page folds away is left out.
    """
    parts = [f"<pre>{escape_html(lines)}</pre>"]
    heading, depth = "", 0
    for block in parse_page(markdown):
        match block:
            case Folded(summary):
                depth += 1 if summary is not None else -1
            case Heading():
                heading = f"<h4>{text_html(block.text)}</h4>"
            case PageTable() if not depth:
                header = [text_html(text) for text in block.header]
                rows = [[text_html(cell) for cell in row] for row in block.rows]
                parts += [heading, table_element(header, rows)]
                heading = ""
    return "\n".join(filter(None, parts))


def _problem(kind: str, trial: str | None, evaluation: Json, reason: Json) -> dict[str, Json]:
    return {"kind": kind, "trial": trial, "evaluation": evaluation, "reason": reason}


def _require_table(table: str) -> None:
    if table not in EXPORT_TABLES:
        expected = f"one of {', '.join(map(repr, EXPORT_TABLES))}"
        raise BadInput([Problem(f"table={table!r}", expected, "correct it")])
