"""The page shows what was run, the environment, and all missing or suspicious results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import make_page
from advtransfer.text import ABSENT
from advtransfer.types import Json

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

CHECK: dict[str, Json] = {
    "name": "noise",
    "value": 0.2,
    "limit": 0.05,
    "samples": 200,
    "text": "noise is stronger",
}


def test_note_of_the_suite_follows_the_answer_and_is_no_markup(bench: Bench) -> None:
    bench.leaderboard["note"] = "Not *reproduced* here."
    bench.trial("natural", 0, 0.5, 0.1)

    title, answer, note, *_ = make_page(bench.run()).markdown.split("\n\n")

    assert title.startswith("# ")
    assert answer.startswith("**Cannot tell**")
    assert note == r"Not \*reproduced\* here."


def test_baseline_transfer_is_paired_with_its_row_of_the_same_source_or_of_none(
    bench: Bench,
) -> None:
    bench.leaderboard["baseline"] = {"transfer": "scratch"}
    for seed in range(2):
        bench.trial(None, seed, 0.4 + 0.1 * seed, 0.1, transfer="scratch")
        bench.trial("natural", seed, 0.5 + 0.1 * seed, 0.1)

    table = bench.table()

    assert bench.row(table, "natural")[5].startswith("+.100 [")
    assert ["2", ABSENT, "scratch"] == bench.row(table, "scratch")[:3]
    assert "baseline" == bench.row(table, "scratch")[5]
    assert (
        "to transfer scratch, paired by target, n, seed and source"
        in make_page(bench.run()).markdown
    )


@pytest.mark.parametrize(("grade", "verdict"), [("suspicious", "suspicious"), ("fail", "invalid")])
def test_suspicious_or_invalid_row_is_shown_and_never_ranked(
    bench: Bench, grade: str, verdict: str
) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    bench.filled()
    for seed in range(3):
        bench.trial(
            "too good", seed, 0.5, 0.99, checks=[CHECK | {"grade": grade}] if seed == 1 else []
        )

    page = make_page(bench.run()).markdown
    row = bench.row(page.partition("## Results\n")[2], "too good")

    assert ABSENT == row[0]
    assert f"at most .990 [.981, .995] {verdict}" == row[4]
    assert "1-2" == bench.row(page.partition("## Results\n")[2], "natural")[0]
    assert "## Results that are not ranked" in page
    assert "pgd: noise is 0.2 against a limit of 0.05 (noise is stronger)" in page
    assert f"Results with a robust accuracy: 8 unchecked, 1 {verdict}." in page


def test_incomplete_trials_are_counted_with_their_reasons(bench: Bench) -> None:
    bench.filled()
    bench.attempt(bench.trial("robust", 3)["id"], "diverged in epoch 3: loss nan")
    bench.attempt(
        bench.trial("robust", 4, 0.5)["evaluations"]["pgd"][0], "killed twice", status="lost"
    )
    bench.trial("robust", 5)
    for seed in range(3):
        bench.trial("gray", seed, skipped="shapes (1, 28, 28) and (3, 32, 32) differ")
    unbuilt = bench.trial("unbuilt", 0)["builds"][0]
    del bench.records[unbuilt]
    bench.attempt(unbuilt, "no such file")

    page = make_page(bench.run()).markdown

    assert "Suite `quick`: 13 trials planned, 6 done, 3 failed, 3 skipped, 1 to do." in page
    section = page.partition("## Trials that are not done\n\n")[2].partition("<details>")[0]
    rows = section.splitlines()[2:]
    assert [
        ["failed", "1", "diverged in epoch 3: loss nan", "robust -> digits n=20 probe (seed 3)"],
        ["failed", "1", "pgd: lost: killed twice", "robust -> digits n=20 probe (seed 4)"],
        ["failed", "1", "source unbuilt: no such file", "unbuilt -> digits n=20 probe (seed 0)"],
        [
            "skipped",
            "3",
            "shapes (1, 28, 28) and (3, 32, 32) differ",
            "gray -> digits n=20 probe (seeds 0, 1, 2)",
        ],
        ["to do", "1", "no record yet", "robust -> digits n=20 probe (seed 5)"],
    ] == [
        [cell.strip() for cell in row.strip("| ").split(" | ")]
        for row in rows
        if row.startswith("|")
    ]


def test_skipped_evaluations_are_listed_with_their_reasons(bench: Bench) -> None:
    bench.filled()
    for seed in range(3):
        bench.attempt(
            bench.trial("odd", seed, 0.5)["evaluations"]["pgd"][0],
            "no such number",
            status="skipped",
        )

    page = make_page(bench.run()).markdown

    assert "9 trials planned, 9 done, 0 failed, 0 skipped, 0 to do." in page
    assert "Trials that are not done" not in page
    assert ["pgd", "3", "no such number", "odd -> digits n=20 probe (seeds 0, 1, 2)"] == bench.row(
        page.partition("## Evaluations that were skipped\n")[2], "pgd"
    )


def test_a_run_without_records_has_a_page(bench: Bench) -> None:
    bench.trial("natural", 0)
    bench.records.clear()

    page = make_page(bench.run()).markdown

    assert "1 trial planned, 0 done, 0 failed, 0 skipped, 1 to do" in page
    assert "Environment: no record yet." in page
    assert "not built yet" in page
    assert "Nothing of this table is measured yet." in page


def test_sources_of_values_have_no_column_of_accuracies(bench: Bench) -> None:
    bench.trial("natural", 0, 0.5, 0.1)
    for id in bench.sources:
        bench.records[id]["probe"] = None

    page = make_page(bench.run()).markdown
    head = page.partition("## Sources")[2].partition("## Data sets")[0]
    assert ["natural", "small_cnn", "low", "none"] == bench.row(head, "natural")
    assert "clean accuracy" not in head.lower()


def test_page_says_whether_higher_or_lower_is_better(bench: Bench) -> None:
    bench.filled()
    assert (
        "`clean.accuracy`; higher is better. Bold: in this column the row whose only rank is 1,"
        in make_page(bench.run()).markdown
    )

    bench.leaderboard["rank_by"] = {"lowest": "clean.accuracy"}
    assert (
        "`clean.accuracy`; lower is better. Bold: in this column the row whose only rank is 1,"
        in make_page(bench.run()).markdown
    )


def test_records_of_an_earlier_plan_are_left_out(bench: Bench) -> None:
    before = make_page(bench.filled().run())
    bench.result("f" * 64, "foolbox/pgd", {}, {"robust_accuracy@0.9": 1.0})

    assert before == make_page(bench.run())


def test_header_shows_suite_environment_sources_and_evaluations(bench: Bench) -> None:
    page = make_page(bench.filled().run()).markdown

    assert page.startswith("# Do robust sources transfer better?\n\n")
    assert "\n\nSuite `quick`: 6 trials planned, 6 done" in page
    page = page.partition("## Sources")[2]
    assert "`advtransfer leaderboard runs/quick`" in page
    assert (
        "Environment: python 3.11.7, torch 2.15.0, foolbox 3.3.4, scikit-learn 1.9.1; "
        "cpu, 1 thread a trial, float32.\n" in page
    )
    assert ["natural", "small_cnn", "low", "none", ".981 [.970, .988]", ABSENT] == bench.row(
        page, "natural"
    )
    assert ["pgd", "`foolbox/pgd`", "`eps [0.1], norm linf, steps 20`"] == bench.row(page, "pgd")


def test_mixed_environments_are_listed(bench: Bench) -> None:
    bench.filled()
    next(iter(bench.records.values()))["provenance"]["device"] = "cuda"

    page = make_page(bench.run()).markdown

    assert "Environments, which are mixed on this page:" in page
    assert "cuda, 1 thread a trial, float32 (1 record)" in page


def test_rows_measured_in_part_on_another_machine_are_marked(bench: Bench) -> None:
    bench.filled()
    bench.records[bench.trial("other", 0, 0.5, 0.1)["id"]]["provenance"]["device"] = "cuda"

    page = make_page(bench.run()).markdown.partition("## Results\n")[2]

    assert "probe §" == bench.row(page, "other")[2]
    assert "probe" == bench.row(page, "natural")[2]
    assert "§ Measured, in part, on another device, thread count or precision" in page


def test_source_that_differs_from_its_card_is_marked(bench: Bench) -> None:
    bench.filled()
    built = next(record for record in bench.records.values() if record["kind"] == "source")
    built["card"]["clean_accuracy"] = 0.99
    built["probe"] |= {"agrees": False}

    assert ".981 [.970, .988] differs from its card | " in make_page(bench.run()).markdown


def test_table_of_all_comes_after_every_count(bench: Bench) -> None:
    for n in ("all", 100, 20):
        bench.filled(n=n)

    page = make_page(bench.run()).markdown

    places = [page.index(f"### digits, n = {n}\n") for n in (20, 100, "all")]
    assert sorted(places) == places


def test_records_may_be_streamed(bench: Bench) -> None:
    run = bench.filled().run()

    assert make_page(run) == make_page(replace(run, records=iter(list(run.records))))


def test_training_start_of_each_reference_is_listed(bench: Bench) -> None:
    bench.aligned("natural", (0.1, 0.2, 0.3, 0.4), 0.5)
    starts: dict[str, dict[str, int | str]] = {
        "f_T": {"seed": 0, "start": "own"},
        "f_S": {"seed": 0},
        "file": {},
        "natural": {"seed": 0},
    }
    for place, (name, options) in enumerate(starts.items()):
        id = bench.source(name)
        bench.records[id]["asked"]["options"] = options
        aligned = bench.trials[0]["evaluations"]["align"][place]
        bench.records[aligned]["asked"]["inputs"] = {"reference": id}
    page = make_page(bench.run()).markdown

    assert (
        "\n\nReferences that are also sources of this suite: `natural`. "
        "References with initial weights of their own: `f_T`. "
        "References trained from the same initial weights as sources with the same seed and "
        "architecture, which makes their gradients and adversarial examples more alike: `f_S`.\n\n"
    ) in page
