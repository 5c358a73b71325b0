"""Reported tables: every figure stands in its source, and a suite chooses them by name."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.leaderboard.reported import publication_text
from advtransfer.suite import load
from advtransfer.suite.extends import suites_folder
from advtransfer.suite.reported_tables import (
    ReportedTable,
    read_reported,
    reported_faults,
    reported_names,
)

SHARED = Path(__file__).parents[3] / "shared"
NUMBER = re.compile(r"-?(?:\d[\d,]*)?\.?\d+")
SUITE = """
version: 1
title: Small
datasets: {d: {use: vision/digits}}
sources: {random: {use: vision/random_init, data: d, network: small_cnn}}
targets: {t: {data: d, n: [10], seeds: 1, validation: 0, test: 20}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
leaderboard: {reported: REPORTED}
"""


def figures(table: ReportedTable) -> Counter[float]:
    """Return the figures of a table, without the numbers of images."""
    skip = {at for at, name in enumerate(table.columns) if name == "n"}
    return Counter(
        float(value)
        for row in table.rows
        for at, value in enumerate(row)
        if isinstance(value, int | float) and at not in skip
    )


def numbers_of(text: str) -> Counter[float]:
    return Counter(float(number.replace(",", "")) for number in NUMBER.findall(text))


def source_text(path: str) -> str:
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"no {path} beside this checkout: the source of the figures is not distributed")
    return file.read_text("utf-8")


@pytest.mark.parametrize("name", reported_names())
def test_shipped_tables_are_whole(name: str) -> None:
    results = read_reported(name)
    assert results is not None
    assert results.tables
    assert results.citation["url"].startswith("https://")
    assert "not measured here" not in publication_text(results)
    for table in results.tables:
        assert f"As reported in {table.where[:5]}" in publication_text(results)


def test_accuracies_are_percentages_and_robust_ones_no_larger_than_clean() -> None:
    for name in ("utrera2021", "chan2020", "robustbench", "robustgenbench"):
        results = read_reported(name)
        assert results is not None
        for table in results.tables:
            for row in table.rows:
                cells = dict(zip(table.columns, row, strict=True))
                values = [value for value in row[1:] if isinstance(value, float)]
                assert all(0 <= value <= 100 for value in values)
                clean = cells.get("clean")
                if isinstance(clean, float):
                    assert max(values) == clean


def test_every_figure_of_utrera_stands_in_its_row_of_the_paper() -> None:
    text = source_text("papers/001_9dc234477fba44dc.txt")
    results = read_reported("utrera2021")
    assert results is not None
    table = results.tables[0]
    assert len(table.rows) == 60
    printed = [line.split("\t") for line in text[text.index("Table 5: Summary") :].splitlines()]
    rows = Counter(
        (int(cells[1].replace(",", "")), *map(float, cells[2:]))
        for cells in printed
        if len(cells) == 6 and cells[1][:1].isdigit()
    )
    ours = Counter((int(str(row[1])), *map(float, row[2:])) for row in table.rows)  # type: ignore[arg-type]  # figures, checked above
    assert ours == rows
    sizes = {
        target: [row[1] for row in table.rows if row[0] == target]
        for target in {row[0] for row in table.rows}
    }
    assert len(sizes) == 6
    assert all(len(each) == 10 for each in sizes.values())
    sources = text[text.index("Table 3: Summary") : text.index("Table 4: Summary")]
    assert not figures(results.tables[1]) - numbers_of(sources.replace("%", ""))


def test_the_first_mnist_rows_are_svhn() -> None:
    results = read_reported("utrera2021")
    assert results is not None
    by_target = {(row[0], row[1]): row for row in results.tables[0].rows}
    assert by_target["SVHN", 100][2] == 23.5
    assert by_target["MNIST", 100][2] == 68.69
    assert by_target["SVHN", 73257][2] == 95.33
    assert any("SVHN" in text for text in results.corrections)


def test_every_figure_of_chan_stands_in_its_table_of_the_paper() -> None:
    text = source_text("papers/002_643007270ec1df64.txt")
    results = read_reported("chan2020")
    assert results is not None
    starts = [text.index(f"{table.where}: ") for table in results.tables]
    for table, start in zip(results.tables, starts, strict=True):
        later = [other for other in starts if other > start]
        printed = text[start : min([*later, start + 900])]
        assert not figures(table) - numbers_of(printed), table.where


@pytest.mark.parametrize("name", ["salman2020", "robustbench", "robustgenbench"])
def test_other_figures_stand_in_the_collected_rows(name: str) -> None:
    text = source_text("cases/reference_rows.md")
    results = read_reported(name)
    assert results is not None
    section = {"salman2020": "5.4", "robustbench": "5.5", "robustgenbench": "5.6"}[name]
    part = text[text.index(f"### {section}") :]
    part = part[: part.index("\n### ")] if "\n### " in part else part
    printed = numbers_of(part)
    for table in results.tables:
        missing = [figure for figure in figures(table) if figure not in printed]
        assert not missing, (table.title, missing)


def test_figures_of_liang_stand_in_the_collected_methods() -> None:
    text = source_text("design/methods.md")
    results = read_reported("liang2021")
    assert results is not None
    part = text[text.index("### 1.5") : text.index("CAUTION: the code prints SQUARED")]
    printed = numbers_of(part.replace(",", " "))  # as CSV separates them
    for table in results.tables:
        assert not [figure for figure in figures(table) if figure not in printed]


def test_a_changed_figure_would_be_found() -> None:
    table = ReportedTable("t", "Table 1", "%", ["model", "clean"], [["a", 12.34]])
    assert figures(table) - numbers_of("a 12.35")


def test_faults_of_a_file_are_named() -> None:
    value = yaml.safe_load((suites_folder() / "reported" / "chan2020.yaml").read_text("utf-8"))
    value["tables"][0]["rows"][0].append(1.0)
    del value["tables"][1]["where"]
    faults = list(reported_faults(value))
    assert len(faults) == 2
    assert "Standard" in faults[0]
    assert "where" in faults[1]
    del value["source"]
    assert list(reported_faults(value)) == ["found no source; expected all of them"]


def test_a_suite_chooses_publications_by_name(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SUITE.replace("REPORTED", "[chan2020, utrera2021]"))
    assert load(str(path), Host.discover()).leaderboard.reported == ("chan2020", "utrera2021")
    path.write_text(SUITE.replace("REPORTED", "[chan2021]"))
    with pytest.raises(BadInput, match=r"s\.yaml:9:.*chan2020") as error:
        load(str(path), Host.discover())
    assert "robustbench" in str(error.value)
