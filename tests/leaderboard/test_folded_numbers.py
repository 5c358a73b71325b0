"""A robust accuracy that the host refutes is on no page: tables, ranks, figures and questions fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.leaderboard.conftest import name_of

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.curve_panels import curve_panels
from advtransfer.leaderboard.curve_series import series_over_n
from advtransfer.leaderboard.questions_coefficients import answer_questions
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.text import ABSENT
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

R, B, W = Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG
ATTACK = [R] * 60 + [B] * 30 + [W] * 10
COLUMNS = [
    "pgd.robust_accuracy",
    "pgd.attack_accuracy",
    "worst_linf.robust_accuracy@0.1",
]


def results(bench: Bench) -> str:
    return make_page(bench.run()).markdown.partition("## Results\n")[2]


def test_table_shows_the_folded_number_and_what_the_attack_alone_left(bench: Bench) -> None:
    bench.leaderboard |= {"columns": COLUMNS, "rank_by": "pgd.robust_accuracy"}
    bench.checked(bench.trial("natural", 0, 0.9, 0.6), ATTACK, broken=range(8))

    page = make_page(bench.run()).markdown
    row = bench.row(page.partition("## Results\n")[2], "natural")

    assert ["1", "natural", "probe"] == row[:3]
    folded, alone, worst = (cell.partition(" ")[0] for cell in row[3:6])
    assert (".520", ".600", ".520") == (folded, alone, worst)
    assert [True, False, True] == [cell.endswith("✓ 8.0") for cell in row[3:6]]
    assert "at most" not in page.partition("## Results\n")[2]
    assert "it broke 1.5 % that the evaluation's attack had not broken" in page
    assert "Results with a robust accuracy: 1 " in page
    assert "## Results without a battery" not in page


def test_partly_probed_number_is_an_upper_bound(bench: Bench) -> None:
    bench.checked(
        bench.trial("natural", 0, 0.9, 0.6), ATTACK, broken=[0, 1], probed=[0, 1, *range(20, 68)]
    )

    text = results(bench)

    cell = bench.row(text, "natural")[4]
    assert cell.startswith("at most .580 [")
    assert cell.endswith("✓ 4.0")
    assert "At most: not every test image was attacked by the host" in text


@pytest.mark.parametrize("version", [2, 3])
def test_battery_that_does_not_name_its_images_checks_nothing(bench: Bench, version: int) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    bench.checked(bench.trial("natural", 0, 0.9, 0.6), ATTACK, broken=[0, 1], version=version)
    page = make_page(bench.run()).markdown

    cell = bench.row(page.partition("## Results\n")[2], "natural")[4]

    assert (version == 2) == cell.startswith("at most .600")
    assert (version == 3) == cell.endswith("✓ 2.0")
    assert (version == 2) == ("## Results without a battery" in page)


def test_rows_without_a_battery_are_ranked_after_the_checked_and_named(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    bench.checked(bench.trial("weak", 0, 0.9, 0.6), ATTACK, broken=range(4))
    bench.checked(bench.trial("weaker", 0, 0.9, 0.6), ATTACK, broken=range(8))
    bench.trial("unprobed", 0, 0.9, 0.99)
    bench.trial("unprobed too", 0, 0.9, 0.98)

    page = make_page(bench.run()).markdown
    text = page.partition("## Results\n")[2]

    ranks = {name: bench.row(text, name)[0] for name in ("weak", "weaker", "unprobed")}
    assert {"weak": "1‡", "weaker": "2‡", "unprobed": "3‡"} == ranks
    assert "4‡" == bench.row(text, "unprobed too")[0]
    assert "**" not in bench.row(text, "unprobed")[4]
    section = page.partition("## Results without a battery\n")[2]
    assert ["pgd", "2"] == bench.row(section, "pgd")[:2]


def test_rows_whose_batteries_attacked_other_images_are_not_compared(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    for source in ("natural", "robust"):
        bench.checked(bench.trial(source, 0, 0.9, 0.6), ATTACK, probed=range(50))
    bench.checked(bench.trial("other", 0, 0.9, 0.6), ATTACK, probed=range(1, 51))

    page = make_page(bench.run()).markdown
    text = page.partition("## Results\n")[2]

    assert ["1-2‡", "1-2‡", ABSENT] == [
        bench.row(text, name)[0] for name in ("natural", "robust", "other")
    ]
    assert ABSENT not in bench.row(text, "robust")[5]
    assert ABSENT == bench.row(text, "other")[5]
    section = page.partition("## Results that are not ranked\n")[2]
    assert bench.row(section, "other images")[3].startswith("other -> digits")


def test_figures_and_questions_use_folded_numbers(bench: Bench) -> None:
    shares = {}
    for place, source in enumerate("abcdef"):
        broken = range(place)
        bench.checked(bench.trial(source, 0, 0.5 + 0.01 * place, 0.6), ATTACK, broken)
        shares[source] = (60 - len(broken)) / 100
    bench.leaderboard["questions"] = [
        {
            "predictor": ["clean.accuracy", "pgd.attack_accuracy"],
            "outcome": "pgd.robust_accuracy",
            "across": "source",
        }
    ]
    data = gather_run_data(bench.run())

    ((panel,),) = curve_panels([*series_over_n(find_column("pgd.robust_accuracy", data), data)])
    (answer,) = answer_questions(data)
    (found,) = answer.results.values()

    assert list(shares.values()) == pytest.approx([curve.points[0].y for curve in panel.curves])
    for result in found:
        _, outcome = result.points.value_arrays
        assert list(shares.values()) == pytest.approx(outcome[0].tolist())
    assert pytest.approx([0.6] * 6) == found[1].points.value_arrays[0][0].tolist()


def test_worst_is_shown_only_where_every_attack_of_the_run_has_a_result(bench: Bench) -> None:
    bench.leaderboard["columns"] = COLUMNS[2:]
    bench.checked(bench.trial("natural", 0, 0.9, 0.6), ATTACK)
    bench.trial("robust", 0, 0.9)

    text = results(bench)

    assert bench.row(text, "natural")[3].startswith(".600")
    assert ABSENT == bench.row(text, "robust")[3]


def test_fit_that_did_not_learn_is_shown_and_never_ranked(bench: Bench) -> None:
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    labels = {"largest_class": 0.3, "one_class": False}
    for seed in range(2):
        bench.checked(bench.trial("natural", seed, 0.9, 0.6), ATTACK, labels=labels)
        constant = {"largest_class": 0.9, "one_class": seed == 1}
        bench.checked(bench.trial("idle", seed, 0.9, 0.6), ATTACK, labels=constant)

    page = make_page(bench.run()).markdown
    text = page.partition("## Results\n")[2]

    assert "1" == bench.row(text, "natural")[0]
    assert [ABSENT, "idle", "probe ¶"] == bench.row(text, "idle")[:3]
    assert "¶ A fit did not learn its task, so the row is not ranked." in text
    section = page.partition("## Results that are not ranked\n")[2]
    assert "not surely above 0.900" in section
    assert "those of a constant" in section
    assert ["did not learn", "1"] == bench.row(section, "did not learn")[:2]


def test_row_with_a_weak_attack_says_how_much_it_missed(bench: Bench) -> None:
    bench.leaderboard |= {"columns": COLUMNS, "rank_by": "pgd.robust_accuracy"}
    bench.checked(bench.trial("natural", 0, 0.9, 0.6), ATTACK, broken=range(30))

    page = make_page(bench.run()).markdown

    section = page.partition("## Results that are not ranked\n")[2]
    reason = bench.row(section, "suspicious")[2]
    assert reason.startswith("pgd: its attack missed 30.0 points, which the host broke (missed is")


def test_attacks_of_one_ball_with_different_numbers_are_explained(bench: Bench) -> None:
    bench.leaderboard["columns"] = COLUMNS
    trial = bench.trial("natural", 0, 0.9, 0.6)
    bench.checked(trial, ATTACK)
    assert "of several attacks in one ball" not in results(bench)

    (id,) = trial["evaluations"]["pgd"]
    stronger = [B] * 20 + ATTACK[20:]
    other = bench.records[id] | {
        "id": name_of("stronger"),
        "outcomes": {"robust_accuracy@0.1": pack_outcomes(stronger)},
        "metrics": {"robust_accuracy@0.1": robust_share(stronger)},
    }
    bench.records[other["id"]] = other
    trial["evaluations"]["other"] = [other["id"]]
    bench.leaderboard["columns"] = [*COLUMNS, "other.robust_accuracy"]
    text = results(bench)

    assert "Robust accuracies of several attacks in one ball may differ" in text
    cells = bench.row(text, "natural")
    assert (".600", ".400", ".400") == tuple(cells[at].partition(" ")[0] for at in (3, 6, 5))
