"""The documents name what is there: files, record fields, the fields of checks and provenance."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from advtransfer.result import Run
from advtransfer.result.record import Provenance
from advtransfer.types import Check

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DOCUMENTS = [
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/glossary.md",
    "docs/pages.md",
    "docs/statistics.md",
    "docs/export.md",
    "docs/verifying.md",
]
PLUGINS = ROOT / "plugins"
PLACES = (ROOT, ROOT / "benchmark" / "advtransfer", PLUGINS, *sorted(PLUGINS.glob("advtransfer_*")))


def table_row(first_cell: str) -> str:
    (row,) = (line for line in ARCHITECTURE.splitlines() if line.startswith(f"| {first_cell} |"))
    return row


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    found = set(re.findall(r"`([\w./-]+\.(?:py|toml|yaml|md))`", text))
    named = {name for name in found if "SUITE" not in name}
    absent = [
        name for name in sorted(named) if not any((place / name).exists() for place in PLACES)
    ]

    assert named
    assert absent == []


@pytest.mark.parametrize("kind", ["source", "fit", "result", "battery"])
def test_the_record_format_names_the_fields_of_committed_records(kind: str) -> None:
    folder = ROOT / "leaderboard" / "results" / "quickstart" / "advtransfer"
    records = [record for record in Run(folder).read_records() if record["kind"] == kind]
    common = {"format", "kind", "id", "asked", "provenance", "observed"}
    described = set(re.findall(r"(?:\| |, )`(\w+)`", table_row(f"`{kind}`"))) - {kind}

    assert records
    # `checks` are in a source's or fit's record only where one has something to say.
    assert set().union(*records) - common - {"checks"} == described - {"checks"}


def test_the_record_format_names_the_fields_of_provenance_and_checks() -> None:
    provenance = set(re.findall(r"`(\w+)`", table_row("`provenance`"))) - {"provenance"}
    (checks,) = re.findall(r"`checks`: a list of `\{([\w, ]+)\}`", ARCHITECTURE)

    assert {field.name for field in fields(Provenance)} == provenance
    assert {field.name for field in fields(Check)} == set(checks.split(", "))


@pytest.mark.slow
def test_the_code_of_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    text = (ROOT / "docs" / "python.md").read_text()
    first, *blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    assert "quickstart" in first  # trains sources, so it is held to the notebook's test instead
    compile(first, "docs/python.md", "exec")
    for block in blocks:
        exec(block, {})
