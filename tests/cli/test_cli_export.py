"""``advtransfer export``: where it writes, what it refuses, and that it stays light."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.export import EXPORT_FORMATS, EXPORT_TABLES
from advtransfer.result.record import Record, pack_outcomes, robust_share
from advtransfer.result.run_folder import Run
from advtransfer.testing.records import complete_record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of one trial with four test images."""
    run = Run(tmp_path / "run")
    source = complete_record({"kind": "source"})
    fit = complete_record({"kind": "fit"}, inputs={"source": source["id"]})
    outcomes = [0, 0, 2, 0]
    result = complete_record(
        {
            "kind": "result",
            "metrics": {"accuracy": robust_share(outcomes)},
            "outcomes": {"accuracy": pack_outcomes(outcomes)},
        },
        inputs={"model": fit["id"], "test": "t" * 64},
    )
    for record in (source, fit, result):
        run.write_record(record)
    trial: Record = {
        **{"id": fit["id"], "source": "=natural", "row": "=natural", "replicate": None},
        **{"adapter": None, "target": "digits", "n": 20, "seed": 0, "transfer": "probe"},
        **{"evaluations": {"clean": [result["id"]]}, "builds": [source["id"]], "skipped": None},
    }
    plan: Record = {
        **{"format": 1, "suite": "small", "title": "Small", "leaderboard": {}},
        **{"sources": {str(source["id"]): "=natural"}, "trials": [trial]},
    }
    run.write_plan(plan)
    run.write_suite("version: 1\n")
    return run


def export(run: Run, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", str(run.path), *arguments])


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_each_format_is_written_and_replaced(run: Run, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="pip install 'advtransfer[parquet]'")
    out = tmp_path / f"out{EXPORT_FORMATS[format].suffixes[0]}"
    for table in EXPORT_FORMATS[format].tables:
        out.unlink(missing_ok=True)
        first = export(run, "--table", table, "--format", format, "--out", str(out))
        content = out.read_bytes()
        second = export(run, "--table", table, "--format", format, "--out", str(out))

        assert (0, 0) == (first.exit_code, second.exit_code), first.output
        assert f"{out}\n" == first.stdout
        assert content == out.read_bytes()
        assert content.startswith(EXPORT_FORMATS[format].starts)
        assert [] == list(tmp_path.glob(".*.tmp"))


def test_standard_output_gets_the_bytes_of_the_file(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    export(run, "--format", "csv", "--out", str(out))
    printed = export(run, "--format", "csv", "--out", "-")

    assert out.read_bytes() == printed.stdout_bytes
    (row,) = csv.DictReader(io.StringIO(printed.stdout, newline=""))
    assert ("'=natural", "0.75", "done") == (row["source"], row["value"], row["status"])
    outcomes = json.loads(
        export(run, "--table", "outcomes", "--format", "json", "--out", "-").stdout
    )
    assert ["robust", "robust", "wrong", "robust"] == [row["outcome"] for row in outcomes]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--table", "outcomes", "--format", "html", "--out", "-"], "one of csv, parquet, json"),
        (["--format", "parquet", "--out", "-"], "a file, since it is no text"),
        (["--format", "csv", "--out", "{}/x.html"], "a file that ends in .csv"),
        (["--format", "csv", "--out", "{}"], "a folder, a link or a device"),
        (["--format", "csv", "--out", "/dev/null"], "a folder, a link or a device"),
        (["--format", "csv", "--out", "{}/notes.csv"], "is no csv export"),
        (["--format", "json", "--out", "{}/link.json"], "a folder, a link or a device"),
        (["--format", "xlsx", "--out", "x"], "'xlsx' is not one of 'csv'"),
        (["--table", "rows", "--format", "csv", "--out", "x"], "'rows' is not one of 'metrics'"),
        (["--out", "x.csv"], "Missing option '--format'"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    run: Run, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    (tmp_path / "notes.csv").write_text("my own notes\n")
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere.json")
    refused = export(run, *(each.format(tmp_path) for each in arguments))

    assert 2 == refused.exit_code
    assert expected in " ".join(refused.stderr.split())
    assert "my own notes\n" == (tmp_path / "notes.csv").read_text()
    assert not (tmp_path / "elsewhere.json").exists()


def test_all_problems_are_named_at_once(run: Run, tmp_path: Path) -> None:
    arguments = ["--table", "outcomes", "--format", "latex", "--out", str(tmp_path / "x.csv")]
    refused = export(run, *arguments)

    assert 2 == len(refused.stderr.strip().splitlines())


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    refused = CliRunner().invoke(
        main, ["export", str(tmp_path), "--format", "csv", "--out", str(tmp_path / "x.csv")]
    )

    assert 2 == refused.exit_code
    assert "no plan.json" in refused.stderr
    assert not (tmp_path / "x.csv").exists()


def test_missing_pyarrow_is_named_with_the_line_that_installs_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "x.parquet"
    failed = export(run, "--format", "parquet", "--out", str(out))

    assert 1 == failed.exit_code
    assert "run: pip install 'advtransfer[parquet]'" in failed.stderr
    assert not out.exists()


def test_a_damaged_record_is_named_and_its_line_has_no_value(run: Run, tmp_path: Path) -> None:
    (path,) = (
        path
        for path in (run.path / "records").glob("*/*.json")
        if json.loads(path.read_text())["kind"] == "result"
    )
    path.write_text(path.read_text().replace("0.75", "0.95"))
    done = export(run, "--format", "json", "--out", "-")

    assert f"records/{path.parent.name}/{path.name}" in done.stderr
    (line,) = json.loads(done.stdout)
    assert ("todo", None) == (line["status"], line["value"])


def test_an_export_that_fails_leaves_no_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.csv"
    export(run, "--format", "csv", "--out", str(out))
    before = out.read_bytes()

    def failing(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(
        importlib.import_module("advtransfer.export.run_export").LINE_WRITERS, "csv", failing
    )
    failed = export(run, "--format", "csv", "--out", str(out))

    assert 2 == failed.exit_code
    assert before == out.read_bytes()
    assert [] == list(tmp_path.glob(".*.tmp"))


def test_an_export_imports_no_library_that_it_does_not_use(run: Run, tmp_path: Path) -> None:
    program = (
        "import sys; from advtransfer.cli import main\n"
        f"main(['export', {str(run.path)!r}, '--format', 'csv', '--out', {str(tmp_path / 'x.csv')!r}],"
        " standalone_mode=False)\n"
        "print(*sorted({'torch', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "" == done.stderr.strip()


def test_the_document_lists_the_columns_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location(
        "export_columns", ROOT / "tools" / "export_columns.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    document = (ROOT / "docs" / "export.md").read_text("utf-8")

    assert document == module.rendered(document)
    for columns in EXPORT_TABLES.values():
        for column in columns:
            assert f"| `{column.name}`" in document
