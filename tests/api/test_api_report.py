"""What a report says: the numbers of the export, the failures of the run, and nothing that a browser would run."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import advtransfer as at
from advtransfer.api.tables import Table
from advtransfer.errors import BadInput, MissingLibrary
from advtransfer.export import EXPORT_TABLES, export_run
from advtransfer.result import Run

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart" / "advtransfer"


def exported(report: at.Report, table: str) -> list[dict[str, object]]:
    file = io.BytesIO()
    export_run(Run(report.path), file, table=table, format="json", warn=print)
    rows: list[dict[str, object]] = json.loads(file.getvalue())
    return rows


def test_rows_are_the_lines_of_the_export(report: at.Report) -> None:
    assert exported(report, "metrics") == report.rows()
    assert exported(report, "outcomes") == report.rows("outcomes")


def test_a_frame_has_the_columns_and_values_of_the_export(report: at.Report) -> None:
    pandas = pytest.importorskip("pandas", reason="[pandas] is not installed")
    for table in ("metrics", "outcomes"):
        frame = report.frame(table)
        assert [column.name for column in EXPORT_TABLES[table]] == list(frame.columns)
        rows = [
            {name: None if pandas.isna(value) else value for name, value in row.items()}
            for row in frame.to_dict("records")
        ]
        assert report.rows(table) == rows


def test_without_pandas_a_frame_names_the_command_that_installs_it(
    report: at.Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingLibrary, match=r"run: pip install 'advtransfer\[pandas\]'$"):
        report.frame()


def test_outcomes_agree_with_the_metric(report: at.Report) -> None:
    (value,) = (
        row["value"] for row in report.rows() if row["evaluation"] == "clean" and row["metric"]
    )
    outcomes = [row["outcome"] for row in report.outcomes("clean.accuracy")]

    assert 60 == len(outcomes)
    assert value == outcomes.count("robust") / 60
    assert 60 == len(report.outcomes("fgsm.accuracy@0.1"))


def test_test_images_of_a_published_bundle_are_those_of_its_outcomes() -> None:
    report = at.open(PUBLISHED)
    trial = "natural[seed=0] -> digits_5_9 n=20 seed=0 probe"
    keys, inputs, labels = report.test_images(trial)

    assert 269 == len(keys) == len(inputs) == len(labels)


def test_model_and_test_images_of_a_trial_give_its_outcomes(report: at.Report) -> None:
    import torch

    (row,) = (each for each in report.rows() if each["metric"] == "accuracy")
    trial = str(row["trial"])
    keys, inputs, labels = report.test_images(trial)
    with torch.no_grad():
        is_right = report.model(trial)(inputs).argmax(1) == labels

    assert 60 == len(keys) == len(set(keys.tolist()))
    assert [
        each["outcome"] == "robust" for each in report.outcomes("clean.accuracy")
    ] == is_right.tolist()
    with pytest.raises(BadInput, match="found no trials 'mine'"):
        report.test_images("mine")
    # Blown up before anything was measured.
    with pytest.raises(BadInput, match="no evaluation of it was measured"):
        report.test_images("random -> digits n=20 seed=0 blow")


def test_a_metric_with_two_radii_is_asked_for_one_of_them(report: at.Report) -> None:
    with pytest.raises(BadInput, match=r"fgsm\.accuracy@0\.05, fgsm\.accuracy@0\.1"):
        report.outcomes("fgsm.accuracy")


def test_a_failed_trial_is_a_problem_with_its_reason(report: at.Report) -> None:
    assert not report.ok
    failed = [row for row in report.problems() if row["kind"] == "failed"]
    assert ["random -> digits n=20 seed=0 blow"] == [row["trial"] for row in failed]
    assert "diverged" in str(failed[0]["reason"])


def test_a_shell_shows_the_last_lines_of_the_command(report: at.Report) -> None:
    lines = repr(report).splitlines()

    assert lines[1] == "2 trials: 1 done, 1 failed, 0 skipped, 0 to do"
    assert lines[2] == f"failures: advtransfer status {report.path}"
    assert lines[3] == f"page: {report.page}"


def test_a_notebook_shows_tables_in_which_foreign_text_is_text(report: at.Report) -> None:
    html = report._repr_html_()

    assert "<table>" in html
    assert "&lt;b&gt;markup&lt;/b&gt;" in html
    assert "<b>" not in html
    table = Table([{"a": "<script>", "b": None}], columns=("a", "b"))
    assert "<td>&lt;script&gt;</td><td>–</td>" in table._repr_html_()  # noqa: RUF001  # the dash
    assert repr(table).splitlines()[1].startswith("<script>")


def test_what_is_no_run_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no plan\.json in 'nowhere'"):
        at.open("nowhere")
