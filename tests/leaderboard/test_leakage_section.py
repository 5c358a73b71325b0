"""The page section about images that two data sets share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advtransfer.leaderboard import make_page
from advtransfer.text import ABSENT

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

WITHIN, ACROSS = "target test in target train", "target test in source train"


def test_shared_images_are_shown_by_target_and_source(bench: Bench) -> None:
    for source, exact in (("natural", 3), ("robust", 0)):
        fit = bench.records[bench.trial(source, 0, 0.5, 0.1)["id"]]
        fit["leakage"] = {
            WITHIN: {"exact": 0, "near": 2, "of": 100},
            ACROSS: {"exact": exact, "near": 0, "of": 100},
        }

    section = make_page(bench.run()).markdown.partition("## Leakage\n")[2]

    assert ["digits", ABSENT, WITHIN, "0", "2", "100"] == bench.row(section, WITHIN)
    assert ["digits", "natural", ACROSS, "3", "0", "100"] == bench.row(section, "natural")
    assert 1 == section.count(ACROSS)


def test_sources_with_equal_counts_share_a_row(bench: Bench) -> None:
    for source, exact in {"a": 7, "b": 7, "c": 7, "d": 7, "e": 7, "f": 9}.items():
        bench.records[bench.trial(source, 0, 0.5, 0.1)["id"]]["leakage"] = {
            ACROSS: {"exact": exact, "near": 0, "of": 100}
        }

    section = make_page(bench.run()).markdown.partition("## Leakage\n")[2]

    assert ["digits", "a; b; c; and 2 more", ACROSS, "7", "0", "100"] == bench.row(section, "7")
    assert ["digits", "f", ACROSS, "9", "0", "100"] == bench.row(section, "9")


def test_no_leakage_is_a_sentence_and_no_check_is_no_section(bench: Bench) -> None:
    fit = bench.records[bench.trial("natural", 0, 0.5, 0.1)["id"]]
    before = make_page(bench.run()).markdown
    fit["leakage"] = {WITHIN: {"exact": 0, "near": 0, "of": 100}}

    assert "eakage" not in before
    assert "Leakage: no image was found in more than one of" in make_page(bench.run()).markdown
