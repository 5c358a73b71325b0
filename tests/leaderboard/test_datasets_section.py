"""The table of data sets says what the plan and the records know of each target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from advtransfer.leaderboard import make_page
from advtransfer.types import Json

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench


def datasets_lines(page: str) -> list[list[str]]:
    """Return header and rows of the table as cells."""
    section = page.partition("## Data sets")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_has_component_classes_size_and_images_of_each_part(bench: Bench) -> None:
    run = bench.filled().run()
    facts: dict[str, Json] = {
        "use": "vision/idx",
        "classes": 5,
        "shape": [1, 28, 28],
        "train": 30_000,
    }
    plan: dict[str, Json] = {**run.plan, "datasets": {"digits": facts}}

    header, _, row = datasets_lines(make_page(replace(run, plan=plan)).markdown)

    assert dict(zip(header, row, strict=True)) | {"test part": ""} == {
        "target": "digits",
        "data set": "`vision/idx`",
        "classes": "5",
        "size (C x H x W)": "1 x 28 x 28",
        "train images": "30,000",
        "labelled images n": "20",
        "subset seeds": "3",
        "test images": "1,000",
        "test part": "",
    }


def test_facts_of_a_foreign_plan_that_are_no_numbers_are_not_shown(bench: Bench) -> None:
    run = bench.filled().run()
    facts: dict[str, Json] = {"use": "vision/idx", "classes": "<b>", "shape": [1, "[x](y)"]}
    plan: dict[str, Json] = {**run.plan, "datasets": {"digits": facts}}

    header, _, row = datasets_lines(make_page(replace(run, plan=plan)).markdown)

    assert header[:3] == ["target", "data set", "labelled images n"]
    assert row[1] == "`vision/idx`"


def test_counted_images_take_the_place_of_those_that_a_plan_expects(bench: Bench) -> None:
    trial = bench.trial("natural", 0, 0.5, 0.1)
    leak = {"exact": 0, "near": 0, "of": 29_404}
    bench.records[trial["id"]]["leakage"] = {"target train in source train": leak}

    header, _, row = datasets_lines(make_page(bench.run()).markdown)

    # Without anything in the plan, the columns that nothing fills are left out.
    assert header[:3] == ["target", "train images", "labelled images n"]
    assert row[1] == "29,404"
