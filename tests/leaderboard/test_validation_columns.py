"""What fits measured on held-out images: as columns, as the ranking, and the warning where test numbers choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.validation import validation_metrics
from advtransfer.text import ABSENT

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

WARNING = "Warning: rows that differ only in swept options"


def epochs(*accuracies: float, robust: tuple[float, ...] = ()) -> list[dict[str, float]]:
    rows = [
        {"epoch": number, "train_loss": 1.0, "validation_accuracy": accuracy}
        for number, accuracy in enumerate(accuracies, 1)
    ]
    for row, accuracy in zip(rows, robust, strict=False):
        row["robust_validation_accuracy"] = accuracy
    return rows


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ({}, {}),
        ({"curves": [{"epoch": 1, "train_loss": 1.0}]}, {}),
        ({"curves": epochs(0.2, 0.8, 0.5)}, {"accuracy": 0.5}),
        (
            {"curves": epochs(0.2, 0.8, 0.5, robust=(0.1, 0.3, 0.2)), "chosen": {"epoch": 2}},
            {"accuracy": 0.8, "robust_accuracy": 0.3},
        ),
        (
            {
                "curves": [
                    {"candidate": 1, "validation_accuracy": 0.1},
                    {"candidate": 2, "validation_accuracy": 0.7},
                    {"epoch": 1, "train_loss": 1.0},
                ],
                "chosen": {"C": 1.0},
                "facts": {"validation_accuracy": 0.7, "labels_used": 20},
            },
            {"accuracy": 0.7},
        ),
    ],
)
def test_held_out_numbers_are_those_of_the_model_that_was_kept(
    fit: dict[str, object], expected: dict[str, float]
) -> None:
    assert expected == validation_metrics(fit)


def test_held_out_accuracy_is_a_column_and_ranks(bench: Bench) -> None:
    bench.leaderboard |= {
        "baseline": None,
        "rank_by": "validation.accuracy",
        "columns": ["validation.accuracy", "clean.accuracy"],
    }
    for transfer, held_out, clean in (("a", 0.9, 0.5), ("b", 0.6, 0.8)):
        for seed in range(2):
            trial = bench.trial("natural", seed, clean, None, transfer=transfer)
            bench.records[trial["id"]]["curves"] = epochs(0.1, held_out + 0.02 * seed)

    table = bench.table()

    assert ["1-2", "natural", "a"] == bench.row(table, "a")[:3]
    assert bench.row(table, "a")[3].startswith(".910 [")
    assert ["1-2", "natural", "b"] == bench.row(table, "b")[:3]


def test_column_of_fits_without_held_out_images_is_empty(bench: Bench) -> None:
    bench.leaderboard |= {"columns": ["clean.accuracy", "validation.robust_accuracy"]}
    bench.filled()

    assert ABSENT == bench.row(bench.table(), "robust")[4]


@pytest.mark.parametrize(
    ("rank_by", "transfers", "warns"),
    [
        ("clean.accuracy", ("a", "b"), True),
        ("validation.accuracy", ("a", "b"), False),
        ("clean.accuracy", ("a", "c"), False),
    ],
)
def test_page_warns_where_test_numbers_rank_swept_options(
    bench: Bench, rank_by: str, transfers: tuple[str, str], warns: bool
) -> None:
    bench.leaderboard |= {"baseline": None, "rank_by": rank_by, "swept": [["a", "b"]]}
    for transfer in transfers:
        trial = bench.trial("natural", 0, 0.5, 0.1, transfer=transfer)
        bench.records[trial["id"]]["curves"] = epochs(0.5)

    page = make_page(bench.run()).markdown

    assert warns == (WARNING in page)
    assert not warns or f"{WARNING} (`a`; `b`) are ranked by a test metric" in page


def test_interval_of_a_held_out_share_stays_within_its_range(bench: Bench) -> None:
    bench.leaderboard["columns"] = ["validation.accuracy"]
    for seed, accuracy in enumerate((0.1, 0.7)):
        trial = bench.trial("natural", seed, 0.8, None)
        bench.records[trial["id"]]["curves"] = epochs(accuracy)

    # Without a range, t with one degree of freedom gives [-3.41, 4.21].
    assert bench.row(bench.table(), "natural")[3].startswith(".400 [.000, 1.000]")
