"""Tables show the known means, intervals with their sample, paired differences and ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from advtransfer.errors import BadInput
from advtransfer.leaderboard import make_table
from advtransfer.statistics import difference_interval, share_interval
from advtransfer.text import ABSENT

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

    from advtransfer.statistics.correlation import FloatArray


def t_interval(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values))
    return float(low), float(high)


def board(values: list[list[float]]) -> FloatArray:
    """Return ``(trainings, seeds, 1000)``: the first images are right, in each trial its share of them."""
    counts = np.round(np.array(values) * 1000)
    return (np.arange(1000) < counts[..., None]).astype(float)


def written(value: float, *, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.3f}".replace("0.", ".", 1)


def test_means_intervals_and_differences_have_known_values(bench: Bench) -> None:
    row = bench.row(bench.filled().table(), "robust")

    clean = board([bench.clean["robust"]])
    low, high = share_interval(clean)
    down, up = difference_interval(clean - board([bench.clean["natural"]]))
    start, end = share_interval(board([[0.1, 0.2, 0.3]]))
    assert [
        "1-2",
        "robust",
        "probe",
        f".733 [{written(low)}, {written(high)}]",
        f"at most .200 [{written(start)}, {written(end)}]",
        f"+.133 [{written(down, sign=True)}, {written(up, sign=True)}]",
        "3",
        "0.25",
        "0.25",
    ] == row


def test_metrics_without_outcomes_of_images_have_a_t_interval(bench: Bench) -> None:
    bench.has_outcomes = False
    table = bench.filled().table()

    low, high = t_interval(bench.clean["robust"])
    down, up = t_interval([0.2, 0.1, 0.1])
    row = bench.row(table, "robust")
    assert f".733 [{written(low)}, {written(high)}]" == row[3]
    assert f"+.133 [{written(down, sign=True)}, {written(up, sign=True)}]" == row[5]
    assert "without outcomes of images, t-intervals over 3 subset seeds" in table


def test_caption_names_the_sample_of_the_intervals(bench: Bench) -> None:
    table = bench.filled().table()

    sample = "over 3 subset seeds of one training of each source and 1,000 test images."
    assert f"\n\n95 % intervals: {sample}" in table
    assert (
        "Δ: paired by training, seed and image; each interval has 95 % confidence for itself alone."
        in table
    )


def test_the_baseline_is_named_as_such_and_has_no_delta(bench: Bench) -> None:
    assert ["1-2", "natural", "probe"] == bench.row(bench.filled().table(), "natural")[:3]
    assert "baseline" == bench.row(bench.filled().table(), "natural")[5]


def test_row_with_fewer_seeds_than_planned_shows_both_counts(bench: Bench) -> None:
    bench.filled()
    bench.trial("robust", 3, 0.9, None)
    bench.trial("robust", 4)

    row = bench.row(bench.table(), "robust")

    assert row[3].endswith(" (4/5)")
    assert row[4].endswith(" (3/5)")
    assert row[5].endswith(" (3/5)")
    assert "3/5" == row[6]


def test_seeds_are_one_trial_only_if_the_transfer_says_so(bench: Bench) -> None:
    for seed in range(3):
        bench.trial("natural", seed, 0.5, 0.1, n="all")

    undeclared = bench.table(n="all")
    bench.deterministic = ["probe"]
    declared = bench.table(n="all")

    low, high = stats.binomtest(500, 1000).proportion_ci(method="wilson")
    assert f".500 [{written(low)}, {written(high)}]" == bench.row(undeclared, "natural")[3]
    assert f".500 [{written(low)}, {written(high)}]†" == bench.row(declared, "natural")[3]
    assert "† over 1,000 test images alone, since the transfer draws no random number" in declared
    assert "†" not in undeclared


def test_one_image_does_not_change_the_interval_by_more_than_itself(bench: Bench) -> None:
    for seed, odd in enumerate([0.0, 0.0, 0.001]):
        bench.trial("agreeing", seed, 0.9, 0.1, n="all")
        bench.trial("odd", seed, 0.9 + odd, 0.1, n="all")

    table = bench.table(n="all")

    assert ".900 [.880, .917]" == bench.row(table, "agreeing")[3]
    assert ".900 [.880, .917]" == bench.row(table, "odd")[3]


def test_a_deterministic_transfer_on_a_drawn_subset_is_none(bench: Bench) -> None:
    bench.deterministic = ["probe"]

    assert "†" not in bench.filled().table()


def test_a_single_trial_has_intervals_over_test_images(bench: Bench) -> None:
    bench.trial("natural", 0, 0.5, 0.1)
    bench.trial("robust", 0, 0.6, 0.1)

    table = bench.table()

    low, high = difference_interval(board([[0.6]]) - board([[0.5]]))
    delta = f"+.100 [{written(low, sign=True)}, {written(high, sign=True)}]"
    assert bench.row(table, "robust")[3].endswith("]‡")
    assert rf"{delta}\*" == bench.row(table, "robust")[5]
    assert "‡ over 1,000 test images alone, since there is one trial" in table


def test_replicates_of_a_source_are_one_row_whose_unit_is_the_training(bench: Bench) -> None:
    means = [0.50, 0.52, 0.55]
    shares = [[mean + 0.01 * (seed - 1.5) for seed in range(4)] for mean in means]
    for replicate, values in enumerate(shares):
        for seed, value in enumerate(values):
            bench.trial("robust", seed, value, 0.1, replicate=replicate)
    for seed in range(4):
        bench.trial("natural", seed, 0.4 + 0.01 * (seed - 1.5), 0.1)

    table = bench.table()
    robust = bench.row(table, "robust")

    low, high = share_interval(board(shares))
    assert f".523 [{written(low)}, {written(high)}]" == robust[3]
    down, up = difference_interval(
        board(shares) - board([[0.385, 0.395, 0.405, 0.415]]), unreplicated=True
    )
    assert f"+.123 [{written(down, sign=True)}, {written(up, sign=True)}]◊" == robust[5]
    assert "3 × 4" == robust[6]  # noqa: RUF001  # a product
    assert "over 3 source trainings, each the mean of its subset seeds" in table
    assert "◊: one training on one side" in table


def test_one_training_without_outcomes_of_images_is_taken_to_vary_as_the_other_side(
    bench: Bench,
) -> None:
    bench.has_outcomes = False
    for replicate, mean in enumerate([0.50, 0.52, 0.55]):
        bench.trial("robust", 0, mean, 0.1, replicate=replicate)
    bench.trial("natural", 0, 0.4, 0.1)

    low, high = t_interval([0.10, 0.12, 0.15])
    mean = (low + high) / 2
    down, up = (mean + 2 * (end - mean) for end in (low, high))  # s^2 / 3 + s^2 for s^2 / 3
    delta = f"+.123 [{written(down, sign=True)}, {written(up, sign=True)}]◊"
    assert delta == bench.row(bench.table(), "robust")[5]


def test_differences_are_marked_where_they_hold_after_holms_correction(bench: Bench) -> None:
    for seed in range(3):
        bench.trial("natural", seed, 0.500, 0.1)
        bench.trial("far", seed, 0.550, 0.1)
        bench.trial("near", seed, 0.506, 0.1)  # p .014 for 6 images of 1,000 gained and none lost

    alone = bench.table()
    for place in range(5):
        for seed in range(3):
            bench.trial(f"same {place}", seed, 0.500, 0.1)
    table = bench.table()

    assert [True, True] == [bench.row(alone, name)[5].endswith(r"\*") for name in ("far", "near")]
    assert [True, False] == [bench.row(table, name)[5].endswith(r"\*") for name in ("far", "near")]
    assert bench.row(table, "near")[5] == bench.row(alone, "near")[5].removesuffix(r"\*")
    assert r"\*: p < .05 after Holm's correction for 7 differences." in table


def test_a_share_of_other_things_than_images_stays_within_0_and_1(bench: Bench) -> None:
    bench.leaderboard |= {"columns": ["clean.match"], "rank_by": "clean.match"}
    for seed, value in enumerate([0.9, 1.0, 1.0]):
        trial = bench.trial("natural", seed, 0.5, 0.1)
        metric = {"value": value, "share": True}
        bench.records[trial["evaluations"]["clean"][0]] |= {
            "metrics": {"match": metric},
            "outcomes": {},
        }

    assert bench.row(bench.table(), "natural")[3].endswith(", 1.000]")


def test_row_without_counterpart_in_the_baseline_has_no_difference(bench: Bench) -> None:
    bench.filled()
    bench.trial(None, 0, 0.4, 0.1, transfer="scratch")

    assert ABSENT == bench.row(bench.table(), "scratch")[5]


def test_best_number_is_bold_only_if_no_interval_overlaps(bench: Bench) -> None:
    for seed in range(3):
        bench.trial("natural", seed, 0.50 + 0.001 * seed, 0.3 + 0.1 * seed)
        bench.trial("robust", seed, 0.80 + 0.001 * seed, 0.31 + 0.1 * seed)

    table = bench.table()

    assert bench.row(table, "robust")[3].startswith("**.801** [")
    assert 1 == table.count("**.")


def test_a_number_of_an_unranked_row_is_not_bold(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    for seed in range(3):
        for name, accuracy in (("natural", 0.50), ("other", 0.49), ("robust", 0.80)):
            bench.trial(name, seed, accuracy + 0.001 * seed, 0.3)
    complete = bench.table()
    trial = bench.trial("robust", 3, 0.80, 0.3)
    del bench.records[trial["evaluations"]["pgd"][0]]

    assert bench.row(complete, "robust")[3].startswith("**.801** [")
    assert 0 == bench.table().count("**.")


def test_unknown_outcomes_are_a_range_and_count_as_broken_in_the_ranking(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    for seed in range(2):
        bench.trial("natural", seed, 0.5, 0.30 + 0.02 * seed)
        bench.trial("robust", seed, 0.5, 0.20 + 0.02 * seed, unknown=0.4)

    table = bench.table()

    assert "1-2" == bench.row(table, "natural")[0]
    assert bench.row(table, "robust")[4].startswith("at most .210–.610 [")  # noqa: RUF001  # a range
    assert bench.row(table, "robust")[5].startswith("-.100 to +.300")


def test_a_row_that_failed_in_every_trial_is_still_in_the_table(bench: Bench) -> None:
    bench.filled()
    bench.attempt(bench.trial("broken", 0)["id"], "diverged")

    row = bench.row(bench.table(), "broken")
    assert [ABSENT, "broken", "probe", ABSENT, ABSENT, ABSENT, "0/1", ABSENT, ABSENT] == row


def test_skipped_evaluation_hides_no_other_number_of_its_row(bench: Bench) -> None:
    bench.filled()
    for seed in range(3):
        bench.attempt(
            bench.trial("odd", seed, 0.9)["evaluations"]["pgd"][0],
            "no such number",
            status="skipped",
        )

    table = bench.table()

    clean = board([bench.clean["robust"]])
    low, high = share_interval(clean)
    down, up = difference_interval(board([[0.9] * 3]) - board([bench.clean["natural"]]))
    assert [
        "1-3",
        "odd",
        "probe",
        ".900 [.880, .917]",
        "skipped",
        f"+.300 [{written(down, sign=True)}, {written(up, sign=True)}]",
        "3",
        "0.25",
        "0.12",
    ] == bench.row(table, "odd")
    robust = f".733 [{written(low)}, {written(high)}]"
    assert ["1-3", "robust", "probe", robust] == bench.row(table, "robust")[:4]
    assert "Skipped: the evaluation is not applicable; the page gives the reason." in table


def test_a_skipped_evaluation_is_never_ranked_nor_counted_as_a_number(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    bench.filled()
    bench.attempt(
        bench.trial("odd", 0, 0.9)["evaluations"]["pgd"][0], "no such number", status="skipped"
    )
    bench.attempt(
        bench.trial("robust", 3, 0.9)["evaluations"]["pgd"][0], "no such number", status="skipped"
    )

    table = bench.table()

    assert ABSENT == bench.row(table, "odd")[0]
    assert "skipped" == bench.row(table, "odd")[4]
    assert ABSENT == bench.row(table, "odd")[5]
    assert bench.row(table, "robust")[4].endswith(" (3/4)")
    assert "4" == bench.row(table, "robust")[6]


def test_row_with_all_evaluations_skipped_is_shown_and_row_with_skipped_fit_is_not(
    bench: Bench,
) -> None:
    bench.filled()
    odd = bench.trial("odd", 0)
    bench.records[odd["id"]] = bench.record("fit", odd["id"], "finetune/linear_probe", {}, 0.5)
    for results in odd["evaluations"].values():
        bench.attempt(results[0], "no such number", status="skipped")
    bench.attempt(bench.trial("inapplicable", 0)["id"], "no blocks", status="skipped")

    table = bench.table()

    assert [
        ABSENT,
        "odd",
        "probe",
        "skipped",
        "skipped",
        ABSENT,
        "0/1",
        ABSENT,
        ABSENT,
    ] == bench.row(table, "odd")
    assert "inapplicable" not in table


def test_an_adapter_has_a_column_when_there_is_one(bench: Bench) -> None:
    bench.trial("natural", 0, 0.5, 0.1)
    assert "adapter" not in bench.table()

    bench.trial("robust", 0, 0.6, 0.1, adapter="crop")
    assert ["1‡", "robust", "crop", "probe"] == bench.row(bench.table(), "robust")[:4]
    assert bench.row(bench.table(), "robust")[6].startswith("+.100 [")


def test_no_label_breaks_a_table(bench: Bench) -> None:
    bench.trial("a|b\n`c` <b> *d* [e](f) _g_", 0, 0.5, 0.1)
    bench.trial("natural", 0, 0.6, 0.1)

    lines = [line for line in bench.table().splitlines() if line.startswith("|")]

    assert 4 == len(lines)
    assert r"a\|b \`c\` \<b> \*d\* \[e](f) \_g\_" in lines[3]
    assert 1 == len({line.replace(r"\|", "").count("|") for line in lines})


def test_without_a_ranking_rows_are_sorted_by_name(bench: Bench) -> None:
    bench.leaderboard = {"columns": [], "rank_by": None, "baseline": None}
    table = bench.filled().table()

    assert [
        "source",
        "transfer",
        "clean.accuracy",
        "pgd.robust_accuracy@0.1",
        "seeds",
        "s fit",
        "s evaluations",
    ] == bench.row(table, "source")
    assert table.index("| natural") < table.index("| robust")


def test_missing_table_is_an_error_that_lists_the_others(bench: Bench) -> None:
    with pytest.raises(BadInput, match="found target 'digits', n 50; expected one of digits n=20"):
        bench.filled().table(n=50)


def test_table_for_a_readme_has_no_seconds_and_is_reproducible(bench: Bench) -> None:
    before = make_table(bench.filled().run(), target="digits", n=20)
    for record in bench.records.values():
        record["observed"]["seconds"] = {"work": 123.0}

    assert before == make_table(bench.run(), target="digits", n=20)
    assert "123" not in before


def test_seconds_that_were_not_observed_are_absent(bench: Bench) -> None:
    bench.filled()
    for record in bench.records.values():
        record["observed"] = {}

    assert ABSENT == bench.row(bench.table(), "robust")[-1]


def test_a_metric_that_is_no_share_is_a_plain_number(bench: Bench) -> None:
    bench.leaderboard |= {"columns": ["clean.margin"], "rank_by": "clean.accuracy"}
    for source, margins in {"natural": [-2.0, -2.0], "robust": [120.0, 130.0]}.items():
        for seed, margin in enumerate(margins):
            trial = bench.trial(source, seed, 0.5, 0.1)
            bench.records[trial["evaluations"]["clean"][0]]["metrics"]["margin"] = {"value": margin}

    low, high = t_interval([120.0, 130.0])
    assert f"125 [{low:.4g}, {high:.4g}]" == bench.row(bench.table(), "robust")[3]
    assert "-2.000" == bench.row(bench.table(), "natural")[3]
    assert math.isclose(low, 61.469, abs_tol=1e-3)


def add_losses(bench: Bench, values: dict[str, list[float]]) -> None:
    """Add trials with a loss, which is not a share of samples, and rank by it."""
    bench.leaderboard |= {
        "columns": ["clean.loss", "clean.accuracy"],
        "rank_by": {"lowest": "clean.loss"},
    }
    for source, source_losses in values.items():
        for seed, loss in enumerate(source_losses):
            trial = bench.trial(source, seed, 0.5, 0.1)
            bench.records[trial["evaluations"]["clean"][0]]["metrics"]["loss"] = {"value": loss}


def test_lowest_is_first_and_bold_where_lower_is_better(
    bench: Bench,
) -> None:
    add_losses(bench, {"natural": [0.4, 0.42], "robust": [0.1, 0.12], "random": [2.5, 2.6]})
    table = bench.table()

    assert [["1", "robust"], ["2", "natural"], ["3", "random"]] == [
        bench.row(table, name)[:2] for name in ("robust", "natural", "random")
    ]
    assert bench.row(table, "robust")[3].startswith("**.110** [")
    assert bench.row(table, "robust")[5].startswith("-.300")
    assert 1 == table.count("**.")
    assert table.index("| robust") < table.index("| natural") < table.index("| random")


def test_lowest_is_not_bold_if_intervals_overlap_or_are_absent(bench: Bench) -> None:
    add_losses(bench, {"natural": [0.1, 0.5], "robust": [0.1, 0.4]})
    assert "**" not in bench.table()

    bench.trials.clear()
    add_losses(bench, {"natural": [0.4], "robust": [0.1]})
    assert "**" not in bench.table()
    assert "1-2" == bench.row(bench.table(), "robust")[0]


def test_unknown_outcomes_count_against_a_row_where_lower_is_better(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = {"lowest": "pgd.robust_accuracy"}
    bench.trial("natural", 0, 0.5, 0.4)
    bench.trial("robust", 0, 0.5, 0.3, unknown=0.2)

    assert "1-2‡" == bench.row(bench.table(), "natural")[0]


def test_a_small_loss_is_not_0(bench: Bench) -> None:
    add_losses(bench, {"natural": [0.000034], "robust": [0.0061]})
    table = bench.table()

    assert "3.4e-05" == bench.row(table, "natural")[3]
    assert [".0061", "+.0061"] == [bench.row(table, "robust")[place] for place in (3, 5)]


def test_references_are_averaged_and_a_missing_one_leaves_no_number(bench: Bench) -> None:
    trial = bench.trial("natural", 0, 0.5, 0.1)
    first, second = trial["evaluations"]["clean"][0], "d" * 64
    trial["evaluations"]["clean"] = [first, second]
    assert ABSENT == bench.row(bench.table(), "natural")[3]

    bench.result(second, "foolbox/clean_accuracy", {}, {"accuracy": 0.7})
    images = (board([[0.5]]) + board([[0.7]])) / 2
    low, high = share_interval(images)
    assert f".600 [{written(low)}, {written(high)}]‡" == bench.row(bench.table(), "natural")[3]


def test_several_baselines_are_a_column_each_whose_numbers_are_those_of_each_alone(
    bench: Bench,
) -> None:
    """Holm's correction is over the differences of both columns, so marks may differ; numbers do not."""
    bench.clean |= {"random": [0.3, 0.2, 0.1]}
    bench.filled()
    alone = {}
    for baseline in ("natural", "random"):
        bench.leaderboard["baseline"] = baseline
        alone[baseline] = bench.table()
    bench.leaderboard |= {"baseline": "natural", "baselines": ["natural", "random"]}
    table = bench.table()

    header = bench.row(table, "Δ clean.accuracy to natural")
    assert ["Δ clean.accuracy to natural", "Δ clean.accuracy to random"] == header[5:7]
    row = bench.row(table, "robust")
    numbers = [bench.row(alone[baseline], "robust")[5] for baseline in ("natural", "random")]
    assert [text.rstrip("\\*") for text in numbers] == [text.rstrip("\\*") for text in row[5:7]]
    assert "baseline" == bench.row(table, "natural")[5]
    assert "baseline" == bench.row(table, "random")[6]
    assert "for 4 differences" in table
