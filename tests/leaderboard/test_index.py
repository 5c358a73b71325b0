"""The index of published pages shows each suite's answer, best row and date, and holds no foreign markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.index import IndexEntry, index_entry, index_page

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench


def test_entry_has_the_answer_best_row_and_day_of_a_page(bench: Bench) -> None:
    bench.filled()
    for number, record in enumerate(bench.records.values()):
        record["observed"]["started"] = 1_795_867_200 + number  # 2026-11-28 12:00 UTC
    page = make_page(bench.run())
    assert page.answer is not None

    entry = index_entry(page, title="Which?", link="quick/README.md")

    assert entry == IndexEntry(
        "Which?",
        "quick/README.md",
        page.answer.text,
        "robust with probe, on digits, n = 20",
        "2026-11-28",
    )
    text = index_page([entry])
    assert text.startswith("# Leaderboards\n\n## [Which?](<quick/README.md>)\n\n")
    assert f"\n\n{page.answer.text}\n\nBest row: robust with probe, on digits, n = 20. " in text
    assert "Newest record: 2026-11-28.\n\n## How to read" in text
    assert "[docs/submit.md](../docs/submit.md)" in text


def test_page_without_an_answer_has_an_entry(bench: Bench) -> None:
    bench.leaderboard |= {"rank_by": None, "baseline": None}
    page = make_page(bench.filled().run())

    assert page.answer is None
    assert index_page([index_entry(page, title="?", link="x/README.md")]).startswith(
        "# Leaderboards\n\n## [?](<x/README.md>)\n\n## How to read"
    )


def test_times_that_no_clock_shows_are_no_date(bench: Bench) -> None:
    bench.filled()
    for record, started in zip(
        bench.records.values(), [-1, 0, 1e300, float("nan"), "now"], strict=False
    ):
        record["observed"]["started"] = started

    assert make_page(bench.run()).date == ""


def test_foreign_title_and_suite_name_are_no_markup() -> None:
    text = index_page([IndexEntry("a](javascript:x) <b>\n# c", "x> <y/README.md")])

    assert r"## [a](javascript:x) \<b> # c](<x%3E %3Cy/README.md>)" in text.replace("\\]", "]")
    assert "\n# c" not in text
