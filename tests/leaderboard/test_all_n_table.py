"""The table of all n shows the cells of the tables of each n."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advtransfer.leaderboard import make_page

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench


def section(bench: Bench) -> str:
    return make_page(bench.run()).markdown.partition("## All n")[2].partition("\n## ")[0]


def test_cells_are_those_of_the_tables_of_each_n_and_rows_in_order_of_the_largest(
    bench: Bench,
) -> None:
    bench.leaderboard["all_n"] = ["clean.accuracy"]
    bench.filled(n=20)
    bench.clean = {"natural": [0.9, 0.9, 0.8], "robust": [0.8, 0.7, 0.8]}
    bench.filled(n="all")
    bench.trial("robust", 0, 0.4, 0.1, n=20, transfer="scratch")

    table = section(bench)

    assert ["source", "transfer", "n = 20", "n = all"] == bench.row(table, "source")
    for name in ("natural", "robust"):
        cells = [bench.row(bench.table(n=n), name)[3] for n in (20, "all")]
        assert [name, "probe", *cells] == bench.row(table, name)
    assert table.index("| natural") < table.index("| robust")
    scratch = bench.row(table, "scratch")
    assert scratch[2].startswith(".400")
    assert "–" == scratch[3]  # noqa: RUF001  # as tables mark an absent number


def test_there_is_no_such_table_unasked_or_of_one_n(bench: Bench) -> None:
    bench.filled(n=20)
    assert "" == section(bench)
    bench.leaderboard["all_n"] = ["clean.accuracy"]
    assert "" == section(bench)
    bench.filled(n=50)
    assert "n = 50" in section(bench)
