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

    best = "Best row by `clean.accuracy` on digits, n = 20: robust with probe, .733 [.571, .852], rank 1-2 of 2."
    entry = index_entry(page, title="Which?", link="quick/README.md")

    assert entry == IndexEntry(
        "Which?",
        "quick/README.md",
        page.answer.text,
        best,
        "2026-11-28",
    )
    text = index_page([entry])
    assert text.startswith("# Leaderboards\n\n## [Which?](<quick/README.md>)\n\n")
    assert f"\n\n{page.answer.text}\n\n{best} " in text
    assert "Newest record: 2026-11-28.\n\n## How to read" in text
    assert "[docs/submit.md](../docs/submit.md)" in text


def test_page_without_an_answer_has_an_entry(bench: Bench) -> None:
    bench.leaderboard |= {"rank_by": None, "baseline": None}
    page = make_page(bench.filled().run())

    assert page.answer is None
    assert index_page([index_entry(page, title="?", link="x/README.md")]).startswith(
        "# Leaderboards\n\n## [?](<x/README.md>)\n\n## How to read"
    )


def test_index_and_page_name_the_best_row_of_the_answer_where_the_tables_rank_by_another_metric(
    bench: Bench,
) -> None:
    bench.leaderboard["answer"] = {"metric": "pgd.robust_accuracy", "at": {"n": 20}}
    for n in (20, 100):
        for seed in range(2):
            bench.checked(bench.trial("natural", seed, 0.9, 0.1, n=n), [0] * 10 + [1] * 90)
            bench.checked(bench.trial("robust", seed, 0.8, 0.6, n=n), [0] * 60 + [1] * 40)

    page = make_page(bench.run())

    where = (
        "by `pgd.robust_accuracy` on digits, n = 20 "
        "(the tables of results are ranked by `clean.accuracy`)"
    )
    assert page.best_row.startswith(f"Best row {where}: robust with probe, ")
    best = page.markdown.partition(f"Best rows {where}:\n\n")[2].partition("\n\n")[0]
    assert bench.row(best, "robust")[0] == "1"


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
